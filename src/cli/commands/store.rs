//! `save`, `load`, `commit`, `export`, `history`, `tag`, `check`, `image prune` and `system df`.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;

use super::image_select::until;
use crate::cli::args::{
    CheckArgs, CommitArgs, DfArgs, ExportArgs, HistoryArgs, LoadArgs, PruneArgs, SaveArgs, SaveFormat, TagArgs,
};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Parts;
use crate::cli::render::images::HISTORY;
use crate::cli::render::store::USAGE;
use crate::cli::select::Filters;
use crate::cli::{render, terminal};
use crate::client::{ByteStream, Client, ClientError, Events};
use crate::files::FileError;
use crate::wire::store::{Check, Commit, Format, Label, Load, Prune, Save, Tag, WorkEvent};

use futures_util::StreamExt;

pub(super) async fn save(client: &Client, args: SaveArgs) -> Result<i32, CliError> {
    let format = match args.format {
        SaveFormat::DockerArchive => Format::DockerArchive,
        SaveFormat::Oci => Format::Oci,
    };
    refuse_terminal(args.output.as_deref())?;
    write_out(client.save(&Save { images: args.images, format }).await?, args.output).await
}

pub(super) async fn export(client: &Client, args: ExportArgs) -> Result<i32, CliError> {
    refuse_terminal(args.output.as_deref())?;
    write_out(client.export(&args.container).await?, args.output).await
}

fn refuse_terminal(output: Option<&Path>) -> Result<(), CliError> {
    if output.is_none() && std::io::stdout().is_terminal() { Err(CliError::ArchiveToTerminal) } else { Ok(()) }
}

/// Writes all bytes to standard output, or to a file that is whole or is not there.
async fn write_out(mut bytes: ByteStream, output: Option<PathBuf>) -> Result<i32, CliError> {
    let Some(path) = output else {
        let mut out = terminal::stdout()?;
        tokio::io::copy(&mut bytes, &mut out).await?;
        out.flush().await?;
        return Ok(0);
    };
    let fail = |action| {
        let path = path.clone();
        move |e| CliError::File(FileError::new(action, path, e))
    };
    if std::fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        // A pipe or a device is written as it is.
        let mut file = tokio::fs::OpenOptions::new().write(true).open(&path).await.map_err(fail("open"))?;
        tokio::io::copy(&mut bytes, &mut file).await.map_err(fail("write"))?;
        file.flush().await.map_err(fail("write"))?;
        return Ok(0);
    }
    let mut partial = path.clone().into_os_string();
    partial.push(format!(".{}.partial", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = async {
        let mut file = tokio::fs::File::create(&partial).await?;
        tokio::io::copy(&mut bytes, &mut file).await?;
        file.flush().await?;
        file.sync_all().await?;
        tokio::fs::rename(&partial, &path).await
    };
    if let Err(error) = written.await {
        crate::files::remove_all(&partial)?;
        return Err(fail("write")(error));
    }
    Ok(0)
}

pub(super) async fn load(client: &Client, args: LoadArgs, output: Output) -> Result<i32, CliError> {
    let archive: ByteStream = match &args.input {
        Some(path) => {
            let opened = tokio::fs::File::open(path).await;
            Box::pin(opened.map_err(|e| FileError::new("open", path, e))?)
        }
        None if std::io::stdin().is_terminal() => return Err(CliError::ArchiveFromTerminal),
        None => Box::pin(terminal::stdin().map_err(CliError::Input)?),
    };
    let loaded = follow(client.load(&Load { platform: args.platform }, archive).await?, args.quiet, output).await?;
    for image in loaded {
        if image.references.is_empty() {
            output.line(format!("Loaded image ID: {}", image.digest))?;
        }
        for reference in image.references {
            output.line(format!("Loaded image: {reference}"))?;
        }
    }
    Ok(0)
}

pub(super) async fn commit(client: &Client, args: CommitArgs, output: Output) -> Result<i32, CliError> {
    let CommitArgs { container, reference, author, message, change, pause } = args;
    let commit = Commit { reference, changes: change, author, message, pause };
    let digest = follow(client.commit(&container, &commit).await?, true, output).await?;
    output.line(digest.to_string())?;
    Ok(0)
}

pub(super) async fn history(client: &Client, args: &HistoryArgs, output: Output) -> Result<i32, CliError> {
    let format = args.format.clone().unwrap_or_default();
    HISTORY.check(&format)?;
    let steps = client.history(&args.image).await?;
    if args.json {
        output.json(&steps)?;
        return Ok(0);
    }
    let rows = render::images::history(&steps, OffsetDateTime::now_utc(), args.human, args.no_trunc);
    output.text(match args.quiet {
        true => HISTORY.only(&rows, "ID"),
        false => HISTORY.render(&rows, &format, &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"], output.colour)?,
    })?;
    Ok(0)
}

pub(super) async fn tag(client: &Client, args: TagArgs) -> Result<i32, CliError> {
    client.tag(&Tag { image: args.image, reference: args.reference }).await?;
    Ok(0)
}

/// 0: all is well, or has been made so. 1: something is damaged.
pub(super) async fn check(client: &Client, args: &CheckArgs, output: Output) -> Result<i32, CliError> {
    let report = follow(client.check(&Check { repair: args.repair }).await?, args.json, output).await?;
    if args.json {
        output.json(&report)?;
    } else {
        output.text(render::store::check(&report, output.colour))?;
        if !report.is_clean() && !args.repair {
            output.error("something is damaged", Some("`setpoint check --repair` brings it again where it can be had"));
        }
    }
    Ok(i32::from(!report.is_clean()))
}

pub(super) async fn prune(client: &Client, args: &PruneArgs, output: Output) -> Result<i32, CliError> {
    let prune = filters(args, OffsetDateTime::now_utc())?;
    let which = if args.all { "all images that no container was made from" } else { "all images without a name" };
    if !args.force && !agreed(output, &format!("This removes {which}."))? {
        return Ok(0);
    }
    let pruned = client.prune_images(&prune).await?;
    for image in &pruned.images {
        for reference in &image.references {
            output.line(format!("Untagged: {reference}"))?;
        }
        output.line(format!("Deleted: {}", image.digest))?;
    }
    output.line(format!("Total reclaimed space: {}", render::table::bytes(pruned.bytes)))?;
    Ok(0)
}

pub(super) fn agreed(output: Output, what: &str) -> Result<bool, CliError> {
    output.note(format!("{what} Are you sure you want to continue? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(CliError::Input)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn filters(args: &PruneArgs, now: OffsetDateTime) -> Result<Prune, CliError> {
    let filters = Filters::new(&args.filter, &["dangling", "label", "until"])?;
    let labels =
        filters.labels().map(|(key, value, without)| Label { key: key.to_owned(), value: value.map(str::to_owned), without });
    Ok(Prune {
        // Docker's older way to say the same.
        all: filters.flag("dangling")?.map_or(args.all, |dangling| !dangling),
        until: until(&filters, now)?,
        labels: labels.collect(),
    })
}

pub(super) async fn usage(client: &Client, args: &DfArgs, output: Output) -> Result<i32, CliError> {
    let format = args.format.clone().unwrap_or_default();
    USAGE.check(&format)?;
    let usage = client.disk_usage().await?;
    if args.json {
        output.json(&usage)?;
    } else if args.verbose {
        output.text(render::store::usage_in_full(&usage, OffsetDateTime::now_utc(), output.colour))?;
    } else {
        let shown = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];
        output.text(USAGE.render(&render::store::usage(&usage), &format, &shown, output.colour)?)?;
    }
    Ok(0)
}

/// Tells how it goes on, and gives what it ends with.
async fn follow<T>(mut events: impl Events<WorkEvent<T>>, quiet: bool, output: Output) -> Result<T, CliError> {
    let mut parts = Parts::new(output, quiet);
    while let Some(event) = events.next().await {
        match event? {
            WorkEvent::Progress { progress } => parts.tell(&progress),
            WorkEvent::Done { result } => return Ok(result),
        }
    }
    Err(ClientError::Ended.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_docker() {
        let now = OffsetDateTime::from_unix_timestamp(100_000).unwrap();
        let args = |filter: &[&str]| PruneArgs {
            all: true,
            force: true,
            filter: filter.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let prune = filters(&args(&["until=10s", "label=a", "label=b=1", "label!=c=2=3"]), now).unwrap();
        assert_eq!(prune.until.unwrap().unix_timestamp(), 99_990);
        let labels: Vec<_> = prune.labels.iter().map(|l| (l.key.as_str(), l.value.as_deref(), l.without)).collect();
        assert_eq!(labels, [("a", None, false), ("b", Some("1"), false), ("c", Some("2=3"), true)]);
        assert!(filters(&PruneArgs { all: false, ..args(&["dangling=false"]) }, now).unwrap().all);
        for bad in ["dangling=x", "until=soon", "x=y", "until!=10s"] {
            assert!(filters(&PruneArgs { all: false, ..args(&[bad]) }, now).is_err(), "{bad}");
        }
    }
}

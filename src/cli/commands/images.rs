//! `images`, `pull`, `push`, `import` and `rmi`.

use std::path::Path;
use std::pin::Pin;

use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::io::AsyncRead;

use super::each;
use super::registries::credentials;
use crate::cli::args::{ImagesArgs, ImportArgs, PullArgs, PushArgs, RmiArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Parts;
use crate::cli::{render, terminal};
use crate::client::{Client, ClientError, Events};
use crate::files::FileError;
use crate::model::Digest;
use crate::model::change::apply_changes;
use crate::wire::native::{ImageEvent, Import, Pull, Push, RemoveImage};

pub(super) async fn list(client: &Client, args: &ImagesArgs, output: Output) -> Result<i32, CliError> {
    let images = client.images().await?;
    if args.json {
        output.json(&images)?;
    } else if args.quiet {
        for image in images {
            output.line(if args.no_trunc { image.digest.to_string() } else { image.digest.short() })?;
        }
    } else {
        output.text(render::resources::images(&images, OffsetDateTime::now_utc(), args.no_trunc, output.colour))?;
    }
    Ok(0)
}

pub(super) async fn pull(client: &Client, args: PullArgs, output: Output) -> Result<i32, CliError> {
    let name = args.reference.to_string();
    let credentials = credentials(client, args.reference.registry()).await?;
    let pull = Pull { reference: args.reference, platform: args.platform, missing: false, credentials };
    let digest = follow(client.pull(&pull).await?, args.quiet, output).await?;
    output.line(if args.quiet { name } else { format!("{name}: {digest}") })?;
    Ok(0)
}

pub(super) async fn push(client: &Client, args: PushArgs, output: Output) -> Result<i32, CliError> {
    let name = args.reference.to_string();
    let credentials = credentials(client, args.reference.registry()).await?;
    let push = Push { reference: args.reference, with: args.with, credentials };
    let digest = follow(client.push(&push).await?, args.quiet, output).await?;
    output.line(if args.quiet { name } else { format!("{name}: {digest}") })?;
    Ok(0)
}

pub(super) async fn import(client: &Client, args: ImportArgs, output: Output) -> Result<i32, CliError> {
    let name = args.reference.to_string();
    // A whole tar is not sent for an instruction that there is not.
    apply_changes(&mut Default::default(), &args.change)?;
    let mut import =
        Import { reference: args.reference, folder: None, url: None, defaults: Default::default(), changes: args.change };
    let fail = |e| CliError::File(FileError::new("open", &args.source, e));
    let url = args.source.to_str().filter(|text| text.starts_with("http://") || text.starts_with("https://"));
    let tar: Option<Pin<Box<dyn AsyncRead + Send>>> = if let Some(url) = url {
        import.url = Some(url.to_owned());
        None
    } else if args.source == Path::new("-") {
        Some(Box::pin(terminal::stdin().map_err(CliError::Input)?))
    } else if args.source.is_dir() {
        import.folder = Some(args.source.canonicalize().map_err(fail)?);
        None
    } else {
        // A daemon may see other files than the person who types: what is in the file is sent.
        Some(Box::pin(tokio::fs::File::open(&args.source).await.map_err(fail)?))
    };
    let name_source = |error| match error {
        CliError::Client(source) => CliError::Import { path: args.source.clone(), source },
        error => error,
    };
    let events = client.import(&import, tar).await.map_err(|e| name_source(e.into()))?;
    let digest = follow(events, args.quiet, output).await.map_err(name_source)?;
    output.line(if args.quiet { digest.to_string() } else { format!("{name}: {digest}") })?;
    Ok(0)
}

/// Tells how it goes on, and gives what it ends with.
pub(super) async fn follow(mut events: impl Events<ImageEvent>, quiet: bool, output: Output) -> Result<Digest, CliError> {
    let mut parts = Parts::new(output, quiet);
    while let Some(event) = events.next().await {
        match event? {
            ImageEvent::Progress { progress } => parts.tell(&progress),
            ImageEvent::Done { digest } => return Ok(digest),
        }
    }
    Err(ClientError::Ended.into())
}

pub(super) async fn remove(client: &Client, args: &RmiArgs, output: Output) -> Result<i32, CliError> {
    each(&args.images, output, async |image: &str| {
        let removed = client.remove_image(&RemoveImage { image: image.to_owned(), force: args.force }).await?;
        Ok(removed.join("\n"))
    })
    .await
}

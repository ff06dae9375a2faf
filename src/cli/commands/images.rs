//! `images`, `pull`, `push`, `import` and `rmi`.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;

use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::io::AsyncRead;

use super::each;
use super::image_select::Wanted;
use super::registries::credentials;
use crate::cli::args::{self, ImagesArgs, ImportArgs, PullArgs, PushArgs, RmiArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Parts;
use crate::cli::render::images::IMAGES;
use crate::cli::{render, terminal};
use crate::client::{Client, ClientError, Events};
use crate::files::FileError;
use crate::model::change::apply_changes;
use crate::model::{Digest, ImageRef};
use crate::wire::native::{ImageEvent, Import, Pull, Push, RemoveImage, Tags};

pub(super) async fn list(client: &Client, args: &ImagesArgs, output: Output) -> Result<i32, CliError> {
    let format = args.format.clone().unwrap_or_default();
    IMAGES.check(&format)?;
    let now = OffsetDateTime::now_utc();
    let wanted = Wanted::new(client, &args.filter, args.name.as_deref(), now).await?;
    let mut images = client.images().await?;
    if args.json {
        let taken: BTreeSet<Digest> = render::images::by_name(&images)
            .into_iter()
            .filter(|named| wanted.takes(named))
            .map(|named| named.image.digest)
            .collect();
        images.retain(|image| taken.contains(&image.digest));
        output.json(&images)?;
        return Ok(0);
    }
    let mut named = render::images::by_name(&images);
    named.retain(|named| wanted.takes(named));
    if args.quiet {
        // Whoever goes on with the digests wants each once.
        let mut seen = BTreeSet::new();
        named.retain(|named| seen.insert(named.image.digest));
    }
    let rows = render::images::rows(&named, now, args.no_trunc);
    output.text(match args.quiet {
        true => IMAGES.only(&rows, "ID"),
        false => IMAGES.render(&rows, &format, render::images::shown(args.digests), output.colour)?,
    })?;
    Ok(0)
}

pub(super) async fn pull(client: &Client, args: PullArgs, output: Output) -> Result<i32, CliError> {
    let credentials = credentials(client, args.image.reference.registry()).await?;
    let mut references = vec![args.image.reference.clone()];
    if args.all_tags {
        let reference = bare(&args.image)?;
        let tags = Tags { reference: reference.clone(), credentials: credentials.clone() };
        let tags = client.tags(&tags).await?;
        let tagged = tags.iter().map(|tag| reference.with_tag(tag));
        references = tagged.collect::<Result<_, _>>().map_err(CliError::Reference)?;
    }
    for reference in references {
        let name = reference.to_string();
        let pull = Pull { reference, platform: args.platform.clone(), missing: false, credentials: credentials.clone() };
        let digest = follow(client.pull(&pull).await?, args.quiet, output).await?;
        output.line(if args.quiet { name } else { format!("{name}: {digest}") })?;
    }
    Ok(0)
}

pub(super) async fn push(client: &Client, args: PushArgs, output: Output) -> Result<i32, CliError> {
    let credentials = credentials(client, args.image.reference.registry()).await?;
    let mut references = vec![args.image.reference.clone()];
    if args.all_tags {
        let wanted = bare(&args.image)?;
        let images = client.images().await?;
        let all: BTreeSet<ImageRef> = images.into_iter().flat_map(|image| image.references).collect();
        let same = |r: &ImageRef| (r.registry(), r.repository()) == (wanted.registry(), wanted.repository());
        references = all.into_iter().filter(|reference| same(reference) && reference.tag().is_some()).collect();
        if references.is_empty() {
            return Err(CliError::NotFound { what: "image of repository", name: render::images::split(wanted).0 });
        }
    }
    for reference in references {
        let name = reference.to_string();
        let push = Push { reference, with: args.with.clone(), credentials: credentials.clone() };
        let digest = follow(client.push(&push).await?, args.quiet, output).await?;
        output.line(if args.quiet { name } else { format!("{name}: {digest}") })?;
    }
    Ok(0)
}

/// The repository of which all tags are meant.
fn bare(named: &args::Named) -> Result<&ImageRef, CliError> {
    if named.bare { Ok(&named.reference) } else { Err(CliError::TagAndAllTags { name: named.reference.to_string() }) }
}

pub(super) async fn import(client: &Client, args: ImportArgs, output: Output) -> Result<i32, CliError> {
    let name = args.reference.as_ref().map(ToString::to_string);
    // A whole tar is not sent for an instruction that there is not.
    apply_changes(&mut Default::default(), &args.change)?;
    let mut import = Import {
        reference: args.reference,
        folder: None,
        url: None,
        message: args.message,
        platform: args.platform,
        defaults: Default::default(),
        changes: args.change,
    };
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
    output.line(match name {
        Some(name) if !args.quiet => format!("{name}: {digest}"),
        _ => digest.to_string(),
    })?;
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

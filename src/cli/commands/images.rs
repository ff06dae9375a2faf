//! `images`, `pull`, `import` and `rmi`.

use std::path::Path;

use futures_util::StreamExt;
use time::OffsetDateTime;

use super::each;
use crate::cli::args::{ImagesArgs, ImportArgs, PullArgs, RmiArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Parts;
use crate::cli::{render, terminal};
use crate::client::{Client, ClientError, Events};
use crate::files::FileError;
use crate::model::Digest;
use crate::wire::native::{ImageEvent, Pull, RemoveImage};

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
    let pull = Pull { reference: args.reference, platform: args.platform, missing: false };
    let digest = follow(client.pull(&pull).await?, args.quiet, output).await?;
    output.line(if args.quiet { name } else { format!("{name}: {digest}") })?;
    Ok(0)
}

pub(super) async fn import(client: &Client, args: ImportArgs, output: Output) -> Result<i32, CliError> {
    let name = args.reference.to_string();
    let digest = if args.source == Path::new("-") {
        follow(client.import(args.reference, Box::pin(terminal::stdin().map_err(CliError::Input)?)).await?, args.quiet, output)
            .await?
    } else {
        let fail = |e| FileError::new("open", &args.source, e);
        let file = tokio::fs::File::open(&args.source).await.map_err(fail)?;
        if file.metadata().await.map_err(fail)?.is_dir() {
            return Err(CliError::ImportsFolder { path: args.source });
        }
        follow(client.import(args.reference, Box::pin(file)).await?, args.quiet, output).await?
    };
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

//! `builder du` and `builder prune`: what is kept of steps of builds.

use time::OffsetDateTime;

use super::image_select::until;
use super::store::agreed;
use crate::cli::args::{CachePruneArgs, CacheUsageArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render;
use crate::cli::select::Filters;
use crate::client::Client;
use crate::wire::build::PruneCache;

pub(super) async fn usage(client: &Client, args: &CacheUsageArgs, output: Output) -> Result<i32, CliError> {
    let steps = client.build_cache().await?;
    if args.json {
        output.json(&steps)?;
    } else {
        output.text(render::build::cache(&steps, OffsetDateTime::now_utc(), args.no_trunc, output.colour))?;
    }
    Ok(0)
}

pub(super) async fn prune(client: &Client, args: &CachePruneArgs, output: Output) -> Result<i32, CliError> {
    let filters = Filters::new(&args.filter, &["until"])?;
    let until = until(&filters, OffsetDateTime::now_utc())?;
    let which = if args.all { "all steps of builds" } else { "all steps of builds whose layers no image has" };
    if !args.force && !agreed(output, &format!("This forgets {which}."))? {
        return Ok(0);
    }
    let prune = PruneCache { all: args.all, until, keep: args.max_used_space.map(|size| size.0) };
    let pruned = client.prune_build_cache(&prune).await?;
    output.line(format!("Forgotten steps: {}", pruned.steps))?;
    output.line(format!("Total reclaimed space: {}", render::table::bytes(pruned.bytes)))?;
    Ok(0)
}

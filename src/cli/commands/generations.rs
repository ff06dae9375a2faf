//! `stack history`, `stack diff`, `rollback`, and `plan --to`.

use std::path::PathBuf;

use super::Prepared;
use super::stacks::{SavedPlan, follow, show_plan};
use crate::cli::args::{RollbackArgs, StackDiffArgs, StackHistoryArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render;
use crate::client::Client;
use crate::server::native::generations::{Compare, OfStack, RollbackRequest};

pub(super) async fn history(client: &Client, args: StackHistoryArgs, output: Output) -> Result<i32, CliError> {
    let all = client.generations(&OfStack { stack: args.stack }).await?;
    if args.json {
        output.json(&all)?;
    } else if all.is_empty() {
        output.note("no stack has been applied here");
    } else {
        output.text(render::generations::history(&all, output.colour))?;
    }
    Ok(0)
}

pub(super) async fn diff(client: &Client, args: StackDiffArgs, output: Output) -> Result<i32, CliError> {
    let found = client.compare_generations(&Compare { stack: args.stack, from: args.from, to: args.to }).await?;
    if args.json {
        output.json(&found)?;
    } else {
        output.text(render::generations::comparison(&found, output.colour))?;
    }
    Ok(0)
}

pub(super) fn prepare_rollback(args: RollbackArgs) -> Prepared {
    let request = RollbackRequest { stack: args.stack, generation: args.generation, ..RollbackRequest::default() };
    Prepared::Rollback { request: Box::new(request), json: args.json }
}

pub(super) async fn rollback(client: &Client, mut request: RollbackRequest, json: bool, output: Output) -> Result<i32, CliError> {
    request.credentials = credentials(client, &request).await?;
    let code = follow(client.rollback(&request).await?, json, output).await?;
    if !json {
        output.note("it is held: its manifests are left alone until they say something else, or are applied by hand");
    }
    Ok(code)
}

/// Exit code 2 says that there is something to do.
pub(super) async fn plan(
    client: &Client,
    mut request: RollbackRequest,
    json: bool,
    out: Option<PathBuf>,
    output: Output,
) -> Result<i32, CliError> {
    request.credentials = credentials(client, &request).await?;
    let found = client.plan_rollback(&request).await?;
    let code = show_plan(&found.plan, json, output)?;
    if let Some(path) = out {
        SavedPlan::of_generation(found.plan, found.generation).write(&path)?;
    }
    Ok(code)
}

/// What this user has stored for the registries of the stack's images: one that is gone is asked for again.
async fn credentials(client: &Client, request: &RollbackRequest) -> Result<Vec<crate::wire::native::Credentials>, CliError> {
    let all = client.generations(&OfStack { stack: request.stack.clone() }).await?;
    let images = all.iter().flat_map(|history| &history.generations).flat_map(|generation| generation.images.keys());
    let registries: std::collections::BTreeSet<&str> = images.map(|reference| reference.registry()).collect();
    let mut found = Vec::new();
    for registry in registries {
        found.extend(super::registries::credentials(client, registry).await?);
    }
    Ok(found)
}

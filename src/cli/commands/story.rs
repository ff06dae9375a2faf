//! `status`, `why` and `events`: how stacks stand, and what became of them.

use std::time::Duration;

use time::OffsetDateTime;

use crate::cli::args::{EventsArgs, StatusArgs, WhyArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render;
use crate::client::Client;
use crate::server::native::story::{OfResource, Steps};

/// Between two looks of those that go on.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears what is below, and goes back to the first line. Source: ECMA-48, ED and CUP.
const ANEW: &str = "\u{1b}[H\u{1b}[J";

pub(super) async fn status(client: &Client, args: &StatusArgs, output: Output) -> Result<i32, CliError> {
    let mut shown: Option<String> = None;
    loop {
        let stacks = match &args.stack {
            Some(stack) => client.stack(stack).await?,
            None => client.stacks().await?,
        };
        let text = match (args.json, args.watch) {
            (true, true) => serde_json::to_string(&stacks).map_err(CliError::Encode)? + "\n",
            (true, false) => serde_json::to_string_pretty(&stacks).map_err(CliError::Encode)? + "\n",
            (false, _) => render::status::render(&stacks, output.colour),
        };
        if stacks.is_empty() && !args.json && shown.is_none() {
            output.note("no stack has been applied here");
        }
        if shown.as_ref() != Some(&text) {
            // A screen is drawn anew in its place; everything else goes on and on.
            output.text(if args.watch && output.live && !args.json { format!("{ANEW}{text}") } else { text.clone() })?;
            shown = Some(text);
        }
        if !args.watch {
            return Ok(0);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) async fn why(client: &Client, args: WhyArgs, output: Output) -> Result<i32, CliError> {
    let found = client.why(&OfResource { resource: args.resource, stack: args.stack }).await?;
    if args.json {
        output.json(&found)?;
    } else {
        output.text(render::story::why(&found, output.colour))?;
    }
    Ok(0)
}

pub(super) async fn events(client: &Client, args: EventsArgs, output: Output) -> Result<i32, CliError> {
    let now = OffsetDateTime::now_utc();
    // Who goes on and names no beginning begins here.
    let since = args.since.map(|since| since.resolve(now)).or_else(|| args.watch.then_some(now));
    let asked = Steps { stack: args.stack, since, until: args.until.map(|until| until.resolve(now)) };
    let mut told = std::collections::HashSet::new();
    loop {
        for step in client.steps(&asked).await? {
            // One that is under way is told when it has ended, unless nobody waits for that.
            if (args.watch && step.finished.is_none()) || !told.insert(step.id) {
                continue;
            }
            if args.json {
                output.json_line(&step)?;
            } else {
                output.text(render::story::step(&step, output.colour))?;
            }
        }
        if !args.watch {
            return Ok(0);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

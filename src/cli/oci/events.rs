//! `events`: a line for what a container uses, again and again until it ends, and one whenever its memory did not suffice.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::OciCliError;
use super::args::EventsArgs;
use crate::cli::output::Output;
use crate::engine::runtime::oci::Watch;

/// How late a lack of memory may be told.
const GLANCE: Duration = Duration::from_millis(200);

pub(super) fn events(root: &Path, args: &EventsArgs, output: Output) -> Result<(), OciCliError> {
    let interval = args.interval.0;
    if interval.is_zero() {
        return Err(OciCliError::Argument { what: "--interval", reason: "it must be above zero".to_owned() });
    }
    let watch = Watch::begin(root, &args.id)?;
    let stats = || output.json_line(&json!({ "type": "stats", "id": args.id, "data": watch.usage() }));
    if args.stats {
        return Ok(stats()?);
    }
    let mut told = watch.oom_kills();
    let mut due = Instant::now();
    loop {
        if Instant::now() >= due {
            stats()?;
            due = Instant::now() + interval;
        }
        let ended = watch.ends_within(GLANCE.min(due.saturating_duration_since(Instant::now())))?;
        let kills = watch.oom_kills();
        for _ in told..kills {
            output.json_line(&json!({ "type": "oom", "id": args.id }))?;
        }
        told = kills.max(told);
        if ended {
            return Ok(());
        }
    }
}

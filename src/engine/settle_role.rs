//! The role `@settle`: what a monitor becomes when its container has exited for good, to release what the container held.
//! A process of its own, because a monitor has neither the database nor netlink in its memory.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Engine;
use crate::model::{ContainerId, Instance};

pub(super) const ROLE: &str = "@settle";

#[derive(Debug, thiserror::Error)]
enum SettleError {
    #[error("usage: {ROLE} --state-dir DIR --run-dir DIR --socket PATH ID")]
    Usage,
    #[error("start the event loop: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Engine(#[from] super::EngineError),
}

/// Arguments: `--state-dir DIR --run-dir DIR --socket PATH ID`. What fails is told on standard error, which is the
/// monitor's log, and done by the next recovery.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            drop(writeln!(std::io::stderr(), "settle: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<(), SettleError> {
    let (instance, id) = parse(arguments).ok_or(SettleError::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SettleError::Runtime)?;
    runtime.block_on(async {
        let engine = Engine::open(instance).await?;
        Ok(engine.settle(&id).await?)
    })
}

fn parse(arguments: &[OsString]) -> Option<(Instance, ContainerId)> {
    match arguments {
        [a, state, b, run, c, socket, id] if a == "--state-dir" && b == "--run-dir" && c == "--socket" => {
            let instance = Instance::new(PathBuf::from(state), PathBuf::from(run), Some(PathBuf::from(socket)));
            Some((instance, id.to_str()?.parse().ok()?))
        }
        _ => None,
    }
}

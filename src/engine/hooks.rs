//! Commands that are run in a container when somebody has started it, and before it is asked to stop. They are run by whoever
//! starts or stops it: the monitor, which restarts it by its policy, knows nothing of them.
//! Source: Compose Specification, `post_start` and `pre_stop`.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::containers::{ContainersError, ExecSpec};
use super::{EngineError, Parts};
use crate::model::ContainerId;
use crate::model::spec::Hook;

/// What is shown of what a command printed, in bytes.
const SHOWN: usize = 1000;

/// Runs the hooks of a start, one after the other, for as long as they take. The first that fails is the last.
pub(super) async fn post_start(parts: &Parts, id: &ContainerId) -> Result<(), EngineError> {
    let record = parts.containers.get(id)?;
    for hook in &record.spec.post_start {
        if let Err(why) = run(parts, id, hook).await? {
            let command = hook.command.join(" ");
            return Err(EngineError::Hook { name: record.name, command, why });
        }
    }
    Ok(())
}

/// Runs the hooks of a stop, and gives what is left of its grace. One that fails or takes too long keeps nothing from being
/// stopped: it is told in the log.
pub(super) async fn pre_stop(parts: &Parts, id: &ContainerId, grace: Option<Duration>) -> Result<Option<Duration>, EngineError> {
    let record = parts.containers.get(id)?;
    if record.spec.pre_stop.is_empty() || !parts.containers.state(id)?.is_running() {
        return Ok(grace);
    }
    let grace = grace.unwrap_or(record.spec.stop_grace_period.0);
    let began = Instant::now();
    for hook in &record.spec.pre_stop {
        let left = grace.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        let why = match tokio::time::timeout(left, run(parts, id, hook)).await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(why))) => why,
            // It has ended by itself meanwhile, or stands still.
            Ok(Err(ContainersError::NotRunning { .. } | ContainersError::Paused { .. })) => break,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took longer than the container has to stop".to_owned(),
        };
        tracing::warn!(container = %record.name, command = hook.command.join(" "), "a pre_stop hook failed: {why}");
    }
    Ok(Some(grace.saturating_sub(began.elapsed())))
}

/// Runs one. The inner error is that of the command.
async fn run(parts: &Parts, id: &ContainerId, hook: &Hook) -> Result<Result<(), String>, ContainersError> {
    let spec = ExecSpec {
        argv: hook.command.clone(),
        env: hook.environment.clone(),
        user: hook.user.clone(),
        working_dir: hook.working_dir.clone(),
        privileged: hook.privileged,
        ..ExecSpec::default()
    };
    let mut child = parts.containers.exec(id, spec).await?;
    drop(child.stdin.take());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err, ended) = tokio::join!(tail(out), tail(err), child.wait());
    let ended = ended.map_err(ContainersError::Spawn)?;
    if ended.success() {
        return Ok(Ok(()));
    }
    let said = if err.is_empty() { out } else { err };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let how = ended.code().map_or_else(|| ended.to_string(), |code| format!("it exited with {code}"));
    Ok(Err(if said.is_empty() { how } else { format!("{how}: {said}") }))
}

/// The end of what a stream has, which is read to its end.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = [0; 4096];
    // A stream that breaks has ended.
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let surplus = kept.len().saturating_sub(SHOWN);
        kept.drain(..surplus);
    }
    kept
}

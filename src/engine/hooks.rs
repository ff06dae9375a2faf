//! Commands that are run in a container when somebody has started it, and before it is asked to stop. They are run by whoever
//! starts or stops it: the monitor, which restarts it by its policy, knows nothing of them.
//! Source: Compose Specification, `post_start` and `pre_stop`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::containers::{ContainersError, ExecSpec, Record};
use super::{EngineError, Parts};
use crate::files::{self, FileError, Lock};
use crate::model::spec::Hook;
use crate::model::{ContainerId, Span};
use crate::observed::{Fault, Repair};

/// What is shown of what a command printed, in bytes.
const SHOWN: usize = 1000;
/// The note of a start's hooks, in the folder of the container's run: nothing until they have ended, then [`WELL`] or what went wrong.
/// Whoever runs them has it locked, so that one who was killed meanwhile is known by it.
const NOTE: &str = "post-start";
const WELL: &str = "well";
/// The field that a hook which has failed belongs to.
pub(super) const POST_START: &str = "post_start";

fn note(parts: &Parts, id: &ContainerId) -> PathBuf {
    parts.instance.container_run_dir(id).join(NOTE)
}

/// The hooks of a start that are still to be run.
#[derive(Debug)]
pub(super) struct Ahead {
    record: Record,
    /// None where there are no hooks.
    note: Option<Lock>,
}

impl Ahead {
    /// Notes that there are hooks to be run, before the container starts and under its lock. What an earlier start has noted, be
    /// its hooks under way even now, no longer counts.
    pub(super) fn of(parts: &Parts, record: &Record) -> Result<Self, EngineError> {
        let mut lock = None;
        if !record.spec.post_start.is_empty() {
            let path = note(parts, &record.id);
            files::create_dirs(&parts.instance.container_run_dir(&record.id), 0o700)?;
            files::remove_all(&path)?;
            // Nobody has it for longer than a look takes.
            lock = Some(Lock::wait(&path)?);
        }
        Ok(Self { record: record.clone(), note: lock })
    }

    /// Runs them, one after the other, for as long as they take. The first that fails is the last.
    pub(super) async fn run(self, parts: &Parts) -> Result<(), EngineError> {
        let Self { record, note: lock } = self;
        let Some(lock) = lock else { return Ok(()) };
        let write =
            |text: &str| lock.file().write_all(text.as_bytes()).map_err(|e| FileError::new("write", note(parts, &record.id), e));
        for hook in &record.spec.post_start {
            let command = hook.command.join(" ");
            let why = match run(parts, &record.id, hook).await {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(error) => {
                    write(&format!("{command}: {error}"))?;
                    return Err(error.into());
                }
            };
            write(&format!("{command}: {why}"))?;
            return Err(EngineError::Hook { name: record.name.clone(), command, why });
        }
        Ok(write(WELL)?)
    }
}

/// Whether the hooks of the start of a container that runs have failed, or were broken off.
///
/// Assumption: the caller finds out afterwards whether the container's process is still the same. Between the two looks at the note there
/// may be another start, with another note.
pub(super) fn fault(parts: &Parts, record: &Record) -> Result<Option<Fault>, EngineError> {
    if record.spec.post_start.is_empty() {
        return Ok(None);
    }
    let path = note(parts, &record.id);
    // Looked at before it is read: whoever writes it has it locked until then.
    if Lock::is_held(&path)? {
        return Ok(None);
    }
    // There is none where an older version has started it.
    let Some(said) = files::read_if_there(&path)? else { return Ok(None) };
    let what = match String::from_utf8_lossy(&said).trim() {
        WELL => return Ok(None),
        "" => "its post_start hooks were broken off".to_owned(),
        why => format!("a post_start hook failed: {}", why.lines().next().unwrap_or_default()),
    };
    Ok(Some(Fault { field: POST_START.to_owned(), what, repair: Repair::Restart }))
}

/// What a stop's hooks have left of it.
pub(super) struct Left {
    pub(super) grace: Option<Span>,
    /// What went wrong and keeps nobody from being stopped.
    pub(super) told: Vec<String>,
}

/// Runs the hooks of a stop within its grace. One that fails keeps the container running, unless somebody insists on the stop. One that
/// takes longer does not.
pub(super) async fn pre_stop(parts: &Parts, id: &ContainerId, grace: Option<Span>, insists: bool) -> Result<Left, EngineError> {
    let record = parts.containers.get(id)?;
    if record.spec.pre_stop.is_empty() || !parts.containers.state(id)?.is_running() {
        return Ok(Left { grace, told: Vec::new() });
    }
    let grace = grace.unwrap_or(record.spec.stop_grace_period).0;
    let mut told = Vec::new();
    let began = Instant::now();
    for hook in &record.spec.pre_stop {
        let command = hook.command.join(" ");
        let left = grace.saturating_sub(began.elapsed());
        let ended = if left.is_zero() { None } else { tokio::time::timeout(left, run(parts, id, hook)).await.ok() };
        let why = match &ended {
            Some(Ok(Ok(()))) => continue,
            // It has ended by itself meanwhile, or stands still.
            Some(Err(ContainersError::NotRunning { .. } | ContainersError::Paused { .. })) => break,
            Some(Ok(Err(why))) => why.clone(),
            Some(Err(error)) => error.to_string(),
            None => "the time that the container has to stop was over".to_owned(),
        };
        if !insists && ended.is_some() && parts.containers.state(id)?.is_running() {
            return Err(EngineError::PreStop { name: record.name, command, why });
        }
        tracing::warn!(container = %record.name, command, "a pre_stop hook failed: {why}");
        told.push(format!("a pre_stop hook failed ({command}): {why}"));
    }
    let grace = grace.saturating_sub(began.elapsed());
    Ok(Left { grace: Some(Span(grace)), told })
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

//! What a monitor says of its container: the file `state.json`, and how it is read by those who were not there.
//!
//! A state counts only while it is believable: `running` in the file of a monitor that holds no lock any more means that
//! the monitor was killed, and the kernel has killed the container with it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::files::{self, FileError, Lock};
use crate::model::{ContainerId, Instance};
use crate::observed::{Check, ContainerState};

/// File names in a container's run-time folder, of which `STATE` is also in its durable folder.
pub(crate) const STATE: &str = "state.json";
pub(crate) const LOCK: &str = "lock";
pub(crate) const SOCKET: &str = "monitor.sock";
pub(crate) const JOB: &str = "launch.json";
/// What the kernel said of the container's limits when they had been set.
pub(crate) const LIMITS: &str = "limits.json";
/// In the durable folder: what a monitor has to say about itself.
pub(crate) const MONITOR_LOG: &str = "monitor.log";
/// In the durable folder: the container's log files.
pub(crate) const LOGS: &str = "logs";

/// All that a monitor knows of its container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub state: ContainerState,
    /// How often the monitor has started it again.
    #[serde(default)]
    pub restarts: u32,
    /// It stands still, because a user asked for that.
    #[serde(default)]
    pub paused: bool,
    /// The kernel ended the last run, or a part of it, for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When the last run began.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub began: Option<OffsetDateTime>,
    /// Failed health checks in a row.
    #[serde(default)]
    pub failing: u32,
    /// The last health checks, oldest first.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// When the process began, in the kernel's ticks since the boot: with the pid, what identifies it.
    #[serde(default)]
    pub started_ticks: u64,
    /// The monitor's own pid and start.
    #[serde(default)]
    pub monitor: Option<(i32, u64)>,
}

impl Status {
    pub const fn new(state: ContainerState) -> Self {
        Self {
            state,
            restarts: 0,
            paused: false,
            began: None,
            oom_killed: false,
            failing: 0,
            checks: Vec::new(),
            started_ticks: 0,
            monitor: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the state in {} cannot be read: {source}", path.display())]
    Format { path: std::path::PathBuf, source: serde_json::Error },
}

/// Where a container is in its life.
pub fn read_state(instance: &Instance, id: &ContainerId) -> Result<ContainerState, StatusError> {
    Ok(read_status(instance, id)?.state)
}

/// All that is known of a container's process, whether or not it has a monitor now.
pub fn read_status(instance: &Instance, id: &ContainerId) -> Result<Status, StatusError> {
    let run = instance.container_run_dir(id);
    let lock = run.join(LOCK);
    // The lock first: what is read afterwards is no older than the answer.
    let mut held = Lock::is_held(&lock)?;
    for _ in 0..3 {
        let status = match read_file(&run.join(STATE))? {
            Some(status) => Some(status),
            None => read_file(&instance.container_dir(id).join(STATE))?,
        };
        let status = status.unwrap_or(Status::new(ContainerState::Created));
        if held || !status.state.is_alive() {
            return Ok(status);
        }
        // A monitor may have taken the lock between the two looks.
        let now_held = Lock::is_held(&lock)?;
        if !now_held {
            return Ok(Status { state: ContainerState::Lost, ..status });
        }
        held = now_held;
    }
    Ok(Status::new(ContainerState::Lost))
}

/// The container's first process of this boot, by its number and start, whether or not it is still there.
pub fn last_process(instance: &Instance, id: &ContainerId) -> Option<(i32, u64)> {
    let status = read_file(&instance.container_run_dir(id).join(STATE)).ok().flatten()?;
    match status.state {
        ContainerState::Running { pid, .. } => Some((pid, status.started_ticks)),
        _ => None,
    }
}

/// Whether a monitor holds the container, be it that it only winds down.
pub fn has_monitor(instance: &Instance, id: &ContainerId) -> Result<bool, FileError> {
    Lock::is_held(&instance.container_run_dir(id).join(LOCK))
}

fn read_file(path: &Path) -> Result<Option<Status>, StatusError> {
    let Some(bytes) = files::read_if_there(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| StatusError::Format { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use time::OffsetDateTime;

    #[test]
    fn a_state_is_believed_only_with_its_monitor() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::new(root.path().join("state"), root.path().join("run"), None);
        let id = ContainerId::from_random([7; 32]);
        assert_eq!(read_state(&instance, &id).unwrap(), ContainerState::Created);
        let (run, durable) = (instance.container_run_dir(&id), instance.container_dir(&id));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(&durable).unwrap();
        let now = OffsetDateTime::now_utc();
        let waiting = ContainerState::Restarting { code: 1, since: now, delay: Span::seconds(1) };
        let put = |folder: &Path, state: &ContainerState| {
            let status = serde_json::to_vec(&Status::new(state.clone())).unwrap();
            files::publish(&folder.join(STATE), &status, 0o600).unwrap();
        };
        put(&run, &waiting);
        let lock = Lock::wait(&run.join(LOCK)).unwrap();
        assert_eq!(read_state(&instance, &id).unwrap(), waiting);
        drop(lock);
        assert_eq!(read_state(&instance, &id).unwrap(), ContainerState::Lost);
        // After a boot only the durable state is there.
        std::fs::remove_dir_all(&run).unwrap();
        put(&durable, &waiting);
        assert_eq!(read_state(&instance, &id).unwrap(), ContainerState::Lost);
        let exited = ContainerState::Exited { code: 3, at: now, stopped: false, error: None };
        put(&durable, &exited);
        assert_eq!(read_state(&instance, &id).unwrap(), exited);
        std::fs::write(durable.join(STATE), "{").unwrap();
        assert!(read_state(&instance, &id).unwrap_err().to_string().contains("state.json"));
    }
}

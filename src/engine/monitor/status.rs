//! What a monitor says of its container: the file `state.json`, and how it is read by those who were not there.
//!
//! A state counts only while it is believable: `running` in the file of a monitor that holds no lock any more means that
//! the monitor was killed, and the kernel has killed the container with it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

impl Status {
    /// The monitor, by its number and, in ticks since the boot, its start, of a container that is alive.
    pub fn live_monitor(&self) -> Option<(i32, u64)> {
        self.monitor.filter(|_| self.state.is_alive())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the state in {} cannot be read: {source}", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
}

/// Where a container is in its life.
pub fn read_state(instance: &Instance, id: &ContainerId) -> Result<ContainerState, StatusError> {
    Ok(read_status(instance, id)?.state)
}

/// All that is known of a container's process, whether or not it has a monitor now.
pub fn read_status(instance: &Instance, id: &ContainerId) -> Result<Status, StatusError> {
    read_by(instance, id, read_file)
}

fn read_by(
    instance: &Instance,
    id: &ContainerId,
    read_file: impl Fn(&Path) -> Result<Option<Status>, StatusError>,
) -> Result<Status, StatusError> {
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

/// Statuses as they were read last. Whoever keeps the host asks for all of them again and again.
#[derive(Debug, Default)]
pub struct Statuses(Mutex<HashMap<PathBuf, (Stamp, Status)>>);

/// What tells a file that was put in the place of another one: the device, the inode, its change in seconds and nanoseconds, and its size.
type Stamp = (u64, u64, i64, i64, u64);

/// A file that has changed so shortly ago may change once more without another time: clocks of file systems tick slowly.
const SETTLED: Duration = Duration::from_millis(100);

impl Statuses {
    /// As [`read_status`].
    pub fn read(&self, instance: &Instance, id: &ContainerId) -> Result<Status, StatusError> {
        read_by(instance, id, |path| self.file(path))
    }

    /// Forgets those of containers that are gone, when there are many more than containers.
    pub fn tidy(&self, containers: usize) {
        let mut known = self.known();
        if known.len() > 2 * containers + 64 {
            known.retain(|path, _| path.exists());
        }
    }

    fn file(&self, path: &Path) -> Result<Option<Status>, StatusError> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                self.known().remove(path);
                return Ok(None);
            }
            Err(e) => return Err(FileError::new("look at", path, e).into()),
        };
        let stamp: Stamp = (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.size());
        if let Some((_, status)) = self.known().get(path).filter(|(known, _)| *known == stamp) {
            return Ok(Some(status.clone()));
        }
        let status = read_file(path)?;
        let changed = Duration::new(stamp.2.try_into().unwrap_or(0), stamp.3.try_into().unwrap_or(0));
        let age = SystemTime::now().duration_since(UNIX_EPOCH + changed).unwrap_or_default();
        // What was read may be of a later file than what was looked at; that has another stamp.
        if let Some(status) = status.as_ref().filter(|_| age > SETTLED) {
            self.known().insert(path.to_owned(), (stamp, status.clone()));
        }
        Ok(status)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PathBuf, (Stamp, Status)>> {
        // What a thread that panicked has left is whole: it is only ever exchanged.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    fn a_status_that_is_remembered_is_that_of_the_file() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::new(root.path().join("state"), root.path().join("run"), None);
        let id = ContainerId::from_random([7; 32]);
        let path = instance.container_dir(&id).join(STATE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let statuses = Statuses::default();
        let read = || statuses.read(&instance, &id).unwrap().state;
        assert_eq!(read(), ContainerState::Created);
        let put = |code: i32| {
            let at = OffsetDateTime::now_utc();
            let status = Status::new(ContainerState::Exited { code, at, stopped: false, error: None });
            files::publish(&path, &serde_json::to_vec(&status).unwrap(), 0o600).unwrap();
        };
        let code = |state| match state {
            ContainerState::Exited { code, .. } => code,
            other => panic!("{other:?}"),
        };
        // One after the other, and again when what was read is old enough to be remembered.
        for round in 0..3 {
            for number in 1..9 {
                put(number);
                assert_eq!(code(read()), number, "in round {round}");
            }
            std::thread::sleep(SETTLED + SETTLED / 2);
            assert_eq!(code(read()), 8);
            assert_eq!(statuses.known().len(), 1);
            assert_eq!(code(read()), 8);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(), ContainerState::Created);
        assert!(statuses.known().is_empty());
        statuses
            .known()
            .extend((0..65).map(|n| (PathBuf::from(format!("/gone/{n}")), ((0, 0, 0, 0, 0), Status::new(ContainerState::Lost)))));
        statuses.tidy(0);
        assert!(statuses.known().is_empty());
    }

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

//! The lock of one container: whoever creates, starts or removes it holds it meanwhile, in this process or another.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Containers, ContainersError};
use crate::engine::monitor;
use crate::files::{self, Lock};
use crate::model::ContainerId;

/// How long one command waits for another one on the same container.
const PATIENCE: Duration = Duration::from_secs(60);

/// A container that nobody else creates, starts or removes as long as this lives. While it is held, a recovery leaves the
/// container alone.
#[derive(Debug)]
pub struct Held {
    pub(super) id: ContainerId,
    _lock: Lock,
}

impl Held {
    pub const fn id(&self) -> &ContainerId {
        &self.id
    }
}

impl Containers {
    /// Waits until nobody else is changing the container. There need not be such a container.
    pub async fn hold(&self, id: &ContainerId) -> Result<Held, ContainersError> {
        let path = self.lock_path(id);
        let folder = self.locks_dir();
        files::create_dirs(&folder, 0o700)?;
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = Lock::try_take(&path)? {
                // Whoever removed the container meanwhile removed the file that this lock is on, too.
                if is_current(&lock, &path)? {
                    return Ok(Held { id: id.clone(), _lock: lock });
                }
                continue;
            }
            if Instant::now() >= until {
                return Err(ContainersError::Busy { name: self.called(id) });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Whether somebody is creating, starting or removing the container at this moment.
    pub fn is_held(&self, id: &ContainerId) -> Result<bool, ContainersError> {
        Ok(Lock::is_held(&self.lock_path(id))?)
    }

    /// Whether a monitor looks after the container, be it that it starts or settles it.
    pub fn has_monitor(&self, id: &ContainerId) -> Result<bool, ContainersError> {
        Ok(monitor::has_monitor(&self.instance, id)?)
    }

    /// The lock if it is free.
    pub(super) fn try_hold(&self, id: &ContainerId) -> Result<Option<Held>, ContainersError> {
        files::create_dirs(&self.locks_dir(), 0o700)?;
        let path = self.lock_path(id);
        match Lock::try_take(&path)? {
            Some(lock) if is_current(&lock, &path)? => Ok(Some(Held { id: id.clone(), _lock: lock })),
            _ => Ok(None),
        }
    }

    pub(super) fn locks_dir(&self) -> PathBuf {
        self.instance.state_dir().join("locks")
    }

    pub(super) fn lock_path(&self, id: &ContainerId) -> PathBuf {
        self.locks_dir().join(format!("{id}.lock"))
    }
}

fn is_current(lock: &Lock, path: &std::path::Path) -> Result<bool, ContainersError> {
    use std::os::unix::fs::MetadataExt;
    let held = lock.file().metadata().map_err(|e| files::FileError::new("look at", path, e))?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(files::FileError::new("look at", path, e).into()),
    }
}

//! Sleeping until a container's log or state may have changed. It only says "look again".

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::files::FileError;
use crate::sys;

/// However many events were lost, a look is taken this often.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);
/// And this often when the kernel gives no more watches: there are 128 a user by default.
const LOOK_UNTOLD: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Watch {
    /// `None` when the kernel gave none.
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    /// What one gets when the kernel gives no more.
    #[cfg(test)]
    pub(super) const fn blind() -> Self {
        Self { inotify: None }
    }

    /// Watches the folder of logs for lines and rotation, and the monitor's folder for a new state and for the release of
    /// its lock, which shows as the closing of a file.
    pub(super) fn new(logs: &Path, run: &Path) -> Result<Self, FileError> {
        let fd = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(Errno::MFILE) => return Ok(Self { inotify: None }),
            Err(e) => return Err(FileError::new("make an inotify instance for", logs, e)),
        };
        match inotify::add_watch(&fd, logs, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO) {
            Ok(_) => {}
            Err(Errno::NOSPC) => return Ok(Self { inotify: None }),
            Err(e) => return Err(FileError::new("watch", logs, e)),
        }
        match inotify::add_watch(&fd, run, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE_SELF) {
            // A container that was never started since the boot has no such folder, and no monitor either.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(Errno::NOSPC) => return Ok(Self { inotify: None }),
            Err(e) => return Err(FileError::new("watch", run, e)),
        }
        let inotify = sys::async_fd::readable(fd).map_err(|e| FileError::new("poll a watch of", logs, e))?;
        Ok(Self { inotify: Some(inotify) })
    }

    /// Returns when something may have changed.
    pub(super) async fn changed(&self) -> std::io::Result<()> {
        let Some(inotify) = &self.inotify else {
            tokio::time::sleep(LOOK_UNTOLD).await;
            return Ok(());
        };
        let Ok(ready) = tokio::time::timeout(LOOK_ANYWAY, inotify.readable()).await else { return Ok(()) };
        let mut ready = ready?;
        let mut events = [0; 4096];
        loop {
            match rustix::io::read(inotify.get_ref(), &mut events) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

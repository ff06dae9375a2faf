//! Notifications of what containers do by themselves: their run-time folders appear, change and go. Reduced to "look again".
//!
//! Not by [`crate::sources::wakes`], which is told of every opening, too: each look at a container, and each command in one,
//! would wake the daemon several times, and then be looked at itself.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;
use tracing::warn;

use crate::engine::containers::is_passing;
use crate::files::FileError;
use crate::sys;

/// Changes within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// A running watch of the folder that has a folder for each container.
#[derive(Debug)]
pub(super) struct Comings {
    folder: PathBuf,
    changes: AsyncFd<OwnedFd>,
    /// The number of the watch of the folder itself; all others are of folders in it.
    top: i32,
    /// The kernel gives no more watches: those that are missing are only looked at from time to time.
    short: bool,
    /// Since when there is something to be told.
    heard: Option<Instant>,
}

impl Comings {
    /// Begins to watch. To be called in an asynchronous context.
    pub(super) fn new(folder: PathBuf) -> Result<Self, FileError> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|e| FileError::new("make an inotify instance for", &folder, e))?;
        let top =
            inotify::add_watch(&fd, &folder, WatchFlags::ONLYDIR | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE)
                .map_err(|e| FileError::new("watch", &folder, e))?;
        let changes = sys::async_fd::readable(fd).map_err(|e| FileError::new("poll a watch of", &folder, e))?;
        let mut comings = Self { folder, changes, top, short: false, heard: None };
        comings.watch_all()?;
        Ok(comings)
    }

    /// Returns a moment after something changed. When it is given up before, the next call tells of what this one heard.
    pub(super) async fn changed(&mut self) -> Result<(), FileError> {
        loop {
            if let Some(since) = self.heard {
                tokio::time::sleep_until(since + DEBOUNCE).await;
                self.heard = None;
                return Ok(());
            }
            if self.take().await? {
                self.heard = Some(Instant::now());
            }
        }
    }

    /// Waits for events and takes them. Whether one of them is a reason to look.
    async fn take(&mut self) -> Result<bool, FileError> {
        let failed = |folder: &Path, e: std::io::Error| FileError::new("read the events of", folder, e);
        let mut looks = false;
        let (mut came, mut lost) = (HashSet::new(), false);
        {
            let mut ready = self.changes.readable().await.map_err(|e| failed(&self.folder, e))?;
            let mut buffer = [std::mem::MaybeUninit::uninit(); 8192];
            let mut reader = inotify::Reader::new(ready.get_inner(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
                        let flags = event.events();
                        lost |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
                        if event.wd() == self.top && flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                            came.insert(name.clone());
                        }
                        looks |= event.wd() == self.top || !is_passing(&name);
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(e) => return Err(failed(&self.folder, e.into())),
                }
            }
            ready.clear_ready();
        }
        if lost {
            self.watch_all()?;
        }
        for name in came {
            use std::os::unix::ffi::OsStrExt;
            self.watch(&self.folder.join(std::ffi::OsStr::from_bytes(&name)))?;
        }
        Ok(looks || lost)
    }

    fn watch_all(&mut self) -> Result<(), FileError> {
        let failed = |folder: &Path, e| FileError::new("list", folder, e);
        for entry in std::fs::read_dir(&self.folder).map_err(|e| failed(&self.folder, e))? {
            let path = entry.map_err(|e| failed(&self.folder, e))?.path();
            self.watch(&path)?;
        }
        Ok(())
    }

    /// Watches one container's folder. What happened in it before is seen by the look that follows each coming.
    fn watch(&mut self, folder: &Path) -> Result<(), FileError> {
        let events = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
        match inotify::add_watch(self.changes.get_ref(), folder, WatchFlags::ONLYDIR | events) {
            // It came and went, or is no folder.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(Errno::NOSPC) => {
                if !std::mem::replace(&mut self.short, true) {
                    warn!(
                        folder = %folder.display(),
                        "the kernel gives no more watches of files: some containers are only looked at once a minute; more can \
                         be allowed by the sysctl fs.inotify.max_user_watches"
                    );
                }
                Ok(())
            }
            Err(e) => Err(FileError::new("watch", folder, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn comes(comings: &mut Comings) {
        tokio::time::timeout(Duration::from_secs(20), comings.changed()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_containers_do_wakes_and_what_is_done_in_them_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("old")).unwrap();
        let mut comings = Comings::new(folder.path().to_owned()).unwrap();
        crate::files::publish(&path("old/state.json"), b"1", 0o600).unwrap();
        comes(&mut comings).await;
        std::fs::create_dir(path("new")).unwrap();
        comes(&mut comings).await;
        crate::files::publish(&path("new/state.json"), b"1", 0o600).unwrap();
        comes(&mut comings).await;
        std::fs::remove_file(path("new/state.json")).unwrap();
        comes(&mut comings).await;
        std::fs::remove_dir(path("new")).unwrap();
        comes(&mut comings).await;
        // A reading and the order of a command are no reason to look: only what comes after them is.
        std::fs::read(path("old/state.json")).unwrap();
        std::fs::write(path("old/exec-1.json"), b"1").unwrap();
        std::fs::remove_file(path("old/exec-1.json")).unwrap();
        assert!(!comings.take().await.unwrap());
        std::fs::write(path("old/lock"), b"").unwrap();
        comes(&mut comings).await;
        // Each look asks whether a container has a monitor: were that a reason for the next one, there would be no end of looks.
        assert!(crate::engine::monitor::Job::withdraw(&path("old")).unwrap());
        std::fs::write(path("old/exec-2.json"), b"1").unwrap();
        assert!(!comings.take().await.unwrap());
    }
}

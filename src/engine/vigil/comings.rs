//! Notifications of what containers do by themselves: their run-time folders appear, change and go.
//!
//! Not by the watches of sources, which are told of every opening, too: each look at a container, and each command in one,
//! would be told of, and then be looked at itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::engine::containers::is_passing;
use crate::files::FileError;
use crate::sys;

/// A running watch of the folder that has a folder for each container.
#[derive(Debug)]
pub(super) struct Comings {
    folder: PathBuf,
    fd: OwnedFd,
    /// The number of the watch of the folder itself; all others are of folders in it.
    top: i32,
    /// By the number of the watch, and the other way round.
    names: HashMap<i32, OsString>,
    numbers: BTreeMap<OsString, i32>,
    /// The kernel gives no more watches: those that are missing are only looked at from time to time.
    short: bool,
}

/// What was heard since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// The names of folders in which something changed that counts; `None` when it was too much.
    pub(super) touched: Option<BTreeSet<OsString>>,
    /// There was any such thing.
    pub(super) news: bool,
}

impl Comings {
    /// Begins to watch.
    pub(super) fn new(folder: PathBuf) -> Result<Self, FileError> {
        let fd = sys::inotify::open().map_err(|e| FileError::new("make an inotify instance for", &folder, e))?;
        let top =
            inotify::add_watch(&fd, &folder, WatchFlags::ONLYDIR | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE)
                .map_err(|e| FileError::new("watch", &folder, e))?;
        let mut comings = Self { folder, fd, top, names: HashMap::new(), numbers: BTreeMap::new(), short: false };
        comings.watch_all()?;
        Ok(comings)
    }

    /// Whether all that changes in the folder of this name is told.
    pub(super) fn watches(&self, name: &OsStr) -> bool {
        self.numbers.contains_key(name)
    }

    /// Takes what was told since the last time. What came is watched from here on.
    pub(super) fn take(&mut self) -> Result<Heard, FileError> {
        let (mut touched, mut news, mut came, mut lost) = (BTreeSet::new(), false, BTreeSet::new(), false);
        let Self { fd, top, names, numbers, .. } = self;
        let taken = sys::inotify::take(&*fd, |event| {
            let file = OsStr::from_bytes(event.file_name().map(|name| name.to_bytes()).unwrap_or_default());
            let flags = event.events();
            lost |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            if event.wd() == *top {
                news = true;
                touched.insert(file.to_owned());
                if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                    came.insert(file.to_owned());
                }
            } else if flags.contains(ReadFlags::IGNORED) {
                // The folder is gone, and its watch with it; another of the same name may have one already.
                if let Some(name) = names.remove(&event.wd()) {
                    if numbers.get(&name) == Some(&event.wd()) {
                        numbers.remove(&name);
                    }
                    touched.insert(name);
                }
            } else if !is_passing(file.as_bytes()) {
                news = true;
                touched.extend(names.get(&event.wd()).cloned());
            }
        });
        taken.map_err(|e| FileError::new("read the events of", &self.folder, e))?;
        if lost {
            self.watch_all()?;
        }
        for name in came {
            self.watch(name)?;
        }
        Ok(Heard { touched: (!lost).then_some(touched), news: news || lost })
    }

    fn watch_all(&mut self) -> Result<(), FileError> {
        let failed = |folder: &Path, e| FileError::new("list", folder, e);
        for entry in std::fs::read_dir(&self.folder).map_err(|e| failed(&self.folder, e))? {
            let name = entry.map_err(|e| failed(&self.folder, e))?.file_name();
            self.watch(name)?;
        }
        Ok(())
    }

    /// Watches one container's folder. What happened in it before is seen by who looks because it came.
    fn watch(&mut self, name: OsString) -> Result<(), FileError> {
        let folder = self.folder.join(&name);
        let events = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
        match inotify::add_watch(&self.fd, &folder, WatchFlags::ONLYDIR | events) {
            Ok(number) => {
                self.names.insert(number, name.clone());
                self.numbers.insert(name, number);
                Ok(())
            }
            // It came and went, or is no folder.
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
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

impl AsFd for Comings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Option<BTreeSet<OsString>> {
        Some(all.iter().map(OsString::from).collect())
    }

    #[test]
    fn what_containers_do_is_heard_and_what_is_done_in_them_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("old")).unwrap();
        let mut comings = Comings::new(folder.path().to_owned()).unwrap();
        let mut hears = |what: &[&str]| {
            let heard = comings.take().unwrap();
            assert_eq!(heard, Heard { touched: names(what), news: true });
            assert_eq!(comings.take().unwrap(), Heard { touched: names(&[]), news: false });
        };
        crate::files::publish(&path("old/state.json"), b"1", 0o600).unwrap();
        hears(&["old"]);
        std::fs::create_dir(path("new")).unwrap();
        hears(&["new"]);
        crate::files::publish(&path("new/state.json"), b"1", 0o600).unwrap();
        hears(&["new"]);
        std::fs::remove_file(path("new/state.json")).unwrap();
        hears(&["new"]);
        std::fs::remove_dir(path("new")).unwrap();
        hears(&["new"]);
        std::fs::create_dir(path("new")).unwrap();
        hears(&["new"]);
        std::fs::write(path("old/lock"), b"").unwrap();
        std::fs::remove_dir(path("new")).unwrap();
        std::fs::create_dir(path("new")).unwrap();
        hears(&["new", "old"]);
        assert!(comings.watches(OsStr::new("new")) && !comings.watches(OsStr::new("none")));
        // A reading and the order of a command are nothing new: only what comes after them is.
        std::fs::read(path("old/state.json")).unwrap();
        std::fs::write(path("old/exec-1.json"), b"1").unwrap();
        std::fs::remove_file(path("old/exec-1.json")).unwrap();
        // Each look asks whether a container has a monitor: were that a reason for the next one, there would be no end of looks.
        assert!(crate::engine::monitor::Job::withdraw(&path("old")).unwrap());
        assert_eq!(comings.take().unwrap(), Heard { touched: names(&[]), news: false });
    }
}

//! Whether anything has come into the folders in which a crash leaves remains of containers, since they were looked through and there
//! were none.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::files::FileError;
use crate::sys;

pub(super) struct Remains {
    fd: OwnedFd,
    watched: HashMap<PathBuf, i32>,
    /// Whether there were none, and nothing has come since.
    none: bool,
    /// How often something has come.
    comings: u64,
}

/// One look through the folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Sweep(u64);

impl Remains {
    pub(super) fn new() -> Result<Self, FileError> {
        let fd =
            sys::inotify::open().map_err(|e| FileError::new("make an inotify instance for", "what is left of containers", e))?;
        Ok(Self { fd, watched: HashMap::new(), none: false, comings: 0 })
    }

    /// Before these folders are looked through. `None` when there is nothing to be found.
    pub(super) fn begin(&mut self, folders: Vec<PathBuf>) -> Result<Option<Sweep>, FileError> {
        let events = WatchFlags::ONLYDIR | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        for folder in folders {
            match inotify::add_watch(&self.fd, &folder, events) {
                Ok(number) => {
                    if self.watched.insert(folder, number) != Some(number) {
                        self.something_came();
                    }
                }
                // There is nothing in what is not there.
                Err(Errno::NOENT) => {}
                // No more watches: it is looked through each time.
                Err(Errno::NOSPC) => self.something_came(),
                Err(e) => return Err(FileError::new("watch", folder, e)),
            }
        }
        self.take()?;
        Ok((!self.none).then_some(Sweep(self.comings)))
    }

    /// When they have been looked through, and whatever is in them belongs to a container.
    pub(super) fn end(&mut self, sweep: Sweep) -> Result<(), FileError> {
        self.take()?;
        self.none = sweep == Sweep(self.comings);
        Ok(())
    }

    fn take(&mut self) -> Result<(), FileError> {
        let (mut came, mut gone) = (false, Vec::new());
        let taken = sys::inotify::take(&self.fd, |event| {
            if event.events().contains(ReadFlags::IGNORED) {
                gone.push(event.wd());
            } else {
                came = true;
            }
        });
        taken.map_err(|e| FileError::new("read notifications of", "what is left of containers", e))?;
        // Another folder may be there by now.
        self.watched.retain(|_, number| !gone.contains(number));
        if came {
            self.something_came();
        }
        Ok(())
    }

    /// The folders are to be looked through once more.
    pub(super) fn something_came(&mut self) {
        self.comings += 1;
        self.none = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_is_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let folders = || vec![root.path().join("a"), root.path().join("b")];
        std::fs::create_dir(root.path().join("a")).unwrap();
        let mut remains = Remains::new().unwrap();
        let sweep = remains.begin(folders()).unwrap().unwrap();
        remains.end(sweep).unwrap();
        assert_eq!(remains.begin(folders()).unwrap(), None);
        // What comes while they are looked through may not have been seen.
        std::fs::write(root.path().join("a/1"), "").unwrap();
        let sweep = remains.begin(folders()).unwrap().unwrap();
        std::fs::write(root.path().join("a/2"), "").unwrap();
        remains.end(sweep).unwrap();
        let sweep = remains.begin(folders()).unwrap().unwrap();
        remains.end(sweep).unwrap();
        assert_eq!(remains.begin(folders()).unwrap(), None);
        // A folder that was not there, and one in the place of another.
        std::fs::create_dir(root.path().join("b")).unwrap();
        let sweep = remains.begin(folders()).unwrap().unwrap();
        remains.end(sweep).unwrap();
        assert_eq!(remains.begin(folders()).unwrap(), None);
        std::fs::remove_dir(root.path().join("b")).unwrap();
        std::fs::create_dir(root.path().join("b")).unwrap();
        assert!(remains.begin(folders()).unwrap().is_some());
    }
}

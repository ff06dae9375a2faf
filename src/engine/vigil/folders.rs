//! Notifications of files of containers: of the limits in their cgroups, and of their configs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::engine::containers::ToldOf;
use crate::files::FileError;
use crate::model::ContainerId;
use crate::sys;

/// The watches.
pub(super) struct Folders {
    fd: OwnedFd,
    watched: HashMap<i32, Watched>,
    /// By container.
    of: BTreeMap<ContainerId, BTreeMap<PathBuf, i32>>,
}

struct Watched {
    id: ContainerId,
    told_of: ToldOf,
}

impl Folders {
    pub(super) fn new() -> Result<Self, FileError> {
        let fd =
            sys::inotify::open().map_err(|e| FileError::new("make an inotify instance for", "the files of containers", e))?;
        Ok(Self { fd, watched: HashMap::new(), of: BTreeMap::new() })
    }

    /// Watches the folders of a container, and no others of it. Whether all that are there are watched.
    pub(super) fn watch(&mut self, id: &ContainerId, folders: Vec<(PathBuf, ToldOf)>) -> Result<bool, FileError> {
        let mut before = self.of.remove(id).unwrap_or_default();
        let (mut now, mut all) = (BTreeMap::new(), true);
        for (path, told_of) in folders {
            let events = match told_of {
                ToldOf::Limits => WatchFlags::MODIFY,
                ToldOf::Everything => {
                    WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::DELETE_SELF
                }
            };
            match inotify::add_watch(&self.fd, &path, WatchFlags::ONLYDIR | events) {
                Ok(number) => {
                    before.retain(|_, old| *old != number);
                    self.watched.insert(number, Watched { id: id.clone(), told_of });
                    now.insert(path, number);
                }
                // It is not in this hierarchy, or it goes at this moment.
                Err(Errno::NOENT | Errno::NODEV) => {}
                // No more watches: it is read each time.
                Err(Errno::NOSPC) => all = false,
                Err(e) => return Err(FileError::new("watch", path, e)),
            }
        }
        before.into_values().for_each(|number| self.end(number));
        self.of.insert(id.clone(), now);
        Ok(all)
    }

    /// Watches a container no more.
    pub(super) fn leave(&mut self, id: &ContainerId) {
        self.of.remove(id).into_iter().flatten().for_each(|(_, number)| self.end(number));
    }

    fn end(&mut self, number: i32) {
        self.watched.remove(&number);
        // The kernel has ended it already where the folder is gone.
        inotify::remove_watch(&self.fd, number).unwrap_or_default();
    }

    /// The containers of whose files something was told since the last time; `None` when it was too much.
    pub(super) fn take(&mut self) -> Result<Option<BTreeSet<ContainerId>>, FileError> {
        let (mut touched, mut lost) = (BTreeSet::new(), false);
        let Self { fd, watched, of } = self;
        let taken = sys::inotify::take(&*fd, |event| {
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let Some(about) = watched.get(&event.wd()) else { return };
            let name = event.file_name().map(|name| name.to_bytes()).unwrap_or_default();
            if about.told_of.counts(name) {
                touched.insert(about.id.clone());
            }
            // The folder is gone, and its watch with it.
            if event.events().contains(ReadFlags::IGNORED)
                && let Some(Watched { id, .. }) = watched.remove(&event.wd())
            {
                if let Some(folders) = of.get_mut(&id) {
                    folders.retain(|_, number| *number != event.wd());
                }
                touched.insert(id);
            }
        });
        taken.map_err(|e| FileError::new("read", "notifications of the files of containers", e))?;
        Ok((!lost).then_some(touched))
    }
}

impl AsFd for Folders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

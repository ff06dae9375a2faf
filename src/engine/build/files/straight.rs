//! Large copies into a stage, in two steps. Through the overlay go all folders, and the files of folders that were there before.
//! The files of new folders go straight into the overlay's upper folder when nobody has the overlay mounted any more: what is in
//! a folder that no layer below has is the same seen from both sides, and making a file through an overlay takes twice as long.
//!
//! What overlayfs gives a meaning to does not come along this way: only plain files are left to it, and of their
//! attributes those of users and capabilities.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_OMIT, fstat, utimensat};

use super::FilesError;
use super::content::{Copier, Means};
use super::copy::{Copied, Filled, MOST_THREADS, Run, copy_but};
use super::select::{Item, Selection};
use super::target::{CopyOrder, Target};
use crate::engine::images::{Fresh, FreshFile};

/// What is left of a copy.
#[derive(Debug)]
pub struct Rest<'a> {
    selection: &'a Selection,
    later: Vec<Later<'a>>,
}

/// Files of one folder, for one folder.
#[derive(Debug)]
struct Later<'a> {
    /// From the root, without links on the way.
    place: PathBuf,
    items: Vec<&'a Item>,
}

/// Copies a selection as [`super::copy`] does, but for what it returns beside.
///
/// # Errors
/// The first thing that could not be copied; what was copied before stays.
pub fn copy_leaving<'a>(
    selection: &'a Selection,
    target: BorrowedFd<'_>,
    order: &CopyOrder,
) -> Result<(Copied, Rest<'a>), FilesError> {
    let mut rest = Rest { selection, later: Vec::new() };
    let copied = copy_but(selection, target, order, &BTreeSet::new(), Some(&mut rest))?;
    Ok((copied, rest))
}

impl<'a> Rest<'a> {
    pub(super) fn take(&mut self, place: &Path, items: Vec<&'a Item>) {
        self.later.push(Later { place: place.to_owned(), items });
    }

    /// Copies it. `upper` is the upper folder of what was copied to before, which is mounted nowhere by now. What whoever makes a
    /// layer of it need not read again is added to `fresh`.
    pub fn copy(self, upper: BorrowedFd<'_>, order: &CopyOrder, fresh: &mut Fresh) -> Result<Copied, FilesError> {
        let target = Target::new(upper, order, self.selection.tree.name())?;
        let folder = |place: &Path| {
            let folder = target.root.resolve(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW);
            folder.map_err(|e| target.error("open folder", place, e))
        };
        // The folders have got their times, and what is made in them changes these.
        let mut times = BTreeMap::new();
        for later in &self.later {
            if !times.contains_key(&later.place) {
                let found = fstat(folder(&later.place)?).map_err(|e| target.error("look at", &later.place, e))?;
                times.insert(later.place.clone(), (found.st_mtime, found.st_mtime_nsec));
            }
        }
        let (none, means) = (BTreeSet::new(), Means::default());
        let run = Run::of(self.selection, &none, &target);
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let fresh = Mutex::new(fresh);
        let work = || {
            let mut copier = Copier::new(&means);
            while let Some(later) = self.later.get(next.fetch_add(1, Ordering::Relaxed)) {
                match folder(&later.place).and_then(|folder| self.files(later, folder, &run, &mut copier)) {
                    Ok(made) => {
                        let mut fresh = fresh.lock().unwrap_or_else(PoisonError::into_inner);
                        made.into_iter().for_each(|(path, file)| fresh.add(path, file));
                    }
                    Err(error) => {
                        // The others end too.
                        next.store(self.later.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(self.later.len());
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let copied = run.copied();
        for (place, (seconds, nanoseconds)) in &times {
            let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let modified = Timespec { tv_sec: *seconds, tv_nsec: (*nanoseconds).cast_signed() };
            let times = Timestamps { last_access: keep, last_modification: modified };
            let set = utimensat(folder(place)?, "", &times, rustix::fs::AtFlags::EMPTY_PATH);
            set.map_err(|e| target.error("set the time of", place, e))?;
        }
        Ok(copied)
    }

    /// Gives what need not be read again, by its path.
    fn files(
        &self,
        later: &Later<'_>,
        folder: OwnedFd,
        run: &Run<'_, '_>,
        copier: &mut Copier<'_>,
    ) -> Result<Vec<(Vec<u8>, FreshFile)>, FilesError> {
        let Some(first) = later.items.first() else { return Ok(Vec::new()) };
        let source = self.selection.tree.folder(&self.selection.folders[first.folder as usize])?;
        let failed = |e| run.target.error("look at", &later.place, e);
        let filled = Filled::of(folder, None, true).map_err(failed)?;
        let mut made = Vec::with_capacity(later.items.len());
        for item in &later.items {
            let file = run.file(item, &source, &filled, copier)?;
            let content = copier.last();
            if !content.is_empty() && content.len() <= Fresh::SMALL {
                let path = later.place.join(run.name(item)).into_os_string().into_vec();
                made.extend(FreshFile::of(&file, content).map_err(failed)?.map(|file| (path, file)));
            }
        }
        Ok(made)
    }
}

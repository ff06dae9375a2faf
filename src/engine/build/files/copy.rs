//! What was selected into a root. Goes through the selection with one descriptor for each folder on the way, so no path is
//! walked again for a file; several threads share the files of large selections.
//! Source: Dockerfile reference, "COPY"; BuildKit's copy of files for who gets which permissions: the destination itself, where
//! it is made, is 0755, and every folder below it gets those of its source even if it was there.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown, fstat, futimens, linkat, mknodat, openat,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::content::{Copier, Means};
use super::digest;
use super::select::{Item, Selection};
use super::straight::Rest;
use super::target::{CopyOrder, Entered, Target};
use super::{Doubt, FilesError, xattrs};

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What is to be told to whoever builds.
    pub doubts: Vec<Doubt>,
    /// What was copied is not what was selected: its digest says nothing of the result, which must not be cached.
    pub changed: bool,
}

/// Files of one folder that are handed to a thread at once: two threads in one folder wait for each other.
const AT_ONCE: usize = 1024;
/// Below this many items a second thread costs more than it helps.
pub(super) const WORTH_A_THREAD: usize = 256;
/// Names in one folder are made one after the other anyway.
pub(super) const MOST_THREADS: usize = 4;
/// Handed over and not yet done.
const WAITING: usize = 32;

impl Copied {
    /// With what was done besides.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.doubts.extend(other.doubts);
        self.changed |= other.changed;
        self
    }
}

/// Copies a selection to where the order says, below `target`.
///
/// # Errors
/// The first thing that could not be copied; what was copied before stays.
pub fn copy(selection: &Selection, target: BorrowedFd<'_>, order: &CopyOrder) -> Result<Copied, FilesError> {
    copy_but(selection, target, order, &BTreeSet::new(), None)
}

/// The same without some of the items, by their indices; none of these is a folder. With `rest`, files of folders that are made
/// here are left to it.
pub(super) fn copy_but<'a>(
    selection: &'a Selection,
    target: BorrowedFd<'_>,
    order: &CopyOrder,
    skipped: &BTreeSet<usize>,
    rest: Option<&mut Rest<'a>>,
) -> Result<Copied, FilesError> {
    let mut target = Target::new(target, order, selection.tree.name())?;
    if let Some(several) = several(selection, &target) {
        return Err(several);
    }
    let doubts = selection.doubts.clone();
    if selection.items.len() == skipped.len() && !selection.holds_folder {
        return Ok(Copied { doubts, ..Copied::default() });
    }
    let single = selection.items.first().filter(|item| selection.items.len() == 1 && item.top && !item.is_folder());
    let (base, rename, path) = match single.filter(|_| !selection.holds_folder && single_part(&selection.items[0].place)) {
        Some(item) => {
            let (folder, name, path) = target.file_place(item.place.as_os_str())?;
            (folder, Some(name), path.parent().unwrap_or(Path::new("")).to_owned())
        }
        None => {
            let name = selection.items.first().map_or(PathBuf::from("."), |item| item.place.clone());
            (target.destination(&name)?, None, target.path.clone())
        }
    };
    let mut times = Vec::new();
    let done = {
        // The base of a single file that is called otherwise is another folder than the destination.
        let real = rest.as_ref().filter(|_| rename.is_none()).and_then(|_| target.followed(&path).ok());
        let run = Run { base: path, real, rename: rename.as_deref(), ..Run::of(selection, skipped, &target) };
        run.all(base, &mut times, rest)?;
        let entries = (selection.items.len() - skipped.len()) as u64;
        Copied { entries, doubts, ..Copied::default() }.and(run.copied())
    };
    target.times = times;
    target.finish()?;
    Ok(done)
}

/// Whether a place is a name and nothing before it.
fn single_part(place: &Path) -> bool {
    place.components().count() == 1
}

/// Several sources need a folder to go to.
pub(super) fn several(selection: &Selection, target: &Target<'_>) -> Option<FilesError> {
    let several = selection.several.filter(|_| !target.order.to_folder)?;
    // What patterns mean may go to a folder that is there.
    let fits = !several.written && target.is_folder();
    (!fits).then(|| FilesError::Several { count: several.count, destination: target.order.destination.clone() })
}

/// One copy on its way; shared by its threads.
pub(super) struct Run<'r, 'a> {
    selection: &'a Selection,
    skipped: &'r BTreeSet<usize>,
    pub(super) target: &'r Target<'r>,
    /// The folder that places are relative to.
    base: PathBuf,
    /// The same without links on the way, where that is to be known.
    real: Option<PathBuf>,
    /// Of this process.
    own: (Uid, Gid),
    /// What the only item is called there.
    rename: Option<&'r OsStr>,
    means: Means,
    bytes: AtomicU64,
    /// Files that were not what was selected.
    changed: Mutex<Vec<String>>,
    failure: Mutex<Option<FilesError>>,
    failed: AtomicBool,
}

/// A folder that is being filled.
pub(super) struct Filled {
    fd: OwnedFd,
    /// What is made in it belongs to its own group.
    hands_down: bool,
    /// Where it is, without links on the way, if that is known.
    real: Option<PathBuf>,
    /// It was made here.
    is_new: bool,
}

impl Filled {
    pub(super) fn of(fd: OwnedFd, real: Option<PathBuf>, is_new: bool) -> Result<Self, Errno> {
        let hands_down = fstat(&fd)?.st_mode & 0o2000 != 0;
        Ok(Self { fd, hands_down, real, is_new })
    }

    /// Where it is, if nobody else can have it yet.
    fn new_place(&self) -> Option<&PathBuf> {
        self.real.as_ref().filter(|_| self.is_new)
    }
}

/// Where a copy is.
struct Frame<'a> {
    place: &'a Path,
    target: Arc<Filled>,
    /// The folders that its content is from, by their indices. They are several where sources are merged.
    sources: Vec<(u32, Arc<OwnedFd>)>,
}

/// Files of one folder.
struct Batch<'a> {
    source: Arc<OwnedFd>,
    target: Arc<Filled>,
    items: Vec<&'a Item>,
}

impl<'r, 'a> Run<'r, 'a> {
    /// One whose files go to places that are known.
    pub(super) fn of(selection: &'a Selection, skipped: &'r BTreeSet<usize>, target: &'r Target<'r>) -> Self {
        Self {
            selection,
            skipped,
            target,
            base: target.path.clone(),
            real: None,
            own: (geteuid(), getegid()),
            rename: None,
            means: Means::default(),
            bytes: AtomicU64::new(0),
            changed: Mutex::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// What came of it, but for the number of entries.
    pub(super) fn copied(self) -> Copied {
        let changed = self.changed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let any = !changed.is_empty();
        let doubts = changed.into_iter().map(|path| Doubt::Changed { path }).collect();
        Copied { entries: 0, bytes: self.bytes.into_inner(), doubts, changed: any }
    }

    fn all(
        &self,
        base: Arc<OwnedFd>,
        times: &mut Vec<(PathBuf, (i64, u32))>,
        rest: Option<&mut Rest<'a>>,
    ) -> Result<(), FilesError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let mut rest = rest.filter(|_| self.selection.items.len() >= WORTH_A_THREAD);
        let mut leave = |batch: Batch<'a>| match (&mut rest, batch.target.new_place()) {
            (Some(rest), Some(place)) => {
                rest.take(place, batch.items);
                None
            }
            _ => Some(batch),
        };
        if self.selection.items.len() < WORTH_A_THREAD || threads < 2 {
            let mut copier = Copier::new(&self.means);
            self.walk(base, times, &mut |batch| leave(batch).map_or(Ok(()), |batch| self.batch(&batch, &mut copier)))?;
        } else {
            let (feed, batches) = mpsc::sync_channel::<Batch<'_>>(WAITING);
            let batches = Mutex::new(batches);
            thread::scope(|scope| {
                for _ in 1..threads.min(MOST_THREADS) {
                    scope.spawn(|| self.work(&batches));
                }
                let mut copier = Copier::new(&self.means);
                let walked = self.walk(base, times, &mut |batch| match leave(batch).map(|batch| feed.try_send(batch)) {
                    None | Some(Ok(())) => Ok(()),
                    // All hands are full: this one lends its own.
                    Some(Err(mpsc::TrySendError::Full(batch) | mpsc::TrySendError::Disconnected(batch))) => {
                        self.batch(&batch, &mut copier)
                    }
                });
                drop(feed);
                if walked.is_err() {
                    self.failed.store(true, Ordering::Relaxed);
                }
                self.work(&batches);
                walked
            })?;
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Does what is handed over until there is no more.
    fn work(&self, batches: &Mutex<mpsc::Receiver<Batch<'_>>>) {
        let mut copier = Copier::new(&self.means);
        loop {
            let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else { return };
            if self.failed.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.batch(&batch, &mut copier) {
                self.failed.store(true, Ordering::Relaxed);
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    /// Makes everything but files, and hands those on.
    fn walk(
        &self,
        base: Arc<OwnedFd>,
        times: &mut Vec<(PathBuf, (i64, u32))>,
        hand_on: &mut dyn FnMut(Batch<'a>) -> Result<(), FilesError>,
    ) -> Result<(), FilesError> {
        let mut copier = Copier::new(&self.means);
        let base = base
            .try_clone()
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))
            .and_then(|fd| Filled::of(fd, self.real.clone(), self.target.is_new()));
        let base = Arc::new(base.map_err(|e| self.target.error("open folder", &self.base, e))?);
        let mut stack = vec![Frame { place: Path::new(""), target: base, sources: Vec::new() }];
        let mut batch: Option<(u32, Batch<'a>)> = None;
        // Where the first name of each file with several names is.
        let mut firsts: HashMap<(u64, u64), &'a Item> = HashMap::new();
        for (index, item) in self.selection.items.iter().enumerate() {
            if self.failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.skipped.contains(&index) {
                continue;
            }
            let parent = item.place.parent().unwrap_or(Path::new(""));
            while stack.len() > 1 && stack.last().is_some_and(|frame| frame.place != parent) {
                stack.pop();
                if let Some((_, batch)) = batch.take() {
                    hand_on(batch)?;
                }
            }
            let Some(frame) = stack.last_mut() else { return Err(FilesError::Worker) };
            let source = self.source(frame, item)?;
            if item.is_file() && !item.meta.linked {
                match &mut batch {
                    Some((folder, batch)) if *folder == item.folder && batch.items.len() < AT_ONCE => batch.items.push(item),
                    full => {
                        if let Some((_, batch)) = full.take() {
                            hand_on(batch)?;
                        }
                        *full = Some((item.folder, Batch { source, target: frame.target.clone(), items: vec![item] }));
                    }
                }
                continue;
            }
            match item.meta.kind() {
                FileType::Directory => {
                    if let Some((_, batch)) = batch.take() {
                        hand_on(batch)?;
                    }
                    let entered = self.folder(item, &source, &frame.target, times)?;
                    stack.push(entered);
                }
                FileType::RegularFile => match firsts.get(&(item.meta.device, item.meta.inode)) {
                    Some(first) => self.hard_link(first, item, &source, &frame.target, &mut copier)?,
                    None => {
                        firsts.insert((item.meta.device, item.meta.inode), item);
                        self.file(item, &source, &frame.target, &mut copier)?;
                    }
                },
                FileType::Symlink => self.symlink(item, &source, &frame.target.fd)?,
                _ => self.node(item, &frame.target.fd)?,
            }
        }
        batch.map_or(Ok(()), |(_, batch)| hand_on(batch))
    }

    /// The folder that an item is in, open.
    fn source(&self, frame: &mut Frame<'_>, item: &Item) -> Result<Arc<OwnedFd>, FilesError> {
        if let Some((_, fd)) = frame.sources.iter().find(|(index, _)| *index == item.folder) {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.selection.tree.folder(&self.selection.folders[item.folder as usize])?);
        // With --parents the sources of one folder may be many; few of them at a time are enough.
        if frame.sources.len() >= 8 {
            frame.sources.clear();
        }
        frame.sources.push((item.folder, fd.clone()));
        Ok(fd)
    }

    pub(super) fn name<'i>(&self, item: &'i Item) -> &'i OsStr
    where
        'r: 'i,
    {
        self.rename.unwrap_or_else(|| item.place.file_name().unwrap_or(&item.name))
    }

    /// Where an item goes, from the root.
    fn path(&self, item: &Item) -> PathBuf {
        match self.rename {
            Some(name) => self.base.join(name),
            None => self.base.join(&item.place),
        }
    }

    fn owner(&self, item: &Item) -> (Uid, Gid) {
        self.target.owner(self.selection.tree.keeps_owners().then_some((item.meta.uid, item.meta.gid)))
    }

    fn folder(
        &self,
        item: &'a Item,
        source: &OwnedFd,
        filled: &Filled,
        times: &mut Vec<(PathBuf, (i64, u32))>,
    ) -> Result<Frame<'a>, FilesError> {
        let path = self.path(item);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = match openat(source, &item.name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.selection.tree.exchanged(&self.selection.path(item)));
            }
            other => other.map_err(|e| self.selection.tree.error("open folder", &self.selection.path(item), e))?,
        };
        let (entered, how) = self.target.enter(&filled.fd, self.name(item), &path, &self.selection.path(item))?;
        if how != Entered::ByLink {
            let attempt = || {
                let (uid, gid) = self.owner(item);
                fchown(&entered, Some(uid), Some(gid))?;
                fchmod(&entered, self.target.mode(item.meta.mode, true))?;
                xattrs::give(&entered, &item.xattrs)
            };
            attempt().map_err(|e| self.target.error("set the owner of", &path, e))?;
            times.push((path.clone(), item.meta.modified));
        }
        let real = filled.real.as_ref().filter(|_| how != Entered::ByLink).map(|real| real.join(self.name(item)));
        let entered = Filled::of(entered, real, how == Entered::Made).map_err(|e| self.target.error("look at", &path, e))?;
        Ok(Frame { place: &item.place, target: Arc::new(entered), sources: vec![(item.inside, Arc::new(inside))] })
    }

    fn batch(&self, batch: &Batch<'_>, copier: &mut Copier<'_>) -> Result<(), FilesError> {
        batch.items.iter().try_for_each(|item| self.file(item, &batch.source, &batch.target, copier).map(drop))
    }

    /// Gives the file that was made, open.
    pub(super) fn file(
        &self,
        item: &Item,
        source: &OwnedFd,
        filled: &Filled,
        copier: &mut Copier<'_>,
    ) -> Result<File, FilesError> {
        let target = &filled.fd;
        let (from, meta) = digest::open(self.selection, item, source)?;
        let name = self.name(item);
        let failed = |action, e| self.target.error(action, &self.path(item), e);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = self.target.mode(meta.mode, false);
        let plain = Mode::from_raw_mode(mode.as_raw_mode() & 0o777);
        let to = match openat(target, name, flags, plain) {
            Ok(to) => File::from(to),
            Err(Errno::EXIST) => self.target.create(target, name, &self.path(item), &self.selection.path(item))?,
            Err(e) => return Err(failed("create", e)),
        };
        let copied = copier
            .copy(&from, &to, meta.size, meta.blocks)
            .map_err(|e| failed("copy to", Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        let noted =
            xattrs::of_file(&from).map_err(|e| self.selection.tree.error("read attributes of", &self.selection.path(item), e))?;
        let attempt = || {
            let (uid, gid) = self.owner(item);
            // Whoever makes a file is its owner.
            if (uid, gid) != self.own || filled.hands_down {
                fchown(&to, Some(uid), Some(gid))?;
            }
            // After the owner: a change of owner takes bits and capabilities away. To look costs less than to write down what is so
            // already, and it is not where the process's umask or the folder said otherwise.
            if mode != plain || fstat(&to)?.st_mode & 0o7777 != mode.as_raw_mode() {
                fchmod(&to, mode)?;
            }
            xattrs::give(&to, &noted)?;
            futimens(&to, &self.target.times_of(meta.modified))
        };
        attempt().map_err(|e| failed("set the owner of", e))?;
        if !meta.unchanged(&item.meta) || copied != meta.size {
            let path = self.selection.path(item).display().to_string();
            self.changed.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        }
        self.bytes.fetch_add(copied, Ordering::Relaxed);
        Ok(to)
    }

    /// Another name of a file that has been copied; a copy of its own where the file system has no more names to give.
    fn hard_link(
        &self,
        first: &Item,
        item: &Item,
        source: &OwnedFd,
        filled: &Filled,
        copier: &mut Copier<'_>,
    ) -> Result<(), FilesError> {
        let target = &filled.fd;
        let (path, name) = (self.path(item), self.name(item));
        let there = self.path(first);
        let folder = there.parent().unwrap_or(Path::new(""));
        let folder = self.target.root.resolve(folder, OFlags::PATH | OFlags::DIRECTORY);
        let folder = folder.map_err(|e| self.target.error("open folder", &there, e))?;
        let linked = self.target.replacing(target, name, &path, &self.selection.path(item), || {
            match linkat(&folder, self.name(first), target, name, AtFlags::empty()) {
                Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
                other => other.map(|()| true),
            }
        })?;
        if linked { Ok(()) } else { self.file(item, source, filled, copier).map(drop) }
    }

    fn symlink(&self, item: &Item, source: &OwnedFd, target: &OwnedFd) -> Result<(), FilesError> {
        let to = self.selection.target_of(item, source)?;
        let (path, name) = (self.path(item), self.name(item));
        self.target.replacing(target, name, &path, &self.selection.path(item), || symlinkat(&to, target, name))?;
        let attempt = || {
            let (uid, gid) = self.owner(item);
            chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            utimensat(target, name, &self.target.times_of(item.meta.modified), AtFlags::SYMLINK_NOFOLLOW)
        };
        attempt().map_err(|e| self.target.error("set the owner of", &path, e))
    }

    /// A device or a named pipe.
    fn node(&self, item: &Item, target: &OwnedFd) -> Result<(), FilesError> {
        let (path, name, kind) = (self.path(item), self.name(item), item.meta.kind());
        let mode = Mode::from_raw_mode(0o600);
        self.target
            .replacing(target, name, &path, &self.selection.path(item), || mknodat(target, name, kind, mode, item.meta.number))?;
        let attempt = || {
            let (uid, gid) = self.owner(item);
            chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            // By descriptor: whatever has the name by now, no link is followed.
            let made = openat(target, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let made = format!("/proc/self/fd/{}", made.as_fd().as_raw_fd());
            chmodat(CWD, made, self.target.mode(item.meta.mode, false), AtFlags::empty())?;
            utimensat(target, name, &self.target.times_of(item.meta.modified), AtFlags::SYMLINK_NOFOLLOW)
        };
        attempt().map_err(|e| self.target.error("set the owner of", &path, e))
    }
}

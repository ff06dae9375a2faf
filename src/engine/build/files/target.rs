//! Where copies go: the root of a stage, by descriptor, and what an order says of owners, permissions and times.
//!
//! Guarantees: nothing outside the root is made, changed or removed. What is replaced is taken away and made anew, so neither a
//! link nor another name of a file is written through. Folders that are links are followed in the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat, futimens, openat,
    readlinkat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::FilesError;
use super::tree::MOST_LINKS;
use crate::engine::build::glob::clean;
use crate::engine::build::permissions::Permissions;
use crate::files::{Beneath, FileError, Inside};

/// How and where to copy.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// An absolute path, the working folder applied.
    pub destination: String,
    /// The destination was written with `/` at its end, or as `.`, or not at all.
    pub to_folder: bool,
    /// `--chown`. Otherwise what is from a stage or an image keeps its owner, and all else is root's.
    pub owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub mode: Option<Permissions>,
    /// No time is later than this one, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// A root that is copied into.
pub(super) struct Target<'o> {
    pub(super) root: Beneath,
    pub(super) order: &'o CopyOrder,
    /// The destination, from the root.
    pub(super) path: PathBuf,
    /// What is copied from, for messages.
    from: String,
    /// Folders that were made on the way, whose time is put right at the end.
    made: Vec<OwnedFd>,
    is_new: bool,
    /// Folders with the time that they are to have.
    pub(super) times: Vec<(PathBuf, (i64, u32))>,
}

/// How a folder was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    Made,
    Found,
    ByLink,
}

/// Enough for a race with somebody who puts the same name there again and again.
const TRIES: usize = 16;

impl<'o> Target<'o> {
    pub(super) fn new(root: BorrowedFd<'_>, order: &'o CopyOrder, from: &str) -> Result<Self, FilesError> {
        let wrong = |why| FilesError::Destination { destination: order.destination.clone(), why };
        if !order.destination.starts_with('/') {
            return Err(wrong("is no absolute path"));
        }
        let path = Inside::new(clean(&order.destination).as_bytes()).map_err(|_| wrong("has a NUL byte in it"))?;
        let root = root.try_clone_to_owned().map_err(|e| FileError::new("open folder", "/", e))?;
        Ok(Self {
            root: Beneath::over(root, PathBuf::from("/")),
            order,
            path: path.as_path().to_owned(),
            from: from.to_owned(),
            made: Vec::new(),
            is_new: false,
            times: Vec::new(),
        })
    }

    pub(super) fn error(&self, action: &'static str, path: &Path, source: Errno) -> FilesError {
        self.root.error(action, path, source).into()
    }

    pub(super) fn folder_in_the_way(&self, path: &Path, name: &Path) -> FilesError {
        FilesError::FolderInTheWay { path: self.shown(path), name: name.display().to_string(), tree: self.from.clone() }
    }

    pub(super) fn no_folder_in_the_way(&self, path: &Path, name: &Path) -> FilesError {
        FilesError::NoFolderInTheWay { path: self.shown(path), name: name.display().to_string(), tree: self.from.clone() }
    }

    fn shown(&self, path: &Path) -> String {
        self.root.show(path).display().to_string()
    }

    /// Whether the destination is a folder already, perhaps by a link.
    pub(super) fn is_folder(&self) -> bool {
        self.root.resolve(&self.path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Whether the destination has been made here.
    pub(super) fn is_new(&self) -> bool {
        // All that is below a new folder is new.
        self.is_new
    }

    /// The destination as a folder, made with all on the way to it if it is missing.
    pub(super) fn destination(&mut self, name: &Path) -> Result<Arc<OwnedFd>, FilesError> {
        self.make(&self.path.clone(), name)
    }

    /// Where a single file goes: into the destination where that is a folder, or in its place.
    pub(super) fn file_place(&mut self, name: &OsStr) -> Result<(Arc<OwnedFd>, OsString, PathBuf), FilesError> {
        if !self.order.to_folder
            && !self.is_folder()
            && let (Some(own), Some(parent)) =
                (self.path.file_name().map(OsStr::to_owned), self.path.parent().map(Path::to_owned))
        {
            let folder = self.make(&parent, Path::new(name))?;
            return Ok((folder, own, self.path.clone()));
        }
        let folder = self.destination(Path::new(name))?;
        Ok((folder, name.to_owned(), self.path.join(name)))
    }

    fn make(&mut self, path: &Path, name: &Path) -> Result<Arc<OwnedFd>, FilesError> {
        match self.make_at(path) {
            // A link that leads to where nothing is yet: its target is made.
            Err(error) if error.source.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {
                let followed = self.followed(path)?;
                self.make_at(&followed).map_err(FilesError::from)
            }
            Err(error) if error.source.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                let (path, name) = (error.path.display().to_string(), name.display().to_string());
                Err(FilesError::NoFolderInTheWay { path, name, tree: self.from.clone() })
            }
            other => other.map_err(FilesError::from),
        }
    }

    fn make_at(&mut self, path: &Path) -> Result<Arc<OwnedFd>, FileError> {
        let (uid, gid) = self.owner(None);
        let (made, is_new) = (&mut self.made, &mut self.is_new);
        let folder = self.root.make_folder_as(path, &mut |folder| {
            *is_new = true;
            chownat(folder, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
            made.push(folder.try_clone().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::MFILE))?);
            Ok(())
        })?;
        // What is made in it changes its time, whether it was there or not.
        if self.order.epoch.is_some() {
            made.push(folder.try_clone().map_err(|e| FileError::new("open folder", self.root.show(path), e))?);
        }
        Ok(folder)
    }

    /// A path without links on the way, as far as there is anything. Whoever exchanges something meanwhile only has it made
    /// elsewhere in the root.
    pub(super) fn followed(&self, path: &Path) -> Result<PathBuf, FilesError> {
        let mut real = PathBuf::new();
        let mut left: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            match name.as_encoded_bytes() {
                b"/" => real.clear(),
                b"." => {}
                b".." => drop(real.pop()),
                _ => {
                    let here = real.join(&name);
                    let link = self.root.resolve(&here, OFlags::PATH | OFlags::NOFOLLOW);
                    match link.and_then(|link| readlinkat(&link, "", Vec::new())) {
                        Ok(target) if links < MOST_LINKS => {
                            links += 1;
                            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                            target.iter().rev().for_each(|part| left.push_front(part.to_owned()));
                        }
                        Ok(_) => return Err(self.error("follow links to", path, Errno::LOOP)),
                        // No link, or nothing yet.
                        Err(_) => real = here,
                    }
                }
            }
        }
        Ok(real)
    }

    /// Whose something is that had this owner.
    pub(super) fn owner(&self, had: Option<(u32, u32)>) -> (Uid, Gid) {
        let (uid, gid) = self.order.owner.or(had).unwrap_or((0, 0));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    /// The permissions of something that had these.
    pub(super) fn mode(&self, had: u32, is_folder: bool) -> Mode {
        let mode = self.order.mode.as_ref().map_or(had & 0o7777, |mode| mode.apply(had, is_folder));
        Mode::from_raw_mode(mode)
    }

    /// Times of something that was last modified then.
    pub(super) fn times_of(&self, modified: (i64, u32)) -> Timestamps {
        let modified = self.order.epoch.map_or(modified, |epoch| modified.min((epoch, 0)));
        let time = Timespec { tv_sec: modified.0, tv_nsec: modified.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }

    /// Makes an empty file in the place of whatever has this name, which must be no folder. `path` and `from` are for messages.
    pub(super) fn create(&self, folder: impl AsFd, name: &OsStr, path: &Path, from: &Path) -> Result<File, FilesError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = folder.as_fd();
        self.replacing(folder, name, path, from, || openat(folder, name, flags, Mode::from_raw_mode(0o600))).map(File::from)
    }

    /// Makes something in the place of whatever has its name.
    pub(super) fn replacing<T>(
        &self,
        folder: impl AsFd,
        name: &OsStr,
        path: &Path,
        from: &Path,
        mut make: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, FilesError> {
        for _ in 1..TRIES {
            match make() {
                Err(Errno::EXIST) => {}
                other => return other.map_err(|e| self.error("create", path, e)),
            }
            match unlinkat(folder.as_fd(), name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => return Err(self.folder_in_the_way(path, from)),
                Err(e) => return Err(self.error("replace", path, e)),
            }
        }
        make().map_err(|e| self.error("create", path, e))
    }

    /// Owner, permissions and time of a file that was made here.
    pub(super) fn describe(&self, file: impl AsFd, owner: (Uid, Gid), mode: Mode, modified: (i64, u32)) -> Result<(), Errno> {
        let file = file.as_fd();
        fchown(file, Some(owner.0), Some(owner.1))?;
        // After the owner: a change of owner takes bits away.
        fchmod(file, mode)?;
        futimens(file, &self.times_of(modified))
    }

    /// The folder of this name, made if it is missing. A link to a folder is followed; then it is not ours to describe.
    pub(super) fn enter(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        path: &Path,
        from: &Path,
    ) -> Result<(OwnedFd, Entered), FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut how = Entered::Found;
        for _ in 0..TRIES {
            match openat(folder, name, flags, Mode::empty()) {
                Ok(fd) => return Ok((fd, how)),
                Err(Errno::NOENT) => match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) => how = Entered::Made,
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(self.error("create folder", path, e)),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(e) => return Err(self.error("open folder", path, e)),
            }
        }
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                match self.root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                    Ok(fd) => Ok((fd, Entered::ByLink)),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(self.no_folder_in_the_way(path, from)),
                    Err(e) => Err(self.error("open folder", path, e)),
                }
            }
            Ok(_) => Err(self.no_folder_in_the_way(path, from)),
            Err(e) => Err(self.error("look at", path, e)),
        }
    }

    /// Puts the times of folders right, when nothing more is made in them.
    pub(super) fn finish(self) -> Result<(), FilesError> {
        for (path, modified) in self.times.iter().rev() {
            match self.root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(folder) => {
                    futimens(&folder, &self.times_of(*modified)).map_err(|e| self.error("set the time of", path, e))?;
                }
                // Somebody has moved it meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(self.error("open folder", path, e)),
            }
        }
        if self.order.epoch.is_some() {
            for folder in &self.made {
                let attempt = || {
                    let stat = fstat(folder)?;
                    let times = self.times_of((stat.st_mtime, stat.st_mtime_nsec as u32));
                    utimensat(folder, "", &times, AtFlags::EMPTY_PATH)
                };
                attempt().map_err(|e| self.error("set the time of", &self.path, e))?;
            }
        }
        Ok(())
    }
}

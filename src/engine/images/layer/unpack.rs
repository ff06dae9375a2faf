//! Unpacks a layer's archive into a folder that overlayfs can use as a lower layer. Knows nothing of where the archive
//! comes from or of images.
//!
//! Guarantees: nothing outside the folder is touched, whatever the archive says. Assumption: nobody else writes in the
//! folder meanwhile, and we may set owners and make device nodes.
//! Sources: OCI Image Specification, layer.md, "Applying Changesets" and "Whiteouts"; the kernel's overlayfs.rst,
//! "whiteouts and opaque directories".

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, ftruncate, futimens, linkat, mkdirat, openat, readlink, renameat, setxattr, statat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::marks::{self, make_opaque};
use super::node::{self, is_whiteout};
use super::skeleton::{Recorder, SkeletonError};
use super::tape::Tape;
use crate::files::archive::{Archive, ArchiveError, Entry, Kind, Limits, TooMuch, lossy};
use crate::files::beneath::{Escapes, remove_at};
use crate::files::{Beneath, FileError, Inside};
use crate::sys;

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the archive is broken: {0}")]
    Archive(#[from] ArchiveError),
    #[error("refused: {0}")]
    Escapes(#[from] Escapes),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{name:?} is a hard link to {target:?}: {source}")]
    Hardlink { name: String, target: String, source: FileError },
    #[error("refused: {name:?} is a whiteout of nothing")]
    Whiteout { name: String },
    #[error("refused: {name:?} sets the attribute {attribute:?}, by which layers are put together")]
    LayerAttribute { name: String, attribute: String },
    #[error("refused: {name:?} is a hard link to {target:?}, which the same layer hides")]
    Hidden { name: String, target: String },
    #[error("record the layer's tar: {0}")]
    Skeleton(#[from] SkeletonError),
    #[error(
        "{failure}: user {owner} or group {group} is none of those that this user has in /etc/subuid and /etc/subgid; a larger range there helps"
    )]
    NotMapped { owner: u32, group: u32, failure: FileError },
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// What has been unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::images) struct Unpacked {
    /// Bytes of files.
    pub(in crate::engine::images) size: u64,
    /// The newest time of change of any entry, in seconds since 1970.
    pub(in crate::engine::images) newest: i64,
    /// Whether the layers below have a say in what it shows.
    pub(in crate::engine::images) dependent: bool,
}

/// Unpacks the whole of `reader` into the empty folder `root`, and reads it to its end.
pub(super) fn unpack(reader: impl Read, root: &Path, recorder: Recorder, limits: &Limits) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(Tape::new(reader, Some(recorder)));
    let unpacked = unpack_all(&mut archive, root, limits, false);
    if let Some(failure) = archive.reader_mut().failure() {
        return Err(failure.into());
    }
    let unpacked = unpacked?;
    archive.into_reader().finish()?;
    Ok(unpacked)
}

/// The same without contents: all files have their sizes and nothing in them. For comparisons of everything else.
pub(in crate::engine::images) fn unpack_hollow(reader: impl Read, root: &Path, limits: &Limits) -> Result<(), UnpackError> {
    unpack_all(&mut Archive::new(Tape::new(reader, None)), root, limits, true).map(drop)
}

fn unpack_all<R: Read>(
    archive: &mut Archive<Tape<R>>,
    root: &Path,
    limits: &Limits,
    hollow: bool,
) -> Result<Unpacked, UnpackError> {
    let beneath = Beneath::open(root)?;
    let real = real_path(beneath.root()).map_err(|e| FileError::new("find", root, e))?;
    let mut target = Target {
        beneath,
        hollow,
        real,
        parent: (PathBuf::new(), PathBuf::new()),
        folder_times: BTreeMap::new(),
        buffer: vec![0; 256 << 10],
        done: Unpacked::default(),
    };
    target.root().and_then(marks::mark_implied).map_err(|e| target.beneath.error("mark", Path::new(""), e))?;
    let mut entries = 0u64;
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.entries {
            return Err(TooMuch { what: "entries", limit: limits.entries }.into());
        }
        target.done.size = target.done.size.saturating_add(entry.size);
        if target.done.size > limits.bytes {
            return Err(TooMuch { what: "bytes", limit: limits.bytes }.into());
        }
        target.done.newest = target.done.newest.max(entry.mtime.0);
        target.apply(&entry, archive)?;
    }
    archive.drain()?;
    target.finish()
}

struct Target {
    beneath: Beneath,
    /// Contents are not written.
    hollow: bool,
    /// The root's own path.
    real: PathBuf,
    /// The last folder that was asked for, as an archive names it and without symbolic links on the way.
    parent: (PathBuf, PathBuf),
    /// Set at the end, because every entry that is made in a folder changes the folder's time.
    folder_times: BTreeMap<PathBuf, (i64, u32)>,
    buffer: Vec<u8>,
    done: Unpacked,
}

const WHITEOUT: &[u8] = b".wh.";
/// Files of this prefix belong to an old storage driver; of those only the opaque mark means something.
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Target {
    fn apply<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<Tape<R>>) -> Result<(), UnpackError> {
        let path = Inside::new(&entry.name)?;
        let Some(name) = path.name() else {
            return if entry.kind == Kind::Folder {
                self.folder(Path::new(""), None, entry, archive)
            } else {
                self.not_a_folder(&path)
            };
        };
        let bytes = name.as_bytes();
        if bytes == OPAQUE {
            let folder = self.parent_of(&path)?;
            return Ok(make_opaque(&*folder).map_err(|e| self.beneath.error("mark as opaque", path.parent(), e))?);
        }
        if path.as_path().iter().any(|component| component.as_bytes().starts_with(META)) {
            return Ok(());
        }
        let parent = self.parent_of(&path)?;
        if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, path.as_path(), OsStr::from_bytes(hidden));
        }
        match entry.kind {
            Kind::Folder => self.folder(path.as_path(), Some((&parent, name)), entry, archive),
            Kind::File => self.file(&parent, path.as_path(), name, entry, archive),
            Kind::Hardlink => self.hardlink(&parent, path.as_path(), name, entry, archive),
            // Nobody makes nodes of devices in a user namespace: the container has none there, and none from below.
            Kind::CharDevice | Kind::BlockDevice if sys::userns::is_inside() => {
                self.replacing(&parent, path.as_path(), name, archive, |dir| node::make_whiteout(dir, name))
            }
            Kind::Symlink | Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                self.replacing(&parent, path.as_path(), name, archive, |dir| node::make(dir, name, entry))?;
                self.describe_node(&parent, path.as_path(), name, entry)
            }
        }
    }

    fn root(&self) -> Result<OwnedFd, Errno> {
        self.beneath.resolve(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The folder that `path` is in. One that no entry has spoken of is made, and takes from below what is said of it.
    fn parent_of(&mut self, path: &Inside) -> Result<Arc<OwnedFd>, UnpackError> {
        let mut implied = false;
        let mut imply = |folder: &OwnedFd| {
            implied = true;
            marks::mark_implied(folder)
        };
        let mut made = self.beneath.make_folder_as(path.parent(), &mut imply);
        if made.as_ref().is_err_and(|e| e.source.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()))
            && self.uncover(path.parent())?
        {
            made = self.beneath.make_folder_as(path.parent(), &mut imply);
        }
        self.done.dependent |= implied;
        Ok(made?)
    }

    /// A whiteout on the way becomes a new folder, which hides what is below just as well. False: there is none.
    fn uncover(&mut self, path: &Path) -> Result<bool, UnpackError> {
        for ancestor in path.ancestors() {
            let (Some(parent), Some(name)) = (ancestor.parent(), ancestor.file_name()) else { break };
            let Ok(parent) = self.beneath.folder(parent) else { continue };
            if !statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|there| is_whiteout(&there)) {
                return Ok(false);
            }
            let attempt = || {
                remove_at(parent.as_fd(), name)?;
                mkdirat(&parent, name, Mode::RWXU)?;
                chownat(&parent, name, Some(geteuid()), Some(getegid()), AtFlags::SYMLINK_NOFOLLOW)?;
                chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                make_opaque(openat(&parent, name, flags, Mode::empty())?)
            };
            attempt().map_err(|e| self.beneath.error("create folder", ancestor, e))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, time) in &self.folder_times {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match self.beneath.resolve(path, flags).and_then(|fd| futimens(&fd, &times(*time))) {
                // A later entry has put something else in the folder's place.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(self.beneath.error("set the time of", path, e).into()),
            }
        }
        Ok(self.done)
    }

    /// Makes a folder, or takes the one that is there. `place` is `None` for the root.
    fn folder<R: Read>(
        &mut self,
        path: &Path,
        place: Option<(&OwnedFd, &OsStr)>,
        entry: &Entry,
        archive: &mut Archive<Tape<R>>,
    ) -> Result<(), UnpackError> {
        let shown = self.beneath.show(path);
        let fail = |e: Errno| FileError::new("create folder", &shown, e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match place {
            None => self.beneath.resolve(path, flags).map_err(fail)?,
            Some((parent, name)) => {
                let hides = match mkdirat(parent, name, Mode::RWXU) {
                    Ok(()) => false,
                    Err(Errno::EXIST) => {
                        let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
                        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                            false
                        } else {
                            self.put_aside(parent, path, name, archive)?;
                            mkdirat(parent, name, Mode::RWXU).map_err(fail)?;
                            true
                        }
                    }
                    Err(e) => return Err(fail(e).into()),
                };
                let fd = openat(parent, name, flags, Mode::empty()).map_err(fail)?;
                if hides {
                    // What was there hid what is below, whether it was a whiteout or anything else but a folder.
                    make_opaque(&fd).map_err(fail)?;
                }
                fd
            }
        };
        marks::mark_spoken_of(&fd).map_err(fail)?;
        self.describe(&fd, path, entry)?;
        self.folder_times.insert(path.to_owned(), entry.mtime);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
        archive: &mut Archive<Tape<R>>,
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.replacing(parent, path, name, archive, |dir| openat(dir, name, flags, Mode::RUSR | Mode::WUSR));
        let mut file = File::from(made?);
        let real = self.real_name(parent, path, name)?;
        match &entry.pieces {
            _ if self.hollow => ftruncate(&file, entry.size).map_err(|e| self.beneath.error("set the size of", path, e))?,
            None => {
                archive.reader_mut().next_is_in(&real, 0, entry.size)?;
                self.copy(archive, entry.size, path, |bytes, _| file.write_all(bytes))?;
            }
            Some(pieces) => {
                for (offset, length) in pieces {
                    archive.reader_mut().next_is_in(&real, *offset, *length)?;
                    self.copy(archive, *length, path, |bytes, done| file.write_all_at(bytes, offset + done))?;
                }
                ftruncate(&file, entry.size).map_err(|e| self.beneath.error("set the size of", path, e))?;
            }
        }
        self.describe(file.as_fd(), path, entry)?;
        futimens(&file, &times(entry.mtime)).map_err(|e| self.beneath.error("set the time of", path, e))?;
        Ok(())
    }

    /// Copies `length` bytes; `write` gets each part and how many bytes went before it.
    fn copy(
        &mut self,
        content: &mut impl Read,
        length: u64,
        path: &Path,
        mut write: impl FnMut(&[u8], u64) -> std::io::Result<()>,
    ) -> Result<(), UnpackError> {
        let mut done = 0;
        while done < length {
            let most = usize::try_from(length - done).unwrap_or(usize::MAX).min(self.buffer.len());
            let n = content.read(&mut self.buffer[..most]).map_err(ArchiveError::from)?;
            if n == 0 {
                return Err(ArchiveError::Truncated("a file").into());
            }
            write(&self.buffer[..n], done).map_err(|e| FileError::new("write", self.beneath.show(path), e))?;
            done += n as u64;
        }
        Ok(())
    }

    fn hardlink<R: Read>(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
        archive: &mut Archive<Tape<R>>,
    ) -> Result<(), UnpackError> {
        let target = Inside::new(&entry.link)?;
        let fail = |source| UnpackError::Hardlink { name: lossy(&entry.name), target: lossy(&entry.link), source };
        let Some(target_name) = target.name() else {
            return Err(fail(self.beneath.error("link", path, Errno::ISDIR)));
        };
        let there = self.beneath.folder(target.parent()).and_then(|folder| {
            let there = statat(&folder, target_name, AtFlags::SYMLINK_NOFOLLOW);
            there.map(|there| (folder, there)).map_err(|e| self.beneath.error("link", path, e))
        });
        let place = match there {
            Ok((_, there)) if is_whiteout(&there) => return Err(hidden(entry)),
            Ok((place, _)) => place,
            Err(e) if e.is_missing() => return self.link_below(parent, path, name, entry, &target, archive),
            Err(e) => return Err(fail(e)),
        };
        let link = |dir: BorrowedFd<'_>| linkat(&place, target_name, dir, name, AtFlags::empty());
        match link(parent.as_fd()) {
            Err(Errno::EXIST) => {}
            result => return result.map_err(|e| fail(self.beneath.error("link", path, e))),
        }
        let same = || -> Result<bool, Errno> {
            let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let wanted = statat(&place, target_name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino))
        };
        if same().map_err(|e| fail(self.beneath.error("link", path, e)))? {
            return Ok(());
        }
        match self.replacing(parent, path, name, archive, link) {
            Err(UnpackError::File(source)) => Err(fail(source)),
            made => made,
        }
    }

    /// A link to what only a layer below can have. An empty file stands for it until the layers below are there.
    fn link_below<R: Read>(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &Entry,
        target: &Inside,
        archive: &mut Archive<Tape<R>>,
    ) -> Result<(), UnpackError> {
        for ancestor in target.parent().ancestors() {
            let Ok(folder) = self.beneath.folder(ancestor) else { continue };
            let place = PathBuf::from(format!("/proc/self/fd/{}/.", folder.as_raw_fd()));
            if marks::is_opaque(&place).map_err(|e| FileError::new("look at", self.beneath.show(ancestor), e))? {
                return Err(hidden(entry));
            }
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.replacing(parent, path, name, archive, |dir| openat(dir, name, flags, Mode::empty()))?;
        let fail = |action| move |e| (action, e);
        let noted = marks::mark_link(&made, target.as_path()).map_err(fail("note the target of"));
        let noted = noted.and_then(|()| futimens(&made, &times((0, 0))).map_err(fail("set the time of")));
        noted.map_err(|(action, e)| self.beneath.error(action, path, e))?;
        self.done.dependent = true;
        Ok(())
    }

    /// Hides `hidden` of the layers below.
    fn whiteout(&mut self, parent: &OwnedFd, path: &Path, hidden: &OsStr) -> Result<(), UnpackError> {
        if matches!(hidden.as_bytes(), b"" | b"." | b"..") {
            return Err(UnpackError::Whiteout { name: lossy(path.as_os_str().as_bytes()) });
        }
        let fail = |e| self.beneath.error("create", path, e);
        self.done.dependent = true;
        match node::make_whiteout(parent.as_fd(), hidden) {
            // A whiteout never hides what its own layer has: a file replaces what is below anyway, and a folder
            // does so when it is opaque.
            Err(Errno::EXIST) => {
                let there = statat(parent, hidden, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
                if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let folder = openat(parent, hidden, flags, Mode::empty()).map_err(fail)?;
                    make_opaque(&folder).map_err(fail)?;
                    marks::mark_spoken_of(&folder).map_err(fail)?;
                }
                Ok(())
            }
            result => Ok(result.map_err(fail)?),
        }
    }

    /// Makes something new; what has the name already is taken away first.
    fn replacing<R: Read, T>(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        archive: &mut Archive<Tape<R>>,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let made = match make(parent.as_fd()) {
            Err(Errno::EXIST) => {
                self.put_aside(parent, path, name, archive)?;
                make(parent.as_fd())
            }
            result => result,
        };
        Ok(made.map_err(|e| self.beneath.error("create", path, e))?)
    }

    /// Takes away what has a name, out of the layer. Files are kept for the skeleton, which cannot find their contents in
    /// the folder any more.
    fn put_aside<R: Read>(
        &mut self,
        parent: &OwnedFd,
        path: &Path,
        name: &OsStr,
        archive: &mut Archive<Tape<R>>,
    ) -> Result<(), UnpackError> {
        let fail = |e| self.beneath.error("replace", path, e);
        let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
        match FileType::from_raw_mode(there.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                let real = self.real_name(parent, path, name)?;
                let moved = match archive.reader_mut().bury(&real)? {
                    Some(grave) => renameat(parent, name, CWD, &grave),
                    None => remove_at(parent.as_fd(), name),
                };
                moved.map_err(|e| self.beneath.error("replace", path, e))?;
            }
            _ => remove_at(parent.as_fd(), name).map_err(fail)?,
        }
        self.beneath.forget();
        self.parent = (PathBuf::new(), PathBuf::new());
        Ok(())
    }

    /// Where `name` in `parent` really is below the root: an archive may name it through symbolic links.
    fn real_name(&mut self, parent: &OwnedFd, path: &Path, name: &OsStr) -> Result<PathBuf, FileError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder.as_os_str().is_empty() {
            return Ok(PathBuf::from(name));
        }
        if self.parent.0 != folder {
            let fail = |e| self.beneath.error("find", path, e);
            let real = real_path(parent.as_fd()).map_err(fail)?;
            let inside = real.strip_prefix(&self.real).map_err(|_| fail(Errno::XDEV))?;
            self.parent = (folder.to_owned(), inside.to_owned());
        }
        Ok(self.parent.1.join(name))
    }

    /// Owner, mode and extended attributes, in this order: a new owner clears set-id bits and capabilities.
    fn describe(&self, fd: impl AsFd, path: &Path, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |action, e| self.beneath.error(action, path, e);
        let owned = fchown(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        owned.map_err(|e| self.not_owned(path, entry, e))?;
        fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(|e| fail("set the mode of", e))?;
        self.attributes(path, entry, |name, value| fsetxattr(&fd, name, value, XattrFlags::empty()))
    }

    fn not_owned(&self, path: &Path, entry: &Entry, error: Errno) -> UnpackError {
        let failure = self.beneath.error("set the owner of", path, error);
        match error {
            Errno::INVAL if sys::userns::is_inside() => UnpackError::NotMapped { owner: entry.uid, group: entry.gid, failure },
            _ => failure.into(),
        }
    }

    /// The same for what cannot be opened.
    fn describe_node(&self, parent: &OwnedFd, path: &Path, name: &OsStr, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |action, e| self.beneath.error(action, path, e);
        let (owner, group) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        let owned = chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW);
        owned.map_err(|e| self.not_owned(path, entry, e))?;
        if entry.kind != Kind::Symlink {
            // It was made just now and is no link, so nothing is followed.
            let mode = Mode::from_raw_mode(entry.mode);
            chmodat(parent, name, mode, AtFlags::empty()).map_err(|e| fail("set the mode of", e))?;
        }
        if !entry.xattrs.is_empty() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = openat(parent, name, flags, Mode::empty()).map_err(|e| fail("open", e))?;
            let through = format!("/proc/self/fd/{}", place.as_raw_fd());
            self.attributes(path, entry, |name, value| setxattr(&through, name, value, XattrFlags::empty()))?;
        }
        let time = times(entry.mtime);
        utimensat(parent, name, &time, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| fail("set the time of", e))?;
        Ok(())
    }

    fn attributes(&self, path: &Path, entry: &Entry, set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>) -> Result<(), UnpackError> {
        for (name, value) in &entry.xattrs {
            let ours = [b"trusted.overlay.".as_slice(), b"user.overlay.", marks::prefix()];
            if ours.iter().any(|prefix| name.starts_with(prefix)) {
                return Err(UnpackError::LayerAttribute { name: lossy(&entry.name), attribute: lossy(name) });
            }
            match set(name, value) {
                // Labels of the builder's security module mean nothing on a host without it.
                Err(Errno::OPNOTSUPP) if !name.starts_with(b"security.capability") => {
                    tracing::warn!(path = %path.display(), attribute = %lossy(name), "the file system does not keep this attribute");
                }
                result => result.map_err(|e| self.beneath.error("set an extended attribute of", path, e))?,
            }
        }
        Ok(())
    }

    fn not_a_folder(&self, path: &Inside) -> Result<(), UnpackError> {
        Err(self.beneath.error("replace the root by a file in", path.as_path(), Errno::EXIST).into())
    }
}

/// The path by which the kernel knows an open file.
fn real_path(fd: BorrowedFd<'_>) -> Result<PathBuf, Errno> {
    let link = readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(OsStr::from_bytes(link.as_bytes())))
}

fn hidden(entry: &Entry) -> UnpackError {
    UnpackError::Hidden { name: lossy(&entry.name), target: lossy(&entry.link) }
}

fn times((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

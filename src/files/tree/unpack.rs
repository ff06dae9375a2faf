//! A tar into a folder beneath a root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown, futimens, linkat,
    makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::{Shift, TreeError, attributes};
use crate::files::archive::{Archive, Entry, Kind, Limits, TooMuch};
use crate::files::beneath::remove_at;
use crate::files::{Beneath, Inside};

/// To whom what is unpacked belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// To those the archive names.
    AsArchived,
    /// To one. Bits that lend a program its owner's rights, and capabilities of its own, are dropped, because this owner has not
    /// asked for them.
    Is { uid: u32, gid: u32 },
    /// To one who trusts whoever made the archive: such bits stay where the owner is the same, and so do capabilities.
    Trusting { uid: u32, gid: u32 },
    /// To whoever unpacks, and all bits stay: for a folder that nobody else can look into.
    Unpacker,
}

impl Owner {
    /// What stays of the permissions, for these owners in the archive.
    fn kept(self, uid: u32, gid: u32) -> u32 {
        match self {
            Self::AsArchived | Self::Unpacker => 0o7777,
            Self::Is { .. } => 0o1777,
            Self::Trusting { uid: own, gid: of_own } => {
                let bit = |same: bool, bit: u32| if same { bit } else { 0 };
                0o1777 | bit(uid == own, 0o4000) | bit(gid == of_own, 0o2000)
            }
        }
    }
}

/// What becomes of an archive.
#[derive(Clone, Debug)]
pub struct Unpack<'a> {
    /// The folder that it goes into, beneath the root.
    pub into: &'a Path,
    /// What the first part of every path is called instead. Empty makes the content of the archive's one folder the content
    /// of the folder that it goes into.
    pub rename: Option<&'a OsStr>,
    pub owner: Owner,
    pub devices: Devices,
    /// What the owners are to this host, where they are others.
    pub shift: Option<Shift>,
    /// Whether folders are replaced by what is none, and the other way round. Otherwise that is an error.
    pub replaces: bool,
    /// No time is later than this one, in seconds since 1970.
    pub latest: Option<i64>,
    pub limits: Limits,
}

/// What becomes of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    Made,
    LeftOut,
    Refused,
}

impl<'a> Unpack<'a> {
    /// As it is, without devices, over what is there.
    pub fn new(into: &'a Path, owner: Owner) -> Self {
        let limits = Limits::default();
        Self { into, rename: None, owner, devices: Devices::Refused, shift: None, replaces: false, latest: None, limits }
    }
}

/// What has been unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    pub entries: u64,
    /// Bytes of files, holes included.
    pub bytes: u64,
    /// Devices that were left out; a few of them if there are many.
    pub left_out: Vec<String>,
}

/// Names of devices that are told.
const TOLD: usize = 10;

/// Unpacks the whole of `reader`, a tar that is not compressed. What is there is replaced.
pub fn unpack(reader: impl Read, root: &mut Beneath, how: &Unpack<'_>) -> Result<Unpacked, TreeError> {
    let mut target = Target { how, times: BTreeMap::new(), root, done: Unpacked::default() };
    let mut archive = Archive::new(reader);
    while let Some(entry) = archive.next_entry()? {
        let Limits { bytes, entries, .. } = how.limits;
        target.done.entries += 1;
        target.done.bytes = target.done.bytes.saturating_add(entry.size);
        if target.done.entries > entries {
            return Err(TooMuch { what: "entries", limit: entries }.into());
        }
        if target.done.bytes > bytes {
            return Err(TooMuch { what: "bytes", limit: bytes }.into());
        }
        let Some(path) = target.path(&entry.name)? else { continue };
        target.make(&path, &entry, &mut archive)?;
    }
    target.finish()
}

struct Target<'a> {
    how: &'a Unpack<'a>,
    root: &'a mut Beneath,
    /// Of folders, set at the end: whatever is made in one changes them.
    times: BTreeMap<PathBuf, (i64, u32)>,
    done: Unpacked,
}

impl Target<'_> {
    /// Where an entry goes, from the root; `None` for the folder itself that all goes into.
    fn path(&self, name: &[u8]) -> Result<Option<PathBuf>, TreeError> {
        let inside = Inside::new(name)?;
        let mut parts = inside.as_path().components();
        let inner = match self.how.rename {
            None => inside.as_path().to_owned(),
            Some(first) => {
                if parts.next().is_none() {
                    return Ok(None);
                }
                Path::new(first).join(parts.as_path())
            }
        };
        Ok((!inner.as_os_str().is_empty()).then(|| self.how.into.join(inner)))
    }

    fn make<R: Read>(&mut self, path: &Path, entry: &Entry, archive: &mut Archive<R>) -> Result<(), TreeError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(()) };
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) && self.how.devices != Devices::Made {
            if self.how.devices == Devices::Refused {
                return Err(TreeError::Device { name: path.display().to_string() });
            }
            if self.done.left_out.len() < TOLD {
                self.done.left_out.push(path.display().to_string());
            }
            return Ok(());
        }
        let mut implied = false;
        let folder = self.root.make_folder_as(parent, &mut |_| {
            implied = true;
            Ok(())
        })?;
        if let Some(latest) = self.how.latest.filter(|_| implied) {
            // Folders that no entry has spoken of have no time of their own.
            for folder in parent.ancestors().filter(|folder| folder.starts_with(self.how.into) && *folder != self.how.into) {
                self.times.entry(folder.to_owned()).or_insert((latest, 0));
            }
        }
        let is_folder = entry.kind == Kind::Folder;
        let in_the_way = self.clear(&folder, name, path, is_folder)?;
        let failed = |action, e: Errno| TreeError::from(self.root.error(action, path, e));
        match entry.kind {
            Kind::Folder => {
                match mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(failed("create folder", e)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&folder, name, flags, Mode::empty()).map_err(|e| failed("open", e))?;
                self.give(&made, entry).map_err(|e| failed("set the owner of", e))?;
                self.times.insert(path.to_owned(), entry.mtime);
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let flags = flags | if in_the_way { OFlags::TRUNC } else { OFlags::CREATE | OFlags::EXCL };
                let made = openat(&folder, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed("create", e))?;
                let mut file = File::from(made);
                fill(&mut file, entry, archive).map_err(|e| super::FileError::new("write", self.root.show(path), e))?;
                let made = OwnedFd::from(file);
                self.give(&made, entry).map_err(|e| failed("set the owner of", e))?;
                futimens(&made, &self.times_of(entry.mtime)).map_err(|e| failed("set the time of", e))?;
            }
            Kind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), &folder, name).map_err(|e| failed("create link", e))?;
                let (uid, gid) = self.owner(entry).map_err(|e| failed("set the owner of", e))?;
                chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the owner of", e))?;
                let time = self.times_of(entry.mtime);
                utimensat(&folder, name, &time, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the time of", e))?;
            }
            Kind::Hardlink => {
                let Some(first) = self.path(&entry.link)? else { return Ok(()) };
                let (Some(first_name), Some(first_parent)) = (first.file_name(), first.parent()) else { return Ok(()) };
                let first_folder = self.root.folder(first_parent)?;
                linkat(&first_folder, first_name, &folder, name, AtFlags::empty())
                    .map_err(|e| TreeError::from(self.root.error("link", path, e)))?;
            }
            Kind::Fifo => self.node(&folder, name, path, entry, FileType::Fifo)?,
            Kind::CharDevice => self.node(&folder, name, path, entry, FileType::CharacterDevice)?,
            Kind::BlockDevice => self.node(&folder, name, path, entry, FileType::BlockDevice)?,
        }
        Ok(())
    }

    /// Takes away what an entry replaces. True when it cannot be taken away, because something is mounted there.
    fn clear(&mut self, folder: &Arc<OwnedFd>, name: &OsStr, path: &Path, is_folder: bool) -> Result<bool, TreeError> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(self.root.error("look at", path, e).into()),
        };
        let (path_text, name_text) = (path.display().to_string(), name.to_string_lossy().into_owned());
        match (FileType::from_raw_mode(stat.st_mode) == FileType::Directory, is_folder) {
            (true, true) => return Ok(false),
            (true, false) | (false, true) if self.how.replaces => {
                remove_at(folder.as_fd(), name).map_err(|e| self.root.error("replace", path, e))?;
                // It may have been on the way to folders that are kept open.
                self.root.forget();
                return Ok(false);
            }
            (true, false) => return Err(TreeError::FolderInTheWay { path: path_text, name: name_text }),
            (false, true) => return Err(TreeError::NoFolderInTheWay { path: path_text, name: name_text }),
            (false, false) => {}
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(false),
            // A file that is a mount of its own, such as a config, is written instead.
            Err(Errno::BUSY) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(true),
            Err(e) => Err(self.root.error("replace", path, e).into()),
        }
    }

    fn node(&self, folder: &OwnedFd, name: &OsStr, path: &Path, entry: &Entry, kind: FileType) -> Result<(), TreeError> {
        let failed = |action, e: Errno| TreeError::from(self.root.error(action, path, e));
        let device = if kind == FileType::Fifo { 0 } else { makedev(entry.device.0, entry.device.1) };
        mknodat(folder, name, kind, Mode::from_raw_mode(0o600), device).map_err(|e| failed("create", e))?;
        let (uid, gid) = self.owner(entry).map_err(|e| failed("set the owner of", e))?;
        chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the owner of", e))?;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        // By descriptor: whatever has the name by now, no link is followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(folder, name, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        chmodat(CWD, path, mode, AtFlags::empty()).map_err(|e| failed("set the mode of", e))?;
        utimensat(folder, name, &self.times_of(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the time of", e))
    }

    fn owner(&self, entry: &Entry) -> Result<(Option<Uid>, Option<Gid>), Errno> {
        let (uid, gid) = match self.how.owner {
            Owner::Is { uid, gid } | Owner::Trusting { uid, gid } => (uid, gid),
            Owner::AsArchived => (entry.uid, entry.gid),
            Owner::Unpacker => return Ok((Some(geteuid()), Some(getegid()))),
        };
        let there = self.how.shift.map_or(Some((uid, gid)), |shift| shift.outside(uid, gid));
        // As the kernel says it of an owner whom a file system cannot name.
        let (uid, gid) = there.ok_or(Errno::OVERFLOW)?;
        Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    fn give(&self, made: &OwnedFd, entry: &Entry) -> Result<(), Errno> {
        let (uid, gid) = self.owner(entry)?;
        fchown(made, uid, gid)?;
        let kept = self.how.owner.kept(entry.uid, entry.gid);
        // After the owner: a change of owner takes bits and capabilities away.
        fchmod(made, Mode::from_raw_mode(entry.mode & kept))?;
        let capable = !matches!(self.how.owner, Owner::Is { .. });
        attributes::write(made, &entry.xattrs, capable, self.how.shift)
    }

    fn times_of(&self, modified: (i64, u32)) -> Timestamps {
        let modified = self.how.latest.map_or(modified, |latest| modified.min((latest, 0)));
        let time = Timespec { tv_sec: modified.0, tv_nsec: modified.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }

    fn finish(self) -> Result<Unpacked, TreeError> {
        for (path, time) in self.times.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match self.root.resolve(path, flags) {
                Ok(folder) => {
                    futimens(folder.as_fd(), &self.times_of(*time)).map_err(|e| self.root.error("set the time of", path, e))?;
                }
                // Somebody has moved it meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(self.root.error("open", path, e).into()),
            }
        }
        Ok(self.done)
    }
}

/// The content of an entry, which is where the archive is.
fn fill<R: Read>(file: &mut File, entry: &Entry, archive: &mut Archive<R>) -> io::Result<()> {
    let Some(pieces) = &entry.pieces else { return io::copy(archive, file).map(drop) };
    for (offset, length) in pieces {
        file.seek(SeekFrom::Start(*offset))?;
        io::copy(&mut archive.by_ref().take(*length), file)?;
    }
    file.set_len(entry.size)
}

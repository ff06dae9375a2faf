//! A tar into a folder beneath a root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown, futimens, linkat,
    makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, EntryType, Header};

use super::attributes::{self, Attribute};
use super::{Shift, TreeError};
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
}

impl Owner {
    /// What stays of the permissions, for these owners in the archive.
    fn kept(self, uid: u64, gid: u64) -> u32 {
        match self {
            Self::AsArchived => 0o7777,
            Self::Is { .. } => 0o1777,
            Self::Trusting { uid: own, gid: of_own } => {
                let bit = |same: bool, bit: u32| if same { bit } else { 0 };
                0o1777 | bit(uid == u64::from(own), 0o4000) | bit(gid == u64::from(of_own), 0o2000)
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
    pub devices: bool,
    /// What the owners are to this host, where they are others.
    pub shift: Option<Shift>,
}

/// Unpacks the whole of `reader`. What is there is replaced, but no folder by what is none, and the other way round.
pub fn unpack(reader: impl Read, root: &mut Beneath, how: &Unpack<'_>) -> Result<(), TreeError> {
    let mut target = Target { how, records: Vec::new(), times: Vec::new(), root };
    let mut archive = Archive::new(reader);
    for entry in archive.entries().map_err(TreeError::Archive)? {
        let mut entry = entry.map_err(TreeError::Archive)?;
        let Some(path) = target.path(&entry.path_bytes())? else { continue };
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let header = entry.header().clone();
        target.records = match entry.pax_extensions().map_err(TreeError::Archive)? {
            None => Vec::new(),
            Some(records) => records
                .map(|record| record.map(|r| (String::from_utf8_lossy(r.key_bytes()).into_owned(), r.value_bytes().to_vec())))
                .collect::<io::Result<_>>()
                .map_err(TreeError::Archive)?,
        };
        target.make(&path, &header, &link, &mut entry)?;
    }
    target.finish()
}

struct Target<'a> {
    how: &'a Unpack<'a>,
    /// What the archive says beside the header of the present entry.
    records: Vec<Attribute>,
    root: &'a mut Beneath,
    /// Of folders, set at the end: whatever is made in one changes them.
    times: Vec<(PathBuf, u64)>,
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

    fn make(&mut self, path: &Path, header: &Header, link: &[u8], content: &mut impl Read) -> Result<(), TreeError> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(()) };
        let folder = self.root.make_folder(parent)?;
        let kind = header.entry_type();
        let is_folder = kind == EntryType::Directory;
        let in_the_way = self.clear(&folder, name, path, is_folder)?;
        let failed = |action, e: Errno| TreeError::from(self.root.error(action, path, e));
        match kind {
            EntryType::Directory => {
                match mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(failed("create folder", e)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&folder, name, flags, Mode::empty()).map_err(|e| failed("open", e))?;
                self.give(&made, header).map_err(|e| failed("set the owner of", e))?;
                self.times.push((path.to_owned(), header.mtime().unwrap_or(0)));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let flags = flags | if in_the_way { OFlags::TRUNC } else { OFlags::CREATE | OFlags::EXCL };
                let made = openat(&folder, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| failed("create", e))?;
                let mut file = File::from(made);
                io::copy(content, &mut file).map_err(|e| super::FileError::new("write", self.root.show(path), e))?;
                let made = OwnedFd::from(file);
                self.give(&made, header).map_err(|e| failed("set the owner of", e))?;
                futimens(&made, &times(header.mtime().unwrap_or(0))).map_err(|e| failed("set the time of", e))?;
            }
            EntryType::Symlink => {
                symlinkat(OsStr::from_bytes(link), &folder, name).map_err(|e| failed("create link", e))?;
                let (uid, gid) = self.owner(header).map_err(|e| failed("set the owner of", e))?;
                chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the owner of", e))?;
                let time = times(header.mtime().unwrap_or(0));
                utimensat(&folder, name, &time, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the time of", e))?;
            }
            EntryType::Link => {
                let Some(first) = self.path(link)? else { return Ok(()) };
                let (Some(first_name), Some(first_parent)) = (first.file_name(), first.parent()) else { return Ok(()) };
                let first_folder = self.root.folder(first_parent)?;
                linkat(&first_folder, first_name, &folder, name, AtFlags::empty())
                    .map_err(|e| TreeError::from(self.root.error("link", path, e)))?;
            }
            EntryType::Fifo => self.node(&folder, name, path, header, FileType::Fifo, 0)?,
            EntryType::Char | EntryType::Block => {
                if !self.how.devices {
                    return Err(TreeError::Device { name: path.display().to_string() });
                }
                let numbers =
                    (header.device_major().map_err(TreeError::Archive)?, header.device_minor().map_err(TreeError::Archive)?);
                let device = makedev(numbers.0.unwrap_or(0), numbers.1.unwrap_or(0));
                let kind = if kind == EntryType::Block { FileType::BlockDevice } else { FileType::CharacterDevice };
                self.node(&folder, name, path, header, kind, device)?;
            }
            _ => return Err(TreeError::Kind { name: path.display().to_string() }),
        }
        Ok(())
    }

    /// Takes away what an entry replaces. True when it cannot be taken away, because something is mounted there.
    fn clear(&self, folder: &Arc<OwnedFd>, name: &OsStr, path: &Path, is_folder: bool) -> Result<bool, TreeError> {
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(self.root.error("look at", path, e).into()),
        };
        let (path_text, name_text) = (path.display().to_string(), name.to_string_lossy().into_owned());
        match (FileType::from_raw_mode(stat.st_mode) == FileType::Directory, is_folder) {
            (true, true) => return Ok(false),
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

    fn node(
        &self,
        folder: &Arc<OwnedFd>,
        name: &OsStr,
        path: &Path,
        header: &Header,
        kind: FileType,
        device: u64,
    ) -> Result<(), TreeError> {
        let failed = |action, e: Errno| TreeError::from(self.root.error(action, path, e));
        mknodat(folder, name, kind, Mode::from_raw_mode(0o600), device).map_err(|e| failed("create", e))?;
        let (uid, gid) = self.owner(header).map_err(|e| failed("set the owner of", e))?;
        chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the owner of", e))?;
        let mode = Mode::from_raw_mode(header.mode().map_err(TreeError::Archive)? & 0o777);
        // By descriptor: whatever has the name by now, no link is followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(folder, name, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let path = format!("/proc/self/fd/{}", made.as_raw_fd());
        chmodat(CWD, path, mode, AtFlags::empty()).map_err(|e| failed("set the mode of", e))
    }

    fn owner(&self, header: &Header) -> Result<(Option<Uid>, Option<Gid>), Errno> {
        let (uid, gid) = match self.how.owner {
            Owner::Is { uid, gid } | Owner::Trusting { uid, gid } => (uid, gid),
            // What is no number of an owner is nobody's that could be named.
            Owner::AsArchived => {
                let id = |number: io::Result<u64>| number.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
                (id(header.uid()), id(header.gid()))
            }
        };
        let there = self.how.shift.map_or(Some((uid, gid)), |shift| shift.outside(uid, gid));
        // As the kernel says it of an owner whom a file system cannot name.
        let (uid, gid) = there.ok_or(Errno::OVERFLOW)?;
        Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    fn give(&self, made: &OwnedFd, header: &Header) -> Result<(), Errno> {
        let (uid, gid) = self.owner(header)?;
        fchown(made, uid, gid)?;
        let kept = self.how.owner.kept(header.uid().unwrap_or(u64::MAX), header.gid().unwrap_or(u64::MAX));
        // After the owner: a change of owner takes bits and capabilities away.
        fchmod(made, Mode::from_raw_mode(header.mode().unwrap_or(0o600) & kept))?;
        let capable = !matches!(self.how.owner, Owner::Is { .. });
        attributes::write(made, &self.records, capable, self.how.shift)
    }

    fn finish(self) -> Result<(), TreeError> {
        for (path, time) in self.times.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            match self.root.resolve(path, flags) {
                Ok(folder) => {
                    futimens(folder.as_fd(), &times(*time)).map_err(|e| self.root.error("set the time of", path, e))?;
                }
                // Somebody has moved it meanwhile.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(self.root.error("open", path, e).into()),
            }
        }
        Ok(())
    }
}

fn times(seconds: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

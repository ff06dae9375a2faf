//! Entries that are neither files nor folders: devices, pipes, symbolic links, and the devices by which overlayfs knows that
//! something is not there. Knows nothing of what is said of them besides.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, Stat, makedev, mknodat, symlinkat};
use rustix::io::Errno;

use crate::files::archive::{Entry, Kind};

/// Makes what `entry` is, for its owner only until more is said of it.
pub(super) fn make(dir: BorrowedFd<'_>, name: &OsStr, entry: &Entry) -> Result<(), Errno> {
    let kind = match entry.kind {
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Symlink | Kind::File | Kind::Hardlink | Kind::Folder => {
            return symlinkat(OsStr::from_bytes(&entry.link), dir, name);
        }
    };
    mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, makedev(entry.device.0, entry.device.1))
}

/// Hides what has this name below.
pub(super) fn make_whiteout(dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(0, 0)
}

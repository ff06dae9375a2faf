//! Trees of files as tars, for copies: out of a root that somebody else fills and may change meanwhile, and into one. Knows
//! nothing of containers.
//!
//! Guarantees: whatever the tree, whatever the archive and whoever exchanges folders for links meanwhile, nothing outside the
//! root is read, made, changed or removed: every path is resolved by descriptor beneath the root, and below what was opened
//! no link is followed.

mod attributes;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use pack::{Packed, pack};
pub use unpack::{Devices, Owner, Unpack, Unpacked, unpack};

use super::FileError;
use super::archive::{ArchiveError, TooMuch};
use super::beneath::{Beneath, Escapes};

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("read the archive: {0}")]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    #[error("write the archive: {0}")]
    Output(std::io::Error),
    #[error("refused: {0}")]
    Escapes(#[from] Escapes),
    #[error("refused: {name:?} is a device, and those are not copied to the host")]
    Device { name: String },
    #[error("{path:?} is deeper than {limit} folders")]
    Deep { path: String, limit: usize },
    #[error("{path:?} is made up by the kernel while it is read, and has no size that could be told before")]
    OfKernel { path: String },
    #[error("{path:?} is a folder, and {name:?} is none")]
    FolderInTheWay { path: String, name: String },
    #[error("{path:?} is no folder, and {name:?} is one")]
    NoFolderInTheWay { path: String, name: String },
}

/// The owners of the files are others to this host than to who lives in the tree and in its archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// What is user 0 in the tree; the others follow.
    pub uid: u32,
    pub gid: u32,
    /// How many there are.
    pub size: u32,
}

impl Shift {
    /// What the kernel calls an owner who is none of those.
    const NOBODY: u32 = 65_534;

    fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let id = |first: u32, id: u32| id.checked_sub(first).filter(|id| *id < self.size).unwrap_or(Self::NOBODY);
        (id(self.uid, uid), id(self.gid, gid))
    }

    /// `None` when the tree has no such user.
    fn outside(self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        (uid < self.size && gid < self.size).then(|| (self.uid + uid, self.gid + gid))
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The last part of the path that was asked for.
    pub name: String,
    pub kind: FoundKind,
    /// Bytes of a file.
    pub size: u64,
    /// Permissions, with the bits above them.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: i64,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundKind {
    File,
    Folder,
    Link,
    Other,
}

/// Looks at a path beneath a root; `None` when there is nothing. The last link is followed only where that is asked.
pub fn look(root: &Beneath, path: &Path, follow: bool) -> Result<Option<Found>, FileError> {
    match open(root, path, follow) {
        Ok((fd, stat)) => {
            let link = rustix::fs::readlinkat(&fd, "", Vec::new()).ok().map(|text| text.to_string_lossy().into_owned());
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => FoundKind::File,
                FileType::Directory => FoundKind::Folder,
                FileType::Symlink => FoundKind::Link,
                _ => FoundKind::Other,
            };
            Ok(Some(Found {
                name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_else(|| "/".to_owned()),
                link: link.filter(|_| kind == FoundKind::Link),
                kind,
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mode: stat.st_mode & 0o7777,
                modified: stat.st_mtime,
            }))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(root.error("look at", path, e)),
    }
}

/// What is at a path, open as a place.
fn open(root: &Beneath, path: &Path, follow: bool) -> Result<(std::os::fd::OwnedFd, Stat), Errno> {
    let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
    // The root is not where paths begin for us, but for whoever wrote the path.
    let fd = root.resolve(path, flags)?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

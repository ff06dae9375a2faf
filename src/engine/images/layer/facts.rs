//! What is known of a file of a layer without reading it, and what of files that were just written need not be read again.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat, flistxattr, fstat};
use rustix::io::Errno;

/// What the kernel says of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) kind: FileType,
    /// Kind and permissions.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// In bytes.
    pub(super) size: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(super) modified: (i64, i64),
    /// The file system, and the file's number in it.
    pub(super) identity: (u64, u64),
    /// How many names it has.
    pub(super) names: u64,
    /// Of a device.
    pub(super) number: u64,
}

impl Facts {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            identity: (stat.st_dev, stat.st_ino),
            names: stat.st_nlink,
            number: stat.st_rdev,
        }
    }
}

/// Small files that somebody has just written into the folder that is to become a layer, and that nobody else can have changed.
#[derive(Debug, Default)]
pub struct Fresh {
    /// By their paths from the folder.
    files: HashMap<Vec<u8>, FreshFile>,
    /// Bytes of contents.
    size: usize,
}

/// One of them.
#[derive(Debug)]
pub struct FreshFile {
    facts: Facts,
    content: Vec<u8>,
}

impl FreshFile {
    /// The open file `fd`, which has these bytes and has got all its attributes. `None`: it is one that has to be looked at, because
    /// it has extended attributes, or other names.
    pub fn of(fd: impl AsFd, content: &[u8]) -> Result<Option<Self>, Errno> {
        let facts = Facts::of(&fstat(&fd)?);
        // Those that a folder hands down too.
        let has_attributes = match flistxattr(&fd, &mut [0u8; 64][..]) {
            Ok(length) => length > 0,
            Err(Errno::RANGE) => true,
            Err(Errno::OPNOTSUPP) => false,
            Err(e) => return Err(e),
        };
        let is_plain = !has_attributes && facts.names == 1 && facts.size == content.len() as u64;
        Ok(is_plain.then(|| Self { facts, content: content.to_vec() }))
    }
}

impl Fresh {
    /// More than this is not kept in memory, in bytes.
    pub const MOST: usize = 32 << 20;
    /// Nor files of more than this.
    pub const SMALL: usize = 16 << 10;

    /// Keeps one, if there is room for it.
    pub fn add(&mut self, path: Vec<u8>, file: FreshFile) {
        let size = file.content.len() + path.len();
        if self.size + size <= Self::MOST {
            self.size += size;
            self.files.insert(path, file);
        }
    }

    pub(super) fn get(&self, path: &[u8]) -> Option<(Facts, &[u8])> {
        self.files.get(path).map(|file| (file.facts, file.content.as_slice()))
    }
}

//! What a source means, to be shown as it is: without a copy, where the host's own folder says the same as a copy of it would.
//! Knows nothing of how it is mounted.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, fstat, mknodat, utimensat};

use super::select::{Item, Selection};
use super::tree::{Meta, Tree};
use super::{FilesError, xattrs};
use crate::files::{self, FileError};

/// More things that are hidden than this are a reason to copy the others.
const MOST_HIDDEN: usize = 4096;

/// Where what is selected is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its path now.
    pub folder: PathBuf,
    /// Device and number of that folder, whatever has its path later.
    pub identity: (u64, u64),
    /// The name of a file in it; empty where the folder itself is meant.
    pub name: PathBuf,
    /// Below the folder: what is not to be seen, though it is there.
    hidden: Vec<PathBuf>,
}

impl Selection {
    /// How it can be shown as it is. `None` where a copy differs from what is there: other owners, or more that is left out than is
    /// worth hiding.
    pub fn shown(&self) -> Result<Option<Shown>, FilesError> {
        let is_file = self.is_single_file();
        let base = match (&self.base, self.items.first()) {
            (Some(base), _) if self.holds_folder => base.clone(),
            (_, Some(item)) if is_file => self.folders[item.folder as usize].clone(),
            _ => return Ok(None),
        };
        let open = self.tree.folder(&base)?;
        let meta = Meta::of(&fstat(&open).map_err(|e| self.tree.error("look at", &base, e))?);
        let as_copied = |item: &Item| (item.meta.uid, item.meta.gid, item.meta.device) == (0, 0, meta.device);
        if self.tree.keeps_owners() || self.left_out.len() > MOST_HIDDEN || !self.items.iter().all(as_copied) {
            return Ok(None);
        }
        let Some(folder) = path_of(&open) else { return Ok(None) };
        let name = if is_file { PathBuf::from(&self.items[0].name) } else { PathBuf::new() };
        let below = |path: &PathBuf| path.strip_prefix(&base).ok().map(Path::to_owned);
        let hidden = if is_file { Vec::new() } else { self.left_out.iter().filter_map(below).collect() };
        Ok(Some(Shown { folder, identity: (meta.device, meta.inode), name, hidden }))
    }

    /// Whether the same is there now as when it was looked at.
    pub fn is_unchanged(&self, again: &Self) -> bool {
        let same = |(before, after): (&Item, &Item)| {
            before.place == after.place && before.meta.mode == after.meta.mode && before.meta.unchanged(&after.meta)
        };
        self.items.len() == again.items.len() && self.items.iter().zip(&again.items).all(same)
    }

    /// Makes a folder that hides from under it what is not to be seen, and otherwise says what the folder there says. False where there
    /// is nothing to hide, and nothing is made.
    pub fn hide(&self, shown: &Shown, folder: &Path) -> Result<bool, FilesError> {
        if shown.hidden.is_empty() {
            return Ok(false);
        }
        files::create_dirs(folder, 0o755)?;
        // Folders on the way are seen instead of those below, so they get all that these have.
        let mut on_the_way: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for path in &shown.hidden {
            let parent = path.parent().unwrap_or(Path::new(""));
            for folder in parent.ancestors() {
                on_the_way.insert(folder.to_owned(), shown.folder.join(folder));
            }
            files::create_dirs(&folder.join(parent), 0o755)?;
            let hole = folder.join(path);
            // Source: the kernel's overlayfs.rst, "whiteouts".
            mknodat(CWD, &hole, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|e| FileError::new("make the whiteout", hole, e))?;
        }
        for (inside, like) in on_the_way.iter().rev() {
            look_like(&folder.join(inside), like)?;
        }
        Ok(true)
    }
}

impl Tree {
    /// What is at a path in a tree, without links on the way, and whether that is a folder. `None`: nothing is there.
    pub fn place(&self, path: &str) -> Result<Option<(PathBuf, bool)>, FilesError> {
        Ok(self.find(path, true)?.map(|place| (place.path, place.meta.kind() == FileType::Directory)))
    }
}

/// Gives a folder the mode, the owner, the attributes and the time of another.
pub fn look_like(folder: &Path, other: &Path) -> Result<(), FilesError> {
    let fail = |action: &'static str| move |e: std::io::Error| FileError::new(action, other, e);
    let meta = std::fs::metadata(other).map_err(fail("look at"))?;
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| FileError::new("open folder", path, e))
    };
    let (from, to) = (open(other)?, open(folder)?);
    let attributes = xattrs::of_file(&from).map_err(|e| FileError::new("read attributes of", other, e))?;
    xattrs::give(&to, &attributes).map_err(|e| FileError::new("set attributes of", folder, e))?;
    std::os::unix::fs::chown(folder, Some(meta.uid()), Some(meta.gid())).map_err(fail("take the owner of"))?;
    std::fs::set_permissions(folder, Permissions::from_mode(meta.mode() & 0o7777)).map_err(fail("take the mode of"))?;
    let time = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, folder, &times, AtFlags::empty()).map_err(|e| FileError::new("set the time of", folder, e))?)
}

/// Where an open folder is; `None` where it is nowhere any more.
fn path_of(folder: &OwnedFd) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    let (is, now) = (fstat(folder).ok()?, rustix::fs::stat(&path).ok()?);
    ((is.st_dev, is.st_ino) == (now.st_dev, now.st_ino)).then_some(path)
}

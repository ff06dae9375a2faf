//! Makes a layer's folder what it ought to be, entry by entry: what is right already stays where it is, because running
//! containers may have it mounted.
//!
//! Guarantees: a file is replaced as a whole, by a rename. Whoever has the old one open keeps it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, lremovexattr, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::compare::{at, differ, metadata, names, same_content};
use crate::engine::images::layer::attributes_of;
use crate::files::{self, FileError};

/// Makes `target` equal to `fresh`, out of which what is needed is taken.
pub(super) fn patch(fresh: &Path, target: &Path) -> Result<(), FileError> {
    // Folders whose entries have been dealt with get what is said of them last: moving entries changes their times.
    let mut folders: Vec<(PathBuf, Metadata)> = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let (from, to) = (at(fresh, &path), at(target, &path));
        let Some(wanted) = metadata(&from)? else {
            files::remove_all(&to)?;
            continue;
        };
        let there = metadata(&to)?;
        match &there {
            Some(there) if wanted.is_dir() && there.is_dir() => {
                let mut all = names(&from)?;
                all.extend(names(&to)?);
                all.sort();
                all.dedup();
                waiting.extend(all.into_iter().map(|name| path.join(name)));
                folders.push((path, wanted));
                continue;
            }
            Some(there) if differ(&from, &wanted, &to, there)?.is_none() => {
                if !wanted.is_file() || same_content(&from, &to)? {
                    continue;
                }
            }
            Some(there) if wanted.is_dir() || there.is_dir() => files::remove_all(&to)?,
            Some(_) | None => {}
        }
        fs::rename(&from, &to).map_err(|e| FileError::new("rename to", &to, e))?;
    }
    for (path, wanted) in folders.into_iter().rev() {
        describe(&at(fresh, &path), &wanted, &at(target, &path))?;
    }
    Ok(())
}

/// What is said of a folder, of which there may be a mount.
fn describe(from: &Path, wanted: &Metadata, to: &Path) -> Result<(), FileError> {
    let fail = |action| move |e: Errno| FileError::new(action, to, e);
    let (owner, group) = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
    chownat(CWD, to, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the owner of"))?;
    chmod(to, Mode::from_raw_mode(wanted.mode() & 0o7777)).map_err(fail("set the mode of"))?;
    let (there, here) = (attributes_of(to, |_| false)?, attributes_of(from, |_| false)?);
    for (name, _) in there.iter().filter(|(name, _)| !here.iter().any(|(wanted, _)| wanted == name)) {
        lremovexattr(to, name.as_slice()).map_err(fail("remove an extended attribute of"))?;
    }
    for (name, value) in here.iter().filter(|attribute| !there.contains(attribute)) {
        lsetxattr(to, name.as_slice(), value, XattrFlags::empty()).map_err(fail("set an extended attribute of"))?;
    }
    let time = Timespec { tv_sec: wanted.mtime(), tv_nsec: wanted.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the time of"))
}

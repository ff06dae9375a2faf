//! Makes a layer's folder what it ought to be, entry by entry: what is right already stays where it is, because running
//! containers may have it mounted.
//!
//! Guarantees: a file is replaced as a whole, by a rename. Whoever has the old one open keeps it.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::compare::{at, differ, metadata, names, same_content};
use crate::engine::images::layer::describe;
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
            Some(there) if differ(&from, &wanted, &to, there, true)?.is_none() => {
                if !wanted.is_file() || same_content(&from, &to)? {
                    continue;
                }
            }
            Some(there) if wanted.is_dir() || there.is_dir() => files::remove_all(&to)?,
            Some(_) | None => {}
        }
        fs::rename(&from, &to).map_err(|e| FileError::new("rename to", &to, e))?;
    }
    // Of a folder there may be a mount.
    for (path, wanted) in folders.into_iter().rev() {
        describe(&at(fresh, &path), &wanted, &at(target, &path), |_| false)?;
    }
    Ok(())
}

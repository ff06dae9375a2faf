//! A text of the Dockerfile itself as a file: the heredocs of COPY and ADD.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::FilesError;
use super::copy::Copied;
use super::target::{CopyOrder, Target};
use crate::files::FileError;

/// Writes `content` as a file called `name`, or in the place of the destination where that is no folder. Its permissions are
/// 0644, and its time is now.
pub fn write_document(target: BorrowedFd<'_>, order: &CopyOrder, name: &str, content: &[u8]) -> Result<Copied, FilesError> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(FilesError::Destination { destination: name.to_owned(), why: "is no name of a file" });
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = (i64::try_from(now.as_secs()).unwrap_or(0), now.subsec_nanos());
    place(target, order, OsStr::new(name), 0o644, now, &mut |file| file.write_all(content).map(|()| content.len() as u64))
}

/// Writes one file by `fill`.
pub(super) fn place(
    target: BorrowedFd<'_>,
    order: &CopyOrder,
    name: &OsStr,
    mode: u32,
    modified: (i64, u32),
    fill: &mut dyn FnMut(&mut std::fs::File) -> std::io::Result<u64>,
) -> Result<Copied, FilesError> {
    let mut target = Target::new(target, order, &name.to_string_lossy())?;
    let (folder, name, path) = target.file_place(name)?;
    let mut file = target.create(&*folder, &name, &path, Path::new(&name))?;
    let bytes = fill(&mut file).map_err(|e| FileError::new("write", target.root.show(&path), e))?;
    let owner = target.owner(None);
    let described = target.describe(&file, owner, target.mode(mode, false), modified);
    described.map_err(|e: Errno| target.error("set the owner of", &path, e))?;
    target.finish()?;
    Ok(Copied { entries: 1, bytes, ..Copied::default() })
}

//! Makes one entry like another one in all that is said of it. Knows nothing of layers.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, SeekFrom as Sought, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, lremovexattr,
    lsetxattr, mknodat, utimensat,
};
use rustix::io::Errno;

use super::attributes_of;
use crate::files::FileError;

/// Owner, mode, extended attributes but the ignored ones, and time.
pub(in crate::engine::images) fn describe(
    from: &Path,
    wanted: &Metadata,
    to: &Path,
    ignored: impl Fn(&[u8]) -> bool,
) -> Result<(), FileError> {
    let fail = |action| move |e: Errno| FileError::new(action, to, e);
    let (owner, group) = (Uid::from_raw(wanted.uid()), Gid::from_raw(wanted.gid()));
    chownat(CWD, to, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the owner of"))?;
    if !wanted.is_symlink() {
        chmod(to, Mode::from_raw_mode(wanted.mode() & 0o7777)).map_err(fail("set the mode of"))?;
    }
    let (there, here) = (attributes_of(to, &ignored)?, attributes_of(from, &ignored)?);
    for (name, _) in there.iter().filter(|(name, _)| !here.iter().any(|(wanted, _)| wanted == name)) {
        lremovexattr(to, name.as_slice()).map_err(fail("remove an extended attribute of"))?;
    }
    for (name, value) in here.iter().filter(|attribute| !there.contains(attribute)) {
        lsetxattr(to, name.as_slice(), value, XattrFlags::empty()).map_err(fail("set an extended attribute of"))?;
    }
    set_time(wanted, to)
}

pub(super) fn set_time(wanted: &Metadata, to: &Path) -> Result<(), FileError> {
    let time = Timespec { tv_sec: wanted.mtime(), tv_nsec: wanted.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| FileError::new("set the time of", to, e))
}

/// Copies anything but a folder, with all that is said of it but the ignored attributes.
pub(super) fn copy(from: &Path, meta: &Metadata, to: &Path, ignored: impl Fn(&[u8]) -> bool) -> Result<(), FileError> {
    let fail = |e: io::Error| FileError::new("copy to", to, e);
    if meta.is_symlink() {
        fs::read_link(from).and_then(|target| std::os::unix::fs::symlink(target, to)).map_err(fail)?;
    } else if meta.is_file() {
        copy_content(from, meta.len(), to).map_err(fail)?;
    } else {
        let kind = FileType::from_raw_mode(meta.mode());
        mknodat(CWD, to, kind, Mode::RUSR | Mode::WUSR, meta.rdev()).map_err(|e| fail(e.into()))?;
    }
    describe(from, meta, to, ignored)
}

/// Holes stay holes.
fn copy_content(from: &Path, length: u64, to: &Path) -> io::Result<()> {
    let (mut input, mut output) = (File::open(from)?, File::create_new(to)?);
    output.set_len(length)?;
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(&input, Sought::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(&input, Sought::Hole(start))?.min(length);
        input.seek(SeekFrom::Start(start))?;
        output.seek(SeekFrom::Start(start))?;
        io::copy(&mut io::Read::take(&mut input, end - start), &mut output)?;
        at = end;
    }
    Ok(())
}

//! Extended attributes that go along with a copy: what users have noted about files, and capabilities of programs.

use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

/// A name and a value.
pub(super) type Attribute = (String, Vec<u8>);

const CAPABILITY: &str = "security.capability";
const OF_USERS: &str = "user.";
/// By these an ordinary user's layers are put together; they are no notes about a file.
const OF_OVERLAYS: &str = "user.overlay.";

/// Those of an open file or folder, by their names.
pub(super) fn of_file(fd: impl AsFd) -> Result<Vec<Attribute>, Errno> {
    let mut few = [0; 256];
    let many;
    let names = match flistxattr(&fd, &mut few[..]) {
        Ok(0) => return Ok(Vec::new()),
        Ok(length) => &few[..length],
        // Some file systems have none.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            many = whole(|buffer| flistxattr(&fd, buffer))?;
            &many
        }
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if name != CAPABILITY && (!name.starts_with(OF_USERS) || name.starts_with(OF_OVERLAYS)) {
            continue;
        }
        match whole(|buffer| fgetxattr(&fd, name, buffer)) {
            Ok(value) => found.push((name.to_owned(), value)),
            // It was taken away meanwhile.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Gives them to an open file or folder.
pub(super) fn give(fd: impl AsFd, attributes: &[Attribute]) -> Result<(), Errno> {
    for (name, value) in attributes {
        match fsetxattr(&fd, name.as_str(), value, XattrFlags::empty()) {
            // The file system there has none for users.
            Err(Errno::OPNOTSUPP) if name.starts_with(OF_USERS) => {}
            other => other?,
        }
    }
    Ok(())
}

/// All of a value whose length is not known, and may change meanwhile.
fn whole(get: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    /// The kernel's own limit of values and of lists. Source: `linux/limits.h`, `XATTR_SIZE_MAX`, `XATTR_LIST_MAX`.
    const MOST: usize = 65_536;
    let mut buffer = vec![0; MOST];
    let length = get(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

//! Extended attributes that go along with a copy: what users have noted about files, and the capabilities of programs, which
//! carry in them whose root they are for.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{XattrFlags, fsetxattr, getxattr, listxattr};
use rustix::io::Errno;

use super::Shift;
use crate::files::archive::pax;

/// How an archive names them.
const PREFIX: &str = "SCHILY.xattr.";
const CAPABILITY: &str = "security.capability";
const OF_USERS: &str = "user.";
/// By these an ordinary user's layers are put together; they are no notes about a file.
const OF_OVERLAYS: &str = "user.overlay.";

/// A name and a value.
pub(super) type Attribute = (String, Vec<u8>);

/// Those of a file that is open as a place, as records of an archive.
pub(super) fn read(fd: &OwnedFd, shift: Option<Shift>) -> Result<Vec<Attribute>, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let names = match whole(|buffer| listxattr(path.as_str(), buffer)) {
        // Some file systems have none.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if name != CAPABILITY && !name.starts_with(OF_USERS) {
            continue;
        }
        match whole(|buffer| getxattr(path.as_str(), name, buffer)) {
            Ok(value) => {
                let value = if name == CAPABILITY { inside(value, shift) } else { value };
                found.push((format!("{PREFIX}{name}"), value));
            }
            // It was taken away meanwhile.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

/// Gives a file those that an archive says of it. Capabilities are given where that is asked only.
pub(super) fn write(fd: &OwnedFd, said: &[pax::Attribute], capable: bool, shift: Option<Shift>) -> Result<(), Errno> {
    for (name, value) in said {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name == CAPABILITY && capable {
            fsetxattr(fd, name, &outside(value, shift), XattrFlags::empty())?;
        } else if name.starts_with(OF_USERS) && !name.starts_with(OF_OVERLAYS) {
            match fsetxattr(fd, name, value, XattrFlags::empty()) {
                // The file system there has none.
                Err(Errno::OPNOTSUPP) => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// The second form says nothing of a root; the third ends in whose it is. Source: `linux/capability.h`, `vfs_ns_cap_data`.
const SECOND: (u8, usize) = (2, 20);
const THIRD: (u8, usize) = (3, 24);

/// Capabilities for the root of a tree whose owners are others on the host, as the tree has them.
fn inside(mut value: Vec<u8>, shift: Option<Shift>) -> Vec<u8> {
    let (Some(shift), THIRD, Some(root)) = (shift, form(&value), value.get(20..24)) else { return value };
    if root == shift.uid.to_le_bytes() {
        value.truncate(SECOND.1);
        value[3] = SECOND.0;
    }
    value
}

/// The same the other way round: without a root in them they would be for the host's.
fn outside(value: &[u8], shift: Option<Shift>) -> Vec<u8> {
    let mut value = value.to_vec();
    if let (Some(shift), SECOND) = (shift, form(&value)) {
        value[3] = THIRD.0;
        value.extend(shift.uid.to_le_bytes());
    }
    value
}

/// The number of the form, in the highest byte of the first word, and the length.
fn form(value: &[u8]) -> (u8, usize) {
    (value.get(3).copied().unwrap_or_default(), value.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_for_the_root_of_the_tree() {
        let second = [vec![1, 0, 0, 2], vec![7; 16]].concat();
        let third = [vec![1, 0, 0, 3], vec![7; 16], 5000u32.to_le_bytes().to_vec()].concat();
        let shift = Some(Shift { uid: 5000, gid: 6000, size: 10 });
        assert_eq!((outside(&second, shift), inside(third.clone(), shift)), (third.clone(), second.clone()));
        assert_eq!((outside(&second, None), inside(third.clone(), None)), (second.clone(), third.clone()));
        let other = Some(Shift { uid: 1, gid: 1, size: 10 });
        assert_eq!(inside(third.clone(), other), third);
    }
}

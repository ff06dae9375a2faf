//! What a layer's folder notes of what it takes from the layers below, as extended attributes of its own entries. Knows
//! nothing of those layers.
//!
//! No archive may set these attributes, and no container sees them: what has a mark is covered where the layers below say
//! something, and `trusted.` attributes are shown to nobody without the host's own privileges. Who is root in a user namespace
//! only has not got those: there, all of them are among overlayfs's own of `user.`, which it shows to nobody either.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, lgetxattr, removexattr, setxattr};
use rustix::io::Errno;

use crate::sys;

/// The names of one kind of attributes.
struct Names {
    marks: &'static str,
    link: &'static str,
    implied: &'static str,
    overlay: &'static str,
    opaque: &'static str,
}

const TRUSTED: Names = Names {
    marks: "trusted.setpoint.",
    link: "trusted.setpoint.link",
    implied: "trusted.setpoint.implied",
    overlay: "trusted.overlay.",
    opaque: "trusted.overlay.opaque",
};

const USER: Names = Names {
    marks: "user.overlay.setpoint.",
    link: "user.overlay.setpoint.link",
    implied: "user.overlay.setpoint.implied",
    overlay: "user.overlay.",
    opaque: "user.overlay.opaque",
};

fn names() -> &'static Names {
    if sys::userns::is_inside() { &USER } else { &TRUSTED }
}

/// What all marks begin with.
pub(in crate::engine::images) fn prefix() -> &'static [u8] {
    names().marks.as_bytes()
}

/// What those of overlayfs begin with.
pub(in crate::engine::images) fn of_overlay() -> &'static [u8] {
    names().overlay.as_bytes()
}

/// Overlayfs's own: nothing below shows through this folder.
pub(crate) fn opaque() -> &'static str {
    names().opaque
}

/// `folder` may be open as a place only, which takes no attributes by itself.
fn through(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

pub(super) fn mark_link(file: impl AsFd, target: &Path) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    // On an empty file that stands for a hard link to a file below; its value is that file's path.
    setxattr(through(&file), names().link, target.as_os_str().as_bytes(), XattrFlags::empty())
}

pub(super) fn mark_implied(folder: impl AsFd) -> Result<(), Errno> {
    // On a folder that no entry speaks of: entries in it were all that the archive had.
    setxattr(through(&folder), names().implied, b"", XattrFlags::empty())
}

/// Something is said of the folder after all.
pub(super) fn mark_spoken_of(folder: impl AsFd) -> Result<(), Errno> {
    match removexattr(through(&folder), names().implied) {
        Err(Errno::NODATA) => Ok(()),
        result => result,
    }
}

pub(super) fn make_opaque(folder: impl AsFd) -> Result<(), Errno> {
    setxattr(through(&folder), opaque(), b"y", XattrFlags::empty())
}

/// What the file at `path` stands for, if it does.
pub(super) fn link(path: &Path) -> io::Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStringExt;
    let value = value(path, names().link)?;
    Ok(value.map(|target| PathBuf::from(std::ffi::OsString::from_vec(target))))
}

pub(super) fn is_implied(path: &Path) -> io::Result<bool> {
    Ok(value(path, names().implied)?.is_some())
}

/// Whether a folder hides what the layers below have in it.
pub(in crate::engine::images) fn is_opaque(path: &Path) -> io::Result<bool> {
    Ok(value(path, opaque())?.is_some_and(|value| value == b"y"))
}

fn value(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 64 << 10];
    match lgetxattr(path, name, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

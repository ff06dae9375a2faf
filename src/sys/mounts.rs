//! `mount_setattr`: changing a mount's attributes by descriptor, even before it is attached anywhere.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::mount::MountAttrFlags;

/// The kernel's `struct mount_attr`, version 0 (kernel 5.12).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `MOUNT_ATTR_IDMAP`, of kernel 5.12.
const MAPPED: u64 = 0x0010_0000;

/// What is to be different about a mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    pub set: u64,
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`; 0 leaves it.
    pub propagation: u64,
    /// Owners of files are seen as this user namespace maps them.
    pub mapped: Option<BorrowedFd<'a>>,
}

/// Sets `set` on the mount that `mount` refers to, and on those below it if `recursive`. All else stays as it is.
pub fn set_attributes(mount: impl AsFd, set: MountAttrFlags, recursive: bool) -> io::Result<()> {
    change(mount, Change { set: u64::from(set.bits()), ..Change::default() }, recursive)
}

/// Changes the mount that `mount` refers to, and those below it if `recursive`.
pub fn change(mount: impl AsFd, what: Change<'_>, recursive: bool) -> io::Result<()> {
    let mapped = what.mapped.map(|userns| userns.as_raw_fd() as u64);
    let attributes = MountAttr {
        set: what.set | if mapped.is_some() { MAPPED } else { 0 },
        clear: what.clear,
        propagation: what.propagation,
        userns: mapped.unwrap_or(0),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string that ends in zero, and `attributes` is laid out as the kernel wants it; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! `mount_setattr`: changing a mount's attributes by descriptor, even before it is attached anywhere.
#![expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::mount::MountAttrFlags;

/// The kernel's `struct mount_attr`, version 0 (kernel 5.12).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Sets `set` on the mount that `mount` refers to, and on those below it if `recursive`. All else stays as it is.
pub fn set_attributes(mount: impl AsFd, set: MountAttrFlags, recursive: bool) -> io::Result<()> {
    let attributes = MountAttr { set: u64::from(set.bits()), clear: 0, propagation: 0, userns: 0 };
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

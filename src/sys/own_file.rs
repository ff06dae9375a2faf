//! This program's own file, for execution where it must not be written to. Knows nothing of who executes it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::mounts::set_attributes;

const OWN: &str = "/proc/self/exe";

/// The file, by a mount of its own that is read-only and is nowhere to be found: whoever gets hold of it by
/// `/proc/PID/exe` of a process that executes it cannot write to it, whatever capabilities they have.
///
/// # Errors
/// The kernel's.
pub fn read_only() -> io::Result<OwnedFd> {
    let own = rustix::fs::open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fstatvfs(&own)?.f_flag.contains(StatVfsMountFlags::RDONLY) || is_sealed()? {
        return Ok(own);
    }
    let mount = open_tree(CWD, OWN, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    set_attributes(&mount, attributes, false)?;
    Ok(mount)
}

/// Whether it is a file in memory that nobody can change any more.
fn is_sealed() -> io::Result<bool> {
    let own = std::fs::File::open(OWN)?;
    // Files on a disk have no seals.
    Ok(rustix::fs::fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    #[test]
    fn nobody_writes_to_it() {
        let file = super::read_only().unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let refused = std::fs::OpenOptions::new().write(true).open(&path).unwrap_err();
        assert!(matches!(refused.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)), "{refused}");
        let read_only = rustix::fs::fstatvfs(&file).unwrap().f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        assert!(read_only || super::is_sealed().unwrap());
        assert!(std::fs::read(&path).unwrap().starts_with(b"\x7fELF"));
    }
}

//! What kind of namespace a file is. Knows nothing of how it is joined.
#![expect(unsafe_code, reason = "the question is an ioctl without a safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The flag that `clone` would take to make one of the same kind (`CLONE_NEWNET` and its like).
pub fn kind(file: impl AsFd) -> io::Result<i32> {
    /// `NS_GET_NSTYPE`, ioctl_ns(2).
    const GET_KIND: libc::c_ulong = 0xb703;
    // SAFETY: the descriptor is borrowed for the call, and this request takes no argument.
    let result = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), GET_KIND as _) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn kinds() {
        let open = |name: &str| std::fs::File::open(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(super::kind(open("net")).unwrap(), libc::CLONE_NEWNET);
        assert_eq!(super::kind(open("mnt")).unwrap(), libc::CLONE_NEWNS);
        assert!(super::kind(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}

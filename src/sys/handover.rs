//! Descriptors that another process left open for this one. Knows their numbers only, not what they are.
#![expect(unsafe_code, reason = "a number becomes an owned descriptor")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first socket that systemd passed to this process (`LISTEN_FDS`, `LISTEN_PID`); `None` when there is none, or when
/// it was taken before.
/// Source: sd_listen_fds(3).
pub fn listen_fd() -> Option<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    const FIRST: RawFd = 3;
    let pid: u32 = std::env::var("LISTEN_PID").ok()?.parse().ok()?;
    let count: u32 = std::env::var("LISTEN_FDS").ok()?.parse().ok()?;
    if pid != std::process::id() || count == 0 || TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: systemd says that descriptor 3 is open and meant for this process, nothing else here owns it (this is the
    // only place that takes it), and the flag above lets it be taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(FIRST) };
    // Children must not keep the socket open; a descriptor that cannot be marked is not open at all.
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

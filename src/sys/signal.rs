//! Signals by number, the real-time ones among them: those that systemd in a container is stopped with.
#![expect(unsafe_code, reason = "the safe wrappers know the named signals only")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Sends a signal to the process behind a pidfd, whatever has become of its number.
pub fn send(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call; a null `siginfo` asks for that of `kill`; no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<libc::siginfo_t>(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

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

/// Sends a signal to a process by its number, which must not have been waited for yet: then it is still its own.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: both arguments are passed by value.
    let result = unsafe { libc::kill(pid, signal) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal with a number to a process, as `sigqueue` does.
pub fn queue(pid: i32, signal: i32, value: i32) -> io::Result<()> {
    // SAFETY: the union is plain memory for which all zeroes is valid; the kernel reads no more of it than the number.
    let mut content: libc::sigval = unsafe { std::mem::zeroed() };
    content.sival_ptr = std::ptr::without_provenance_mut(value.cast_unsigned() as usize);
    // SAFETY: all arguments are passed by value; the pointer in `content` is a number that nobody follows.
    let result = unsafe { libc::sigqueue(pid, signal, content) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

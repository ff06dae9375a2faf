//! Signals by number, the real-time ones among them: those that systemd in a container is stopped with.
#![expect(unsafe_code, reason = "the safe wrappers know the named signals only")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::signal::{SigSet, SigmaskHow};

/// The first real-time signal that a program may use. Unlike the named ones these queue, each with its number: of two
/// that come in a row none is lost (signal(7)).
#[must_use]
pub fn first_queued() -> i32 {
    libc::SIGRTMIN()
}

/// The set, with a signal that [`SigSet`] has no name for.
pub fn with_number(set: SigSet, signal: i32) -> io::Result<SigSet> {
    let mut raw = *set.as_ref();
    // SAFETY: the set is initialized, and ours to change; the number is checked by the call.
    if unsafe { libc::sigaddset(&raw mut raw, signal) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is what an initialized set became by `sigaddset`.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(raw) })
}

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

/// Starts a program with a signal blocked, which then waits until the program asks for it: sent earlier than that it would
/// be lost, or end the program. What `spawn` starts inherits the calling thread's mask, so that nothing has to be done between fork
/// and execution, and the memory of a large process need not be copied for it.
pub fn spawn_blocking<T>(signal: i32, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = with_number(SigSet::empty(), signal)?.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let spawned = spawn();
    before.thread_set_mask()?;
    spawned
}

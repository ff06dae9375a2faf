//! Waiting in async code for a descriptor that no async type wraps.
#![expect(
    unsafe_code,
    reason = "tokio asks for a promise that a descriptor stays open, which only the type of its owner can give"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor for reading. To be called in an async context.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open as long as it lives and always gives the same number, and `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

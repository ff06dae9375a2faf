//! Waiting in tokio for a descriptor of the caller's own.
#![expect(unsafe_code, reason = "tokio cannot know by a type alone that a descriptor stays open while it is registered")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor with the current runtime. Panics outside of one.
pub fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, keeps its number, and is closed by nobody else while the AsyncFd owns it.
    unsafe { AsyncFd::register(fd) }.map_err(|e| e.into_parts().1)
}

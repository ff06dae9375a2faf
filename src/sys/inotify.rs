//! Notifications of files. Who has a watch takes all that was told at once, and never waits for it here.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, Event};
use rustix::io::{Errno, Result};

/// An instance without watches.
pub fn open() -> Result<OwnedFd> {
    inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
}

/// Hands out all that was told since the last time.
pub fn take(fd: impl AsFd, mut tell: impl FnMut(&Event<'_>)) -> Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => tell(&event),
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

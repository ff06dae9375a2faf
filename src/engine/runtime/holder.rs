//! A process that does nothing but be: it is in a new scope of systemd until somebody else is, because a scope without any
//! process is none.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::sys;
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// It ends when this value goes, or with the process that made it.
#[derive(Debug)]
pub(super) struct Holder {
    pid: i32,
    pidfd: OwnedFd,
    /// Closed when this process ends, and with it those of its children that have not executed their programs yet.
    _end: OwnedFd,
}

impl Holder {
    /// # Errors
    /// Those of [`clone_process`]: this process must have one thread.
    pub(super) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        match clone_process(CloneFlags::empty(), None)? {
            Cloned::Child => exit_now(i32::from(wait_for_end(&read, write).is_err())),
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, _end: write }),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether somebody has ended it.
    pub(super) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// The child's life. It holds nothing that is its maker's: neither locks nor the ends of pipes that somebody reads.
fn wait_for_end(read: &OwnedFd, write: OwnedFd) -> io::Result<()> {
    drop(write);
    sys::process::reset_signals()?;
    let kept = read.as_raw_fd().cast_unsigned();
    if kept > 0 {
        sys::process::close_range(0, kept - 1)?;
    }
    sys::process::close_range(kept + 1, u32::MAX)?;
    // Nothing is ever written: it is the end of the other side that is read.
    rustix::io::retry_on_intr(|| rustix::io::read(read, &mut [0u8; 1]))?;
    Ok(())
}

impl Drop for Holder {
    fn drop(&mut self) {
        // One that has ended needs no signal, and there is nobody to tell of another failure.
        let _killed = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ended = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_by_processes_with_one_thread() {
        // A test has several, whatever it does.
        assert!(Holder::new().is_err());
    }
}

//! A child process by its pidfd: whether it has ended, and signals to it.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::engine::runtime::Process;

/// The exit code of a child that has ended (128 + the signal that killed it); `None` while it runs.
pub(super) fn reap(process: &Process) -> Option<i32> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Err(Errno::INTR) => {}
            Ok(None) => return None,
            Ok(Some(status)) => break status,
            // Reaped already: it cannot happen twice, and how it ended is not known.
            Err(_) => return Some(255),
        }
    };
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    Some(code.unwrap_or(255))
}

/// SIGKILL for a process, and for its group when it leads one.
pub(super) fn kill_group(process: &Process) {
    if let Some(pid) = Pid::from_raw(process.pid)
        && rustix::process::getpgid(Some(pid)) == Ok(pid)
    {
        // Not yet waited for, so the number is still its own. What has died meanwhile needs no killing.
        rustix::process::kill_process_group(pid, Signal::KILL).ok();
    }
    rustix::process::pidfd_send_signal(&process.pidfd, Signal::KILL).ok();
}

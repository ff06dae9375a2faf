//! The end of a child that is known by its descriptor: waiting for it, and bringing it about.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions};

/// Waits until the child has ended, and says how in words.
///
/// # Errors
/// The kernel's: somebody else has waited for it.
pub(super) fn reap(child: &OwnedFd) -> io::Result<String> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(match status {
        Some(status) if status.killed() || status.dumped() => {
            format!("killed by signal {}", status.terminating_signal().unwrap_or_default())
        }
        Some(status) => format!("exit code {}", status.exit_status().unwrap_or_default()),
        None => "unknown".to_owned(),
    })
}

/// How the child that has said nothing more ended, in words whatever happens.
pub(super) fn how(child: &OwnedFd) -> String {
    reap(child).unwrap_or_else(|e| format!("and could not be waited for: {e}"))
}

/// Kills the child and waits for it, on the way out of a failure that is what the caller is told.
pub(super) fn abandon(child: &OwnedFd) {
    // The signal fails only for a process that is dead, and then there is still the reaping to do.
    let _signalled = rustix::process::pidfd_send_signal(child, Signal::KILL);
    let _ended = reap(child);
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn child(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        (child, pidfd)
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(how(&child("exit 7").1), "exit code 7");
        let killed = child("kill -TERM $$").1;
        assert_eq!(how(&killed), "killed by signal 15");
        assert!(how(&killed).starts_with("and could not be waited for"), "it has been waited for already");
        let sleeper = child("exec sleep 1000").1;
        abandon(&sleeper);
        assert!(reap(&sleeper).is_err(), "nothing is left of it");
    }
}

//! The role `@init`: process 1 of a container that asked for one. It starts nothing; it takes the ends of all processes
//! that nobody else does, passes the signals that it gets on to the command, and ends as the command does.
//!
//! # Guarantees
//! It runs as the container's user, with the container's capabilities and system call filter, from a file that cannot be
//! written to.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::enter::die_with_starter;
use super::failure::{At, Channel, Failure, Stage};
use crate::sys;
use crate::sys::clone::{Cloned, clone_process};

/// The name of the role, as the first argument of this program.
pub const ROLE: &str = "@init";

/// Divides the process that is about to become the command: the original becomes the init, and the copy goes on.
///
/// `confine` is what the original does to itself before it executes the init.
///
/// # Errors
/// What failed, in the copy as well as in the original.
pub(super) fn divide(
    program: BorrowedFd<'_>,
    terminal: bool,
    env: &[CString],
    channel: &Channel,
    confine: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    // From here on nothing is lost: what is blocked waits for the init to read it.
    let all = SigSet::all();
    let before = all.thread_swap_mask(SigmaskHow::SIG_BLOCK).at(Stage::StartInit, "block signals")?;
    match clone_process(nix::sched::CloneFlags::empty(), None).at(Stage::StartInit, "")? {
        Cloned::Child => {
            // Where the init is not process 1 of a namespace, the kernel does not end the command with it by itself.
            die_with_starter(channel)?;
            // A group of its own, so that what the terminal sends arrives once.
            rustix::process::setpgid(None, None).at(Stage::StartInit, "process group")?;
            if terminal {
                rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid()).at(Stage::StartInit, "terminal")?;
            }
            before.thread_set_mask().at(Stage::StartInit, "unblock signals")
        }
        Cloned::Parent { pid, .. } => {
            confine()?;
            let argv = [c"init".to_owned(), CString::new(ROLE).unwrap_or_default(), number(pid)];
            let Err(errno) = nix::unistd::fexecve(program, &argv, env);
            Err(Failure::new(Stage::StartInit, "execute it", errno))
        }
    }
}

fn number(pid: i32) -> CString {
    // Digits have no zero byte.
    CString::new(pid.to_string()).unwrap_or_default()
}

/// The role's entry: `<number of the command's process>`.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let command = arguments.first().and_then(|text| text.to_str()).and_then(|text| text.parse::<i32>().ok());
    match command.map(look_after) {
        Some(Ok(code)) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Some(Err(_)) | None => ExitCode::from(125),
    }
}

/// Until the command ends; how it ended.
fn look_after(command: i32) -> io::Result<i32> {
    let mask = SigSet::all();
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?;
    if std::process::id() != 1 {
        // In somebody else's pid namespace orphans would go to that one's init.
        rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    }
    loop {
        // Before the first wait, because the command may have ended before this program began.
        if let Some(code) = reap(command)? {
            return Ok(code);
        }
        let Some(signal) = signals.read_signal()? else { continue };
        if signal.ssi_signo != libc::SIGCHLD.cast_unsigned() {
            // It fails for a command that has ended, which the next round sees, or one that has become another user's.
            sys::signal::kill(command, signal.ssi_signo.cast_signed()).ok();
        }
    }
}

/// Takes the ends of all that have ended. The command's exit code when it is among them.
fn reap(command: i32) -> Result<Option<i32>, Errno> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == command => {
                let ended = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
                if ended.is_some() {
                    return Ok(ended);
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

//! The role `@work`: starts one command of a build in a container of its own, waits for it, and exits with its code. When whoever
//! wants it goes away, so does the command.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::exec_role::exit_code;
use super::workshop::Order;
use crate::engine::runtime::{self, Process, RuntimeError, Stdio};
use crate::files::{self, FileError};
use crate::sys;

/// The name of the role, as the first argument of this program.
pub const ROLE: &str = "@work";

#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("the order is missing")]
    NoOrder,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the order cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    #[error("open the network namespace: {0}")]
    Network(io::Error),
    #[error("pass the standard streams on: {0}")]
    Streams(io::Error),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("wait for the command: {0}")]
    Wait(Errno),
}

/// The role's entry: `<file with the order>`, which is removed.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let code = match run(arguments) {
        Ok(code) => code,
        Err(e) => {
            // Where standard error is closed there is nowhere left to say it.
            drop(writeln!(stderr(), "{e}"));
            if let WorkError::Runtime(e) = &e { e.exit_code() } else { 125 }
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}

fn run(arguments: &[OsString]) -> Result<i32, WorkError> {
    let path = Path::new(arguments.first().ok_or(WorkError::NoOrder)?);
    let text = files::read(path)?;
    files::remove_all(path)?;
    let Order { launch, netns } = serde_json::from_slice(&text)?;
    let netns = netns.map(File::open).transpose().map_err(WorkError::Network)?;
    let own = |fd: &dyn AsFd| sys::pty::duplicate(fd.as_fd()).map_err(WorkError::Streams);
    let null = sys::pty::null().map_err(WorkError::Streams)?;
    let stdio = Stdio { stdin: null, stdout: own(&stdout())?, stderr: own(&stderr())? };
    let mut process = runtime::start(&launch, stdio, netns.as_ref().map(AsFd::as_fd))?;
    let code = wait(&process).map_err(WorkError::Wait)?;
    // Only now that the command is known to have ended: see there.
    drop(process.mounts.take());
    Ok(code)
}

/// Waits for the command, and kills it when standard input ends.
fn wait(process: &Process) -> Result<i32, Errno> {
    let stdin = stdin();
    let mut wanted = true;
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds[..if wanted { 2 } else { 1 }], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        if !fds[0].revents().is_empty() {
            break;
        }
        if wanted && !fds[1].revents().is_empty() {
            // Nobody writes there, so it has ended. That the signal finds nobody means that the command has ended too.
            wanted = false;
            pidfd_send_signal(&process.pidfd, Signal::KILL).ok();
        }
    }
    exit_code(process)
}

//! The role `@exec`: one process that enters a container, passes its own standard streams and the signals it gets on, and
//! exits with the command's code. When it is killed, so is the command.

use std::ffi::OsString;
use std::io::{self, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::exec::{EXECUTED, Order};
use crate::engine::monitor::{Job, JobError};
use crate::engine::runtime::{self, ExecRequest, Process, RuntimeError, Stdio};
use crate::files::{self, FileError};
use crate::sys;

/// The name of the role, as the first argument of this program.
pub const ROLE: &str = "@exec";

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error("the order is missing")]
    NoOrder,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the order cannot be read: {0}")]
    Format(#[from] serde_json::Error),
    #[error("pass the standard streams on: {0}")]
    Streams(io::Error),
    #[error("make a terminal: {0}")]
    Terminal(io::Error),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("wait for the command: {0}")]
    Wait(Errno),
    #[error("watch for signals: {0}")]
    Signals(nix::errno::Errno),
    #[error("watch for the size of the window: {0}")]
    Mask(io::Error),
}

/// Those that are passed on. A change of the window has one of its own; see [`resize`].
const PASSED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
];

/// Tells the command that this role's process runs on a terminal that its window has another size. By a signal that
/// queues: with `SIGWINCH` the last of two sizes in a row would be the one that is dropped.
pub fn resize(role: rustix::process::Pid, rows: u16, columns: u16) -> io::Result<()> {
    let size = i32::from_ne_bytes((u32::from(rows) << 16 | u32::from(columns)).to_ne_bytes());
    sys::signal::queue(role.as_raw_nonzero().get(), sys::signal::first_queued(), size)
}

/// The role's entry: `<file with the order>`, which is removed.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match run(arguments) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Err(e) => {
            // Where standard error is closed there is nowhere left to say it.
            drop(writeln!(stderr(), "{e}"));
            let code = if let ExecError::Runtime(e) = &e { e.exit_code() } else { 125 };
            ExitCode::from(u8::try_from(code).unwrap_or(125))
        }
    }
}

fn run(arguments: &[OsString]) -> Result<i32, ExecError> {
    let path = Path::new(arguments.first().ok_or(ExecError::NoOrder)?);
    let text = files::read(path)?;
    files::remove_all(path)?;
    let order: Order = serde_json::from_slice(&text)?;
    let launch = Job::read(path.parent().ok_or(ExecError::NoOrder)?)?.launch;
    // Before the command exists, so that none is lost; it gets a mask of its own.
    let mask = sys::signal::with_number(PASSED.into_iter().collect(), sys::signal::first_queued()).map_err(ExecError::Mask)?;
    mask.thread_block().map_err(ExecError::Signals)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(ExecError::Signals)?;
    if order.detached {
        // A terminal that its starter is on is not its own: what ends there is not to end this.
        rustix::process::setsid().map_err(|e| ExecError::Streams(e.into()))?;
    }
    let (detached, window) = (order.detached, order.window());
    let request = order.request(launch);
    if request.tty { on_terminal(&request, window, detached, &signals) } else { on_own_streams(&request, detached, &signals) }
}

fn on_own_streams(request: &ExecRequest, detached: bool, signals: &SignalFd) -> Result<i32, ExecError> {
    let own = |fd: &dyn AsFd| sys::pty::duplicate(fd.as_fd()).map_err(ExecError::Streams);
    let null = || sys::pty::null().map_err(ExecError::Streams);
    let stdio = if detached {
        Stdio { stdin: null()?, stdout: null()?, stderr: null()? }
    } else {
        Stdio { stdin: own(&stdin())?, stdout: own(&stdout())?, stderr: own(&stderr())? }
    };
    let process = runtime::exec(request, stdio)?;
    tell_executed(detached)?;
    // The ends of the pipes are to be the command's alone, so that closing them means something.
    replace_streams(&null()?)?;
    wait(&process, signals, None).map_err(ExecError::Wait)?;
    exit_code(&process).map_err(ExecError::Wait)
}

/// Nobody reads or writes them from here on.
fn replace_streams(null: &OwnedFd) -> Result<(), ExecError> {
    let replaced = rustix::stdio::dup2_stdin(null).and(rustix::stdio::dup2_stdout(null)).and(rustix::stdio::dup2_stderr(null));
    replaced.map_err(|e| ExecError::Streams(e.into()))
}

fn tell_executed(detached: bool) -> Result<(), ExecError> {
    if detached {
        stdout().write_all(EXECUTED).and_then(|()| stdout().flush()).map_err(ExecError::Streams)?;
    }
    Ok(())
}

fn on_terminal(request: &ExecRequest, window: Option<(u16, u16)>, detached: bool, signals: &SignalFd) -> Result<i32, ExecError> {
    let sys::pty::Pty { controller, terminal } = runtime::open_terminal(request)?;
    if let Some((rows, columns)) = window {
        sys::pty::resize(&controller, rows, columns).map_err(ExecError::Terminal)?;
    }
    let same = || sys::pty::duplicate(&terminal).map_err(ExecError::Terminal);
    let stdio = Stdio { stdin: same()?, stdout: same()?, stderr: same()? };
    let process = runtime::exec(request, stdio)?;
    tell_executed(detached)?;
    // Only while the command has it open does the terminal have another end.
    drop(terminal);
    if detached {
        let null = sys::pty::null().map_err(ExecError::Streams)?;
        replace_streams(&null)?;
    }
    rustix::io::ioctl_fionbio(&controller, true).map_err(|e| ExecError::Terminal(e.into()))?;
    relay(&controller, &process, signals).map_err(ExecError::Streams)?;
    exit_code(&process).map_err(ExecError::Wait)
}

/// Carries bytes between the own streams and the terminal until the command has ended.
fn relay(controller: &OwnedFd, process: &Process, signals: &SignalFd) -> io::Result<()> {
    let mut block = vec![0; 16 * 1024];
    // Input that the terminal has not taken yet. No more is read before it has, so it stays small.
    let mut typed: Vec<u8> = Vec::new();
    let (mut input_open, mut ended) = (true, false);
    let stdin = stdin();
    loop {
        let input = if input_open && typed.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        let output = if typed.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = [
            PollFd::from_borrowed_fd(controller.as_fd(), output),
            PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stdin.as_fd(), input),
        ];
        // A closed input is ready for ever, so it is left out then.
        let polled = if input.is_empty() { &mut fds[..3] } else { &mut fds[..] };
        match poll(polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        ended |= !fds[1].revents().is_empty();
        pass_on(signals, process, Some(controller));
        if fds[3].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match rustix::io::read(&stdin, &mut block) {
                Ok(0) => input_open = false,
                Ok(count) => typed.extend_from_slice(&block[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => input_open = false,
            }
        }
        if !typed.is_empty() {
            match rustix::io::write(controller, &typed) {
                Ok(count) => drop(typed.drain(..count)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => typed.clear(),
            }
        }
        loop {
            match rustix::io::read(controller, &mut block) {
                // The end of a terminal whose other end is closed is an error.
                Ok(0) | Err(Errno::IO) if ended => return Ok(()),
                Ok(0) | Err(Errno::IO) => {
                    // Nobody has it open now, and nobody can open it again but the command itself: only its end is left.
                    wait(process, signals, Some(controller))?;
                    return Ok(());
                }
                // Whoever read it may have left: the command goes on.
                Ok(count) => drop(stdout().write_all(&block[..count]).and_then(|()| stdout().flush())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        if ended {
            return Ok(());
        }
    }
}

/// Waits, without taking the result away, and passes signals on meanwhile.
fn wait(process: &Process, signals: &SignalFd, controller: Option<&OwnedFd>) -> Result<(), Errno> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(process.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        pass_on(signals, process, controller);
    }
}

fn pass_on(signals: &SignalFd, process: &Process, controller: Option<&OwnedFd>) {
    while let Ok(Some(signal)) = signals.read_signal() {
        // What cannot be delivered is for a command that has ended.
        if signal.ssi_signo.cast_signed() == sys::signal::first_queued() {
            let size = u32::from_ne_bytes(signal.ssi_int.to_ne_bytes());
            if let (Some(controller), Ok(rows), true) = (controller, u16::try_from(size >> 16), size != 0) {
                // The terminal itself tells the command.
                sys::pty::resize(controller, rows, (size & 0xffff) as u16).ok();
            }
        } else {
            sys::signal::send(&process.pidfd, signal.ssi_signo.cast_signed()).ok();
        }
    }
}

/// Waits for a process, and gives its code as a shell has it.
pub(super) fn exit_code(process: &Process) -> Result<i32, Errno> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) | Ok(None) => {}
            Ok(Some(status)) => {
                return Ok(status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255));
            }
            Err(e) => return Err(e),
        }
    }
}

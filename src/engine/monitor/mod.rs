//! One process a container: its stdio, logs, exit, health and restarts. It outlives whoever started it, needs no daemon
//! and no database, and lives as long as its container.
//!
//! Guarantees: while the lock in the container's run-time folder is held, what `state.json` says is true; when it is free,
//! the container's process is dead. A monitor that is killed takes its container with it (the kernel sees to that).

mod child;
mod client;
mod connections;
mod error;
mod health;
mod input;
mod job;
mod joins;
pub mod logs;
mod probe;
mod process;
mod protocol;
mod reach;
mod restarts;
mod status;
mod streams;

use std::ffi::OsString;
use std::io::{Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use time::OffsetDateTime;

pub use client::{Attached, Client, ClientError, INPUT_PIECE};
pub use job::{Job, JobError};
pub use joins::{Join, JoinError, Space};
pub use protocol::{Attachment, Reply, Request};
pub use status::{Status, StatusError, Statuses, has_monitor, last_process, read_state, read_status};

pub(crate) use job::VERSION as JOB_VERSION;
pub(crate) use protocol::{Behaviour, Started};
pub(crate) use status::{LIMITS, LOGS, MONITOR_LOG};

use status::LOCK;

use crate::files::Lock;
use crate::model::{ContainerId, Instance};
use crate::sys::{self, Daemonized};
use connections::Farewell;
use process::Monitor;

/// The name of the role, as the first argument of this program.
pub const ROLE: &str = "@monitor";
/// The third argument of the role when its standard input is the network namespace to join.
pub const NETNS_GIVEN: &str = "netns";

/// The role's entry: `<run-time folder of the container> <ticket> [netns]`. Standard output is where the starter is told how the
/// start went, standard input the network namespace, and standard error the monitor's own log.
pub fn main(arguments: &[OsString]) -> ExitCode {
    match sys::daemonize() {
        Ok(Daemonized::Starter) => return ExitCode::SUCCESS,
        Ok(Daemonized::Daemon) => {}
        Err(e) => {
            tell(stdout(), &Started::Failed { code: 125, why: format!("leave the starter's session: {e}") });
            return ExitCode::from(125);
        }
    }
    match detach(arguments) {
        Ok(passed) => serve(passed),
        Err(e) => {
            tell(stdout(), &Started::Failed { code: 125, why: format!("set up the monitor's own streams: {e}") });
            ExitCode::from(125)
        }
    }
}

/// What the starter passed.
struct Passed {
    /// Where it is told how the start went.
    starter: OwnedFd,
    netns: Option<OwnedFd>,
    /// The container's run-time folder.
    folder: PathBuf,
    ticket: String,
}

/// Takes what was passed as standard streams, and puts the null device in its place.
fn detach(arguments: &[OsString]) -> std::io::Result<Passed> {
    let [folder, ticket, rest @ ..] = arguments else {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the container's folder and the ticket are missing"));
    };
    let netns = match rest.first() {
        Some(word) if word == NETNS_GIVEN => Some(sys::pty::duplicate(stdin().as_fd())?),
        _ => None,
    };
    let starter = sys::pty::duplicate(stdout().as_fd())?;
    let null = sys::pty::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    // No folder is kept busy by a process that may live for years.
    std::env::set_current_dir("/")?;
    Ok(Passed { starter, netns, folder: folder.into(), ticket: ticket.to_string_lossy().into_owned() })
}

fn serve(Passed { starter, netns, folder, ticket }: Passed) -> ExitCode {
    let folder = folder.as_path();
    let failed = |code: i32, why: String| {
        note(&why);
        tell(&starter, &Started::Failed { code, why });
        ExitCode::from(u8::try_from(code).unwrap_or(125))
    };
    let lock = match take_lock(folder) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            tell(&starter, &Started::Busy);
            return ExitCode::from(125);
        }
        Err(e) => return failed(125, e.to_string()),
    };
    let job = match Job::read_own(folder, &ticket) {
        Ok(job) => job,
        Err(e) => return failed(125, e.to_string()),
    };
    let (instance, id) = (job.instance(), job.id.clone());
    let mut monitor = match Monitor::new(job, lock, netns) {
        Ok(monitor) => monitor,
        Err(e) => return failed(125, e.to_string()),
    };
    match monitor.start() {
        Ok(pid) => tell(&starter, &Started::Running { pid }),
        Err(e) => {
            // The starter is told last, when the state is written and the lock is free.
            monitor.finish();
            return failed(e.exit_code(), e.to_string());
        }
    }
    // Whoever reads to the end is not to wait as long as the container lives.
    drop(starter);
    match monitor.run() {
        Ok(farewell) => leave(farewell, &instance, &id),
        Err(e) => {
            // Its death ends the container and frees the lock: the state is then `Lost`, which is the truth.
            note(&e.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Somebody who only looks whether the lock is held holds it for a moment, so one failure means nothing.
fn take_lock(folder: &Path) -> Result<Option<Lock>, crate::files::FileError> {
    for _ in 0..50 {
        if let Some(lock) = Lock::try_take(&folder.join(LOCK))? {
            return Ok(Some(lock));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

/// Sees to what the container leaves, and to those who have not fetched all of its output yet.
fn leave(farewell: Farewell, instance: &Instance, id: &ContainerId) -> ExitCode {
    let failed = |what: &str, error: std::io::Error| {
        note(&format!("{what}: {error}"));
        ExitCode::FAILURE
    };
    let nobody_reaps = farewell.nobody_reaps();
    if nobody_reaps && !farewell.is_done() {
        // Not after them: who reads slowly must not keep addresses and ports from others.
        if let Err(e) = settling(instance, id).spawn() {
            return failed("execute the settling of the container", e);
        }
        return farewell.linger().map_or_else(|e| failed("hand over the last output", e), |_| ExitCode::SUCCESS);
    }
    match farewell.linger() {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever promised to remove it has died, or nobody did.
        Ok(false) => failed("execute the settling of the container", settling(instance, id).exec()),
        Err(e) => failed("hand over the last output", e),
    }
}

/// The role that gives back what the container had (addresses, published ports) and removes it where that is asked.
fn settling(instance: &Instance, id: &ContainerId) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("setpoint")
        .arg("@settle")
        .arg("--state-dir")
        .arg(instance.state_dir())
        .arg("--run-dir")
        .arg(instance.run_dir())
        .arg("--socket")
        .arg(instance.socket())
        .arg(id.as_str());
    command
}

/// What a monitor told its starter; `None` when it died before it could.
pub(crate) fn decode_started(line: &[u8]) -> Option<Started> {
    protocol::decode(line).ok()
}

/// One line for the starter, who may be gone.
fn tell(to: impl AsFd, message: &Started) {
    match protocol::encode(message) {
        Ok(line) => {
            if let Err(e) = rustix::io::write(to.as_fd(), &line)
                && e != rustix::io::Errno::PIPE
            {
                note(&format!("tell the starter: {e}"));
            }
        }
        Err(e) => note(&format!("tell the starter: {e}")),
    }
}

/// A line in the monitor's own log. Where that cannot be written there is nowhere left to say so.
fn note(text: &str) {
    let at = OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
    drop(stderr().write_all(format!("{at} {text}\n").as_bytes()));
}

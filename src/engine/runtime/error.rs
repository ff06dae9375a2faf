//! Why a process could not be started, for the caller.

use std::io;

use super::cgroups::CgroupError;
use super::failure::{Failure, Stage};
use super::systemd::SystemdError;

#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Docker's words, which people search for.
    #[error("exec: {command:?}: executable file not found in the container")]
    CommandNotFound { command: String },
    #[error("exec: {command:?}: cannot be executed: {source}")]
    CommandNotExecutable { command: String, source: io::Error },
    #[error("could not {stage}{}{subject}: {source}", if subject.is_empty() { "" } else { " " })]
    Init { stage: Stage, subject: String, source: io::Error },
    #[error("the new process died before it could execute the command ({how})")]
    Died { how: String },
    #[error("the network namespace to join was not given")]
    NoNetworkGiven,
    #[error("the container is not running: process {pid} is gone")]
    NotRunning { pid: i32 },
    #[error("the specification asks for what is not supported here: {part}; remove it")]
    Unsupported { part: String },
    #[error(
        "a container that shares the processes of others needs cgroups that are this user's own, and the host has delegated none to this session"
    )]
    ProcessesShared,
    #[error("the specification names no process")]
    NoProcess,
    #[error("the system call filter cannot be built: {0}")]
    Seccomp(#[from] super::seccomp::SeccompError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error("could not clone a process: {0}")]
    Clone(#[source] io::Error),
    #[error("could not {action}: {source}")]
    Starter { action: &'static str, source: io::Error },
}

impl RuntimeError {
    /// The exit code that stands for this failure, as Docker has them.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::CommandNotExecutable { .. } => 126,
            _ => 125,
        }
    }

    pub(super) fn starter(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Starter { action, source }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        let Failure { stage, subject, errno } = failure;
        let source = io::Error::from_raw_os_error(errno);
        match (stage, errno) {
            (Stage::Execute, libc::ENOENT | libc::ENOTDIR) => Self::CommandNotFound { command: subject },
            (Stage::Execute, _) => Self::CommandNotExecutable { command: subject, source },
            _ => Self::Init { stage, subject, source },
        }
    }
}

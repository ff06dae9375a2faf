//! Why an operation of the OCI runtime failed, in words for whoever called it.

use std::io;
use std::path::PathBuf;

use super::super::failure::{Failure, Stage};
use super::super::seccomp::SeccompError;
use super::super::systemd::SystemdError;
use super::cgroups::CgroupError;
use super::record::Status;
use crate::files::FileError;

#[derive(Debug, thiserror::Error)]
pub enum OciError {
    #[error("container {id:?} does not exist")]
    NoContainer { id: String },
    #[error("container with id {id:?} exists already; delete it or choose another name")]
    Exists { id: String },
    #[error("{id:?} is not a container's name: use letters, digits, `_`, `+`, `-` and `.`, 1024 at most")]
    Id { id: String },
    // Engines look for these words when what they want to signal has ended.
    #[error("cannot {verb} container {id:?}: {}it is {status}", if *status == Status::Stopped { "container not running: " } else { "" })]
    Status { verb: &'static str, id: String, status: Status },
    #[error("{}: {source}", path.display())]
    Config { path: PathBuf, source: serde_json::Error },
    #[error("{}: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
    #[error("the bundle asks for what is not supported: {part}; {hint}")]
    Unsupported { part: String, hint: &'static str },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error("linux.cgroupsPath {}: {reason}", path.display())]
    ScopePath { path: PathBuf, reason: &'static str },
    #[error("annotation {name}: {reason}")]
    Annotation { name: String, reason: String },
    #[error("linux.seccomp: {0}")]
    Seccomp(#[from] SeccompError),
    #[error("exec: {command:?}: executable file not found in $PATH: {source}")]
    CommandNotFound { command: String, source: io::Error },
    #[error("exec: {command:?}: {source}")]
    CommandNotExecutable { command: String, source: io::Error },
    #[error("could not {stage}{}{subject}: {source}", if subject.is_empty() { "" } else { " " })]
    Init { stage: Stage, subject: String, source: io::Error },
    #[error("{phase} hook {}: {reason}", path.display())]
    Hook { phase: &'static str, path: PathBuf, reason: String },
    #[error("the container's process died before it was ready ({how})")]
    Died { how: String },
    #[error("could not {action}: {source}")]
    Step { action: &'static str, source: io::Error },
    #[error("process.terminal is set and nobody is there to take the terminal; give --console-socket")]
    NoConsole,
    #[error("--console-socket is given and process.terminal is not set; set it, or leave the option out")]
    UselessConsole,
    #[error("{what}: {reason}")]
    Argument { what: &'static str, reason: String },
}

impl OciError {
    pub(super) fn step(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { action, source }
    }

    /// The exit code that stands for this failure of `run` and `exec`.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CommandNotFound { .. } => 127,
            Self::CommandNotExecutable { .. } => 126,
            _ => 1,
        }
    }
}

impl From<Failure> for OciError {
    fn from(failure: Failure) -> Self {
        let Failure { stage, subject, errno } = failure;
        let source = io::Error::from_raw_os_error(errno);
        match (stage, errno) {
            (Stage::Execute, libc::ENOENT | libc::ENOTDIR) => Self::CommandNotFound { command: subject, source },
            (Stage::Execute, _) => Self::CommandNotExecutable { command: subject, source },
            _ => Self::Init { stage, subject, source },
        }
    }
}

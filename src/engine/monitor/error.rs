//! Why a monitor ends without having served its container.

use rustix::io::Errno;

use super::joins::JoinError;
use super::logs::RecorderError;
use crate::engine::runtime::RuntimeError;
use crate::files::FileError;

#[derive(Debug, thiserror::Error)]
pub(super) enum MonitorError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    #[error("watch for signals: {0}")]
    Signals(nix::errno::Errno),
    #[error("read the monitor's own start time: {0}")]
    Identity(std::io::Error),
    #[error("make the container's standard streams: {0}")]
    Streams(std::io::Error),
    #[error("wait for events: {0}")]
    Poll(Errno),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl MonitorError {
    pub(super) fn exit_code(&self) -> i32 {
        match self {
            Self::Runtime(e) => e.exit_code(),
            _ => 125,
        }
    }
}

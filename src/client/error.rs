//! Why a call did not succeed.

use std::path::PathBuf;

use hyper::StatusCode;

use crate::wire::frame::FrameError;
use crate::wire::native::ErrorBody;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("connect to the daemon at {}: {source}", path.display())]
    Connect { path: PathBuf, source: std::io::Error },
    /// The engine said no.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    #[error("talk to the engine: {0}")]
    Transport(#[from] hyper::Error),
    #[error("make a request: {0}")]
    Request(hyper::http::Error),
    #[error("encode a request: {0}")]
    Encode(serde_json::Error),
    #[error("encode a query: {0}")]
    Query(serde_urlencoded::ser::Error),
    #[error("the engine's answer is not understood ({0}); are this program and the daemon of one version?")]
    Answer(serde_json::Error),
    #[error("the engine answered {status} where a stream was asked for")]
    NotUpgraded { status: StatusCode },
    #[error("the engine's stream: {0}")]
    Frames(#[from] FrameError),
    #[error("the engine's stream: {0}")]
    Lines(#[from] tokio_util::codec::LinesCodecError),
    #[error("the engine's stream ended before its end")]
    Ended,
}

impl ClientError {
    /// What the engine refused, where it did.
    pub const fn refused(&self) -> Option<&ErrorBody> {
        match self {
            Self::Refused(body) => Some(body),
            _ => None,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(body) => body.hint.clone(),
            Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("only the user that runs the daemon may use it: try again as root".into())
            }
            Self::Transport(_) | Self::Ended => Some("the daemon may have been stopped or restarted: look at its log".into()),
            _ => None,
        }
    }
}

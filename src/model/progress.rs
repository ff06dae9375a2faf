//! How far a long step is: what pulls and imports say while they run.

use serde::{Deserialize, Serialize};

/// One thing that moved on. Sent often; a reader may drop what it cannot show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// What moves: a layer's short digest, or the name of a file.
    pub part: String,
    pub phase: Phase,
    /// Bytes so far, and of how many where that is known.
    pub current: u64,
    pub total: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Waiting,
    Downloading,
    Unpacking,
    Compressing,
    Uploading,
    /// It was here already.
    Exists,
    Done,
}

impl Phase {
    /// In words, for people.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Downloading => "downloading",
            Self::Unpacking => "unpacking",
            Self::Compressing => "compressing",
            Self::Uploading => "uploading",
            Self::Exists => "already here",
            Self::Done => "done",
        }
    }
}

/// Where progress goes. Called from any thread, and must not block.
pub type ProgressSink = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;

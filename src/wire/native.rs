//! The native API's own requests and answers. What describes containers, plans and stacks goes over the wire as the values
//! that the rest of the program uses (`observed`, `plan`, `reconcile::report`), so it is not repeated here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::spec::ContainerSpec;
use crate::model::{ContainerId, Digest, ImageRef, Name, Platform, Progress, Signal, Span};

/// All paths of the API begin with this.
pub const PREFIX: &str = "/v1";
/// What a connection is upgraded to when it is to carry frames both ways.
pub const FRAMES: &str = "setpoint-frames";
/// The type of a body that is a stream of frames.
pub const FRAMES_TYPE: &str = "application/vnd.setpoint.frames";
/// The type of a body with one JSON value a line.
pub const LINES_TYPE: &str = "application/x-ndjson";

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub kind: ErrorKind,
    pub message: String,
    /// What one can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What `run` and `exec` exit with: 125 the engine failed, 126 the command cannot be run, 127 there is no such command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    NotFound,
    Conflict,
    Invalid,
    /// A registry does not let us, or an image is not signed as it has to be.
    Denied,
    /// A registry does not answer.
    Unreachable,
    /// The engine sees other files at a path than whoever asks.
    Elsewhere,
    Internal,
}

/// A line of a stream of JSON values: one more value, or the reason why there are no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line<T> {
    Failed { error: ErrorBody },
    Value(T),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub version: String,
    pub os: String,
    pub architecture: String,
    /// The process that answers: the daemon's, or the command line's own.
    pub pid: u32,
}

/// What this instance is, and what its host lets it do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub version: String,
    pub kernel: String,
    pub state_dir: String,
    pub run_dir: String,
    /// Whether it is an ordinary user's.
    pub rootless: bool,
    /// `v1`, `v2`, or `none` where there are none for this user.
    pub cgroups: String,
    /// The controllers whose limits can be kept.
    pub controllers: Vec<String>,
}

// ---- containers

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateContainer {
    /// Chosen by the engine when absent.
    pub name: Option<Name>,
    /// Removed when it exits for good.
    pub auto_remove: bool,
    /// What its image must be for; whatever is here when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    pub spec: ContainerSpec,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: ContainerId,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Between the stop signal and SIGKILL; the container's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
    /// Instead of the container's own stop signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    pub signal: Signal,
}

/// How a container is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveContainer {
    #[serde(default)]
    pub force: bool,
    /// With the volumes that it has without a name for them, and their data.
    #[serde(default)]
    pub volumes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    pub code: i32,
}

/// Which lines of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// The last so many lines; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// Go on with new lines until the container exits for good.
    #[serde(default)]
    pub follow: bool,
    /// Begin each line with its time.
    #[serde(default)]
    pub timestamps: bool,
    /// Begin each line with the tag and the labels that the container's logging names.
    #[serde(default)]
    pub details: bool,
    /// Only lines that this regular expression matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grep: Option<String>,
    /// A JSON object a line: container, stream, time, level and message.
    #[serde(default)]
    pub json: bool,
}

/// How to attach to a container's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// Start it, and have all of its output: a reader that is slow slows the container. Otherwise what it prints from now
    /// on is sent, the container never waits, and who reads too slowly is turned away.
    #[serde(default)]
    pub start: bool,
    /// With `start`: remove it when it has exited, if it is one that is removed then.
    #[serde(default)]
    pub reap: bool,
    /// Frames of input come, for its standard input. They end at the latest with the connection.
    #[serde(default)]
    pub stdin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    pub argv: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub working_dir: Option<String>,
    #[serde(default)]
    pub tty: bool,
    /// With every capability that there is.
    #[serde(default)]
    pub privileged: bool,
    /// Rows and columns of our terminal.
    #[serde(default)]
    pub window: Option<(u16, u16)>,
}

// ---- images

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    pub reference: ImageRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Ask the registry only when the image is not here.
    #[serde(default)]
    pub missing: bool,
    /// What whoever asks has stored for the registry; what the engine's own user has stored when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// An image of this host, and where it goes.
    pub reference: ImageRef,
    /// Images for other platforms, by name or digest: an index of all is what is published.
    #[serde(default)]
    pub with: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// `TERM`, or `HOST[:PORT]/TERM` for another registry than Docker's.
    pub term: String,
    pub limit: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    pub reference: ImageRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// A repository that a search has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub name: String,
    pub description: String,
    pub stars: u64,
    pub official: bool,
}

/// What one registry is to be told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub registry: String,
    pub secret: Secret,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    Password { user: String, password: String },
    Refresh(String),
    Bearer(String),
}

/// Without the secret: this may end up in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.registry)
    }
}

/// The tar is the request's body, unless a folder is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// What the image is to be called, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ImageRef>,
    /// A folder of the host to import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The address of a tar for the host to fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the image's history says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the programs in it are made for; this host when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What containers of the image run by default. As text of JSON, because a query has no structure.
    #[serde(default, with = "json_text")]
    pub defaults: Defaults,
    /// Instructions of a Dockerfile on top of that. As text of JSON, too.
    #[serde(default, with = "json_text")]
    pub changes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
}

mod json_text {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(value).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Images by digest, reference or unique prefix of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveImage {
    pub image: String,
    #[serde(default)]
    pub force: bool,
}

/// How a pull or an import goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ImageEvent {
    Progress {
        progress: Progress,
    },
    /// Last.
    Done {
        digest: Digest,
    },
}

// ---- the rest

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create<S> {
    pub name: Name,
    pub spec: S,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destroy {
    /// The stack's volumes too, with their data.
    #[serde(default)]
    pub volumes: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// Volumes too, with their data.
    #[serde(default)]
    pub volumes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_value_or_a_failure() {
        let error = ErrorBody { kind: ErrorKind::Invalid, message: "no".into(), hint: None, exit_code: None };
        let digest = Digest::of(b"x");
        for (line, json) in [
            (Line::Value(ImageEvent::Done { digest }), format!(r#"{{"event":"done","digest":"{digest}"}}"#)),
            (Line::Failed { error }, r#"{"error":{"kind":"invalid","message":"no"}}"#.into()),
        ] {
            assert_eq!(serde_json::to_string(&line).unwrap(), json);
            assert_eq!(serde_json::from_str::<Line<ImageEvent>>(&json).unwrap(), line);
        }
    }
}

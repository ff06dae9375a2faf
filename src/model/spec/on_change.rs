//! What is done with a container when the content of a file that it has mounted changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::classes::Change;
use crate::model::{Digest, Signal};

/// What a change of content takes. By default what a rollout in Kubernetes does where the name of a generated config has its
/// content's hash: the container is made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    #[default]
    Recreate,
    Restart,
    /// The file is exchanged where it is mounted, and the first process is sent this signal.
    Signal(Signal),
    /// The file is exchanged, and that is all: the process looks by itself.
    Nothing,
}

impl OnChange {
    pub const fn change(self) -> Change {
        match self {
            Self::Recreate => Change::Recreate,
            Self::Restart => Change::Restart,
            Self::Signal(_) => Change::Reload,
            Self::Nothing => Change::Live,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is none of recreate, restart, nothing, and no signal such as SIGHUP")]
pub struct InvalidOnChange(String);

impl FromStr for OnChange {
    type Err = InvalidOnChange;

    fn from_str(text: &str) -> Result<Self, InvalidOnChange> {
        match text {
            "recreate" => Ok(Self::Recreate),
            "restart" => Ok(Self::Restart),
            "nothing" => Ok(Self::Nothing),
            signal => signal.parse().map(Self::Signal).map_err(|_| InvalidOnChange(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recreate => f.write_str("recreate"),
            Self::Restart => f.write_str("restart"),
            Self::Signal(signal) => signal.fmt(f),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

impl Serialize for OnChange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OnChange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Of a file or folder of the host that is watched: its content when it was looked at, and what its change takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    pub digest: Digest,
    #[serde(default, skip_serializing_if = "is_usual")]
    pub on_change: OnChange,
}

fn is_usual(on_change: &OnChange) -> bool {
    *on_change == OnChange::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["recreate", "restart", "nothing", "SIGHUP", "SIGUSR1"] {
            assert_eq!(text.parse::<OnChange>().unwrap().to_string(), text);
        }
        assert_eq!("hup".parse::<OnChange>().unwrap(), "SIGHUP".parse().unwrap());
        assert!("reload".parse::<OnChange>().unwrap_err().to_string().contains("SIGHUP"));
        assert_eq!(serde_json::to_string(&OnChange::Restart).unwrap(), "\"restart\"");
    }
}

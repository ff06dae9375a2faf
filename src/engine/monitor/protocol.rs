//! The words on a monitor's socket: one JSON object a line, a request and then its replies. A monitor lives as long as its
//! container, so it will be asked by later versions than its own: every request carries the version that it needs,
//! and a monitor refuses what it does not know instead of guessing.

use serde::{Deserialize, Serialize};

use super::logs::Recording;
use super::status::Status;
use crate::model::spec::{Healthcheck, ResourceLimits};
use crate::model::{RestartPolicy, Signal, Span};

/// The version of the protocol that this program speaks.
const VERSION: u32 = 1;

/// The longest request.
pub(crate) const MAX_REQUEST: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// How the container stands, its health checks included.
    State,
    /// Send a signal to the container's first process. Its stop signal and SIGKILL count as a stop by the user.
    Signal { signal: Signal },
    /// End the container for good: the stop signal, and SIGKILL after the grace. Answered when it has finally exited.
    Stop {
        grace_millis: u64,
        /// Instead of its own stop signal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<Signal>,
    },
    /// Answered when the container has finally exited. Who asks to `reap` promises to remove the container itself if it
    /// is one that is removed when it exits.
    Wait { reap: bool },
    /// Have the container's output from now on: after the answer the connection carries frames, and `Exit` is the last, when
    /// the container has finally exited.
    ///
    /// Frames may come the other way: input, its end, and the size of the window.
    Attach(Attachment),
    /// Let the container stand still.
    Pause,
    /// Let it go on.
    Unpause,
    /// Change what can be changed while it runs.
    Update {
        #[serde(default)]
        restart: Option<RestartPolicy>,
        #[serde(default)]
        limits: Option<Box<ResourceLimits>>,
    },
    /// Behave in this way from now on. Asked for apart from `Update`, so that a monitor that does not know it refuses.
    Behave(Box<Behaviour>),
    /// Check the container's health in this way from now on, or not at all.
    Check { check: Option<Box<Healthcheck>> },
}

/// How a monitor ends its container, and where it records what that prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behaviour {
    pub(crate) stop_signal: Signal,
    pub(crate) stop_grace: Span,
    pub(crate) recording: Recording,
}

/// How somebody has a container's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Who asks promises to remove the container, if it is one that is removed when it exits.
    pub reap: bool,
    /// The container waits for who reads slowly. Otherwise who reads too slowly is turned away.
    #[serde(default)]
    pub lossless: bool,
    /// Input comes, and ends at the latest when the connection does.
    #[serde(default)]
    pub stdin: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    Done,
    /// Frames follow.
    Attached,
    State {
        status: Box<Status>,
    },
    /// The container has finally exited. `reaper`: the asker is the one who is to remove it.
    Exited {
        code: i32,
        reaper: bool,
    },
    NotRunning,
    Refused {
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// A line with its newline.
pub(crate) fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&Envelope { v: VERSION, body })?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("version {0} of the monitor's protocol is not known here; it was started by another version of setpoint")]
    Version(u32),
    #[error("not a message of the monitor's protocol: {0}")]
    Format(#[from] serde_json::Error),
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    let Version { v } = serde_json::from_slice(line)?;
    if v != VERSION {
        return Err(ProtocolError::Version(v));
    }
    let Envelope { body, .. } = serde_json::from_slice(line)?;
    Ok(body)
}

/// What a monitor tells its starter, once, on the pipe it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Started {
    Running {
        pid: i32,
    },
    /// Another monitor holds the container.
    Busy,
    /// `code` is what the command line exits with: 125, 126 or 127.
    Failed {
        code: i32,
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Probe;

    #[test]
    fn lines_are_as_documented() {
        let line = encode(&Request::Stop { grace_millis: 10_000, signal: None }).unwrap();
        assert_eq!(line, b"{\"v\":1,\"ask\":\"stop\",\"grace_millis\":10000}\n");
        for request in [
            Request::State,
            Request::Signal { signal: "RTMIN+3".parse().unwrap() },
            Request::Wait { reap: true },
            Request::Attach(Attachment { reap: false, lossless: true, stdin: true }),
            Request::Pause,
            Request::Unpause,
            Request::Update { restart: Some(RestartPolicy::OnFailure(Some(2))), limits: Some(Box::default()) },
            Request::Check { check: Some(Box::new(Healthcheck::new(Probe::Http("80/ok".parse().unwrap())))) },
            Request::Check { check: None },
            Request::Behave(Box::new(Behaviour {
                stop_signal: Signal::TERM,
                stop_grace: Span::seconds(3),
                recording: Recording::None,
            })),
        ] {
            assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);
        }
        assert!(matches!(decode::<Request>(b"{\"v\":2,\"ask\":\"dance\"}"), Err(ProtocolError::Version(2))));
        for bad in [&b"{}"[..], b"{\"v\":1}", b"{\"v\":1,\"ask\":\"dance\"}", b"\xff"] {
            assert!(matches!(decode::<Request>(bad), Err(ProtocolError::Format(_))));
        }
    }
}

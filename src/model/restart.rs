//! Restart policies: what a monitor does when its container exits. The waiting times are Docker's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// When a container is started again after it exited by itself. A container that a user stopped is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    UnlessStopped,
    /// Only after a non-zero exit, at most so many times in a row (`None`: for ever).
    OnFailure(Option<u32>),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a restart policy: expected `no`, `always`, `unless-stopped` or `on-failure[:MAX]`")]
pub struct InvalidPolicy {
    text: String,
}

impl RestartPolicy {
    /// Whether a container that exited by itself with `code`, after `restarts` restarts in a row, starts again.
    pub fn restarts(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::Always | Self::UnlessStopped => true,
            Self::OnFailure(max) => code != 0 && max.is_none_or(|max| restarts < max),
        }
    }

    /// Whether a container under this policy ought to be running whatever its last exit was.
    pub const fn keeps_running(self) -> bool {
        matches!(self, Self::Always | Self::UnlessStopped)
    }

    /// How long to wait before restart number `restarts` (from 0) in a row: 100 ms, doubled each time up to a minute.
    pub fn delay(restarts: u32) -> Duration {
        Duration::from_millis(100u64.saturating_mul(1 << restarts.min(16))).min(Duration::from_secs(60))
    }

    /// A run of this length or more was healthy: the count of restarts in a row begins anew.
    pub const HEALTHY_RUN: Duration = Duration::from_secs(10);
}

impl FromStr for RestartPolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        Ok(match text {
            "no" | "" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure(None),
            text => match text.strip_prefix("on-failure:").and_then(|max| max.parse().ok()) {
                Some(max) => Self::OnFailure(Some(max)),
                None => return Err(InvalidPolicy { text: text.chars().take(60).collect() }),
            },
        })
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(max)) => write!(f, "on-failure:{max}"),
        }
    }
}

super::serde_as_text!(
    RestartPolicy,
    "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$",
    "When a container is started again after it exited"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides() {
        assert!(!RestartPolicy::No.restarts(1, 0));
        assert!(RestartPolicy::Always.restarts(0, 1000));
        assert!(!RestartPolicy::OnFailure(None).restarts(0, 0));
        assert!(RestartPolicy::OnFailure(Some(2)).restarts(1, 1));
        assert!(!RestartPolicy::OnFailure(Some(2)).restarts(1, 2));
        assert_eq!(RestartPolicy::delay(0), Duration::from_millis(100));
        assert_eq!(RestartPolicy::delay(3), Duration::from_millis(800));
        assert_eq!(RestartPolicy::delay(u32::MAX), Duration::from_secs(60));
        for text in ["no", "always", "unless-stopped", "on-failure", "on-failure:5"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        assert!("sometimes".parse::<RestartPolicy>().is_err());
    }
}

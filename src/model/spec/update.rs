//! How a container gives way to another edition of itself, and what becomes of the stack when that one is not well.
//! Source: Compose Deploy Specification, `update_config` and `rollback_config`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Name, Span};

/// How a container is replaced, and for how long the new one is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: Order,
    /// How long it is waited before the next one is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delay: Span,
    /// How long it must live and be well before its update counts as done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monitor: Span,
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_action: FailureAction,
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_failure_ratio: Ratio,
    /// Those whose failures are counted together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
}

impl Update {
    /// How long one is watched where a failure is to have consequences and nothing is said of a time.
    pub const MONITOR: Span = Span::seconds(5);

    /// Whether what becomes of a new one is looked at at all.
    pub fn is_watched(&self) -> bool {
        self.order == Order::StartFirst || self.monitor != Span::default() || self.failure_action != FailureAction::Pause
    }

    /// How many of `count` may fail before the update has failed.
    pub fn tolerates(&self, count: usize) -> usize {
        match self.failure_action {
            FailureAction::Continue => usize::MAX,
            FailureAction::Pause | FailureAction::Rollback => self.max_failure_ratio.of(count),
        }
    }
}

/// Which of the two goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The old one goes before the new one comes.
    #[default]
    StopFirst,
    /// The new one is there and well before the old one goes.
    StartFirst,
}

impl Order {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StopFirst => "stop-first",
            Self::StartFirst => "start-first",
        }
    }
}

/// What is done when more have failed than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Those that come after stay as they are, until something else is wanted.
    #[default]
    Pause,
    /// Nothing: all are replaced.
    Continue,
    /// The stack becomes what it was before, and stays so until something else is wanted.
    Rollback,
}

impl FailureAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Rollback => "rollback",
        }
    }
}

/// A share from 0 to 1, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ratio(u32);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a share: expected a number from 0 to 1, such as `0.25`")]
pub struct InvalidRatio {
    text: String,
}

impl Ratio {
    const WHOLE: u32 = 1_000_000;

    /// So many of `count`, in whole ones.
    pub const fn of(self, count: usize) -> usize {
        count.saturating_mul(self.0 as usize) / Self::WHOLE as usize
    }
}

impl FromStr for Ratio {
    type Err = InvalidRatio;

    fn from_str(text: &str) -> Result<Self, InvalidRatio> {
        let invalid = || InvalidRatio { text: text.chars().take(60).collect() };
        let value = text.trim().parse::<f64>().map_err(|_| invalid())?;
        if (0.0..=1.0).contains(&value) { Ok(Self((value * f64::from(Self::WHOLE)).round() as u32)) } else { Err(invalid()) }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(Self::WHOLE))
    }
}

crate::model::serde_as_text!(Ratio, "^(0([.][0-9]+)?|1([.]0+)?)$", "A share from 0 to 1, such as 0.25");

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, of_four, shown) in
            [("0", 0, "0"), ("0.25", 1, "0.25"), ("0.74", 2, "0.74"), ("1.0", 4, "1"), ("0.5", 2, "0.5")]
        {
            let ratio: Ratio = text.parse().unwrap();
            assert_eq!((ratio.of(4), ratio.to_string().as_str()), (of_four, shown), "{text}");
        }
        for bad in ["-0.1", "1.1", "nan", "x", ""] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_fail() {
        let update = |action, ratio: &str| Update {
            failure_action: action,
            max_failure_ratio: ratio.parse().unwrap(),
            ..Update::default()
        };
        assert_eq!(update(FailureAction::Pause, "0").tolerates(3), 0);
        assert_eq!(update(FailureAction::Rollback, "0.34").tolerates(3), 1);
        assert_eq!(update(FailureAction::Continue, "0").tolerates(3), usize::MAX);
        assert!(!update(FailureAction::Pause, "0").is_watched());
        assert!(update(FailureAction::Rollback, "0").is_watched());
    }
}

//! When a registry is asked for an image: `always`, `missing`, `never`, or every so often.
//! Source: Compose Specification, `pull_policy`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Span;

/// Displayed in the words that are parsed; `if_not_present` is another word for `missing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every apply that a user asks for, and whenever the manifests have changed.
    Always,
    /// When the host does not have the image.
    #[default]
    Missing,
    Never,
    /// When the last answer is older than this.
    Every(Span),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is not a pull policy: expected always, missing, never, daily, weekly or every_<duration> (such as `every_12h`)"
)]
pub struct InvalidPolicy {
    text: String,
}

const DAY: u64 = 86_400;
const UNITS: [(char, u64); 5] = [('w', 7 * DAY), ('d', DAY), ('h', 3600), ('m', 60), ('s', 1)];
/// A century is more than anybody waits, and keeps arithmetic with times in range.
const LONGEST: u64 = 36_525 * DAY;

impl FromStr for PullPolicy {
    type Err = InvalidPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let invalid = || InvalidPolicy { text: text.chars().take(60).collect() };
        Ok(match text {
            "always" => Self::Always,
            "missing" | "if_not_present" => Self::Missing,
            "never" => Self::Never,
            "daily" => Self::Every(Span::seconds(DAY)),
            "weekly" => Self::Every(Span::seconds(7 * DAY)),
            _ => {
                let parts = text.strip_prefix("every_").ok_or_else(invalid)?;
                Self::Every(Span(Duration::from_secs(seconds(parts).ok_or_else(invalid)?)))
            }
        })
    }
}

/// Whole numbers with units: weeks, days, hours, minutes, seconds. Never nothing.
fn seconds(mut text: &str) -> Option<u64> {
    let mut all = 0u64;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at(end);
        let unit = rest.chars().next()?;
        let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        all = all.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        text = &rest[unit.len_utf8()..];
    }
    (1..=LONGEST).contains(&all).then_some(all)
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Missing => f.write_str("missing"),
            Self::Never => f.write_str("never"),
            Self::Every(span) if *span == Span::seconds(DAY) => f.write_str("daily"),
            Self::Every(span) if *span == Span::seconds(7 * DAY) => f.write_str("weekly"),
            Self::Every(span) => write!(f, "every_{span}"),
        }
    }
}

super::serde_as_text!(
    PullPolicy,
    "^(always|missing|if_not_present|never|daily|weekly|every_([0-9]+[wdhms])+)$",
    "When to ask the registry: always, missing, never, daily, weekly, or every_<duration> such as every_12h"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composes_words() {
        for (text, policy, printed) in [
            ("always", PullPolicy::Always, "always"),
            ("if_not_present", PullPolicy::Missing, "missing"),
            ("never", PullPolicy::Never, "never"),
            ("daily", PullPolicy::Every(Span::seconds(DAY)), "daily"),
            ("every_1d", PullPolicy::Every(Span::seconds(DAY)), "daily"),
            ("every_7d", PullPolicy::Every(Span::seconds(7 * DAY)), "weekly"),
            ("every_12h", PullPolicy::Every(Span::seconds(43_200)), "every_12h"),
            ("every_1w2d3h4m5s", PullPolicy::Every(Span::seconds(9 * DAY + 11_045)), "every_9d3h4m5s"),
        ] {
            assert_eq!(text.parse::<PullPolicy>().unwrap(), policy, "{text}");
            assert_eq!(policy.to_string(), printed);
            assert_eq!(printed.parse::<PullPolicy>().unwrap(), policy);
        }
        for bad in
            ["", "Always", "build", "refresh", "every_", "every_12", "every_0s", "every_h", "every_1y", "every_1.5h", "every_-1h"]
        {
            assert!(bad.parse::<PullPolicy>().is_err(), "{bad}");
        }
        assert!("every_99999999999999999999w".parse::<PullPolicy>().is_err());
        assert!("every_99999w".parse::<PullPolicy>().is_err());
    }
}

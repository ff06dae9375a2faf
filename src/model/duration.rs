//! Durations as Compose writes them: `1m30s`, `500ms`, `2h`.
//! Source: Compose Specification, "Specifying durations".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time. Displayed in the same form that is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(pub Duration);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a duration: expected numbers with units us, ms, s, m, h or d (such as `1m30s`)")]
pub struct InvalidDuration {
    text: String,
}

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

impl Span {
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration { text: text.chars().take(60).collect() };
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut micros = 0f64;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, f)| *f).ok_or_else(invalid)?;
            micros += number.parse::<f64>().map_err(|_| invalid())? * factor as f64;
            rest = after;
        }
        // A hundred years is more than anybody waits, and keeps all later arithmetic in range.
        if micros > 3.2e15 { Err(invalid()) } else { Ok(Self(Duration::from_micros(micros.round() as u64))) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_micros() as u64;
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if left >= factor {
                write!(f, "{}{unit}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

super::serde_as_text!(Span, "^([0-9.]+(us|ms|s|m|h|d))+$|^0$", "A duration, such as 1m30s or 500ms");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, millis, printed) in [
            ("1m30s", 90_000, "1m30s"),
            ("500ms", 500, "500ms"),
            ("0", 0, "0s"),
            ("1.5s", 1500, "1s500ms"),
            ("24h", 86_400_000, "1d"),
        ] {
            let span = text.parse::<Span>().unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), printed);
            assert_eq!(printed.parse::<Span>().unwrap(), span);
        }
        for bad in ["", "5", "s", "1y", "-1s", "1s2", "1..s", "999999999999h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}

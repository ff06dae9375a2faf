//! Times as people write and read them: `10m` ago, "3 minutes ago".

use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::Span;

/// A point in time, absolute or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(OffsetDateTime),
    Ago(Span),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a time: expected 2026-01-02T15:04:05Z, a duration ago such as `10m`, or seconds since 1970")]
pub struct InvalidTime {
    text: String,
}

impl When {
    pub fn resolve(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => now - span.0,
        }
    }
}

impl FromStr for When {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime { text: text.chars().take(60).collect() };
        if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(time));
        }
        // A day, or a time without a zone: taken as UTC, which is what logs are written in.
        for completed in [format!("{text}Z"), format!("{text}T00:00:00Z")] {
            if let Ok(time) = OffsetDateTime::parse(&completed, &Rfc3339) {
                return Ok(Self::At(time));
            }
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
            let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
            let mut digits: String = fraction.chars().take(9).collect();
            while digits.len() < 9 {
                digits.push('0');
            }
            let nanos: i64 = digits.parse().map_err(|_| invalid())?;
            let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| invalid())?;
            return Ok(Self::At(time + time::Duration::nanoseconds(nanos)));
        }
        text.parse().map(Self::Ago).map_err(|_| invalid())
    }
}

/// `3 minutes`: one unit, the largest that fits twice or so, as Docker says it.
pub fn humane(span: time::Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let many = |n: i64, unit: &str| format!("{n} {unit}s");
    match seconds {
        0 => "less than a second".into(),
        1 => "1 second".into(),
        2..60 => many(seconds, "second"),
        60..120 => "about a minute".into(),
        120..2700 => many(minutes, "minute"),
        2700..5400 => "about an hour".into(),
        _ if hours < 48 => many(hours, "hour"),
        _ if hours < 24 * 14 => many(hours / 24, "day"),
        _ if hours < 24 * 60 => many(hours / 24 / 7, "week"),
        _ if hours < 24 * 365 * 2 => many(hours / 24 / 30, "month"),
        _ => many(hours / 24 / 365, "year"),
    }
}

/// `2026-01-02 15:04:05 +0000 UTC`, as Docker writes times that are not for people.
pub fn clock(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    let (date, clock) = (utc.date(), utc.time());
    format!("{date} {:02}:{:02}:{:02} +0000 UTC", clock.hour(), clock.minute(), clock.second())
}

/// `3 minutes ago`.
pub fn ago(then: OffsetDateTime, now: OffsetDateTime) -> String {
    format!("{} ago", humane(now - then))
}

/// A point in time in UTC, to the second.
pub fn stamp(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_form() {
        let now = OffsetDateTime::from_unix_timestamp(1_000_000).unwrap();
        for (text, seconds) in [
            ("10m", 1_000_000 - 600),
            ("1h30m", 1_000_000 - 5400),
            ("1500000", 1_500_000),
            ("0", 0),
            ("1970-01-02T00:00:00Z", 86_400),
            ("1970-01-02T01:00:00+01:00", 86_400),
            ("1970-01-02T00:00:00", 86_400),
            ("1970-01-02", 86_400),
        ] {
            assert_eq!(text.parse::<When>().unwrap().resolve(now).unix_timestamp(), seconds, "{text}");
        }
        let exact = "12.5".parse::<When>().unwrap().resolve(now);
        assert_eq!(exact.unix_timestamp_nanos(), 12_500_000_000);
        for bad in ["", "yesterday", "10", "1970-13-01", "-5m", "1.2.3", "99999999999999999999"].iter().filter(|t| **t != "10") {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }

    #[test]
    fn humane_spans() {
        for (seconds, text) in [
            (0, "less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "about a minute"),
            (125, "2 minutes"),
            (3600, "about an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (15 * 86_400, "2 weeks"),
            (100 * 86_400, "3 months"),
            (800 * 86_400, "2 years"),
        ] {
            assert_eq!(humane(time::Duration::seconds(seconds)), text, "{seconds}");
        }
    }
}

//! Amounts: bytes (`512m`, `1.5gb`) and processor shares (`0.5`), as Compose writes them. Always binary units.
//! Source: Compose Specification, "Specifying byte values".

use std::fmt;
use std::str::FromStr;

/// A number of bytes. Parsed from `64m`, `1.5GiB`, `1024`; displayed in the largest unit that loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a size: expected a number with an optional unit b, k, m, g or t (such as `512m`)")]
pub struct InvalidSize {
    text: String,
}

const UNITS: [(&str, u64); 5] = [("t", 1 << 40), ("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("b", 1)];

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize { text: text.chars().take(60).collect() };
        let lower = text.trim().to_ascii_lowercase();
        let split = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
        let (number, unit) = lower.split_at(split);
        let number = number.trim();
        let unit = if unit == "b" { unit } else { unit.trim_end_matches('b').trim_end_matches('i') };
        let factor = match unit {
            "" if !lower.ends_with('i') => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(invalid)?,
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(invalid());
        }
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(invalid);
        }
        let value = number.parse::<f64>().map_err(|_| invalid())? * factor as f64;
        if value.is_finite() && value < 2f64.powi(63) { Ok(Self(value as u64)) } else { Err(invalid()) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}b", self.0)
    }
}

super::serde_as_text!(ByteSize, "^[0-9.]+ *([kKmMgGtT]?[iI]?[bB]?)$", "A number of bytes, such as 512m or 1.5gb");

/// Bytes as people read them, in decimal units as Docker and registries count: `13.2MB`.
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" || value >= 99.95 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1}TB")
}

/// A share of processors in thousandths of one (`0.5` is 500). Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpus(u32);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a number of processors: expected a number of at least 0.01, such as `0.5`")]
pub struct InvalidCpus {
    text: String,
}

impl Cpus {
    pub const fn millis(self) -> u32 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = InvalidCpus;

    fn from_str(text: &str) -> Result<Self, InvalidCpus> {
        let invalid = || InvalidCpus { text: text.chars().take(60).collect() };
        let value = text.trim().parse::<f64>().map_err(|_| invalid())?;
        // The kernel's quota has a floor of 1 ms a period, which is a hundredth of a processor.
        if !(0.01..=100_000.0).contains(&value) {
            return Err(invalid());
        }
        Ok(Self((value * 1000.0).round() as u32))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

super::serde_as_text!(Cpus, "^[0-9]+([.][0-9]+)?$", "A number of processors, such as 0.5");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("10b", 10),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("2GB", 2 << 30),
            ("2GiB", 2 << 30),
            ("3 kb", 3 << 10),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap(), ByteSize(bytes), "{text}");
        }
        for bad in ["", "m", "-1m", "1x", "1mm", "1i", "99999999999g", "1e3", "bb"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64m");
        assert_eq!(ByteSize(1025).to_string(), "1025b");
        assert_eq!(ByteSize(0).to_string(), "0b");
        assert_eq!("0b".parse::<ByteSize>().unwrap(), ByteSize(0));
    }

    #[test]
    fn cpus() {
        assert_eq!("0.5".parse::<Cpus>().unwrap().millis(), 500);
        assert_eq!("2".parse::<Cpus>().unwrap().to_string(), "2");
        for bad in ["0", "-1", "nan", "inf", "x", ""] {
            assert!(bad.parse::<Cpus>().is_err(), "{bad}");
        }
    }
}

//! The records of PAX extension headers: `<length> <key>=<value>\n`, where a value may hold any byte.
//! Source: POSIX pax, "pax Extended Header".

const XATTR: &str = "SCHILY.xattr.";

use std::collections::BTreeMap;

/// An extended attribute: its name and its value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// Records by key; a later one of the same key replaces an earlier one.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    pub(super) fn extend(&mut self, newer: Records) {
        self.0.extend(newer.0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value of `key`. An empty value takes the record back, as the standard says.
    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    /// The records that are extended attributes.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = Attribute> {
        self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(XATTR.as_bytes())?.to_vec(), value.clone())))
    }
}

/// `None`: malformed.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Records> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        // Some writers pad with NUL.
        if bytes.iter().all(|b| *b == 0) {
            break;
        }
        let space = bytes.iter().take(20).position(|b| *b == b' ')?;
        let length = usize::try_from(integer(&bytes[..space])?).ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Some(Records(records))
}

pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// `seconds[.fraction]`, perhaps negative, as whole seconds and nanoseconds after them.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

/// Numbers two by two.
pub(super) fn pairs<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(u64, u64)>> {
    let numbers = numbers.map(|n| integer(n).and_then(|n| u64::try_from(n).ok())).collect::<Option<Vec<u64>>>()?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
}

/// One record, with its own length in front of it.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    // The length counts its own digits.
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// The record of an extended attribute.
pub fn xattr(name: &[u8], value: &[u8]) -> Vec<u8> {
    record(&[XATTR.as_bytes(), name].concat(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_whatever_they_hold() {
        let mut bytes = Vec::new();
        for length in [0, 1, 80, 81, 82, 83, 84, 85, 90, 974, 975, 976, 977, 978, 979, 980, 981, 982, 5000] {
            let value = vec![b'\n'; length];
            bytes.extend(xattr(format!("user.{length}").as_bytes(), &value));
        }
        let records = parse(&bytes).unwrap();
        assert_eq!(records.xattrs().count(), 19);
        assert!(records.xattrs().all(|(name, value)| name == format!("user.{}", value.len()).as_bytes()));
        for bad in ["x", "5 a=", "99 a=b\n", "3 \n", "0 a=b\n", "7 a=bcd"] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn times() {
        for (text, time_of) in [("0", (0, 0)), ("1.5", (1, 500_000_000)), ("-1.25", (-2, 750_000_000)), ("7.0000000019", (7, 1))]
        {
            assert_eq!(time(text.as_bytes()), Some(time_of), "{text}");
        }
        assert!(time(b"x").is_none() && time(b"1.x").is_none());
    }
}

//! The keys by which one leaves a container's terminal and lets the container go on. Docker's words for them: characters and
//! `ctrl-X`, separated by commas.

use std::str::FromStr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a sequence of keys: expected characters and ctrl-X, separated by commas, X one of a-z @ [ \\ ] ^ _")]
pub struct InvalidKeys {
    text: String,
}

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl FromStr for DetachKeys {
    type Err = InvalidKeys;

    fn from_str(text: &str) -> Result<Self, InvalidKeys> {
        let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-").map(str::as_bytes)) {
            ([key], _) => Some(*key),
            (_, Some([key @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')])) => Some(key & 0x1f),
            _ => None,
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| InvalidKeys { text: text.to_owned() })
    }
}

/// Finds the keys in what is typed.
#[derive(Debug)]
pub struct Watch {
    keys: DetachKeys,
    /// How many of them have been typed in a row. They are held back: they are for the container only if no more follow.
    seen: usize,
}

impl Watch {
    pub const fn new(keys: DetachKeys) -> Self {
        Self { keys, seen: 0 }
    }

    /// What of the bytes is for the container, and whether all keys were typed: what follows them is for nobody.
    pub fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let keys = &self.keys.0;
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&keys[..self.seen]);
            // What breaks one sequence off may begin the next.
            self.seen = usize::from(keys.first() == Some(byte));
            if self.seen == 0 {
                passed.push(*byte);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_dockers_names() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.0);
        assert_eq!(keys("ctrl-p,ctrl-q"), Ok(DetachKeys::default().0));
        assert_eq!(keys("a,ctrl-],ctrl-@,ctrl-_"), Ok(vec![b'a', 29, 0, 31]));
        for bad in ["", "ctrl-", "ctrl-A", "ctrl-p,", "shift-a", "ab", "ctrl-pp"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_however_they_arrive() {
        let mut watch = Watch::new(DetachKeys::default());
        assert_eq!(watch.take(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.take(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watch.take(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(watch.take(b"\x11xyz"), (vec![], true));
        let mut watch = Watch::new("x".parse().unwrap());
        assert_eq!(watch.take(b"abxcd"), (b"ab".to_vec(), true));
    }
}

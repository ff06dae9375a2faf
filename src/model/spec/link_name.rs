//! The name of a network link in a container: `wan0`.

use std::fmt;
use std::str::FromStr;

/// A name that the kernel takes for a link, and that is nothing else there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkName(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not the name of a link: it has 1 to 15 letters, digits and signs, of which none is `/`, `:` or `%`")]
pub struct InvalidLinkName {
    text: String,
}

/// In bytes.
const LONGEST: usize = 15;
/// The container's loopback, and what settings of all links are called.
const TAKEN: [&str; 5] = ["lo", "all", "default", ".", ".."];

impl LinkName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Source: `dev_valid_name` of Linux; with `%` it makes a name of a pattern.
impl FromStr for LinkName {
    type Err = InvalidLinkName;

    fn from_str(text: &str) -> Result<Self, InvalidLinkName> {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
        if text.is_empty() || text.len() > LONGEST || TAKEN.contains(&text) || !text.chars().all(plain) {
            return Err(InvalidLinkName { text: text.chars().take(80).collect() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::model::serde_as_text!(LinkName, "^[!-~]{1,15}$", "The name of a link, such as wan0");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_takes() {
        for good in ["eth0", "wan.5", "a-b_c@if7", "fifteen-letters"] {
            assert_eq!(good.parse::<LinkName>().unwrap().as_str(), good);
        }
        for bad in ["", "lo", "all", "..", "a b", "a/b", "eth0:1", "eth%d", "sixteen-letters-", "\u{e9}"] {
            assert!(bad.parse::<LinkName>().is_err(), "{bad}");
        }
    }
}

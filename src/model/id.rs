//! Who is who: container ids, names of resources and stacks, and the owner of a resource.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A container's id: 64 lower-case hexadecimal digits from the kernel's random source, as Docker's are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a container id: expected 64 lower-case hexadecimal digits")]
pub struct InvalidId {
    text: String,
}

impl ContainerId {
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(super::Digest::from_bytes(bytes).hex())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as people see it.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId { text: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

super::serde_as_text!(ContainerId, "^[0-9a-f]{64}$", "A container's id");

/// The name of a stack, container, image, network, volume or config: what Docker allows,
/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 bytes; never `.` or `..`, so it is safe as a file name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a name: expected letters, digits, `_`, `.` or `-`, starting with a letter or digit, at most 128")]
pub struct InvalidName {
    text: String,
}

impl Name {
    /// How the names end of containers that are to take the place of another one, or have left it to another one.
    pub const ASIDE: &str = ".swap";

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `<self>-<other>`: the name in the engine of a stack's resource.
    ///
    /// # Errors
    /// When the two together are longer than a name may be.
    pub fn join(&self, other: &Name) -> Result<Name, InvalidName> {
        format!("{self}-{other}").parse()
    }

    /// The name of the container that is not the one of this name while one of the two replaces the other.
    ///
    /// # Errors
    /// When it would be longer than a name may be.
    pub fn aside(&self) -> Result<Name, InvalidName> {
        format!("{self}{}", Self::ASIDE).parse()
    }

    /// Whether it is such a name. Nothing that a stack declares is called so.
    pub fn is_aside(&self) -> bool {
        self.0.ends_with(Self::ASIDE)
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let ok = text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidName { text: text.chars().take(140).collect() }) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

super::serde_as_text!(Name, "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$", "A name");

/// Which stack a resource belongs to, and what the stack's manifests call it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    pub stack: Name,
    pub resource: Name,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_file_names() {
        for good in ["a", "web-1", "A_b.c", "9"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", long.as_str()] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids() {
        let id = ContainerId::from_random([7; 32]);
        assert_eq!(id.short(), "070707070707");
        assert_eq!(id.as_str().parse::<ContainerId>().unwrap(), id);
        assert!("07".parse::<ContainerId>().is_err());
    }
}

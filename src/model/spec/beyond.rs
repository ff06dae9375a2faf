//! Containers of other stacks that a container needs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::model::Name;

/// A container of another stack: `STACK/NAME`, the name being that of the stack's manifests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Elsewhere {
    pub stack: Name,
    pub name: Name,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a container of another stack: expected STACK/NAME")]
pub struct InvalidElsewhere {
    text: String,
}

impl FromStr for Elsewhere {
    type Err = InvalidElsewhere;

    fn from_str(text: &str) -> Result<Self, InvalidElsewhere> {
        let invalid = || InvalidElsewhere { text: text.chars().take(80).collect() };
        let (stack, name) = text.split_once('/').ok_or_else(invalid)?;
        Ok(Self { stack: stack.parse().map_err(|_| invalid())?, name: name.parse().map_err(|_| invalid())? })
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stack, self.name)
    }
}

crate::model::serde_as_text!(Elsewhere, "^[^/]+/[^/]+$", "A container of another stack");

/// What must hold of a container of another stack before this one starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beyond {
    pub condition: Condition,
    /// Whoever depends starts again whenever the other one has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
    /// Where there is no such container, nothing is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_their_stack() {
        let shop: Elsewhere = "shop/db".parse().unwrap();
        assert_eq!((shop.stack.as_str(), shop.name.as_str(), shop.to_string().as_str()), ("shop", "db", "shop/db"));
        for text in ["db", "/db", "shop/", "a/b/c", "shop/.x", ""] {
            assert!(text.parse::<Elsewhere>().is_err(), "{text}");
        }
    }
}

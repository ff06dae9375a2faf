//! Where a container's cgroup is made, if not below the instance's own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A path below the roots of all cgroup hierarchies, or a slice of systemd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupParent(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no parent of cgroups: {reason}")]
pub struct InvalidCgroupParent {
    text: String,
    reason: &'static str,
}

impl CgroupParent {
    /// The slice's name, if it is one.
    pub fn slice(&self) -> Option<&str> {
        self.0.ends_with(".slice").then_some(self.0.as_str())
    }

    /// The path below the roots, without a slash at its beginning. Dashes of a slice tell which one it is in: `a-b.slice` is
    /// at `a.slice/a-b.slice`.
    pub fn path(&self) -> String {
        let Some(stem) = self.0.strip_suffix(".slice") else { return self.0.clone() };
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        ends.map(|end| format!("{}.slice", &stem[..end])).collect::<Vec<_>>().join("/")
    }
}

impl FromStr for CgroupParent {
    type Err = InvalidCgroupParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |reason| InvalidCgroupParent { text: text.chars().take(80).collect(), reason };
        let path = text.strip_prefix('/').unwrap_or(text).trim_end_matches('/');
        let plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if path.len() > 200 || !path.split('/').all(plain) {
            return Err(wrong("it is a path such as /batch/night, of letters, digits and `-_.`, or a slice such as batch.slice"));
        }
        if path.split('/').any(|name| name.ends_with(".scope")) {
            return Err(wrong("a scope is systemd's own; name a slice"));
        }
        match path.strip_suffix(".slice") {
            Some(_) if path.contains('/') || text.starts_with('/') => Err(wrong("a slice is named without a path")),
            Some(stem) if stem.split('-').any(str::is_empty) => Err(wrong("a slice needs a name before and after each dash")),
            Some(_) | None => Ok(Self(path.to_owned())),
        }
    }
}

impl TryFrom<String> for CgroupParent {
    type Error = InvalidCgroupParent;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CgroupParent> for String {
    fn from(parent: CgroupParent) -> Self {
        parent.0
    }
}

impl fmt::Display for CgroupParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_slices() {
        let path = |text: &str| text.parse::<CgroupParent>().map(|parent| (parent.path(), parent.slice().is_some())).ok();
        assert_eq!(path("/batch/night"), Some(("batch/night".to_owned(), false)));
        assert_eq!(path("batch/"), Some(("batch".to_owned(), false)));
        assert_eq!(path("batch.slice"), Some(("batch.slice".to_owned(), true)));
        assert_eq!(path("a-b-c.slice"), Some(("a.slice/a-b.slice/a-b-c.slice".to_owned(), true)));
        for bad in ["", "/", "a//b", "../a", "a b", ".a", "-.slice", "a--b.slice", "a.slice/b.slice", "/a.slice", "x/a.scope"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}

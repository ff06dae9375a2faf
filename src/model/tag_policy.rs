//! Which of a repository's tags an image is: the newest version in a range. Knows nothing of registries.
//! Source: Semantic Versioning 2.0.0; ranges as Cargo writes them (`~1.27`, `^1`, `>=1.2, <2`).

use serde::{Deserialize, Serialize};

/// The newest of the tags that fits a range of versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagPolicy {
    pub semver: VersionRange,
}

/// A range of versions. Displayed as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRange {
    text: String,
    range: semver::VersionReq,
}

#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a range of versions, such as `~1.27` or `>=1.2, <2`: {source}")]
pub struct InvalidRange {
    text: String,
    source: semver::Error,
}

impl TagPolicy {
    /// The newest of `tags` in the range. A tag is a version when it has two or three numbers, perhaps after a `v`
    /// (`1.27`, `v1.27.3`); one with a suffix (`1.27.3-rc.1`) is a pre-release, and fits only a range that names one.
    pub fn choose<'t>(&self, tags: impl IntoIterator<Item = &'t str>) -> Option<&'t str> {
        tags.into_iter()
            .filter_map(|tag| Some((version(tag)?, tag)))
            .filter(|(version, _)| self.semver.range.matches(version))
            // Of two tags for the same version the longer one moves less.
            .max_by(|(a, one), (b, other)| (a, one.len(), one).cmp(&(b, other.len(), other)))
            .map(|(_, tag)| tag)
    }
}

fn version(tag: &str) -> Option<semver::Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let numbers = text.split_once('-').map_or(text, |(numbers, _)| numbers);
    match numbers.split('.').count() {
        3 => text.parse().ok(),
        2 => format!("{numbers}.0{}", &text[numbers.len()..]).parse().ok(),
        _ => None,
    }
}

impl std::str::FromStr for VersionRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let range = text.parse().map_err(|source| InvalidRange { text: text.chars().take(60).collect(), source })?;
        Ok(Self { text: text.to_owned(), range })
    }
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

super::serde_as_text!(VersionRange, "^[^ ].*$", "A range of versions, such as ~1.27 or >=1.2, <2");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_that_fits() {
        let tags =
            ["latest", "1.27", "1.27.2", "v1.27.10", "1.27.11-rc.1", "1.28.0", "2", "20240101", "24.04", "1.27.x", "1.27.10"];
        for (range, wanted) in [
            ("~1.27", Some("v1.27.10")),
            ("1.27.2", Some("1.28.0")),
            ("=1.27.2", Some("1.27.2")),
            ("~1.27, <1.27.2", Some("1.27")),
            (">=1.27.11-rc.0, <1.28", Some("1.27.11-rc.1")),
            ("*", Some("1.28.0")),
            ("^3", None),
        ] {
            let policy = TagPolicy { semver: range.parse().unwrap() };
            assert_eq!(policy.choose(tags), wanted, "{range}");
        }
        for bad in ["", "latest", "~", "1.2.3.4", ">>1"] {
            assert!(bad.parse::<VersionRange>().is_err(), "{bad}");
        }
        assert_eq!("~1.27".parse::<VersionRange>().unwrap().to_string(), "~1.27");
    }
}

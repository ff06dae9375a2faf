//! Image references: `[registry/]repository[:tag][@digest]`, with Docker's defaults made explicit. An image's id may stand for one:
//! `sha256:` and 64 digits, or, as Docker has it, those digits alone.
//! Source: the grammar of the distribution project's reference package; the defaults are Docker's.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// A normalised reference. `nginx` is registry `docker.io`, repository `library/nginx`, tag `latest`.
///
/// Displayed in the short form that people write (`nginx:1.27`, `localhost:5000/app:1`), which parses to the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an image reference: {why}")]
pub struct InvalidReference {
    text: String,
    why: &'static str,
}

const DEFAULT_REGISTRY: &str = "docker.io";
/// Where the tag is an image's id: what `sha256:…` reads as. Docker has no such name either.
const ID: &str = "library/sha256";

impl ImageRef {
    /// The registry's host and optional port; `docker.io` when none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path within the registry, with `library/` where Docker adds it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only when a digest stands in its place.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The reference that is an image's id.
    pub fn of_id(id: Digest) -> Self {
        let (registry, repository) = (DEFAULT_REGISTRY.to_owned(), ID.to_owned());
        Self { registry, repository, tag: Some(id.hex()), digest: None }
    }

    /// The image's id, where it is one and no name. No registry knows it.
    pub fn id(&self) -> Option<Digest> {
        let plain = self.registry == DEFAULT_REGISTRY && self.repository == ID && self.digest.is_none();
        self.tag.as_ref().filter(|_| plain).and_then(|hex| format!("sha256:{hex}").parse().ok())
    }

    /// The same without its digest, where it has a tag.
    pub fn tagged(&self) -> Self {
        let digest = if self.tag.is_some() { None } else { self.digest };
        Self { digest, ..self.clone() }
    }

    /// The same repository with this tag, pinned to this digest.
    pub fn pinned(&self, tag: Option<&str>, digest: Digest) -> Self {
        Self { tag: tag.map(str::to_owned), digest: Some(digest), ..self.clone() }
    }

    /// The same repository with another tag, where that can be one.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        let bare = Self { tag: None, digest: None, ..self.clone() };
        format!("{bare}:{tag}").parse()
    }

    /// The same repository at a digest, without a tag.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl FromStr for ImageRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |why| InvalidReference { text: text.chars().take(300).collect(), why };
        if let Ok(id) = format!("sha256:{text}").parse() {
            return Ok(Self::of_id(id));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| invalid("what follows `@` is not a sha256 digest"))?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            let head = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            let body = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
            if !head || !body || tag.len() > 128 {
                return Err(invalid("the tag may have letters, digits, `_`, `.` and `-` only, at most 128"));
            }
        }
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
            _ => (DEFAULT_REGISTRY, path),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if registry.is_empty() || !registry.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':')) {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        if repository.is_empty() || repository.len() > 255 || !repository.split('/').all(is_component) {
            return Err(invalid(
                "the repository may have lower-case letters, digits and single separators `.`, `_`, `-`, `/` only",
            ));
        }
        let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
        && !text.contains("..")
        && !text.contains("___")
        && !text.contains("._")
        && !text.contains("_.")
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.registry != DEFAULT_REGISTRY {
            write!(f, "{}/{}", self.registry, self.repository)?;
        } else {
            f.write_str(self.repository.strip_prefix("library/").filter(|r| !r.contains('/')).unwrap_or(&self.repository))?;
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

super::serde_as_text!(ImageRef, "^[a-zA-Z0-9].*$", "An image reference, such as nginx:1.27 or localhost:5000/app:1");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        let digest = Digest::of(b"x").to_string();
        for (text, registry, repository, tag, printed) in [
            ("nginx", "docker.io", "library/nginx", Some("latest"), "nginx:latest"),
            ("docker.io/library/nginx:1", "docker.io", "library/nginx", Some("1"), "nginx:1"),
            ("grafana/grafana", "docker.io", "grafana/grafana", Some("latest"), "grafana/grafana:latest"),
            ("localhost:5000/a/b__c:v1", "localhost:5000", "a/b__c", Some("v1"), "localhost:5000/a/b__c:v1"),
            ("localhost/app", "localhost", "app", Some("latest"), "localhost/app:latest"),
        ] {
            let reference: ImageRef = text.parse().unwrap();
            assert_eq!((reference.registry(), reference.repository(), reference.tag()), (registry, repository, tag));
            assert_eq!(reference.to_string(), printed);
            assert_eq!(printed.parse::<ImageRef>().unwrap(), reference);
        }
        let pinned: ImageRef = format!("nginx@{digest}").parse().unwrap();
        assert_eq!(pinned.tag(), None);
        assert_eq!(pinned.to_string(), format!("nginx@{digest}"));
        assert_eq!(pinned.tagged(), pinned);
        let nginx: ImageRef = "nginx:1".parse().unwrap();
        let both = nginx.pinned(Some("1"), Digest::of(b"x"));
        assert_eq!(both.to_string(), format!("nginx:1@{digest}"));
        assert_eq!((both.tagged(), both.to_string().parse().unwrap()), (nginx.clone(), both));
        assert_eq!(nginx.with_tag("2").unwrap().to_string(), "nginx:2");
        assert!(nginx.with_tag("a b").is_err() && nginx.with_tag("2@x").is_err());
    }

    #[test]
    fn an_id_is_no_name() {
        let id = Digest::of(b"x");
        for text in [id.to_string(), id.hex(), format!("docker.io/library/{id}")] {
            let reference: ImageRef = text.parse().unwrap();
            assert_eq!((reference.id(), reference.to_string()), (Some(id), id.to_string()));
            assert_eq!(reference, ImageRef::of_id(id));
        }
        for name in
            [format!("sha256:{}", id.short()), id.short(), format!("a@{id}"), format!("localhost/{id}"), format!("{id}@{id}")]
        {
            assert_eq!(name.parse::<ImageRef>().unwrap().id(), None, "{name}");
        }
    }

    #[test]
    fn refuses() {
        for bad in ["", ":", "Nginx", "a//b", "a/../b", "a:b:c", "a@sha256:x", "-a", "a b", "localhost:5000/", "/a", "a:.b"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
    }
}

//! How the parts of a build are written, on command lines and in manifests alike: the words of Docker's tools for contexts and
//! caches. Paths stay as they are written: whoever reads them knows where they begin.
//! Source: the references of `docker buildx build` and of the Compose Build Specification.

use std::path::PathBuf;

use super::build::{CachePlace, CacheTo, ContextSource, Entitlement};
use super::packing::switch;
use super::{Digest, ImageRef, Packing, did_you_mean};

/// Why a part of a build cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{why}")]
pub struct InvalidWords {
    why: String,
    pub hint: Option<String>,
}

impl InvalidWords {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), hint: None }
    }

    pub(super) fn hinted(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: Some(hint.into()) }
    }
}

/// The fields of `key=value,key=value`, with no value where there is no `=`. A field that has commas stands in double quotes,
/// and quotes in such a field are doubled.
pub fn fields(text: &str) -> Result<Vec<(String, Option<String>)>, InvalidWords> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field.as_str(), None),
        };
        if key.trim().is_empty() {
            return Err(InvalidWords::new("expected key=value, and commas between several"));
        }
        found.push((key.trim().to_ascii_lowercase(), value));
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(found),
        }
    }
}

/// What stands between quotes, the first of which is passed, and what comes after the field.
fn quoted_field(text: &str) -> Result<(String, &str), InvalidWords> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(end) = rest.find('"') else { return Err(InvalidWords::new("a double quote is not closed")) };
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            None | Some(',') => return Ok((field, rest)),
            Some(_) => return Err(InvalidWords::new("a comma must follow the double quote that closes a field")),
        }
    }
}

/// A context that is fetched: a Git repository, or the address of a tar or of a Dockerfile. `None` is a path of the host.
pub fn remote(text: &str) -> Option<ContextSource> {
    let (address, fragment) = text.split_once('#').map_or((text, false), |(address, _)| (address, true));
    let is_http = address.starts_with("http://") || address.starts_with("https://");
    let path = address.split('?').next().unwrap_or_default();
    if is_http {
        let is_git = path.trim_end_matches('/').ends_with(".git") || (fragment && path.starts_with("https://github.com/"));
        let text = text.to_owned();
        return Some(if is_git { ContextSource::Git(text) } else { ContextSource::Url(text) });
    }
    if text.starts_with("github.com/") {
        return Some(ContextSource::Git(format!("https://{text}")));
    }
    let schemes = ["git://", "ssh://", "git+ssh://"];
    (schemes.iter().any(|scheme| address.starts_with(scheme)) || is_scp(address)).then(|| ContextSource::Git(text.to_owned()))
}

/// `user@host:path`, as git and scp take it.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let plain = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') || more.contains(&c))
    };
    plain(user, &[]) && plain(host, &[])
}

/// What a named context is: `docker-image://REFERENCE`, `oci-layout://PATH[:TAG|@DIGEST]`, an address, or a path.
pub fn context(text: &str) -> Result<ContextSource, InvalidWords> {
    if let Some(reference) = text.strip_prefix("docker-image://") {
        return reference.parse().map(ContextSource::Image).map_err(|error| InvalidWords::new(format!("{error}")));
    }
    if let Some(layout) = text.strip_prefix("oci-layout://") {
        let name = layout.rfind('/').map_or(0, |at| at + 1);
        let (path, image) = match layout.split_once('@') {
            Some((path, digest)) => (path, Some(digest)),
            None => match layout[name..].rfind(':') {
                Some(at) => (&layout[..name + at], Some(&layout[name + at + 1..])),
                None => (layout, None),
            },
        };
        if path.is_empty() || image == Some("") {
            return Err(InvalidWords::new("expected oci-layout://PATH, and perhaps :TAG or @DIGEST after it"));
        }
        return Ok(ContextSource::Layout { path: path.into(), image: image.map(str::to_owned) });
    }
    for (scheme, advice) in [
        ("service:", "name the image: docker-image://REFERENCE"),
        ("target:", "name a stage of the Dockerfile by `FROM` or `COPY --from`"),
        ("input:", "name the image: docker-image://REFERENCE"),
    ] {
        if text.starts_with(scheme) {
            return Err(InvalidWords::hinted(format!("contexts of the form `{scheme}…` are not supported"), advice));
        }
    }
    if text.is_empty() {
        return Err(InvalidWords::new("a context is a folder, an address, docker-image://… or oci-layout://…"));
    }
    Ok(remote(text).unwrap_or_else(|| ContextSource::Folder(PathBuf::from(text))))
}

/// `type=registry,ref=…`, `type=local,src=…`, or a reference alone.
pub fn cache_from(text: &str) -> Result<CachePlace, InvalidWords> {
    let read = cache(text, "src", &["digest"])?;
    if read.place == CachePlace::Inline {
        let hint = "name the image that has it: type=registry,ref=IMAGE";
        return Err(InvalidWords::hinted("an inline cache is read from an image", hint));
    }
    Ok(read.place)
}

/// `type=registry,ref=…`, `type=local,dest=…`, `type=inline`, or a reference alone; `mode=min|max`.
pub fn cache_to(text: &str) -> Result<CacheTo, InvalidWords> {
    let others = ["mode", "ignore-error", "image-manifest", "oci-mediatypes"];
    let keys: Vec<&str> = others.into_iter().chain(Packing::KEYS).collect();
    let Read { place, others } = cache(text, "dest", &keys)?;
    let mut to = CacheTo::new(place);
    let mut all = None;
    for (key, value) in &others {
        let value = value.as_deref();
        match key.as_str() {
            "mode" => {
                all = Some(match value.unwrap_or_default() {
                    "max" => true,
                    "min" => false,
                    other => return Err(InvalidWords::new(format!("`mode` is `min` or `max`, and not {other:?}"))),
                });
            }
            "ignore-error" => to.ignore_error = switch("ignore-error", value).map_err(unpackable)?,
            "image-manifest" if !switch("image-manifest", value).map_err(unpackable)? => {
                let hint = "leave it out: every registry takes them";
                return Err(InvalidWords::hinted("caches are written as image manifests", hint));
            }
            "oci-mediatypes" if !switch("oci-mediatypes", value).map_err(unpackable)? => {
                return Err(InvalidWords::hinted("caches are written with OCI's media types", "leave it out"));
            }
            key => drop(to.packing.field(key, value).map_err(unpackable)?),
        }
    }
    to.packing.check().map_err(unpackable)?;
    if to.place == CachePlace::Inline {
        if all == Some(true) {
            let hint = "use type=registry for the cache of all stages";
            return Err(InvalidWords::hinted("an inline cache is of the result only: `mode=max` cannot be had", hint));
        }
        if let Some((key, _)) = others.iter().find(|(key, _)| key != "mode") {
            let hint = "it is a part of the image: its layers are packed as the output says";
            return Err(InvalidWords::hinted(format!("an inline cache has no `{key}`"), hint));
        }
    }
    to.all = all.unwrap_or_default();
    Ok(to)
}

fn unpackable(error: super::packing::InvalidPacking) -> InvalidWords {
    InvalidWords::new(error.to_string())
}

/// A cache, and those of its fields that do not say where it is.
struct Read {
    place: CachePlace,
    others: Vec<(String, Option<String>)>,
}

fn cache(text: &str, path_key: &str, known_others: &[&str]) -> Result<Read, InvalidWords> {
    let reference = |text: &str| text.parse::<ImageRef>().map_err(|error| InvalidWords::new(error.to_string()));
    if !text.contains('=') {
        return Ok(Read { place: CachePlace::Registry { reference: reference(text)? }, others: Vec::new() });
    }
    let (mut kind, mut name, mut path, mut tag) = (None, None, None, None);
    let mut others = Vec::new();
    for (key, value) in fields(text)? {
        let needed = |value: Option<String>| value.ok_or_else(|| InvalidWords::new(format!("`{key}` needs a value")));
        match key.as_str() {
            "type" => kind = Some(needed(value)?),
            "ref" => name = Some(needed(value)?),
            key if key == path_key => path = Some(needed(value)?),
            "tag" => tag = Some(("tag", needed(value)?)),
            "digest" if known_others.contains(&"digest") => {
                let digest = needed(value)?.parse::<Digest>().map_err(|error| InvalidWords::new(error.to_string()))?;
                tag = Some(("digest", digest.to_string()));
            }
            "mode" if !known_others.contains(&"mode") => {
                return Err(InvalidWords::hinted("a cache that is read has no `mode`", "give it where the cache is written"));
            }
            key if known_others.contains(&key) => others.push((key.to_owned(), value)),
            _ => {
                let known: Vec<&str> = ["type", "ref", path_key, "tag"].into_iter().chain(known_others.iter().copied()).collect();
                let hint = did_you_mean(&key, known.iter().copied()).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                return Err(InvalidWords::hinted(format!("a cache has no `{key}` here"), hint));
            }
        }
    }
    let place = match kind.as_deref() {
        Some("registry") => {
            let name = name.take().ok_or_else(|| InvalidWords::new("a cache in a registry needs `ref=REFERENCE`"))?;
            CachePlace::Registry { reference: reference(&name)? }
        }
        Some("local") => {
            let path = path.take().ok_or_else(|| InvalidWords::new(format!("a cache in a folder needs `{path_key}=FOLDER`")))?;
            CachePlace::Local { path: path.into(), name: tag.take().map(|(_, tag)| tag) }
        }
        Some("inline") => CachePlace::Inline,
        Some(other) => {
            let hint = "use type=registry, type=local or type=inline";
            return Err(InvalidWords::hinted(format!("caches of the type `{other}` are not supported"), hint));
        }
        None => return Err(InvalidWords::new("a cache needs its type: registry, local or inline")),
    };
    let left = name.map(|_| "ref").or_else(|| path.map(|_| path_key)).or_else(|| tag.map(|(key, _)| key));
    match left {
        Some(key) => Err(InvalidWords::new(format!("a cache of this type has no `{key}`"))),
        None => Ok(Read { place, others }),
    }
}

/// `network.host` or `security.insecure`.
pub fn entitlement(text: &str) -> Result<Entitlement, InvalidWords> {
    match text {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::Insecure),
        _ => {
            let known = ["network.host", "security.insecure"];
            let hint = did_you_mean(text, known).unwrap_or_else(|| format!("there are {}", known.join(" and ")));
            Err(InvalidWords::hinted(format!("`{text}` cannot be allowed"), hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Compression;

    #[test]
    fn fields_and_quotes() {
        let read = |text: &str| {
            let found = fields(text).map_err(|error| error.to_string())?;
            let shown = found.iter().map(|(key, value)| value.as_ref().map_or(key.clone(), |value| format!("{key}:{value}")));
            Ok::<_, String>(shown.collect::<Vec<_>>())
        };
        for (text, wanted) in [
            ("type=tar", vec!["type:tar"]),
            ("type=image,\"name=a,b\",push", vec!["type:image", "name:a,b", "push"]),
            ("\"a=\"\"x\"\"\"", vec!["a:\"x\""]),
            ("a=b=c,D=", vec!["a:b=c", "d:"]),
        ] {
            assert_eq!(read(text), Ok(wanted.into_iter().map(str::to_owned).collect()), "{text}");
        }
        for bad in ["", "a,", ",a", "\"a", "\"a\"b", "=x"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_fetched_and_what_is_a_path() {
        let git = |text: &str| Some(ContextSource::Git(text.to_owned()));
        let url = |text: &str| Some(ContextSource::Url(text.to_owned()));
        for (text, wanted) in [
            ("https://example.com/a/b.git", git("https://example.com/a/b.git")),
            ("https://example.com/b.git#main:docker", git("https://example.com/b.git#main:docker")),
            ("http://example.com/b.git?x=1", git("http://example.com/b.git?x=1")),
            ("github.com/a/b", git("https://github.com/a/b")),
            ("git@example.com:a/b.git", git("git@example.com:a/b.git")),
            ("ssh://git@example.com:22/a/b", git("ssh://git@example.com:22/a/b")),
            ("git://example.com/a#v1", git("git://example.com/a#v1")),
            ("https://example.com/a.tar.gz", url("https://example.com/a.tar.gz")),
            ("http://example.com/Dockerfile", url("http://example.com/Dockerfile")),
            (".", None),
            ("a@b", None),
            ("dir@x/y:z", None),
            ("/srv/x.git", None),
        ] {
            assert_eq!(remote(text), wanted, "{text}");
        }
    }

    #[test]
    fn named_contexts() {
        let layout =
            |path: &str, image: Option<&str>| ContextSource::Layout { path: path.into(), image: image.map(str::to_owned) };
        for (text, wanted) in [
            ("docker-image://alpine:3", ContextSource::Image("alpine:3".parse().unwrap())),
            ("oci-layout://./a:b/c", layout("./a:b/c", None)),
            ("oci-layout:///x/y:v1", layout("/x/y", Some("v1"))),
            ("oci-layout://y@sha256:ab", layout("y", Some("sha256:ab"))),
            ("../lib", ContextSource::Folder("../lib".into())),
            ("https://example.com/x.git", ContextSource::Git("https://example.com/x.git".into())),
        ] {
            assert_eq!(context(text), Ok(wanted), "{text}");
        }
        for bad in ["", "docker-image://A B", "oci-layout://", "service:web", "target:x"] {
            assert!(context(bad).is_err(), "{bad}");
        }
        assert!(context("service:web").unwrap_err().hint.is_some());
    }

    #[test]
    fn caches() {
        let registry = |text: &str| CachePlace::Registry { reference: text.parse().unwrap() };
        let local = |path: &str| CachePlace::Local { path: path.into(), name: None };
        for (text, wanted) in [
            ("user/app:cache", registry("user/app:cache")),
            ("type=registry,ref=localhost:5000/c", registry("localhost:5000/c")),
            ("type=local,src=./c", local("./c")),
            ("type=local,src=c,tag=main", CachePlace::Local { path: "c".into(), name: Some("main".to_owned()) }),
        ] {
            assert_eq!(cache_from(text), Ok(wanted), "{text}");
        }
        for (text, place, all) in [
            ("type=registry,ref=a/b,mode=max", registry("a/b"), true),
            ("type=local,dest=/c", local("/c"), false),
            ("type=inline,mode=min", CachePlace::Inline, false),
        ] {
            assert_eq!(cache_to(text), Ok(CacheTo { all, ..CacheTo::new(place) }), "{text}");
        }
        let to =
            cache_to("type=registry,ref=a,compression=zstd,compression-level=9,ignore-error=true,image-manifest=true").unwrap();
        let packing = Packing { compression: Some(Compression::Zstd), level: Some(9), force: false };
        assert_eq!(to, CacheTo { packing, ignore_error: true, ..CacheTo::new(registry("a")) });
        for (bad, why) in [
            ("type=gha", "caches of the type `gha` are not supported"),
            ("type=local", "a cache in a folder needs `src=FOLDER`"),
            ("type=local,dest=/x", "a cache has no `dest` here"),
            ("type=inline,ref=a", "a cache of this type has no `ref`"),
            ("type=registry,ref=a,mode=max", "a cache that is read has no `mode`"),
            ("ref=a", "a cache needs its type: registry, local or inline"),
            ("type=inline", "an inline cache is read from an image"),
            ("type=registry,ref=a,tag=b", "a cache of this type has no `tag`"),
        ] {
            assert_eq!(cache_from(bad).unwrap_err().to_string(), why, "{bad}");
        }
        for bad in [
            "type=inline,mode=max",
            "type=inline,compression=gzip",
            "type=local,src=/x",
            "type=registry,ref=a,image-manifest=false",
            "type=registry,ref=a,compression=lz4",
            "type=registry,ref=a,compression-level=10",
        ] {
            assert!(cache_to(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_be_allowed() {
        assert_eq!(entitlement("network.host"), Ok(Entitlement::NetworkHost));
        assert_eq!(entitlement("security.insecure"), Ok(Entitlement::Insecure));
        assert!(entitlement("network.hots").unwrap_err().hint.unwrap().contains("network.host"));
    }
}

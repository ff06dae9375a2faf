//! The request for a build and what is answered to it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::build::{BuildEvent, BuildRequest};
use crate::model::{Digest, ImageRef};
use crate::wire::native::Credentials;

/// What is asked: the first line of the request's body, as JSON. The bytes of an upload follow it, if one of the contexts is
/// one. In the body, and not in the address, because of the secrets in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    pub request: BuildRequest,
    /// What the request's paths are where it is made. The engine may see another host's file system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// Logins of whoever asks, for the registries of the build. They are kept nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Credentials>,
}

/// A file or folder, and what it is to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    pub path: PathBuf,
    pub device: u64,
    pub inode: u64,
}

impl Seen {
    /// What is at the path now.
    pub fn at(path: PathBuf) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(&path)?;
        Ok(Self { path, device: meta.dev(), inode: meta.ino() })
    }
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildLine {
    Event(BuildEvent),
    /// Nothing has happened for a while. So either end notices that the other one is gone.
    Alive,
    /// Last.
    Done {
        /// Of the image's manifest, where an image was made.
        digest: Option<Digest>,
        /// What was pushed, with the digest that it has there.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pushed: BTreeMap<ImageRef, Digest>,
    },
}

/// What is kept of a step, so that it need not be done again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedStep {
    pub id: Digest,
    /// The instruction.
    pub about: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub used: OffsetDateTime,
    /// How often it was not done again.
    pub uses: u64,
    /// Bytes of its layer, unpacked.
    pub size: u64,
    /// An image has the layer too: it stays when the step is forgotten.
    pub shared: bool,
}

/// Which steps are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneCache {
    /// Those too whose layers images have.
    #[serde(default)]
    pub all: bool,
    /// Last used before then.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    /// As few of those that were used longest ago as it takes to stay within so many bytes.
    #[serde(default)]
    pub keep: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedCache {
    pub steps: usize,
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::{BuildSecret, BuildStream, ContextSource, DockerfileSource};
    use crate::wire::native::{Line, Secret};

    #[test]
    fn requests_come_back_as_they_were_sent() {
        let mut request = BuildRequest::new(ContextSource::Folder("/srv/app".into()), DockerfileSource::InContext(None));
        request.secrets.push(BuildSecret { id: "token".into(), content: vec![0, 255, b'\n'] });
        request.tags.push("app:1".parse().unwrap());
        request.contexts.insert("lib".into(), ContextSource::Nothing);
        let secret = Secret::Password { user: "me".into(), password: "pa55".into() };
        let logins = vec![Credentials { registry: "r.example".into(), secret }];
        let build = Build { request, seen: vec![Seen { path: "/srv/app".into(), device: 1, inode: 2 }], logins };
        let line = serde_json::to_string(&build).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Build>(&line).unwrap(), build);
        let shown = format!("{build:?}");
        assert!(!shown.contains("255") && !shown.contains("pa55"), "secrets are not for logs");
    }

    #[test]
    fn lines_come_back_as_they_were_sent() {
        let digest = Some(Digest::of(b"x"));
        let output = BuildEvent::Output { step: 3, stream: BuildStream::Stderr, text: "a\nb".into() };
        for (line, json) in [
            (BuildLine::Alive, r#""alive""#.to_owned()),
            (BuildLine::Done { digest: None, pushed: BTreeMap::new() }, r#"{"done":{"digest":null}}"#.into()),
            (BuildLine::Done { digest, pushed: BTreeMap::new() }, format!(r#"{{"done":{{"digest":"{}"}}}}"#, Digest::of(b"x"))),
            (BuildLine::Event(output), r#"{"event":{"output":{"step":3,"stream":"stderr","text":"a\nb"}}}"#.into()),
        ] {
            assert_eq!(serde_json::to_string(&Line::Value(line.clone())).unwrap(), json);
            assert_eq!(serde_json::from_str::<Line<BuildLine>>(&json).unwrap(), Line::Value(line));
        }
    }
}

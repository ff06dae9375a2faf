//! What an image is to be, and the one way in which it is obtained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Build;
use crate::model::{Digest, ImageRef, Name, Platform, PullPolicy, TagPolicy};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// What containers name it by.
    pub reference: ImageRef,
    pub source: ImageSource,
    /// Where it is pushed to once it has been obtained.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub push: BTreeSet<ImageRef>,
    /// Whose signature a pulled image must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

impl ImageSpec {
    /// An image that is neither pushed nor verified.
    pub const fn new(reference: ImageRef, source: ImageSource) -> Self {
        Self { reference, source, push: BTreeSet::new(), verify: None }
    }

    /// What a pulled image is remembered by where it matters how it was pulled: the keys that it was checked with, and
    /// that its blobs were kept.
    pub fn pulled_as(&self) -> Option<Digest> {
        let keeps = matches!(&self.source, ImageSource::Pull(Pull { keep_blobs: Some(true), .. }));
        let keys: Vec<&str> = self.verify.iter().flat_map(|verify| &verify.keys).map(String::as_str).collect();
        (keeps || !keys.is_empty()).then(|| Digest::of(format!("{keeps} {}", keys.join("\n")).as_bytes()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageSource {
    Pull(Pull),
    /// From an archive of images, as `docker save` writes it or as an OCI layout.
    Load {
        archive: PathBuf,
        /// Digest of the archive; `None` while the archive is away, as one on a stick that is not plugged in.
        fingerprint: Option<Digest>,
        /// Which of its images; `None` when it has one only, or one with the spec's own reference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<ImageRef>,
    },
    /// From the file system of a container of the same stack, once that has completed with success.
    Commit(Commit),
    /// From a Dockerfile.
    Build(Box<Build>),
    /// A root file system: a tar (plain, gzip, bzip2, xz or zstd) or a folder.
    Import {
        path: PathBuf,
        /// Digest over what tells that the source changed: a file's bytes; of a folder, every entry's path, kind, mode,
        /// owner, size and time of change.
        fingerprint: Digest,
        /// Configuration of the image that is made.
        entrypoint: Option<Vec<String>>,
        command: Option<Vec<String>>,
        environment: BTreeMap<String, String>,
        working_dir: Option<String>,
        user: Option<String>,
    },
}

/// From its registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    pub policy: PullPolicy,
    pub platform: Option<Platform>,
    /// The reference names the repository only, and this which of its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_policy: Option<TagPolicy>,
    /// Whether the layers' blobs are kept, to push them again byte by byte; as the engine is set up when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_blobs: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// The container's resource in the same stack.
    pub container: Name,
    /// Instructions of a Dockerfile that change the image's configuration, in their order.
    pub changes: Vec<String>,
    pub author: Option<String>,
    pub message: Option<String>,
}

/// Whose signature is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Public keys in PEM, any of which will do. Never empty.
    pub keys: BTreeSet<String>,
}

//! How an image of a stack is built. The same that a command line may ask of a build, but for what must not be recorded: of a
//! secret there is only where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{HostAddress, Ulimit};
use crate::model::build::{
    BuildNetwork, BuildRequest, BuildSsh, CachePlace, CacheTo, ContextSource, DockerfileSource, Entitlement, Provenance,
};
use crate::model::{ByteSize, Digest, ImageRef, Platform};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    pub context: ContextSource,
    pub dockerfile: DockerfileSource,
    /// Digest over what tells that the files of this host changed that it is built of; `None` where there are none, or before
    /// they have been looked at. What is fetched is built once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// What the fingerprint is of, by the names by which changes are told: `dockerfile`, `context/src`. Shortened digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// The images that it is known to be built on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub bases: BTreeSet<ImageRef>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, ContextSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub no_cache_filter: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    #[serde(default)]
    pub network: BuildNetwork,
    /// The files of secrets, by their ids. They are read when it is built.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, PathBuf>,
    /// The sockets of agents, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ssh: BTreeMap<String, PathBuf>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, HostAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<Entitlement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<CachePlace>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<CacheTo>,
    /// Whether it is attested how it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Whether it is attested which software is in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sbom: bool,
    /// `SOURCE_DATE_EPOCH` of the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Further names of the image.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<ImageRef>,
}

impl Build {
    pub fn new(context: ContextSource, dockerfile: DockerfileSource) -> Self {
        Self {
            context,
            dockerfile,
            fingerprint: None,
            files: BTreeMap::new(),
            bases: BTreeSet::new(),
            contexts: BTreeMap::new(),
            target: None,
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            platforms: Vec::new(),
            no_cache: false,
            no_cache_filter: BTreeSet::new(),
            pull: false,
            network: BuildNetwork::default(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            extra_hosts: BTreeMap::new(),
            shm_size: None,
            ulimits: BTreeMap::new(),
            allow: BTreeSet::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            provenance: None,
            sbom: false,
            epoch: None,
            tags: BTreeSet::new(),
        }
    }

    /// What is asked of the engine, but for the secrets: whoever asks reads them.
    pub fn request(&self, reference: &ImageRef) -> BuildRequest {
        let mut request = BuildRequest::new(self.context.clone(), self.dockerfile.clone());
        request.contexts = self.contexts.clone();
        request.target = self.target.clone();
        request.arguments = self.arguments.clone();
        request.labels = self.labels.clone();
        request.platforms = self.platforms.clone();
        request.no_cache = self.no_cache;
        request.no_cache_filter = self.no_cache_filter.clone();
        request.pull = self.pull;
        request.network = self.network;
        let agent = |(id, socket): (&String, &PathBuf)| BuildSsh { id: id.clone(), socket: socket.clone() };
        request.ssh = self.ssh.iter().map(agent).collect();
        request.extra_hosts = self.extra_hosts.clone();
        request.shm_size = self.shm_size;
        request.ulimits = self.ulimits.clone();
        request.allow = self.allow.clone();
        request.cache_from = self.cache_from.clone();
        request.cache_to = self.cache_to.clone();
        request.provenance = self.provenance.clone();
        request.sbom = self.sbom;
        request.epoch = self.epoch;
        request.tags = std::iter::once(reference).chain(self.tags.iter().filter(|tag| *tag != reference)).cloned().collect();
        request
    }

    /// The same without what was found where its files are.
    pub fn without_files(&self) -> Self {
        Self { fingerprint: None, files: BTreeMap::new(), bases: BTreeSet::new(), ..self.clone() }
    }

    /// The folders of this host that it is built of: the context's first.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.context).chain(self.contexts.values()).filter_map(|context| match context {
            ContextSource::Folder(path) | ContextSource::Layout { path, .. } => Some(path),
            ContextSource::Git(_)
            | ContextSource::Url(_)
            | ContextSource::Image(_)
            | ContextSource::Upload
            | ContextSource::Nothing => None,
        })
    }
}

//! A build: what is asked of it, where its files come from, where its result goes, and what it tells while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::spec::{CgroupParent, HostAddress, ResourceLimits, Ulimit};
use crate::model::{ByteSize, ImageRef, Packing, Platform, Progress};

/// Where files come from that a build copies. Everything but an upload is of the host that the engine runs on, or fetched by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextSource {
    /// Absolute.
    Folder(PathBuf),
    /// `URL[#reference[:folder]]`, as `git clone` takes the URL.
    Git(String),
    /// The address of a tar, perhaps compressed, or of a Dockerfile alone.
    Url(String),
    Image(ImageRef),
    /// A folder with an OCI layout, and which of its images, by tag or digest, where it has several.
    Layout {
        path: PathBuf,
        image: Option<String>,
    },
    /// A tar that comes with the request, perhaps compressed. One of a build's contexts at most.
    Upload,
    /// No files at all.
    Nothing,
}

/// Where the instructions come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DockerfileSource {
    /// Beneath the root of the build context. `None` is `Dockerfile`.
    InContext(Option<String>),
    /// A file of the host, absolute.
    File(PathBuf),
    /// The instructions themselves; `name` is what errors call them.
    Text { name: String, text: String },
}

/// What is not to be allowed to everybody who writes a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Entitlement {
    /// `RUN --network=host`.
    #[serde(rename = "network.host")]
    NetworkHost,
    /// `RUN --security=insecure`.
    #[serde(rename = "security.insecure")]
    Insecure,
}

/// A secret for `RUN --mount=type=secret`. Its content goes nowhere but into a file system in memory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    pub id: String,
    /// The bytes in base 64.
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
}

impl std::fmt::Debug for BuildSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An agent for `RUN --mount=type=ssh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSsh {
    pub id: String,
    /// The socket of an agent on the host.
    pub socket: PathBuf,
}

/// The network of RUNs that name none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildNetwork {
    #[default]
    Default,
    None,
    Host,
}

/// Where the result goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOutput {
    /// The store of images, with the build's tags; these are pushed afterwards if `push`.
    Image {
        push: bool,
        /// To the tags' repositories, but with no tag there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_digest: bool,
        /// Of what is pushed.
        #[serde(default, skip_serializing_if = "Packing::is_default")]
        packing: Packing,
    },
    /// The file system as a folder of the host.
    Local { path: PathBuf },
    /// The file system as a tar.
    Tar { path: PathBuf },
    /// An archive of an OCI layout; a folder with `tar: false`.
    Oci {
        path: PathBuf,
        tar: bool,
        #[serde(default, skip_serializing_if = "Packing::is_default")]
        packing: Packing,
    },
    /// An archive as `docker save` writes it.
    Docker {
        path: PathBuf,
        #[serde(default, skip_serializing_if = "Packing::is_default")]
        packing: Packing,
    },
}

impl BuildOutput {
    /// The store of images, and the registries of its names.
    pub fn image(push: bool) -> Self {
        Self::Image { push, by_digest: false, packing: Packing::default() }
    }

    pub const fn is_pushed(&self) -> bool {
        matches!(self, Self::Image { push: true, .. })
    }
}

/// Where a cache is taken from or kept beside the store's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePlace {
    Registry {
        reference: ImageRef,
    },
    /// A folder with an OCI layout, and which cache of those in it, by tag or digest.
    Local {
        path: PathBuf,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// In the image's own configuration.
    Inline,
}

impl std::fmt::Display for CachePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { reference } => write!(f, "{reference}"),
            Self::Local { path, name: None } => write!(f, "{}", path.display()),
            Self::Local { path, name: Some(name) } => write!(f, "{}:{name}", path.display()),
            Self::Inline => f.write_str("the image"),
        }
    }
}

/// A place that a cache is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTo {
    pub place: CachePlace,
    /// `mode=max`: of all stages, and not only of what the result has.
    pub all: bool,
    #[serde(default, skip_serializing_if = "Packing::is_default")]
    pub packing: Packing,
    /// A cache that cannot be written is no reason for the build to fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_error: bool,
}

impl CacheTo {
    /// Of the result only.
    pub fn new(place: CachePlace) -> Self {
        Self { place, all: false, packing: Packing::default(), ignore_error: false }
    }
}

/// Which version of SLSA a provenance is told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slsa {
    #[default]
    #[serde(rename = "v1")]
    V1,
    #[serde(rename = "v0.2")]
    V02,
}

/// How it is attested how an image was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// `mode=max`: with arguments, labels, the names of secrets, and the Dockerfile.
    pub max: bool,
    #[serde(default)]
    pub version: Slsa,
    /// Who builds, as an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder_id: Option<String>,
    /// Whether somebody says that the same sources give the same bytes.
    #[serde(default)]
    pub reproducible: bool,
    /// Only beside images, and not beside files.
    #[serde(default)]
    pub inline_only: bool,
}

/// All that is asked of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildRequest {
    pub context: ContextSource,
    pub dockerfile: DockerfileSource,
    /// Named contexts: they stand before stages and images of the same name.
    #[serde(default)]
    pub contexts: BTreeMap<String, ContextSource>,
    /// A stage by its name or number.
    #[serde(default)]
    pub target: Option<String>,
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of the manifest.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The image has Docker's media types instead of OCI's.
    #[serde(default)]
    pub docker_types: bool,
    /// What the image is for; none is this host. Several make an index.
    #[serde(default)]
    pub platforms: Vec<Platform>,
    #[serde(default)]
    pub no_cache: bool,
    /// Stages whose steps are not taken from the cache, by name or number.
    #[serde(default)]
    pub no_cache_filter: BTreeSet<String>,
    /// Bases are asked for at their registries even if they are here.
    #[serde(default)]
    pub pull: bool,
    #[serde(default)]
    pub network: BuildNetwork,
    #[serde(default)]
    pub secrets: Vec<BuildSecret>,
    #[serde(default)]
    pub ssh: Vec<BuildSsh>,
    #[serde(default)]
    pub extra_hosts: BTreeMap<String, HostAddress>,
    #[serde(default)]
    pub shm_size: Option<ByteSize>,
    #[serde(default)]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Of every RUN.
    #[serde(default)]
    pub limits: ResourceLimits,
    /// Where the control groups of RUNs are made. A slice of systemd cannot be had.
    #[serde(default)]
    pub cgroup_parent: Option<CgroupParent>,
    #[serde(default)]
    pub allow: BTreeSet<Entitlement>,
    #[serde(default)]
    pub cache_from: Vec<CachePlace>,
    #[serde(default)]
    pub cache_to: Vec<CacheTo>,
    /// Whether it is attested how the image was built.
    #[serde(default)]
    pub provenance: Option<Provenance>,
    /// Whether it is attested which software is in it.
    #[serde(default)]
    pub sbom: bool,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: nothing in the image is newer, and the same sources give the same bytes.
    #[serde(default)]
    pub epoch: Option<i64>,
    /// What the image is called.
    #[serde(default)]
    pub tags: Vec<ImageRef>,
    /// Nothing means the store of images.
    #[serde(default)]
    pub outputs: Vec<BuildOutput>,
}

impl BuildRequest {
    pub fn new(context: ContextSource, dockerfile: DockerfileSource) -> Self {
        Self {
            context,
            dockerfile,
            contexts: BTreeMap::new(),
            target: None,
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            docker_types: false,
            platforms: Vec::new(),
            no_cache: false,
            no_cache_filter: BTreeSet::new(),
            pull: false,
            network: BuildNetwork::Default,
            secrets: Vec::new(),
            ssh: Vec::new(),
            extra_hosts: BTreeMap::new(),
            shm_size: None,
            ulimits: BTreeMap::new(),
            limits: ResourceLimits::default(),
            cgroup_parent: None,
            allow: BTreeSet::new(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            provenance: None,
            sbom: false,
            epoch: None,
            tags: Vec::new(),
            outputs: Vec::new(),
        }
    }
}

/// What a build tells while it runs. Steps are numbered in the order in which they begin; those of stages that are built at the
/// same time come mixed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildEvent {
    Started {
        step: u32,
        /// `[build 2/5] RUN make`, `[internal] load build context`, `exporting to image`.
        title: String,
    },
    /// What the command of a RUN writes: whole lines, or what there is of one after a moment.
    Output {
        step: u32,
        stream: BuildStream,
        text: String,
    },
    Progress {
        step: u32,
        progress: Progress,
    },
    Finished {
        step: u32,
        cached: bool,
        /// `None` where it is the user's own end that ended it, or there was none.
        error: Option<String>,
        millis: u64,
    },
    /// Something doubtful, as it is to be shown.
    Warning {
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStream {
    Stdout,
    Stderr,
}

/// Where events go. Called from any thread; it must not block for long.
pub type BuildSink = std::sync::Arc<dyn Fn(BuildEvent) + Send + Sync>;

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

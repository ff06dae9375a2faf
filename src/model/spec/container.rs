//! What a container is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Healthcheck, Logging};
use crate::model::{ByteSize, Cpus, Digest, ImageRef, Name, PortMapping, RestartPolicy, Signal, Span};

/// What a container is to be. `None` and empty mean: as the image says, or the engine's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    pub image: ImageRef,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    /// Sorted: the order of variables has no meaning.
    pub environment: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    /// `user[:group]`, each by name or number.
    pub user: Option<String>,
    pub hostname: Option<String>,
    /// Its standard streams are a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Its standard input stays open for whoever attaches; otherwise there is nothing to read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin_open: bool,
    /// Its standard input ends when somebody who is attached ends theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin_once: bool,
    pub labels: BTreeMap<String, String>,
    /// In the order of mounting.
    pub mounts: Vec<Mount>,
    pub network_mode: NetworkMode,
    /// By the network's name in the engine. Empty unless `network_mode` is `bridge`.
    pub networks: BTreeMap<Name, Attachment>,
    pub ports: BTreeSet<PortMapping>,
    /// By the name of the other container's resource in the same stack.
    pub depends_on: BTreeMap<Name, Dependency>,
    pub healthcheck: Option<Healthcheck>,
    pub restart: RestartPolicy,
    #[serde(default)]
    pub logging: Logging,
    pub limits: ResourceLimits,
    pub stop_signal: Option<Signal>,
    pub stop_grace_period: Span,
    pub cap_add: BTreeSet<String>,
    pub cap_drop: BTreeSet<String>,
    pub read_only: bool,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Additional lines of `/etc/hosts`: name to address.
    pub extra_hosts: BTreeMap<String, IpAddr>,
}

impl ContainerSpec {
    /// The spec of a container of `image` with every default.
    pub fn new(image: ImageRef) -> Self {
        Self {
            image,
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
            hostname: None,
            tty: false,
            stdin_open: false,
            stdin_once: false,
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            network_mode: NetworkMode::Bridge,
            networks: BTreeMap::new(),
            ports: BTreeSet::new(),
            depends_on: BTreeMap::new(),
            healthcheck: None,
            restart: RestartPolicy::No,
            logging: Logging::default(),
            limits: ResourceLimits::default(),
            stop_signal: None,
            stop_grace_period: Self::DEFAULT_GRACE,
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            read_only: false,
            sysctls: BTreeMap::new(),
            ulimits: BTreeMap::new(),
            extra_hosts: BTreeMap::new(),
        }
    }

    /// How long a container has between its stop signal and SIGKILL, unless told otherwise. Docker's figure.
    pub const DEFAULT_GRACE: Span = Span::seconds(10);
}

/// Where a container's network comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network namespace of its own, attached to `networks`.
    #[default]
    Bridge,
    /// A network namespace of its own with nothing but loopback.
    None,
    /// The host's network namespace.
    Host,
}

/// How a container is attached to one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Further names in this network, beside the container's own.
    pub aliases: BTreeSet<String>,
    pub ipv4_address: Option<Ipv4Addr>,
}

/// One mount of a container. `target` is absolute within the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mount {
    /// A named volume, by its name in the engine. When it is empty, it first gets the image's content at `target`.
    Volume {
        source: Name,
        target: String,
        read_only: bool,
    },
    /// A path of the host.
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
        create_host_path: bool,
    },
    Tmpfs {
        target: String,
        size: Option<ByteSize>,
        mode: Option<u32>,
    },
    /// A config's content as a read-only file. The digest makes a change of content a change of the container.
    Config {
        source: Name,
        digest: Digest,
        target: String,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

impl Mount {
    pub fn target(&self) -> &str {
        match self {
            Self::Volume { target, .. }
            | Self::Bind { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Config { target, .. } => target,
        }
    }
}

/// What must hold of another container before this one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub condition: Condition,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    #[default]
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

/// Upper limits on what a container uses; `None` is unlimited, except for processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    pub memory: Option<ByteSize>,
    pub cpus: Option<Cpus>,
    /// `None` is [`Self::DEFAULT_PIDS`], and [`Self::ANY_PIDS`] is unlimited.
    pub pids: Option<u32>,
}

impl ResourceLimits {
    /// How many processes a container may have unless told otherwise: enough for servers, too few to keep a host from
    /// starting any more. Podman's figure.
    pub const DEFAULT_PIDS: u32 = 2048;
    /// As many processes as the host has room for.
    pub const ANY_PIDS: u32 = 0;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    pub soft: u64,
    pub hard: u64,
}

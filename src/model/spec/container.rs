//! What a container is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::beyond::{Beyond, Elsewhere};
use super::cgroup_parent::CgroupParent;
use super::devices::{Device, DeviceCgroupRule, VolumesFrom};
use super::hook::Hook;
use super::hosts::{Exposed, HostAddress, MacAddress};
use super::limits::ResourceLimits;
use super::link_name::LinkName;
use super::security::Security;
use super::sharing::{IpcMode, NamespaceMode, NetworkMode};
use super::update::Update;
use super::users::UsersMode;
use super::{Healthcheck, Logging, OnChange, Watched};
use crate::model::{ByteSize, Digest, ImageRef, Name, PortMapping, RestartPolicy, Signal, Span};

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
    /// The same of containers of other stacks. In manifests they stand in `depends_on`, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub depends_beyond: BTreeMap<Elsewhere, Beyond>,
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
    pub extra_hosts: BTreeMap<String, HostAddress>,
    /// Its process 1 is an init that reaps zombies and passes signals on to the command.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub domainname: Option<String>,
    /// All capabilities, all devices, nothing hidden and nothing filtered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub security_opt: Security,
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: NamespaceMode,
    #[serde(default, skip_serializing_if = "is_default")]
    pub ipc: IpcMode,
    /// Never another container's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uts: NamespaceMode,
    /// Never another container's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cgroup: NamespaceMode,
    /// Where its cgroup is made, instead of below the instance's own parent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cgroup_parent: Option<CgroupParent>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub userns: UsersMode,
    /// The size of `/dev/shm`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shm_size: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub devices: Vec<Device>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub device_cgroup_rules: Vec<DeviceCgroupRule>,
    /// Groups beside those of its user, by name or number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group_add: BTreeSet<String>,
    /// Containers whose volumes it has too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes_from: Vec<VolumesFrom>,
    /// Name servers, instead of the engine's or the host's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns_search: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns_opt: Vec<String>,
    /// Of its link to its one network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mac_address: Option<MacAddress>,
    /// How readily the kernel kills it for want of memory, from -1000 to 1000.
    #[serde(default, skip_serializing_if = "is_default")]
    pub oom_score_adj: Option<i16>,
    /// Ports that it has beside those of its image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expose: BTreeSet<Exposed>,
    /// All exposed ports are published at free ports of the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub publish_all: bool,
    /// Containers of others in a network of its own that it knows by a name of its choice: their names or ids by these.
    #[serde(default, skip_serializing_if = "is_default")]
    pub external_links: BTreeMap<String, String>,
    /// The container of the same stack after which it is replaced, where both are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update_after: Option<Name>,
    /// The same on the way back to what it was.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollback_after: Option<Name>,
    /// How it is replaced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update_config: Update,
    /// How it becomes what it was; as it is replaced unless given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollback_config: Option<Update>,
    /// For tools that read the OCI specification.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
    /// What is run in it, one after the other, when somebody has started it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub post_start: Vec<Hook>,
    /// What is run in it, one after the other, before it is asked to stop.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pre_stop: Vec<Hook>,
}

/// What is as usual is left out, so that what is stored stays as it was when there is a new field.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ContainerSpec {
    /// The same as long as another container has the ports of the host.
    #[must_use]
    pub fn unpublished(&self) -> Self {
        Self { ports: BTreeSet::new(), publish_all: false, ..self.clone() }
    }

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
            depends_beyond: BTreeMap::new(),
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
            init: false,
            domainname: None,
            privileged: false,
            security_opt: Security::default(),
            pid: NamespaceMode::default(),
            ipc: IpcMode::default(),
            uts: NamespaceMode::default(),
            cgroup: NamespaceMode::default(),
            cgroup_parent: None,
            userns: UsersMode::default(),
            shm_size: None,
            devices: Vec::new(),
            device_cgroup_rules: Vec::new(),
            group_add: BTreeSet::new(),
            volumes_from: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_opt: Vec::new(),
            mac_address: None,
            oom_score_adj: None,
            expose: BTreeSet::new(),
            publish_all: false,
            external_links: BTreeMap::new(),
            update_after: None,
            rollback_after: None,
            update_config: Update::default(),
            rollback_config: None,
            annotations: BTreeMap::new(),
            post_start: Vec::new(),
            pre_stop: Vec::new(),
        }
    }

    /// How long a container has between its stop signal and SIGKILL, unless told otherwise. Docker's figure.
    pub const DEFAULT_GRACE: Span = Span::seconds(10);
}

/// How a container is attached to one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Further names in this network, beside the container's own.
    pub aliases: BTreeSet<String>,
    pub ipv4_address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub ipv6_address: Option<Ipv6Addr>,
    /// Of its networks that lead anywhere, the way out is by the one of the highest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gw_priority: i32,
    /// The name of its link in the container; eth0, eth1 and so on unless given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interface_name: Option<LinkName>,
}

impl Attachment {
    /// The addresses that it asks for.
    pub fn fixed(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4_address.map(IpAddr::V4).into_iter().chain(self.ipv6_address.map(IpAddr::V6))
    }
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
        /// It does not get the image's content.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        nocopy: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Only what is there in the volume, which must be there: a relative path without `..`. It never gets the image's content.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// A volume of the container's own, which the engine names.
    Anonymous {
        target: String,
        read_only: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        nocopy: bool,
    },
    /// A path of the host.
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
        create_host_path: bool,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
        /// Where a change of what is there is a change of the container.
        #[serde(default, skip_serializing_if = "is_default")]
        watched: Option<Watched>,
    },
    Tmpfs {
        target: String,
        size: Option<ByteSize>,
        mode: Option<u32>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
    /// A config's content as a read-only file. The digest makes a change of content a change of the container.
    Config {
        source: Name,
        digest: Digest,
        target: String,
        mode: u32,
        uid: u32,
        gid: u32,
        /// It is a secret's content: the file is on no disk.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        secret: bool,
        /// What another content takes.
        #[serde(default, skip_serializing_if = "is_default")]
        on_change: OnChange,
    },
}

impl Mount {
    pub fn target(&self) -> &str {
        match self {
            Self::Volume { target, .. }
            | Self::Anonymous { target, .. }
            | Self::Bind { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Config { target, .. } => target,
        }
    }
}

/// What must hold of another container before this one starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub condition: Condition,
    /// Whoever depends starts again whenever the other one has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restart: bool,
}

impl From<Condition> for Dependency {
    fn from(condition: Condition) -> Self {
        Self { condition, restart: false }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    #[default]
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    pub soft: u64,
    pub hard: u64,
}

//! What the host has, as plain values. Made by the engine's `observe`, read by the planner and by people (`ps`,
//! `inspect`, `status`). Knows nothing of how it was found out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::spec::{Build, ContainerSpec, NetworkSpec, Subnet, Subnet6, VolumeSpec};
use crate::model::{ContainerId, Digest, ImageRef, Name, Owner, PortMapping, Span};

/// One look at the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub containers: Vec<Container>,
    pub images: Vec<Image>,
    /// Images of which the disk has lost something: they count as not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Image>,
    pub networks: Vec<Network>,
    pub volumes: Vec<Volume>,
    /// What of the packet filter differs from what the attached containers need; `None` when it is whole.
    pub firewall: Option<String>,
    /// What is known of a stack's images beside what the host has of them.
    #[serde(default)]
    pub known: Known,
}

/// What is known of a stack's images beside what the host has: what registries answered, and what was recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What a registry says that an image's reference means, where it was asked, or what it is held to mean.
    pub answers: BTreeMap<ImageRef, Answer>,
    /// What the image under a reference came from.
    pub origins: BTreeMap<ImageRef, Origin>,
    /// What an image was built of, as far as that was recorded.
    #[serde(default)]
    pub made: BTreeMap<ImageRef, Made>,
    /// What was pushed to a reference last.
    pub pushed: BTreeMap<ImageRef, Digest>,
    /// On which way the stack is.
    #[serde(default)]
    pub course: Course,
}

/// On which way a stack is from one generation to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// It becomes what it was.
    pub back: bool,
    /// An update has failed, and what it has not come to stays as it is.
    pub paused: bool,
    /// Since when what is desired is being made real: what has come since has not yet been seen to be well. `None`: all has.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// How an image was built, and on which images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub build: Build,
    /// The bases that its stack declares, as they were then.
    pub bases: BTreeMap<ImageRef, Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    Is(Resolved),
    /// It was to be asked, and did not answer.
    Unknown {
        why: String,
    },
    /// Nobody was asked: it is to be the image that it was in the generation which is brought back.
    Held {
        digest: Digest,
    },
}

/// What a reference means at its registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// With the tag that was chosen, and the digest that the tag names: of an index, or of the image itself.
    pub pinned: ImageRef,
    /// The digest of the manifest for the platform: what identifies the image on the host.
    pub digest: Digest,
    /// Bytes of its layers that the host did not have when it was asked.
    pub bytes: u64,
}

/// What an image was made of or checked with, and which image came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub origin: Digest,
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub id: ContainerId,
    /// Its name in the engine, unique in the instance.
    pub name: Name,
    pub owner: Option<Owner>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// What it was created from.
    pub spec: Arc<ContainerSpec>,
    /// The digest of the image's manifest that it was created from.
    pub image_digest: Digest,
    pub state: ContainerState,
    /// It stands still, because a user asked for that.
    #[serde(default)]
    pub paused: bool,
    /// Links that the kernel has now, by network name.
    pub networks: BTreeMap<Name, Endpoint>,
    /// Ports that are published now, with the host ports that were chosen.
    pub ports: BTreeSet<PortMapping>,
    /// What of its networks is broken (a missing link, a link without a bridge); empty when all is well.
    pub network_faults: Vec<String>,
    /// What else of it, while it runs, is not as it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    pub restarts: u32,
    /// What its health checks said. Only of a container that is looked at by itself, and that has checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
}

/// Something of a running container that is not as it was made, though nobody asked for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The field of the specification that it belongs to.
    pub field: String,
    pub what: String,
    pub repair: Repair,
}

/// The least that puts it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repair {
    /// Its process stays.
    Live,
    Restart,
}

/// What the health checks of a container's present run said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    pub status: Health,
    /// Failed checks in a row.
    pub failing_streak: u32,
    /// The last checks, oldest first.
    pub log: Vec<Check>,
}

/// One health check that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
    /// `None` when it took too long and was ended.
    pub code: Option<i32>,
    /// The beginning of what it printed or was answered.
    pub output: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its IPv4 address; none in a network without IPv4.
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Ipv6Addr>,
    pub aliases: BTreeSet<String>,
}

impl Endpoint {
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.ipv6_address.map(IpAddr::V6))
    }
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum ContainerState {
    /// Never started.
    Created,
    Running {
        pid: i32,
        #[serde(with = "time::serde::rfc3339")]
        started: OffsetDateTime,
        health: Health,
    },
    /// Exited, and its monitor waits before it starts it again.
    Restarting {
        code: i32,
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        delay: Span,
    },
    Exited {
        /// The exit status, or 128 + the signal that ended it.
        code: i32,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// A user asked for it (`stop`), rather than the container itself.
        stopped: bool,
        /// Why it could not start, where it could not.
        error: Option<String>,
    },
    /// Its monitor is gone without having said what became of the container (a crash, a power cut).
    Lost,
}

impl ContainerState {
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether a monitor looks after it now.
    pub const fn is_alive(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Restarting { .. })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no health check.
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of the manifest for this host's platform: what identifies the image.
    pub digest: Digest,
    pub references: BTreeSet<ImageRef>,
    /// Bytes of its layers, unpacked.
    pub size: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The fingerprint of the folder or tar that it was imported from.
    pub imported_from: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: Name,
    pub owner: Option<Owner>,
    pub spec: NetworkSpec,
    /// The subnet in use, chosen or given; `None` of a network without IPv4.
    pub subnet: Option<Subnet>,
    /// That of IPv6, where it has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<Subnet6>,
    pub bridge: String,
    /// What the kernel lacks of it (no bridge, no address, link down); empty when all is well.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub name: Name,
    pub owner: Option<Owner>,
    pub spec: VolumeSpec,
    /// The folder that holds its data.
    pub path: std::path::PathBuf,
    /// Whether the folder is there.
    pub present: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

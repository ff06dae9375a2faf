//! Requests and answers about what is in a container and what it does: copies, differences, processes, measures, changes.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::store::Label;
use crate::model::spec::{ContainerSpec, IdList, SwapLimit};
use crate::model::{ByteSize, ContainerId, Cpus, Name, RestartPolicy};

/// The header with [`crate::files::tree::Found`] as JSON in base64, as Docker's header of nearly the same name.
pub const PATH_STAT: &str = "x-setpoint-container-path-stat";

/// A path in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathIn {
    pub path: String,
    /// Whether the last link of the path is followed.
    #[serde(default)]
    pub follow: bool,
}

/// Where an archive goes in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutArchive {
    /// A folder that is there.
    pub path: String,
    /// Owners are those that the archive names; otherwise all is the container's root's.
    #[serde(default)]
    pub owners: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    pub name: Name,
}

/// A container that is to become a stack's, under its own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    pub stack: Name,
    /// It becomes so; otherwise it is only told what it would be.
    pub take: bool,
}

/// What it is as the stack's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    pub name: Name,
    pub spec: ContainerSpec,
}

/// What is to be changed of a container; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// Nothing lifts the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Limit<ByteSize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Limit<Cpus>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<Limit<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<Limit<ByteSize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<SwapLimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<Limit<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<Limit<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<Limit<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<IdList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<IdList>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blkio_weight: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    At(T),
    None,
}

impl<T> Limit<T> {
    pub fn value(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::None => None,
        }
    }
}

/// With these arguments of ps(1), or as `ps -ef` without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Top {
    #[serde(default)]
    pub arguments: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    pub titles: Vec<String>,
    pub processes: Vec<Vec<String>>,
}

/// What a container uses at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub id: ContainerId,
    pub name: Name,
    /// Whether it runs; what does not uses nothing.
    pub running: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub cpu_usec: u64,
    pub memory: u64,
    /// Its own limit, or what the host has.
    pub memory_limit: u64,
    pub network_received: u64,
    pub network_sent: u64,
    pub block_read: u64,
    pub block_written: u64,
    pub pids: u64,
}

/// Which containers are to go that do not run and belong to no stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneContainers {
    /// Created before then.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
    #[serde(default)]
    pub labels: Vec<Label>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedContainers {
    pub removed: Vec<ContainerId>,
    pub bytes: u64,
}

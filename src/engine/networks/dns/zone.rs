//! What the DNS server answers from: a file in the run-time folder that the engine replaces by rename and the server
//! reads again whenever that happens; and beside it the server's own word on where it listens.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::spec::{Subnet, Subnet6};
use crate::model::{Name, Protocol};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Zone {
    pub networks: Vec<Network>,
    /// Whom the host leads to containers though the packet filter cannot.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub passes: BTreeSet<Pass>,
}

impl Zone {
    /// Whether all of it was understood by the first versions.
    pub(crate) fn is_plain(&self) -> bool {
        self.passes.is_empty() && self.networks.iter().all(|network| network.subnet6.is_none())
    }
}

/// A port of the host that a process leads on, instead of the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub protocol: Protocol,
    pub at: SocketAddr,
    pub to: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub name: Name,
    pub subnet: Option<Subnet>,
    /// The host's address; the subnet's first address unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet6: Option<Subnet6>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<Ipv6Addr>,
    /// Its containers are told nothing of the world outside.
    pub internal: bool,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Tells which endpoints of several networks are one container.
    pub container: String,
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    pub names: BTreeSet<String>,
}

impl Network {
    /// Where the server listens for it: by IPv4, unless it has IPv6 only.
    pub(super) fn listens_at(&self) -> Option<IpAddr> {
        let four = || Some(self.gateway.unwrap_or(self.subnet?.gateway()).into());
        let six = || Some(self.gateway6.unwrap_or(self.subnet6?.gateway()).into());
        four().or_else(six)
    }
}

impl Endpoint {
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

/// From 1 on: IPv6, and ports that are led on.
pub(crate) const SPEAKS: u32 = 1;

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serving {
    pub pid: u32,
    /// What the server understands of a zone, see [`SPEAKS`]; 0 of versions that did not say.
    #[serde(default)]
    pub speaks: u32,
    pub gateways: Vec<Gateway>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gateway {
    pub address: IpAddr,
    /// Why it does not listen there.
    pub error: Option<String>,
}

/// The files of the DNS server in an instance's run-time folder.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn of(run_dir: &Path) -> Self {
        Self { folder: run_dir.join("dns") }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn zone(&self) -> PathBuf {
        self.folder.join("zone.json")
    }

    pub(crate) fn serving(&self) -> PathBuf {
        self.folder.join("serving.json")
    }

    /// Held by the server as long as it serves.
    pub(crate) fn lock(&self) -> PathBuf {
        self.folder.join("lock")
    }

    /// What the server has to say that nobody asked it.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

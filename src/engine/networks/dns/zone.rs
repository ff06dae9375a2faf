//! What the DNS server answers from: a file in the run-time folder that the engine replaces by rename and the server
//! reads again whenever that happens; and beside it the server's own word on where it listens.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Name;
use crate::model::spec::Subnet;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Zone {
    pub networks: Vec<Network>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub name: Name,
    pub subnet: Subnet,
    /// Where the server listens for it; the subnet's first address unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Its containers are told nothing of the world outside.
    pub internal: bool,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Tells which endpoints of several networks are one container.
    pub container: String,
    pub address: Ipv4Addr,
    pub names: BTreeSet<String>,
}

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serving {
    pub pid: u32,
    pub gateways: Vec<Gateway>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gateway {
    pub address: Ipv4Addr,
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

//! All that one stack declares, resolved. What the planner compares with the host, and what a generation keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Name;
use crate::model::spec::{ConfigSpec, ContainerSpec, ImageSpec, NetworkSpec, SecretSpec, VolumeSpec};

/// A stack's resources by the names its manifests give them.
///
/// Guarantees, once [`validated`](crate::manifest): every network, volume and config that a container names is here;
/// dependencies have no cycle; names in the engine are unique per kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    pub stack: Name,
    pub images: BTreeMap<Name, ImageSpec>,
    pub containers: BTreeMap<Name, Placed<ContainerSpec>>,
    pub networks: BTreeMap<Name, Placed<NetworkSpec>>,
    pub volumes: BTreeMap<Name, Placed<VolumeSpec>>,
    pub configs: BTreeMap<Name, ConfigSpec>,
    /// Those that a container has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<Name, SecretSpec>,
}

impl Desired {
    /// A stack with nothing in it: applying it removes all but volumes.
    pub fn empty(stack: Name) -> Self {
        Self {
            stack,
            images: BTreeMap::new(),
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// The content of what a container mounts as a config or as a secret.
    pub fn content(&self, source: &Name, secret: bool) -> Option<&[u8]> {
        match secret {
            true => self.secrets.get(source).map(|secret| secret.content.as_slice()),
            false => self.configs.get(source).map(|config| config.content.as_slice()),
        }
    }

    /// To be shown: the same without the content of secrets.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        self.secrets.values_mut().for_each(|secret| secret.content.clear());
        self
    }
}

/// A resource and its name in the engine: `<stack>-<name>` unless the manifest says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed<T> {
    pub engine_name: Name,
    /// It belongs to somebody else: it must be there, and is never created, changed or removed.
    pub external: bool,
    pub spec: T,
}

//! All that one stack declares, resolved. What the planner compares with the host, and what a generation keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::Name;
use crate::model::spec::{ConfigSpec, ContainerSpec, ImageSpec, NetworkSpec, VolumeSpec};

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
        }
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

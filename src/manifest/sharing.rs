//! Joins containers to those whose namespaces and volumes they share: each gets its name in the engine, and starts before.

use std::collections::BTreeMap;

use crate::model::Name;
use crate::model::spec::{ContainerSpec, IpcMode, NamespaceMode, NetworkMode};

use super::declared::Container;
use super::desired::Placed;

/// How a container of the same stack is marked until its name in the engine is known. No container's name has a colon.
pub(super) const SERVICE: &str = "service:";

/// The texts in which a spec names other containers.
fn references(spec: &mut ContainerSpec) -> Vec<&mut String> {
    let mut all: Vec<&mut String> = Vec::new();
    if let NetworkMode::Container(other) = &mut spec.network_mode {
        all.push(other);
    }
    if let NamespaceMode::Container(other) = &mut spec.pid {
        all.push(other);
    }
    if let IpcMode::Container(other) = &mut spec.ipc {
        all.push(other);
    }
    all.extend(spec.volumes_from.iter_mut().map(|from| &mut from.container));
    all
}

/// To be done before dependencies are checked: who shares with a container of the stack depends on it.
pub(super) fn link(containers: &mut BTreeMap<Name, Placed<Container>>) {
    let names: Vec<(Name, Name)> = containers.iter().map(|(name, placed)| (name.clone(), placed.engine_name.clone())).collect();
    for (own, placed) in containers.iter_mut() {
        let body = &mut placed.spec;
        let mut needed: Vec<Name> = Vec::new();
        for reference in references(&mut body.spec) {
            let found = match reference.strip_prefix(SERVICE) {
                Some(service) => names.iter().find(|(name, _)| name.as_str() == service),
                // `container:NAME` may be one of this stack all the same.
                None => names.iter().find(|(_, engine_name)| engine_name.as_str() == reference.as_str()),
            };
            if let Some((name, engine_name)) = found {
                engine_name.as_str().clone_into(reference);
                needed.push(name.clone());
            }
        }
        for name in needed {
            if !body.depends_on.iter().any(|(known, _)| *known == name) && name != *own {
                body.depends_on.push((name.clone(), body.image_at));
            }
            body.spec.depends_on.entry(name).or_default();
        }
    }
}

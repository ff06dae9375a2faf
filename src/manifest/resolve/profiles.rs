//! Which containers are wanted, and the further names that they know each other by.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::declared::{Container, Declared, Resource};
use crate::manifest::problem::Problems;
use crate::model::Name;
use crate::model::spec::Attachment;

/// What stands for all profiles.
const ALL: &str = "*";

/// Leaves those containers that belong to no profile, or to one that is active, and of their dependencies those that are there
/// or must be.
/// Source: Compose Specification, "Profiles".
pub(super) fn choose(declared: &mut Declared, active: &BTreeSet<String>, problems: &mut Problems) {
    let wanted = |container: &Resource<Container>| {
        let profiles = &container.body.profiles;
        profiles.is_empty() || active.contains(ALL) || profiles.iter().any(|profile| active.contains(profile))
    };
    let (wanted, idle): (Vec<_>, Vec<_>) = std::mem::take(&mut declared.containers).into_iter().partition(wanted);
    let idle: BTreeMap<Name, String> =
        idle.into_iter().map(|container| (container.name, container.body.profiles.join(", "))).collect();
    let there: BTreeSet<Name> = wanted.iter().map(|container| container.name.clone()).collect();
    declared.containers = wanted;
    for container in &mut declared.containers {
        let body = &mut container.body;
        let (optional, spec) = (&body.optional, &mut body.spec);
        body.depends_on.retain(|(name, at)| {
            let Some(profiles) = idle.get(name).filter(|_| !there.contains(name)) else {
                // What is not declared at all is told of later, where it must be there.
                let keep = there.contains(name) || !optional.contains(name);
                if !keep {
                    spec.depends_on.remove(name);
                }
                return keep;
            };
            if !optional.contains(name) {
                let hint = format!("activate it with `--profile`, or write `required: false`; it is of {profiles}");
                problems.error_hint(*at, format!("`{name}` is of a profile that is not active"), hint);
            }
            spec.depends_on.remove(name);
            false
        });
    }
}

/// Gives containers the names that others link them by, in all of their networks.
pub(super) fn link(declared: &mut Declared, default: &Name) {
    let links: Vec<(Name, String)> = declared.containers.iter().flat_map(|container| container.body.links.clone()).collect();
    for (target, alias) in links {
        let Some(container) = declared.containers.iter_mut().find(|container| container.name == target) else { continue };
        let at = container.at;
        let networks = container.body.networks.get_or_insert_default();
        if networks.is_empty() {
            networks.push((default.clone(), at, Attachment::default()));
        }
        for (.., attachment) in networks {
            attachment.aliases.insert(alias.clone());
        }
    }
}

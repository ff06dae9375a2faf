//! Several of one container: each becomes a container of its own, of the same description. The first keeps the name, the others are
//! NAME-2, NAME-3 and so on, and all answer to NAME. Nothing after this step knows that they were one.

use std::collections::BTreeMap;

use crate::manifest::declared::{Container, Declared, Resource};
use crate::manifest::problem::Problems;
use crate::model::Name;
use crate::model::spec::{Attachment, NetworkMode};

/// Makes as many of each container as there are to be, and has those that depend on it depend on all of them.
pub(super) fn expand(declared: &mut Declared, default: &Name, problems: &mut Problems) {
    let mut all = Vec::with_capacity(declared.containers.len());
    // Of a container that is not there exactly once: the names of all.
    let mut several: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for mut container in std::mem::take(&mut declared.containers) {
        let count = container.body.replicas.map_or(1, |replicas| replicas.count);
        if count > 1 {
            refuse_what_is_once(&container, problems);
        }
        let names = names(&container, count, problems);
        if names.len() != 1 {
            several.insert(container.name.clone(), names.clone());
        }
        let original = container.name.clone();
        let ranges = std::mem::take(&mut container.body.ranges);
        let mut taken = container.body.spec.ports.clone();
        for (number, name) in names.iter().cloned().enumerate() {
            // That only one can be called so has been said.
            let engine_name = container.engine_name.clone().filter(|_| number == 0);
            let mut replica =
                Resource { name, at: container.at, external: container.external, body: container.body.clone(), engine_name };
            let before = |parallel: Option<u32>| names.get(number.checked_sub(parallel? as usize)?).cloned();
            let (there, back) = container.body.parallelism;
            let spec = &mut replica.body.spec;
            spec.update_after = before(there).or(spec.update_after.take());
            spec.rollback_after = before(back.flatten()).or(spec.rollback_after.take());
            for range in &ranges {
                let Some(port) = range.port(&taken) else {
                    let message = match count {
                        1 => "all ports of this range are given beside it".to_owned(),
                        count => format!("there are {count} of `{original}`, and fewer ports"),
                    };
                    problems.error_hint(range.at, message, "make the range longer");
                    continue;
                };
                taken.insert(port.clone());
                replica.body.spec.ports.insert(port);
            }
            if replica.name != original {
                answer_to(&mut replica, &original, default);
            }
            all.push(replica);
        }
    }
    for container in &mut all {
        let body = &mut container.body;
        for (other, names) in &several {
            let Some(dependency) = body.spec.depends_on.remove(other) else { continue };
            let at = body.depends_on.iter().find(|(name, _)| name == other).map_or(body.image_at, |(_, at)| *at);
            body.depends_on.retain(|(name, _)| name != other);
            if body.optional.remove(other) {
                body.optional.extend(names.iter().cloned());
            }
            for name in names {
                body.spec.depends_on.insert(name.clone(), dependency);
                body.depends_on.push((name.clone(), at));
            }
        }
    }
    declared.containers = all;
}

fn names(container: &Resource<Container>, count: u32, problems: &mut Problems) -> Vec<Name> {
    let mut names = Vec::with_capacity(count as usize);
    for number in 1..=count {
        let name = if number == 1 { Ok(container.name.clone()) } else { format!("{}-{number}", container.name).parse() };
        match name {
            Ok(name) => names.push(name),
            Err(_) => {
                problems.error(container.at, format!("`{}-{number}` is too long for a name", container.name));
                break;
            }
        }
    }
    names
}

/// A further name in all of its networks.
fn answer_to(container: &mut Resource<Container>, name: &Name, default: &Name) {
    let body = &mut container.body;
    if body.spec.network_mode != NetworkMode::Bridge {
        return;
    }
    let networks = body.networks.get_or_insert_default();
    if networks.is_empty() {
        networks.push((default.clone(), body.image_at, Attachment::default()));
    }
    for (.., attachment) in networks {
        attachment.aliases.insert(name.to_string());
    }
}

/// Reports what can be there only once.
fn refuse_what_is_once(container: &Resource<Container>, problems: &mut Problems) {
    let Some(replicas) = container.body.replicas else { return };
    let spec = &container.body.spec;
    let mut refuse = |what: String, hint: String| {
        problems.error_hint(replicas.at, format!("there are {} of `{}`, and {what}", replicas.count, container.name), hint);
    };
    if let Some(name) = &container.engine_name {
        refuse(format!("only one can be called `{name}`"), "remove `container_name`".to_owned());
    }
    for port in spec.ports.iter().filter(|port| port.host_port.is_some()) {
        let first = port.host_port.unwrap_or_default();
        let range = format!("{first}-{}:{}", u32::from(first) + replicas.count - 1, port.container_port);
        refuse(format!("one port of the host: `{port}`"), format!("write a range, such as \"{range}\", or no port of the host"));
    }
    if spec.mac_address.is_some() {
        refuse("one address of a link".to_owned(), "remove `mac_address`".to_owned());
    }
}

//! The passes that say what each step needs first.

use std::collections::HashMap;

use crate::manifest::Placed;
use crate::model::Name;
use crate::model::spec::{Attachment, Condition, ImageSource, Mount, NetworkSpec};
use crate::observed::{Container, Endpoint, Network};

use super::draft::Draft;
use super::images::declared_bases;
use super::replace;
use super::step::{Action, Kind, WaitFor};
use super::steps::FIREWALL;

const C: Kind = Kind::Container;
/// All ways in which an image comes to be here.
pub(super) const OBTAIN: [Action; 6] =
    [Action::Pull, Action::Build, Action::Import, Action::Load, Action::Commit, Action::Restore];

/// Both ways in which a container becomes another one where it is.
pub(super) const ALTER: [Action; 2] = [Action::Update, Action::Reload];

/// What a container is made of is there before it is made, and before it is started or repaired.
pub(super) fn references(draft: &mut Draft<'_>) {
    for Placed { engine_name, spec, .. } in draft.desired.containers.values() {
        for action in [Action::Create, Action::Start, Action::Repair, Action::Update, Action::Reload] {
            let step = (C, engine_name as &dyn ToString, action);
            for obtain in OBTAIN {
                draft.need(step, (Kind::Image, &spec.image, obtain));
            }
            for network in spec.networks.keys() {
                for make in [Action::Create, Action::Repair] {
                    draft.need(step, (Kind::Network, network, make));
                }
            }
            for mount in &spec.mounts {
                if let Mount::Volume { source, .. } = mount {
                    draft.need(step, (Kind::Volume, source, Action::Create));
                }
            }
            draft.need(step, (Kind::Firewall, &FIREWALL, Action::Repair));
        }
    }
    for image in draft.desired.images.values() {
        let reference = &image.reference;
        if let ImageSource::Commit(commit) = &image.source
            && let Some(container) = draft.desired.containers.get(&commit.container)
        {
            // One that has completed before is committed as it is declared, too.
            for before in [Action::Wait(WaitFor::Completed), Action::Update, Action::Reload] {
                draft.need((Kind::Image, reference, Action::Commit), (C, &container.engine_name, before));
            }
        }
        if let ImageSource::Build(build) = &image.source {
            for base in declared_bases(draft.desired, image, build) {
                for obtain in OBTAIN {
                    draft.need((Kind::Image, reference, Action::Build), (Kind::Image, base, obtain));
                }
            }
        }
        for target in &image.push {
            for obtain in OBTAIN {
                draft.need((Kind::Image, target, Action::Push), (Kind::Image, reference, obtain));
            }
        }
    }
    for network in draft.desired.networks.values() {
        for make in [Action::Create, Action::Repair] {
            draft.need((Kind::Network, &network.engine_name, make), (Kind::Firewall, &FIREWALL, Action::Repair));
        }
    }
}

/// The verbs of one container, under its old name and its new one; and nothing is stopped before its image is there.
pub(super) fn verbs(draft: &mut Draft<'_>) {
    let old_names: Vec<(&Name, &Placed<_>)> = draft
        .desired
        .containers
        .iter()
        .map(|(name, placed)| (draft.mine.get(name).map_or(&placed.engine_name, |old| &old.name), placed))
        .collect();
    for (old, Placed { engine_name: new, spec, .. }) in old_names {
        for obtain in [Action::Pull, Action::Build, Action::Import, Action::Load, Action::Restore] {
            draft.need((C, old, Action::Stop), (Kind::Image, &spec.image, obtain));
            draft.need((C, old, Action::Remove), (Kind::Image, &spec.image, obtain));
        }
        draft.need((C, old, Action::Remove), (C, old, Action::Stop));
        draft.need((C, new, Action::Start), (C, new, Action::Create));
        if !draft.has(C, new, Action::Switch) {
            draft.need((C, new, Action::Create), (C, old, Action::Remove));
            draft.need((C, new, Action::Start), (C, old, Action::Stop));
            draft.need((C, new, Action::Repair), (C, new, Action::Start));
        }
        for alter in ALTER {
            draft.need((C, new, alter), (C, old, Action::Stop));
            for after in [Action::Start, Action::Repair] {
                draft.need((C, new, after), (C, new, alter));
            }
        }
    }
    for stray in draft.strays.clone() {
        draft.need((C, &stray.name, Action::Remove), (C, &stray.name, Action::Stop));
    }
}

pub(super) fn networks(draft: &mut Draft<'_>) {
    for container in owned(draft) {
        for network in container.spec.networks.keys() {
            let removal = (Kind::Network, network as &dyn ToString, Action::Remove);
            let name = &container.name;
            if draft.has(C, name, Action::Remove) {
                draft.need(removal, (C, name, Action::Remove));
            } else if draft.has(C, name, Action::Stop) {
                draft.need(removal, (C, name, Action::Stop));
            } else if container.state.is_alive() && !stays_in(draft, container, network) {
                // It leaves it while it runs.
                for alter in ALTER {
                    draft.need(removal, (C, name, alter));
                }
            }
        }
    }
    for network in draft.desired.networks.values() {
        let name = &network.engine_name;
        draft.need((Kind::Network, name, Action::Create), (Kind::Network, name, Action::Remove));
    }
    // A subnet may be one that an old network of the stack still has.
    for old in &draft.observed.networks {
        for new in draft.desired.networks.values() {
            if wants_subnet_of(&new.spec, old) {
                draft.need((Kind::Network, &new.engine_name, Action::Create), (Kind::Network, &old.name, Action::Remove));
            }
        }
    }
}

/// Whether a network asks for addresses that another one has.
pub(super) fn wants_subnet_of(new: &NetworkSpec, old: &Network) -> bool {
    let four = new.subnet.zip(old.subnet).is_some_and(|(new, old)| new.overlaps(old));
    let asked6 = new.ipv6.as_ref().and_then(|six| six.subnet);
    four || asked6.zip(old.subnet6).is_some_and(|(new, old)| new.overlaps(old))
}

/// Whether a container of the stack is to be in a network still.
fn stays_in(draft: &Draft<'_>, container: &Container, network: &Name) -> bool {
    let declared = container.owner.as_ref().and_then(|owner| draft.desired.containers.get(&owner.resource));
    declared.is_some_and(|placed| placed.spec.networks.contains_key(network))
}

pub(super) fn dependencies(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for Placed { engine_name, spec, .. } in desired.containers.values() {
        for (other, dependency) in &spec.depends_on {
            let Some(target) = desired.containers.get(other) else { continue };
            let target = &target.engine_name;
            let start = (C, engine_name as &dyn ToString, Action::Start);
            draft.need(start, (C, target, Action::Start));
            match dependency.condition {
                Condition::ServiceStarted => {}
                Condition::ServiceHealthy => draft.need(start, (C, target, Action::Wait(WaitFor::Healthy))),
                Condition::ServiceCompletedSuccessfully => {
                    draft.need(start, (C, target, Action::Wait(WaitFor::Completed)));
                }
            }
        }
        for wait in [WaitFor::Healthy, WaitFor::Completed] {
            for before in [Action::Start, Action::Update, Action::Reload, Action::Repair] {
                draft.need((C, engine_name, Action::Wait(wait)), (C, engine_name, before));
            }
        }
    }
}

/// Of two containers that both stop, the one that depends on the other stops first. What is declared goes by what is
/// declared now; strays go by what they were created from, and that need not be free of circles, since it may come from
/// different times.
pub(super) fn stops(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, placed) in &desired.containers {
        let Some(old) = draft.mine.get(name).copied() else { continue };
        // One that is there until another one has taken its place does not give way to what it depends on.
        let stays = draft.has(C, &placed.engine_name, Action::Switch);
        for other in placed.spec.depends_on.keys().filter(|_| !stays) {
            if let Some(target) = draft.mine.get(other).copied() {
                draft.need((C, &target.name, Action::Stop), (C, &old.name, Action::Stop));
            }
        }
        for other in old.spec.depends_on.keys().filter(|_| !stays) {
            for stray in strays_called(draft, other) {
                draft.need((C, &stray.name, Action::Stop), (C, &old.name, Action::Stop));
            }
        }
    }
    let strays = draft.strays.clone();
    let by_name: HashMap<&Name, &Container> =
        strays.iter().filter_map(|stray| Some((&stray.owner.as_ref()?.resource, *stray))).collect();
    // A dependency that was met before all of its dependents were is part of a circle, and is passed over.
    let mut number: HashMap<&Name, usize> = HashMap::new();
    for stray in &strays {
        let mut stack = vec![(*stray, false)];
        let mut open = std::collections::HashSet::new();
        while let Some((container, done)) = stack.pop() {
            if done {
                let next = number.len();
                number.entry(&container.name).or_insert(next);
            } else if !number.contains_key(&container.name) && open.insert(&container.name) {
                stack.push((container, true));
                let needs = container.spec.depends_on.keys().filter_map(|name| by_name.get(name));
                stack.extend(needs.map(|need| (*need, false)));
            }
        }
    }
    for stray in &strays {
        for other in stray.spec.depends_on.keys() {
            let Some(target) = by_name.get(other) else { continue };
            if number.get(&target.name) < number.get(&stray.name) {
                draft.need((C, &target.name, Action::Stop), (C, &stray.name, Action::Stop));
                draft.need((C, &target.name, Action::Stop), (C, &stray.name, Action::Remove));
                draft.need((C, &target.name, Action::Remove), (C, &stray.name, Action::Remove));
            }
        }
    }
}

fn strays_called<'a>(draft: &Draft<'a>, resource: &Name) -> Vec<&'a Container> {
    let called = |stray: &&&Container| stray.owner.as_ref().is_some_and(|owner| owner.resource == *resource);
    draft.strays.iter().filter(called).copied().collect()
}

pub(super) fn takings(draft: &mut Draft<'_>) {
    let mut ports: HashMap<u16, Vec<&Container>> = HashMap::new();
    let mut addresses: HashMap<std::net::IpAddr, Vec<&Container>> = HashMap::new();
    for container in owned(draft) {
        for port in container.ports.iter().chain(&container.spec.ports) {
            ports.entry(port.host_port.unwrap_or(0)).or_default().push(container);
        }
        for address in container.networks.values().flat_map(Endpoint::addresses) {
            addresses.entry(address).or_default().push(container);
        }
        for address in container.spec.networks.values().flat_map(Attachment::fixed) {
            addresses.entry(address).or_default().push(container);
        }
    }
    for Placed { engine_name, spec, .. } in draft.desired.containers.values() {
        let switches = draft.has(C, engine_name, Action::Switch);
        if !switches {
            draft.need((C, engine_name, Action::Create), (C, engine_name, Action::Remove));
        }
        let fixed = spec.networks.values().flat_map(Attachment::fixed);
        let holders = spec
            .ports
            .iter()
            .filter_map(|port| ports.get(&port.host_port?))
            .chain(fixed.filter_map(|address| addresses.get(&address)))
            .flatten();
        let starts = draft.has(C, engine_name, Action::Start);
        let take: &[Action] = match (switches, starts) {
            (true, _) => &[Action::Switch],
            (false, true) => &[Action::Start],
            (false, false) => &ALTER,
        };
        // What it takes over from the one that it replaces it takes while that one runs.
        let holders = holders.filter(|holder| !switches || holder.name != *engine_name);
        for (holder, take) in holders.flat_map(|holder| take.iter().map(move |take| (holder, *take))) {
            for end in [Action::Stop, Action::Remove] {
                draft.need((C, engine_name, take), (C, &holder.name, end));
            }
            // One that goes on running gives it back by becoming what it is to be.
            if !draft.has(C, &holder.name, Action::Stop) {
                for alter in ALTER {
                    draft.need((C, engine_name, take), (C, &holder.name, alter));
                }
            }
        }
    }
}

pub(super) fn volumes(draft: &mut Draft<'_>) {
    for container in owned(draft) {
        for mount in &container.spec.mounts {
            if let Mount::Volume { source, .. } = mount {
                draft.need((Kind::Volume, source, Action::Remove), (C, &container.name, Action::Remove));
                // A folder that is gone is made anew once nothing has the old one mounted.
                draft.need((Kind::Volume, source, Action::Create), (C, &container.name, Action::Stop));
            }
        }
    }
}

/// A container that is replaced after another one gives way, or is made, when that one runs again and is well, as far as that is looked
/// at, and a while later where it says so. Where one of the two needs the other anyway, that counts more.
pub(super) fn rolls(draft: &mut Draft<'_>) {
    for (name, placed) in &draft.desired.containers {
        let Some((_, before)) = replace::rolls_after(draft, &placed.spec) else { continue };
        let Some(old) = draft.mine.get(name).copied() else { continue };
        if !replace::is_replaced(draft, &placed.engine_name) {
            continue;
        }
        let delay = Action::Delay(replace::way(draft, &placed.spec).delay);
        let watch = Action::Watch(replace::way(draft, &before.spec).monitor);
        let done = [Action::Start, Action::Wait(WaitFor::Healthy), watch, Action::Switch];
        for done in done {
            draft.after_if_free((C, &before.engine_name, delay), (C, &before.engine_name, done));
        }
        let switches = draft.has(C, &placed.engine_name, Action::Switch);
        let begins = [(&placed.engine_name, Action::Create)].into_iter().filter(|_| switches);
        for (target, begin) in begins.chain([(&old.name, Action::Stop), (&old.name, Action::Remove)]) {
            for done in done.into_iter().chain([delay]) {
                draft.after_if_free((C, target, begin), (C, &before.engine_name, done));
            }
        }
    }
}

pub(super) fn commits(draft: &mut Draft<'_>) {
    for (name, placed) in &draft.desired.containers {
        let Some(old) = draft.mine.get(name).copied() else { continue };
        for end in [Action::Stop, Action::Remove] {
            draft.need_if_free((C, &old.name, end), (Kind::Image, &placed.spec.image, Action::Commit));
        }
    }
}

/// The stack's containers on the host.
fn owned<'a>(draft: &Draft<'a>) -> Vec<&'a Container> {
    draft.mine.values().chain(&draft.strays).copied().collect()
}

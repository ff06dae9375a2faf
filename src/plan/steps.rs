//! The passes that say which steps there are, and why.

use std::collections::BTreeSet;

use serde_json::to_value;

use crate::manifest::Placed;
use crate::model::spec::classes::Change;
use crate::model::spec::{Attachment, Condition, ContainerSpec, Mount};
use crate::model::{Name, RestartPolicy};
use crate::observed::{Container, ContainerState, Fault, Health, Repair};

use super::Obstacle;
use super::classes::{changed, compare, differences};
use super::draft::Draft;
use super::images;
use super::order::ALTER;
use super::replace;
use super::step::{Action, Cause, Kind, Resource, SparedIf, WaitFor};

pub(super) fn resource(kind: Kind, name: &Name) -> Resource {
    Resource { kind, name: name.clone() }
}

/// The name of the packet filter's resource, and its target.
pub(super) const FIREWALL: &str = "firewall";

pub(super) fn firewall(draft: &mut Draft<'_>) {
    if let Some(what) = &draft.observed.firewall
        && let Ok(name) = FIREWALL.parse::<Name>()
    {
        let causes = vec![Cause::Drift { what: what.clone() }];
        draft.add(Action::Repair, resource(Kind::Firewall, &name), FIREWALL, None, causes);
    }
}

pub(super) fn networks(draft: &mut Draft<'_>) {
    for (name, Placed { engine_name, external, spec }) in &draft.desired.networks {
        let resource = resource(Kind::Network, name);
        let Some(network) = draft.network(engine_name) else {
            if *external {
                draft.obstacles.push(Obstacle::ExternalMissing { resource, name: engine_name.clone() });
            } else {
                draft.add(Action::Create, resource, engine_name, None, vec![Cause::Missing]);
            }
            continue;
        };
        if *external {
            continue;
        }
        if !draft.owns(&network.owner) {
            let owner = network.owner.clone();
            draft.obstacles.push(Obstacle::NameTaken { resource, name: engine_name.clone(), owner });
            continue;
        }
        if network.spec != *spec {
            let mut causes = Vec::new();
            if let (Ok(old), Ok(new)) = (to_value(&network.spec), to_value(spec)) {
                differences("spec", &old, &new, &mut causes);
            }
            draft.add(Action::Remove, resource.clone(), engine_name, None, causes.clone());
            draft.add(Action::Create, resource, engine_name, None, causes);
        } else if !network.faults.is_empty() {
            let causes = network.faults.iter().map(|fault| Cause::Drift { what: fault.clone() }).collect();
            draft.add(Action::Repair, resource, engine_name, None, causes);
        }
    }
}

pub(super) fn volumes(draft: &mut Draft<'_>) {
    for (name, Placed { engine_name, external, .. }) in &draft.desired.volumes {
        let resource = resource(Kind::Volume, name);
        match draft.volume(engine_name) {
            None if *external => {
                draft.obstacles.push(Obstacle::ExternalMissing { resource, name: engine_name.clone() });
            }
            None => draft.add(Action::Create, resource, engine_name, None, vec![Cause::Missing]),
            Some(_) if *external => {}
            Some(volume) if !draft.owns(&volume.owner) => {
                let owner = volume.owner.clone();
                draft.obstacles.push(Obstacle::NameTaken { resource, name: engine_name.clone(), owner });
            }
            Some(volume) if !volume.present => {
                let what = format!("its folder {} is gone", volume.path.display());
                draft.add(Action::Create, resource, engine_name, None, vec![Cause::Drift { what }]);
            }
            // Labels of a volume stay as they were when it was made: making it anew would lose what it holds.
            Some(_) => {}
        }
    }
}

pub(super) fn containers(draft: &mut Draft<'_>) {
    for (name, Placed { engine_name, spec, .. }) in &draft.desired.containers {
        let resource = resource(Kind::Container, name);
        let mine = draft.mine.get(name).copied();
        if let Some(other) = draft.container(engine_name)
            && !draft.owns(&other.owner)
        {
            let owner = other.owner.clone();
            draft.obstacles.push(Obstacle::NameTaken { resource, name: engine_name.clone(), owner });
            continue;
        }
        let Some(old) = mine else {
            draft.add(Action::Create, resource.clone(), engine_name, None, vec![Cause::Missing]);
            draft.add(Action::Start, resource, engine_name, None, vec![Cause::Missing]);
            continue;
        };
        if draft.observed.known.course.paused {
            // What was to become of it waits until something else is wanted; what it is, it stays.
            draft.asides.remove(name);
            let in_vain = matches!(old.state, ContainerState::Created | ContainerState::Exited { error: Some(_), .. });
            if !in_vain {
                mend(draft, old, old.spec.restart, resource, Vec::new());
            }
            continue;
        }
        let (mut change, mut causes) = compare(&old.spec, spec);
        let mut recreate: Vec<Cause> = Vec::new();
        if old.name != *engine_name {
            let (before, after) = (old.name.to_string(), engine_name.to_string());
            recreate.push(changed("container_name".to_owned(), Some(before), Some(after)));
        }
        // Another reference is a difference of the spec already.
        if old.spec.image == spec.image {
            recreate.extend(images::moved(draft, old, &spec.image));
        }
        let new_networks: Vec<Cause> = (spec.networks.keys().filter(|network| old.spec.networks.contains_key(*network)))
            .filter(|network| draft.has(Kind::Network, *network, Action::Create))
            .map(|network| follows(draft, Kind::Network, network, "is made anew"))
            .collect();
        // It is made anew for its image alone, and that may turn out to be the same one.
        let only_image =
            change == Change::Nothing && new_networks.is_empty() && recreate.len() == 1 && images::is_open(draft, &spec.image);
        let spared_if = only_image.then(|| SparedIf { image: spec.image.clone(), is: old.image_digest });
        if !recreate.is_empty() {
            change = Change::Recreate;
            causes.extend(recreate);
        }
        let lost_volumes: Vec<Cause> = spec
            .mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::Volume { source, .. } if draft.has(Kind::Volume, source, Action::Create) => {
                    Some(follows(draft, Kind::Volume, source, "is made anew"))
                }
                _ => None,
            })
            .collect();
        let at_once = new_networks.is_empty() && lost_volumes.is_empty();
        // What it lacks it gets back also where it turns out to stay.
        let lacks = spared_if.as_ref().map_or(Lacks::Nothing, |_| lacks(draft, old, lost_volumes.clone()));
        if old.state.is_alive() && !new_networks.is_empty() {
            change = change.max(Change::Restart);
            causes.extend(new_networks);
        }
        match change {
            Change::Recreate if at_once && replace::may_start_first(draft, name, old) => {
                replace::start_first(draft, name, old, &causes, spared_if.as_ref());
                match lacks {
                    Lacks::Nothing => {}
                    Lacks::Restart(causes) => replace::starts_anyway(draft, spec, &resource, old, &causes),
                    Lacks::Repair(causes) => draft.add(Action::Repair, resource, engine_name, Some(old), causes),
                }
                continue;
            }
            Change::Recreate => {
                if old.state.is_alive() {
                    draft.add(Action::Stop, resource.clone(), &old.name, Some(old), causes.clone());
                }
                draft.add(Action::Remove, resource.clone(), &old.name, Some(old), causes.clone());
                draft.add(Action::Create, resource.clone(), engine_name, None, causes.clone());
                draft.add(Action::Start, resource.clone(), engine_name, None, causes);
                for action in [Action::Stop, Action::Remove, Action::Create] {
                    draft.spare(engine_name, action, spared_if.clone());
                }
                // One that ought to run is started, be it the old one or the new one.
                let ends = must_start(&old.state, spec.restart).is_none();
                draft.spare(engine_name, Action::Start, spared_if.filter(|_| ends));
                match lacks {
                    Lacks::Nothing => {}
                    Lacks::Restart(causes) => replace::starts_anyway(draft, spec, &resource, old, &causes),
                    // Whichever of the two is there then: a new one lacks nothing.
                    Lacks::Repair(causes) => draft.add(Action::Repair, resource, engine_name, None, causes),
                }
                continue;
            }
            // Its own process is looked at below: one that is to run and does not is started, and one that is not alive
            // only has to be what it is to be from its next start on.
            Change::Restart if old.state.is_alive() => {
                draft.add(Action::Stop, resource.clone(), engine_name, Some(old), causes.clone());
                draft.add(Action::Update, resource.clone(), engine_name, Some(old), causes.clone());
                draft.add(Action::Start, resource, engine_name, Some(old), causes);
                continue;
            }
            Change::Reload if old.state.is_running() => {
                draft.add(Action::Reload, resource.clone(), engine_name, Some(old), causes);
            }
            Change::Restart | Change::Reload | Change::Live => {
                draft.add(Action::Update, resource.clone(), engine_name, Some(old), causes);
            }
            Change::Nothing => {}
        }
        mend(draft, old, spec.restart, resource, lost_volumes);
    }
    // Nobody goes on with them.
    let asides = std::mem::take(&mut draft.asides);
    draft.strays.extend(asides.into_values());
}

/// Whoever takes a port or an address while it runs, from one that does so too, would wait for the other in a circle: it gives
/// back what it has, and starts again.
pub(super) fn exchanges(draft: &mut Draft<'_>) {
    let lively = |draft: &Draft<'_>, name: &Name| {
        let alters = ALTER.iter().any(|alter| draft.has(Kind::Container, name, *alter));
        alters && !draft.has(Kind::Container, name, Action::Stop)
    };
    let mut restarted = Vec::new();
    for (name, placed) in &draft.desired.containers {
        let Some(old) = draft.mine.get(name).copied().filter(|old| lively(draft, &old.name)) else { continue };
        let wanted = fixed(&placed.spec);
        let from = draft.mine.iter().find(|(other, holder)| {
            *other != &name
                && lively(draft, &holder.name)
                && fixed(&holder.spec).intersection(&wanted).next().is_some()
                && draft
                    .desired
                    .containers
                    .get(**other)
                    .is_some_and(|placed| !fixed(&placed.spec).is_subset(&fixed(&holder.spec)))
        });
        if let Some((other, _)) = from {
            restarted.push((name, old, (*other).clone()));
        }
    }
    for (name, old, other) in restarted {
        let why = "has what this one takes, and takes something itself".to_owned();
        let causes = vec![Cause::Follows { resource: resource(Kind::Container, &other), why }];
        draft.add(Action::Stop, resource(Kind::Container, name), &old.name, Some(old), causes.clone());
        draft.add(Action::Start, resource(Kind::Container, name), &old.name, Some(old), causes);
    }
}

/// The ports of the host and the addresses that a container says it has.
pub(super) fn fixed(spec: &ContainerSpec) -> BTreeSet<String> {
    let ports = spec.ports.iter().filter_map(|port| Some(format!("{}/{:?}", port.host_port?, port.protocol)));
    let addresses = spec.networks.values().flat_map(Attachment::fixed).map(|ip| ip.to_string());
    ports.chain(addresses).collect()
}

/// A container that is what it is to be, as far as its record goes, is started where it ought to run, and gets back what it lacks.
fn mend(draft: &mut Draft<'_>, old: &Container, restart: RestartPolicy, resource: Resource, lost_volumes: Vec<Cause>) {
    let name = &old.name;
    if let Some(cause) = must_start(&old.state, restart) {
        draft.add(Action::Start, resource, name, Some(old), vec![cause]);
        return;
    }
    match lacks(draft, old, lost_volumes) {
        Lacks::Nothing => {}
        Lacks::Restart(causes) => {
            draft.add(Action::Stop, resource.clone(), name, Some(old), causes.clone());
            draft.add(Action::Start, resource, name, Some(old), causes);
        }
        Lacks::Repair(causes) => draft.add(Action::Repair, resource, name, Some(old), causes),
    }
}

/// How a container that is alive comes by what it lacks, and what that is.
enum Lacks {
    Nothing,
    Restart(Vec<Cause>),
    Repair(Vec<Cause>),
}

fn lacks(draft: &Draft<'_>, old: &Container, lost_volumes: Vec<Cause>) -> Lacks {
    if !old.state.is_alive() {
        return Lacks::Nothing;
    }
    let paused = draft.observed.known.course.paused;
    let drift = |what: &String| Cause::Drift { what: what.clone() };
    // Hooks that have failed are part of an update that nobody tries again for now.
    let is_tried = |fault: &&Fault| !(paused && fault.field == "post_start");
    let lost = old.faults.iter().filter(|fault| fault.repair == Repair::Restart).filter(is_tried).map(|fault| drift(&fault.what));
    // It still has the folder mounted that is gone.
    let lost: Vec<Cause> = lost_volumes.into_iter().chain(lost).collect();
    if !lost.is_empty() {
        return Lacks::Restart(lost);
    }
    let faults = old.faults.iter().filter(|fault| fault.repair == Repair::Live).map(|fault| &fault.what);
    let causes: Vec<Cause> = old.network_faults.iter().chain(faults).map(drift).collect();
    if causes.is_empty() { Lacks::Nothing } else { Lacks::Repair(causes) }
}

/// Why a container that exists and is kept has to be started; `None` when it is as it should be.
///
/// A container that exited by itself is left alone: whether it starts again was its restart policy's decision, except that
/// one which is to run whatever happens has lost its monitor when it does not.
fn must_start(state: &ContainerState, restart: RestartPolicy) -> Option<Cause> {
    let what = match state {
        ContainerState::Running { .. } | ContainerState::Restarting { .. } => return None,
        ContainerState::Created => return Some(Cause::Drift { what: "it was never started".to_owned() }),
        ContainerState::Lost => "its monitor is gone".to_owned(),
        ContainerState::Exited { stopped: true, .. } => "it was stopped".to_owned(),
        ContainerState::Exited { error: Some(error), .. } => format!("it could not start: {error}"),
        ContainerState::Exited { code, .. } if restart.keeps_running() => format!("it exited with {code}"),
        ContainerState::Exited { .. } => return None,
    };
    Some(Cause::Drift { what })
}

/// The cause of a step that another resource's step brings with it, by that one's name in the engine.
fn follows(draft: &Draft<'_>, kind: Kind, engine_name: &Name, why: &str) -> Cause {
    let desired = draft.desired;
    let name = match kind {
        Kind::Network => desired.networks.iter().find(|(_, p)| p.engine_name == *engine_name).map(|(name, _)| name),
        Kind::Volume => desired.volumes.iter().find(|(_, p)| p.engine_name == *engine_name).map(|(name, _)| name),
        _ => None,
    };
    Cause::Follows { resource: resource(kind, name.unwrap_or(engine_name)), why: why.to_owned() }
}

/// Where a container starts and waits for another one, or an image is committed from one, that one is waited for, and
/// started where it would not become what is waited for by itself.
pub(super) fn revive_dependencies(draft: &mut Draft<'_>) {
    for name in dependents_first(draft) {
        let Some(Placed { engine_name, spec, .. }) = draft.desired.containers.get(name) else { continue };
        for image in images::committed_from(draft, name) {
            let cause = Cause::Follows { resource: image, why: "is committed from it".to_owned() };
            revive(draft, name, WaitFor::Completed, cause);
        }
        if !draft.has(Kind::Container, engine_name, Action::Start) {
            continue;
        }
        for (other, dependency) in &spec.depends_on {
            let (wait, why) = match dependency.condition {
                Condition::ServiceStarted => continue,
                Condition::ServiceHealthy => (WaitFor::Healthy, "needs it healthy"),
                Condition::ServiceCompletedSuccessfully => (WaitFor::Completed, "needs it completed"),
            };
            let cause = Cause::Follows { resource: resource(Kind::Container, name), why: why.to_owned() };
            revive(draft, other, wait, cause);
        }
    }
}

fn revive(draft: &mut Draft<'_>, name: &Name, wait: WaitFor, cause: Cause) {
    let Some(target) = draft.desired.containers.get(name) else { return };
    let mine = draft.mine.get(name).copied();
    let starts = draft.has(Kind::Container, &target.engine_name, Action::Start);
    if let Some(old) = mine
        && !starts
    {
        match (&old.state, wait) {
            (ContainerState::Running { health: Health::Healthy, .. }, WaitFor::Healthy)
            | (ContainerState::Exited { code: 0, stopped: false, error: None, .. }, WaitFor::Completed) => return,
            (ContainerState::Exited { .. }, _) => {
                let resource = resource(Kind::Container, name);
                draft.add(Action::Start, resource, &target.engine_name, Some(old), vec![cause.clone()]);
            }
            _ => {}
        }
    }
    // Whoever waits for it needs it started, also where it is not made anew in the end.
    if let Some(old) = mine
        && starts
        && !old.state.is_alive()
        && !matches!(
            (&old.state, wait),
            (ContainerState::Exited { code: 0, stopped: false, error: None, .. }, WaitFor::Completed)
        )
    {
        draft.spare(&target.engine_name, Action::Start, None);
    }
    let recreated = replace::is_replaced(draft, &target.engine_name);
    let same = mine.filter(|_| !recreated);
    draft.add(Action::Wait(wait), resource(Kind::Container, name), &target.engine_name, same, vec![cause]);
}

/// The declared containers, each before those that it depends on.
pub(super) fn dependents_first<'a>(draft: &Draft<'a>) -> Vec<&'a Name> {
    let containers = &draft.desired.containers;
    let mut order: Vec<&Name> = Vec::with_capacity(containers.len());
    let mut seen = std::collections::HashSet::new();
    for start in containers.keys() {
        // Depth first without recursion: a name comes out when all that it depends on has.
        let mut stack = vec![(start, false)];
        while let Some((name, done)) = stack.pop() {
            if done {
                order.push(name);
            } else if seen.insert(name) {
                stack.push((name, true));
                let needs = containers.get(name).into_iter().flat_map(|placed| placed.spec.depends_on.keys());
                stack.extend(needs.filter_map(|need| Some((containers.get_key_value(need)?.0, false))));
            }
        }
    }
    order.reverse();
    order
}

pub(super) fn removals(draft: &mut Draft<'_>) {
    for container in draft.strays.clone() {
        let Some(owner) = &container.owner else { continue };
        let resource = resource(Kind::Container, &owner.resource);
        if container.state.is_alive() {
            draft.add(Action::Stop, resource.clone(), &container.name, Some(container), vec![Cause::NotDeclared]);
        }
        draft.add(Action::Remove, resource, &container.name, Some(container), vec![Cause::NotDeclared]);
    }
    let desired = draft.desired;
    for network in &draft.observed.networks {
        let Some(owner) = network.owner.as_ref().filter(|owner| owner.stack == desired.stack) else { continue };
        if !desired.networks.values().any(|placed| placed.engine_name == network.name) {
            let resource = resource(Kind::Network, &owner.resource);
            draft.add(Action::Remove, resource, &network.name, None, vec![Cause::NotDeclared]);
        }
    }
    if !draft.drop_volumes {
        return;
    }
    for volume in &draft.observed.volumes {
        let Some(owner) = volume.owner.as_ref().filter(|owner| owner.stack == desired.stack) else { continue };
        if !desired.volumes.values().any(|placed| placed.engine_name == volume.name) {
            let resource = resource(Kind::Volume, &owner.resource);
            draft.add(Action::Remove, resource, &volume.name, None, vec![Cause::NotDeclared]);
        }
    }
}

//! How one container takes the place of another one: which of the two goes first, for how long the new one is watched, and what it
//! means for the others when it is not well.

use crate::manifest::Placed;
use crate::model::Name;
use crate::model::spec::classes::Change;
use crate::model::spec::{ContainerSpec, FailureAction, Mount, NetworkSpec, Order, Update};
use crate::observed::{Container, ContainerState, Network};

use super::Obstacle;
use super::classes::compare;
use super::draft::Draft;
use super::images;
use super::order::wants_subnet_of;
use super::step::{Action, Cause, Kind, Resource, SparedIf, Stake, WaitFor};
use super::steps::{fixed, resource};

const C: Kind = Kind::Container;

/// How a container is replaced on the way that the stack is on.
pub(super) fn way(draft: &Draft<'_>, spec: &ContainerSpec) -> Update {
    if !draft.observed.known.course.back {
        return spec.update_config.clone();
    }
    let mut way = spec.rollback_config.as_ref().unwrap_or(&spec.update_config).clone();
    // There is no way back from the way back.
    if way.failure_action == FailureAction::Rollback {
        way.failure_action = FailureAction::Pause;
    }
    way
}

/// Whether the plan puts another container in the place of this name.
pub(super) fn is_replaced(draft: &Draft<'_>, engine_name: &Name) -> bool {
    draft.has(C, engine_name, Action::Create) || draft.has(C, engine_name, Action::Switch)
}

/// The container after which one of this specification is replaced.
pub(super) fn rolls_after<'a>(draft: &Draft<'a>, spec: &ContainerSpec) -> Option<(&'a Name, &'a Placed<ContainerSpec>)> {
    let back = draft.observed.known.course.back && spec.rollback_config.is_some();
    let after = if back { spec.rollback_after.as_ref() } else { spec.update_after.as_ref() };
    draft.desired.containers.get_key_value(after?)
}

/// Whether a container that is to be made anew can be there beside the one that it replaces. Where one of them has what the other one
/// needs, they cannot, whatever is wished.
pub(super) fn may_start_first(draft: &Draft<'_>, name: &Name, old: &Container) -> bool {
    let Some(Placed { engine_name, spec, .. }) = draft.desired.containers.get(name) else { return false };
    if way(draft, spec).order != Order::StartFirst || !old.state.is_alive() || old.name != *engine_name {
        return false;
    }
    // An image is committed from the one that has the name.
    if !images::committed_from(draft, name).is_empty() {
        return false;
    }
    // Somebody else of the stack gives way to it, or waits for what it gives up: in a circle, where it stays until its place is taken.
    let (wanted, given_up) = (fixed(spec), fixed(&old.spec));
    let there = draft.mine.iter().filter(|(other, _)| **other != name).map(|(_, other)| &*other.spec);
    let there = there.chain(draft.strays.iter().map(|stray| &*stray.spec));
    let to_come = draft.desired.containers.iter().filter(|(other, _)| *other != name).map(|(_, other)| &other.spec);
    if there.map(fixed).any(|other| !other.is_disjoint(&wanted)) || to_come.map(fixed).any(|other| !other.is_disjoint(&given_up))
    {
        return false;
    }
    // So do networks and volumes that are made anew when the old container has let go of them, and who needs them.
    let volumes = old.spec.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { source, .. } => Some(source),
        _ => None,
    });
    let networks = old.spec.networks.keys().chain(spec.networks.keys()).filter_map(|name| draft.network(name));
    let made_anew = |old: &Network| {
        let comes = draft.desired.networks.values().filter(|new| draft.has(Kind::Network, &new.engine_name, Action::Create));
        let same = |new: &Placed<NetworkSpec>| new.engine_name == old.name || wants_subnet_of(&new.spec, old);
        comes.into_iter().any(same)
    };
    !volumes.into_iter().any(|source| draft.has(Kind::Volume, source, Action::Create)) && !networks.into_iter().any(made_anew)
}

/// The steps by which a new container is there and well before the old one goes. One that was on its way already goes on.
pub(super) fn start_first(draft: &mut Draft<'_>, name: &Name, old: &Container, causes: &[Cause], spared_if: Option<&SparedIf>) {
    let Some(Placed { engine_name, spec, .. }) = draft.desired.containers.get(name) else { return };
    // That there is such a name was seen to when the manifests were read.
    let Ok(aside) = engine_name.aside() else { return };
    let resource = resource(C, name);
    if let Some(other) = draft.container(&aside)
        && other.owner.as_ref().is_none_or(|owner| owner.stack != draft.desired.stack || owner.resource != *name)
    {
        let owner = other.owner.clone();
        draft.obstacles.push(Obstacle::NameTaken { resource, name: aside, owner });
        return;
    }
    let on_its_way = draft.asides.get(name).copied().filter(|next| fits(draft, next, spec));
    let monitor = way(draft, spec).monitor;
    if on_its_way.is_some() {
        draft.asides.remove(name);
    } else {
        draft.add(Action::Create, resource.clone(), engine_name, None, causes.to_vec());
    }
    if on_its_way.is_none_or(|next| !next.state.is_alive()) {
        draft.add(Action::Start, resource.clone(), engine_name, on_its_way, causes.to_vec());
    }
    for action in [Action::Watch(monitor), Action::Switch] {
        draft.add(action, resource.clone(), engine_name, on_its_way, causes.to_vec());
    }
    for action in [Action::Stop, Action::Remove] {
        draft.add(action, resource.clone(), engine_name, Some(old), causes.to_vec());
    }
    for action in [Action::Create, Action::Start, Action::Watch(monitor), Action::Switch, Action::Stop, Action::Remove] {
        draft.spare(engine_name, action, spared_if.cloned());
    }
    draft.called.insert(engine_name.to_string(), aside);
}

/// One that is made anew only if its image turns out to be another one starts again in any case.
pub(super) fn starts_anyway(draft: &mut Draft<'_>, spec: &ContainerSpec, resource: &Resource, old: &Container, causes: &[Cause]) {
    let name = &old.name;
    let steps: &[Action] = if draft.has(C, name, Action::Switch) {
        // Nobody is to miss it meanwhile: so that it is a new one, whatever its image is.
        draft.spare(name, Action::Watch(way(draft, spec).monitor), None);
        &[Action::Create, Action::Start, Action::Switch, Action::Stop, Action::Remove]
    } else {
        &[Action::Stop, Action::Start]
    };
    for action in steps {
        draft.add(*action, resource.clone(), name, Some(old), causes.to_vec());
        draft.spare(name, *action, None);
    }
}

/// Whether a container that was made to take the place of another one is still the one that is wanted, and may still do so.
fn fits(draft: &Draft<'_>, next: &Container, spec: &ContainerSpec) -> bool {
    let may = matches!(next.state, ContainerState::Created | ContainerState::Running { .. } | ContainerState::Restarting { .. });
    // What was to be run in it at its start has failed, or was broken off.
    let well = next.faults.iter().all(|fault| fault.field != "post_start");
    may && well
        && images::meant(draft, &spec.image) == Some(next.image_digest)
        && compare(&next.spec, &spec.unpublished()).0 == Change::Nothing
}

/// Whoever is replaced or altered is watched, where it says so. So is whoever came since what is desired began to be made real, and has
/// not been watched to the end, because that was broken off.
pub(super) fn watches(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    let course = draft.observed.known.course;
    if course.paused {
        return;
    }
    for (name, Placed { engine_name, spec, .. }) in &desired.containers {
        let way = way(draft, spec);
        if !way.is_watched() {
            continue;
        }
        let watch = Action::Watch(way.monitor);
        let mine = draft.mine.get(name).copied();
        let is_change = |cause: &Cause| matches!(cause, Cause::Changed { .. });
        let changes = |action: &Action| draft.causes(engine_name, *action).iter().any(is_change);
        let made = Some(Action::Create).filter(|_| is_replaced(draft, engine_name));
        // One that does not run is altered for its next start.
        let lives = mine.is_some_and(|mine| mine.state.is_alive());
        let others: &[Action] = if lives { &[Action::Start, Action::Update, Action::Reload] } else { &[Action::Start] };
        let changing = made.or_else(|| others.iter().copied().find(changes));
        if let Some(action) = changing.filter(|_| !draft.has(C, engine_name, watch)) {
            let causes = draft.causes(engine_name, action).to_vec();
            let spared_if = draft.spared(engine_name, Action::Start).or(draft.spared(engine_name, action));
            let same = mine.filter(|_| !draft.has(C, engine_name, Action::Create));
            draft.add(watch, resource(C, name), engine_name, same, causes);
            draft.spare(engine_name, watch, spared_if);
        } else if let Some(old) = mine.filter(|old| changing.is_none() && came_since(old, course.since)) {
            let causes = vec![Cause::Drift { what: "it was not watched to the end".to_owned() }];
            if matches!(old.state, ContainerState::Exited { code, stopped: false, .. } if code != 0) {
                draft.add(Action::Start, resource(C, name), engine_name, Some(old), causes.clone());
            }
            draft.add(watch, resource(C, name), engine_name, Some(old), causes);
        } else if changing.is_none() {
            continue;
        }
        let together = |other: &Placed<ContainerSpec>| way.group.is_some() && self::way(draft, &other.spec).group == way.group;
        let count = desired.containers.values().filter(|other| together(other)).count().max(1);
        let stake = Stake { action: way.failure_action, group: way.group.clone(), tolerates: way.tolerates(count) };
        draft.stakes.insert(name, stake);
    }
}

fn came_since(container: &Container, since: Option<time::OffsetDateTime>) -> bool {
    let Some(since) = since else { return false };
    let moment = match container.state {
        ContainerState::Running { started, .. } => started,
        ContainerState::Exited { at, .. } => at,
        ContainerState::Restarting { since, .. } => since,
        ContainerState::Created | ContainerState::Lost => container.created,
    };
    moment.max(container.created) >= since
}

/// The new one is made, started, watched and put in its place; then the old one goes. Whoever starts because of it, or finds it by its
/// name, starts when it has that.
pub(super) fn switches(draft: &mut Draft<'_>) {
    for Placed { engine_name: new, spec, .. } in draft.desired.containers.values() {
        let watch = Action::Watch(way(draft, spec).monitor);
        for before in [Action::Create, Action::Start, Action::Update, Action::Reload] {
            draft.need((C, new, watch), (C, new, before));
        }
        if draft.has(C, new, Action::Switch) {
            // Whoever waits for the new one finds it by the name that it has until then.
            let waits = [Action::Wait(WaitFor::Healthy), Action::Wait(WaitFor::Completed)];
            for before in [Action::Create, Action::Start, watch].into_iter().chain(waits) {
                draft.need((C, new, Action::Switch), (C, new, before));
            }
            draft.after_if_free((C, new, Action::Switch), (C, new, Action::Repair));
            draft.need((C, new, Action::Stop), (C, new, Action::Switch));
            draft.need((C, new, Action::Remove), (C, new, Action::Switch));
            if let Some(aside) = draft.called.get(new.as_str()).cloned() {
                draft.need((C, new, Action::Create), (C, &aside, Action::Remove));
            }
        }
        for other in spec.depends_on.keys() {
            if let Some(target) = draft.desired.containers.get(other) {
                draft.need((C, new, Action::Start), (C, &target.engine_name, Action::Switch));
            }
        }
    }
}

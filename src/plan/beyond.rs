//! What depends on containers of other stacks: it waits for them, and starts again with them. They themselves are never touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::Placed;
use crate::model::Name;
use crate::model::spec::{Beyond, Condition, ContainerSpec, Elsewhere};
use crate::observed::{Container, ContainerState, Health};

use super::Obstacle;
use super::draft::Draft;
use super::step::{Action, Cause, Kind, WaitFor};
use super::steps::{dependents_first, resource};

/// How it is with what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Holds,
    /// It is on its way.
    Coming,
    /// It does not come to be so by itself, and this is why.
    Lacking(String),
}

/// Whether it holds of a container in this state; `None` where there is none.
pub fn standing(wait: WaitFor, state: Option<&ContainerState>) -> Standing {
    let lacking = |why: &str| Standing::Lacking(why.to_owned());
    match (wait, state) {
        (_, None) => lacking("there is no such container"),
        (_, Some(ContainerState::Created)) => lacking("it was never started"),
        (_, Some(ContainerState::Lost)) => lacking("its monitor is gone"),
        (_, Some(ContainerState::Exited { error: Some(error), .. })) => Standing::Lacking(format!("it could not start: {error}")),
        (_, Some(ContainerState::Exited { stopped: true, .. })) => lacking("it was stopped"),
        (WaitFor::Started, Some(_))
        | (WaitFor::Healthy, Some(ContainerState::Running { health: Health::Healthy, .. }))
        | (WaitFor::Completed, Some(ContainerState::Exited { code: 0, .. })) => Standing::Holds,
        (WaitFor::Healthy, Some(ContainerState::Running { health: Health::Unhealthy, .. })) => lacking("it is unhealthy"),
        (WaitFor::Healthy, Some(ContainerState::Running { health: Health::None, .. })) => lacking("it has no health check"),
        (_, Some(ContainerState::Exited { code, .. })) => Standing::Lacking(format!("it exited with {code}")),
        (_, Some(ContainerState::Running { .. } | ContainerState::Restarting { .. })) => Standing::Coming,
    }
}

impl From<Condition> for WaitFor {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::ServiceStarted => Self::Started,
            Condition::ServiceHealthy => Self::Healthy,
            Condition::ServiceCompletedSuccessfully => Self::Completed,
        }
    }
}

/// The container that is meant: of two that are there while one replaces the other, the one that has the name.
pub fn find<'a>(containers: &'a [Container], other: &Elsewhere) -> Option<&'a Container> {
    let is_meant = |one: &&Container| one.owner.as_ref().is_some_and(|o| o.stack == other.stack && o.resource == other.name);
    containers.iter().filter(is_meant).min_by_key(|one| one.name.is_aside())
}

/// Those that a container follows and that were started since it was.
pub(super) fn followed(draft: &Draft<'_>, spec: &ContainerSpec, old: &Container) -> Vec<Cause> {
    let followed = spec.depends_beyond.iter().filter(|(_, beyond)| beyond.restart);
    let later = followed.filter(|(other, _)| {
        let state = find(&draft.observed.containers, other).map(|one| &one.state);
        matches!((state, &old.state), (Some(ContainerState::Running { started: theirs, .. }), ContainerState::Running { started: own, .. }) if theirs > own)
    });
    later.map(|(other, _)| Cause::Drift { what: format!("{other} was started after this one, which follows it") }).collect()
}

/// What is to start waits for those of other stacks, where it does not hold of them yet.
pub(super) fn waits(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, Placed { engine_name, spec, .. }) in &desired.containers {
        if let Some(way) = circle(draft, name, spec) {
            draft.obstacles.push(Obstacle::CircleBeyond { resource: resource(Kind::Container, name), way });
            continue;
        }
        if !draft.has(Kind::Container, engine_name, Action::Start) {
            continue;
        }
        for (other, wait) in unmet(draft, spec) {
            let why = match wait {
                WaitFor::Started => "needs it started",
                WaitFor::Healthy => "needs it healthy",
                WaitFor::Completed => "needs it completed",
            };
            let own = resource(Kind::Container, name);
            let cause = Cause::Follows { resource: own.clone(), why: why.to_owned() };
            draft.add(Action::Wait(wait), own, other, None, vec![cause]);
        }
    }
}

/// What waits neither starts nor stops before, and neither does what depends on it and would stop with it.
pub(super) fn order(draft: &mut Draft<'_>) {
    const C: Kind = Kind::Container;
    let desired = draft.desired;
    let mut before: BTreeMap<&Name, Vec<(&Elsewhere, WaitFor)>> = BTreeMap::new();
    for name in dependents_first(draft).into_iter().rev() {
        let Some(Placed { engine_name, spec, .. }) = desired.containers.get(name) else { continue };
        let mut waits = unmet(draft, spec);
        for (other, wait) in &waits {
            draft.need((C, engine_name, Action::Start), (C, other, Action::Wait(*wait)));
        }
        let old = draft.mine.get(name).map_or(engine_name, |old| &old.name);
        if !draft.has(C, old, Action::Stop) {
            continue;
        }
        waits.extend(spec.depends_on.keys().filter_map(|other| before.get(other)).flatten());
        for (other, wait) in &waits {
            draft.need((C, old, Action::Stop), (C, other, Action::Wait(*wait)));
        }
        before.insert(name, waits);
    }
}

fn unmet<'s>(draft: &Draft<'_>, spec: &'s ContainerSpec) -> Vec<(&'s Elsewhere, WaitFor)> {
    let all = spec.depends_beyond.iter().filter_map(|(other, Beyond { condition, optional, .. })| {
        let found = find(&draft.observed.containers, other);
        let wait = WaitFor::from(*condition);
        let met = standing(wait, found.map(|one| &one.state)) == Standing::Holds || (*optional && found.is_none());
        (!met).then_some((other, wait))
    });
    all.collect()
}

/// A way from a container through those of other stacks back to it: each would wait for the other, or start again after it for
/// ever.
fn circle(draft: &Draft<'_>, name: &Name, spec: &ContainerSpec) -> Option<String> {
    let own = Elsewhere { stack: draft.desired.stack.clone(), name: name.clone() };
    let mut from: BTreeMap<Elsewhere, Option<Elsewhere>> = spec.depends_beyond.keys().map(|next| (next.clone(), None)).collect();
    let mut open: Vec<Elsewhere> = from.keys().cloned().collect();
    while let Some(at) = open.pop() {
        for next in needs(draft, &at) {
            if next == own {
                let mut way = vec![own.to_string()];
                let mut step = Some(&at);
                while let Some(one) = step {
                    way.push(one.to_string());
                    step = from.get(one).and_then(Option::as_ref);
                }
                way.push(own.to_string());
                way.reverse();
                return Some(way.join(" → "));
            }
            if !from.contains_key(&next) {
                from.insert(next.clone(), Some(at.clone()));
                open.push(next);
            }
        }
    }
    None
}

/// Those that a container needs: of this stack as it is declared, of others as it was made.
fn needs(draft: &Draft<'_>, at: &Elsewhere) -> BTreeSet<Elsewhere> {
    let spec = if at.stack == draft.desired.stack {
        draft.desired.containers.get(&at.name).map(|placed| &placed.spec)
    } else {
        find(&draft.observed.containers, at).map(|one| &*one.spec)
    };
    let Some(spec) = spec else { return BTreeSet::new() };
    let beside = spec.depends_on.keys().map(|name| Elsewhere { stack: at.stack.clone(), name: name.clone() });
    let spaces = [spec.network_mode.container(), spec.pid.container(), spec.ipc.container()].into_iter().flatten();
    let shared = spaces.filter_map(|other| {
        let found = draft.observed.containers.iter().find(|one| one.name.as_str() == other)?;
        found.owner.as_ref().map(|owner| Elsewhere { stack: owner.stack.clone(), name: owner.resource.clone() })
    });
    beside.chain(shared).chain(spec.depends_beyond.keys().cloned()).collect()
}

//! Who starts again because another one does: whoever shares what that one has, and whoever is to follow it
//! (`depends_on: {NAME: {restart: true}}`).

use crate::manifest::Placed;
use crate::model::Name;
use crate::model::spec::{ContainerSpec, Probe};
use crate::observed::{Container, ContainerState};

use super::beyond;
use super::draft::Draft;
use super::replace;
use super::step::{Action, Cause, Kind, SparedIf, WaitFor};
use super::steps::{dependents_first, resource};

pub(super) fn followers(draft: &mut Draft<'_>) {
    // Those that others depend on first, because whoever follows may be followed.
    let order: Vec<&Name> = dependents_first(draft).into_iter().rev().collect();
    for name in order {
        let Some(Placed { engine_name, spec, .. }) = draft.desired.containers.get(name) else { continue };
        let Some(old) = draft.mine.get(name).copied() else { continue };
        // One that starts again only if its image turns out to be another one has to all the same.
        let spared_if = draft.spared(engine_name, Action::Start);
        if !old.state.is_alive() || (draft.has(Kind::Container, engine_name, Action::Start) && spared_if.is_none()) {
            continue;
        }
        let mut causes: Vec<Cause> = shared(draft, spec, spared_if.as_ref()).into_iter().collect();
        causes.extend(followed(draft, spec, old, spared_if.as_ref()));
        causes.extend(beyond::followed(draft, spec, old));
        if causes.is_empty() {
            continue;
        }
        let resource = resource(Kind::Container, name);
        if spared_if.is_some() {
            replace::starts_anyway(draft, spec, &resource, old, &causes);
            continue;
        }
        draft.add(Action::Stop, resource.clone(), &old.name, Some(old), causes.clone());
        draft.add(Action::Start, resource, engine_name, Some(old), causes);
    }
}

/// Where one is replaced after another one that has a health check, that one is to be healthy first; and where it waits a while
/// before, that is a step of its own.
pub(super) fn rolled(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for (name, Placed { engine_name, spec, .. }) in &desired.containers {
        let Some((before, placed)) = replace::rolls_after(draft, spec) else { continue };
        let is_replaced =
            |name: &Name, engine_name: &Name| draft.mine.contains_key(name) && replace::is_replaced(draft, engine_name);
        if !is_replaced(name, engine_name) || !replace::is_replaced(draft, &placed.engine_name) {
            continue;
        }
        let is_checked = placed.spec.healthcheck.as_ref().is_some_and(|check| check.test != Probe::None);
        let watched = draft.has(Kind::Container, &placed.engine_name, Action::Watch(replace::way(draft, &placed.spec).monitor));
        let delay = replace::way(draft, spec).delay;
        let (goes_before, waits) = (is_replaced(before, &placed.engine_name), delay != Default::default());
        let causes = vec![Cause::Follows { resource: resource(Kind::Container, name), why: "is replaced after it".to_owned() }];
        let mut add = |action| draft.add(action, resource(Kind::Container, before), &placed.engine_name, None, causes.clone());
        if is_checked && !watched {
            add(Action::Wait(WaitFor::Healthy));
        }
        if waits && goes_before {
            add(Action::Delay(delay));
            let spared_if = draft.spared(&placed.engine_name, Action::Create);
            draft.spare(&placed.engine_name, Action::Delay(delay), spared_if);
        }
    }
}

/// Whether the plan has this step of a container, and it may be done also where what is spared on this condition is spared.
fn happens(draft: &Draft<'_>, engine_name: &impl ToString, action: Action, spared_if: Option<&SparedIf>) -> bool {
    let together = || spared_if.is_some() && draft.spared(engine_name, action).as_ref() == spared_if;
    draft.has(Kind::Container, engine_name, action) && !together()
}

/// The namespaces and volumes of a container that is made anew or starts again are others than before.
fn shared(draft: &Draft<'_>, spec: &ContainerSpec, spared_if: Option<&SparedIf>) -> Option<Cause> {
    let spaces = [spec.network_mode.container(), spec.pid.container(), spec.ipc.container()].into_iter().flatten();
    let shared = spaces.map(|other| (other, Action::Start));
    let mut shared = shared.chain(spec.volumes_from.iter().map(|from| (from.container.as_str(), Action::Create)));
    let (other, _) = shared.find(|(other, action)| happens(draft, other, *action, spared_if))?;
    let (other, _) = draft.desired.containers.iter().find(|(_, placed)| placed.engine_name.as_str() == other)?;
    let why = "starts again, and this one shares what it has".to_owned();
    Some(Cause::Follows { resource: resource(Kind::Container, other), why })
}

/// Those that it follows and that this plan starts, or that were started since it was: by a monitor after a crash, or by a user.
fn followed(draft: &Draft<'_>, spec: &ContainerSpec, old: &Container, spared_if: Option<&SparedIf>) -> Vec<Cause> {
    let followed = spec.depends_on.iter().filter(|(_, dependency)| dependency.restart);
    let cause = |other: &Name| {
        let target = draft.desired.containers.get(other)?;
        let resource = resource(Kind::Container, other);
        if happens(draft, &target.engine_name, Action::Start, spared_if) {
            return Some(Cause::Follows { resource, why: "starts again, and this one follows it".to_owned() });
        }
        // One that waits for its next start will have been started later, and is followed then.
        match (&draft.mine.get(other)?.state, &old.state) {
            (ContainerState::Running { started: theirs, .. }, ContainerState::Running { started: own, .. }) if theirs > own => {
                Some(Cause::Drift { what: format!("{resource} was started after this one, which follows it") })
            }
            _ => None,
        }
    };
    followed.filter_map(|(other, _)| cause(other)).collect()
}

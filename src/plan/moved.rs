//! Why a plan that was made before is not the plan of now: what is different on the host, and what would be done otherwise.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Action, Cause, Plan, Resource};

/// More than these are only counted.
const MOST: usize = 12;

/// Sentences about all that differs. Empty when both plans are the same.
pub fn moved(before: &Plan, now: &Plan) -> Vec<String> {
    // Where nothing was to be done and nothing is, there is nothing to agree on.
    if before.steps == now.steps && (before.base == now.base || now.steps.is_empty()) {
        return Vec::new();
    }
    let mut all = parts(&before.parts, &now.parts);
    all.extend(steps(before, now));
    if all.is_empty() {
        // Made by a setpoint that did not say of what.
        all.push("the host is not as it was".to_owned());
    }
    if all.len() > MOST {
        let more = all.len() - (MOST - 1);
        all.truncate(MOST - 1);
        all.push(format!("{more} further differences"));
    }
    all
}

fn parts(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    if before.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for what in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        match (before.get(what), now.get(what)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(_), Some(_)) => all.push(format!("{what} is not as it was")),
            (Some(_), None) => all.push(format!("{what} is gone")),
            (None, _) => all.push(format!("{what} is new")),
        }
    }
    all
}

type Key<'a> = (&'a Resource, &'a str, &'static str);

fn steps(before: &Plan, now: &Plan) -> Vec<String> {
    let (old, new) = (keyed(before), keyed(now));
    let mut all = Vec::new();
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (resource, _, verb) = key;
        match (old.get(key), new.get(key)) {
            (Some(before), Some(now)) if before == now => {}
            (Some(_), Some(_)) => all.push(format!("{resource}: {verb}: for another reason now")),
            (Some(_), None) => all.push(format!("{resource}: {verb}: not needed any more")),
            (None, _) => all.push(format!("{resource}: {verb}: would be done as well")),
        }
    }
    all
}

fn keyed(plan: &Plan) -> BTreeMap<Key<'_>, &[Cause]> {
    let key = |action: Action| action.verb();
    plan.steps.iter().map(|s| ((&s.resource, s.target.as_str(), key(s.action)), s.causes.as_slice())).collect()
}

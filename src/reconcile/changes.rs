//! The steps of one resource as people tell them: a stop, a removal, a creation and a start for the same reason are one recreation.
//! Pure.

use super::report::{ResourceChange, StepEvent};

/// What becomes of a container in one go, in this order.
const ORDER: [&str; 4] = ["stop", "remove", "create", "start"];
/// The same where the new one is there before the old one goes.
const START_FIRST: [&str; 5] = ["create", "start", "switch", "stop", "remove"];

/// What only looks on, and is told where it has seen that something is not well.
const WATCHES: [&str; 2] = ["watch", "delay"];

/// What was done to a resource, oldest first. Waits are about others, and are none of it.
pub(super) fn changes(steps: &[StepEvent]) -> Vec<ResourceChange> {
    let mut groups: Vec<Vec<&StepEvent>> = Vec::new();
    let is_none =
        |step: &&StepEvent| step.action.starts_with("wait") || (WATCHES.contains(&step.action.as_str()) && step.error.is_none());
    for step in steps.iter().filter(|step| !is_none(step)) {
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(|last| belongs(last, step)) => group.push(step),
            _ => groups.push(vec![step]),
        }
    }
    groups.iter().filter_map(|group| change(group)).collect()
}

/// Whether a step goes on with what another one has begun.
fn belongs(last: &StepEvent, next: &StepEvent) -> bool {
    let place = |order: &[&str], step: &StepEvent| order.iter().position(|verb| *verb == step.action);
    let goes_on =
        |order: &[&str]| matches!((place(order, last), place(order, next)), (Some(before), Some(after)) if before < after);
    let on = goes_on(&ORDER) || goes_on(&START_FIRST);
    on && last.generation == next.generation && last.causes == next.causes && last.error.is_none()
}

fn change(group: &[&StepEvent]) -> Option<ResourceChange> {
    let (first, last) = (group.first()?, group.last()?);
    let has = |verb: &str| group.iter().any(|step| step.action == verb);
    let what = match () {
        () if has("create") && has("remove") => "recreated",
        () if has("create") => "created",
        () if has("remove") => "removed",
        () if has("stop") && has("start") => "restarted",
        () => participle(&last.action),
    };
    Some(ResourceChange {
        what: what.to_owned(),
        generation: first.generation,
        at: first.started,
        ended: last.finished,
        causes: first.causes.clone(),
        error: last.error.clone(),
    })
}

/// A verb of the journal as what has been done. One that is not known is told as it is.
fn participle(verb: &str) -> &str {
    match verb {
        "pull" => "pulled",
        "build" => "built",
        "import" => "imported",
        "load" => "loaded",
        "commit" => "committed",
        "restore" => "restored",
        "push" => "pushed",
        "start" => "started",
        "stop" => "stopped",
        "update" => "updated",
        "repair" => "repaired",
        "reload" => "reloaded",
        "switch" => "switched",
        "watch" => "watched",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cause;
    use time::OffsetDateTime;

    #[test]
    fn steps_of_one_reason_are_one_change() {
        let missing = || vec![Cause::Missing];
        let drift = |what: &str| vec![Cause::Drift { what: what.into() }];
        let rows = [
            (1, "create", missing(), None),
            (1, "start", missing(), None),
            (1, "start", drift("it exited"), None),
            (1, "wait until healthy", missing(), None),
            (2, "stop", drift("spec"), None),
            (2, "remove", drift("spec"), None),
            (2, "create", drift("spec"), Some("no")),
            (2, "create", drift("spec"), None),
            (2, "stop", drift("volume"), None),
            (2, "start", drift("volume"), None),
            (3, "repair", drift("link"), None),
            (3, "create", drift("x"), None),
            (3, "start", drift("x"), None),
            (3, "watch", drift("x"), None),
            (3, "switch", drift("x"), None),
            (3, "stop", drift("x"), None),
            (3, "remove", drift("x"), None),
            (3, "watch", drift("y"), Some("no")),
            (3, "stop", vec![Cause::NotDeclared], None),
            (3, "remove", vec![Cause::NotDeclared], None),
        ];
        let steps: Vec<StepEvent> = rows
            .into_iter()
            .zip(1..)
            .map(|((generation, action, causes, error), id)| StepEvent {
                id,
                stack: "shop".parse().unwrap(),
                generation: Some(generation),
                resource: "container/web".into(),
                action: action.into(),
                causes,
                started: OffsetDateTime::from_unix_timestamp(id).unwrap(),
                finished: Some(OffsetDateTime::from_unix_timestamp(id).unwrap()),
                error: error.map(str::to_owned),
            })
            .collect();
        let told: Vec<_> = changes(&steps)
            .into_iter()
            .map(|one| {
                format!("{} {} {}{}", one.at.unix_timestamp(), one.generation.unwrap(), one.what, one.error.map_or("", |_| "!"))
            })
            .collect();
        assert_eq!(
            told,
            [
                "1 1 created",
                "3 1 started",
                "5 2 recreated!",
                "8 2 created",
                "9 2 restarted",
                "11 3 repaired",
                "12 3 recreated",
                "18 3 watched!",
                "19 3 removed"
            ]
        );
    }
}

//! What was done to stacks and why, as people read it.

use crate::cli::output::{Tone, paint};
use crate::cli::time::stamp;
use crate::plan::{Cause, cause_line};
use crate::reconcile::report::{ResourceChange, StepEvent, Why};

/// One step in one line: when, of what, for which generation, what, how long it took, and why.
pub fn step(step: &StepEvent, colour: bool) -> String {
    let generation = step.generation.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (tone, end) = match (&step.error, step.finished) {
        (Some(error), _) => (Tone::Bad, format!("failed: {error}")),
        (None, Some(finished)) => (Tone::Good, format!("{}ms", (finished - step.started).whole_milliseconds().max(0))),
        (None, None) => (Tone::Warn, "has not ended".to_owned()),
    };
    let why = reasons(&step.causes).join("; ");
    let why = if why.is_empty() { why } else { format!("  {}", paint(colour, Tone::Faint, &why)) };
    format!(
        "{}  {}  {generation}  {}  {}  {}{why}\n",
        stamp(step.started),
        step.stack,
        step.resource,
        step.action,
        paint(colour, tone, &end)
    )
}

fn reasons(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| cause_line(cause).unwrap_or_else(|| "it was missing".to_owned())).collect()
}

/// How a resource is, what it waits for, and what was done to it, newest first.
pub fn why(why: &Why, colour: bool) -> String {
    let mut text = paint(colour, Tone::Strong, &format!("{}/{}", why.stack, why.resource));
    match &why.status {
        Some(status) => {
            let health = status.health.as_ref().map(|health| format!(", {health}")).unwrap_or_default();
            text.push_str(&format!("  {}{health}, {:?}", status.state, status.sync));
        }
        None => text.push_str("  not declared any more"),
    }
    if why.restarts > 0 {
        let times = if why.restarts == 1 { "once".to_owned() } else { format!("{} times", why.restarts) };
        text.push_str(&format!(", started again {times} by its restart policy"));
    }
    text.push('\n');
    for wait in &why.waits {
        text.push_str(&format!("  {} {wait}\n", paint(colour, Tone::Warn, "waits for")));
    }
    for difference in why.differs().iter().flat_map(|status| &status.differences) {
        text.push_str(&format!("  {} {difference}\n", paint(colour, Tone::Warn, "~")));
    }
    for change in &why.changes {
        text.push_str(&one(change, colour));
    }
    if why.changes.is_empty() {
        text.push_str("  nothing was done to it that is remembered\n");
    }
    text
}

fn one(change: &ResourceChange, colour: bool) -> String {
    let tone = if change.error.is_some() { Tone::Bad } else { Tone::Good };
    let generation = change.generation.map(|number| format!("  generation {number}")).unwrap_or_default();
    let mut text = format!("  {} {}{generation}\n", paint(colour, tone, &change.what), stamp(change.at));
    for reason in reasons(&change.causes) {
        text.push_str(&format!("      {reason}\n"));
    }
    match (&change.error, change.ended) {
        (Some(error), _) => text.push_str(&format!("      {}: {error}\n", paint(colour, Tone::Bad, "failed"))),
        (None, None) => text.push_str("      has not ended\n"),
        (None, Some(_)) => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::plan::{Kind, Resource};
    use crate::reconcile::report::{ResourceStatus, Sync};

    #[test]
    fn what_was_done_and_why() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let changed = vec![Cause::Changed { field: "spec.image".into(), old: Some("a:1".into()), new: Some("a:2".into()) }];
        let resource = Resource { kind: Kind::Container, name: "web".parse().unwrap() };
        let mut event = StepEvent {
            id: 1,
            stack: "shop".parse().unwrap(),
            generation: Some(2),
            resource: resource.to_string(),
            action: "create".into(),
            causes: changed.clone(),
            started: at(5),
            finished: Some(at(6)),
            error: None,
        };
        assert_eq!(step(&event, false), "1970-01-01T00:00:05Z  shop  2  container/web  create  1000ms  spec.image: a:1 → a:2\n");
        (event.generation, event.finished, event.causes) = (None, None, vec![Cause::Missing]);
        assert_eq!(step(&event, false), "1970-01-01T00:00:05Z  shop  -  container/web  create  has not ended  it was missing\n");
        let change = |what: &str, causes, error: Option<&str>| ResourceChange {
            what: what.into(),
            generation: Some(2),
            at: at(5),
            ended: Some(at(6)),
            causes,
            error: error.map(Into::into),
        };
        let status = ResourceStatus {
            resource: resource.clone(),
            engine_name: "shop-web".into(),
            sync: Sync::OutOfSync,
            state: "exited (1)".into(),
            health: None,
            differences: vec!["it exited with 1".into()],
        };
        let told = Why {
            stack: "shop".parse().unwrap(),
            resource,
            status: Some(status),
            restarts: 2,
            waits: vec!["container/db to be healthy: it is starting".into()],
            changes: vec![change("recreated", changed, Some("no room")), change("created", vec![Cause::Missing], None)],
        };
        insta::assert_snapshot!(why(&told, false), @r"
        shop/container/web  exited (1), OutOfSync, started again 2 times by its restart policy
          waits for container/db to be healthy: it is starting
          ~ it exited with 1
          recreated 1970-01-01T00:00:05Z  generation 2
              spec.image: a:1 → a:2
              failed: no room
          created 1970-01-01T00:00:05Z  generation 2
              it was missing
        ");
    }
}

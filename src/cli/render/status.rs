//! How stacks stand, as people read it: a line a stack, a line a resource, and what differs below it.

use super::table::{self, Cell};
use crate::cli::output::{Tone, paint};
use crate::reconcile::report::{Condition, ResourceStatus, StackStatus, Sync};

pub fn render(stacks: &[StackStatus], colour: bool) -> String {
    let blocks: Vec<String> = stacks.iter().map(|stack| block(stack, colour)).collect();
    blocks.join("\n")
}

fn block(stack: &StackStatus, colour: bool) -> String {
    let mut text = paint(colour, Tone::Strong, stack.stack.as_str());
    let behind = if stack.observed_generation == stack.generation {
        String::new()
    } else {
        format!(", conditions of {}", stack.observed_generation)
    };
    let (sync, looks) = match stack.sync {
        Sync::Synced => ("Synced", Tone::Good),
        Sync::OutOfSync => ("OutOfSync", Tone::Warn),
    };
    text.push_str(&format!("  generation {}{behind}  {}", stack.generation, paint(colour, looks, sync)));
    if let Some(source) = &stack.source {
        text.push_str(&format!("  watches {}", source.display()));
    }
    text.push('\n');
    for condition in &stack.conditions {
        let state = paint(colour, tone(condition), if condition.status { "yes" } else { "no" });
        let message = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
        text.push_str(&format!("  {:<13}{state}  {}{message}\n", condition.kind, condition.reason));
    }
    if stack.resources.is_empty() {
        return text;
    }
    let rows: Vec<[Cell; 5]> = stack
        .resources
        .iter()
        .map(|resource| {
            [
                resource.resource.to_string().into(),
                match resource.sync {
                    Sync::Synced => Cell::toned("Synced", Tone::Good),
                    Sync::OutOfSync => Cell::toned("OutOfSync", Tone::Warn),
                },
                resource.state.clone().into(),
                health(resource),
                resource.engine_name.clone().into(),
            ]
        })
        .collect();
    // A difference goes below its resource's line: differences are sentences.
    let table = table::render(["RESOURCE", "SYNC", "STATE", "HEALTH", "NAME"], &rows, colour);
    let mut lines = table.lines();
    text.extend(lines.next().map(|line| format!("  {line}\n")));
    for (line, resource) in lines.zip(&stack.resources) {
        text.push_str(&format!("  {line}\n"));
        for difference in &resource.differences {
            text.push_str(&format!("    {} {difference}\n", paint(colour, Tone::Warn, "~")));
        }
    }
    text
}

fn health(resource: &ResourceStatus) -> Cell {
    match resource.health.as_deref() {
        None => "".into(),
        Some(health @ "healthy") => Cell::toned(health, Tone::Good),
        Some(health @ "unhealthy") => Cell::toned(health, Tone::Bad),
        Some(health) => Cell::toned(health, Tone::Warn),
    }
}

/// `Stalled` and `Reconciling` are the conditions of which one wishes that they do not hold.
fn tone(condition: &Condition) -> Tone {
    match (condition.kind.as_str(), condition.status) {
        ("Stalled", true) => Tone::Bad,
        ("Reconciling", true) => Tone::Warn,
        ("Stalled" | "Reconciling", false) | (_, true) => Tone::Good,
        (_, false) => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Resource};

    #[test]
    fn a_stack_with_a_difference() {
        let resource = |kind, name: &str, sync, state: &str, health: Option<&str>, differences: &[&str]| ResourceStatus {
            resource: Resource { kind, name: name.parse().unwrap() },
            engine_name: format!("demo-{name}"),
            sync,
            state: state.into(),
            health: health.map(Into::into),
            differences: differences.iter().map(|text| text.to_string()).collect(),
        };
        let stack = StackStatus {
            stack: "demo".parse().unwrap(),
            source: Some("/etc/demo".into()),
            generation: 3,
            observed_generation: 3,
            sync: Sync::OutOfSync,
            conditions: vec![Condition {
                kind: "Ready".into(),
                status: false,
                reason: "OutOfSync".into(),
                message: "1 of 2 resources differ".into(),
                since: time::OffsetDateTime::UNIX_EPOCH,
            }],
            resources: vec![
                resource(Kind::Container, "web", Sync::OutOfSync, "running", Some("healthy"), &["spec.image: a → b"]),
                resource(Kind::Network, "front", Sync::Synced, "present", None, &[]),
            ],
        };
        insta::assert_snapshot!(render(&[stack], false), @r"
        demo  generation 3  OutOfSync  watches /etc/demo
          Ready        no  OutOfSync: 1 of 2 resources differ
          RESOURCE        SYNC        STATE     HEALTH    NAME
          container/web   OutOfSync   running   healthy   demo-web
            ~ spec.image: a → b
          network/front   Synced      present             demo-front
        ");
    }
}

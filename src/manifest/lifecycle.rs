//! Reads a container's life: what it waits for, how many there are, when it starts again, and its hooks.

use std::collections::BTreeSet;

use crate::model::spec::{Beyond, Condition, ContainerSpec, Dependency, Hook};
use crate::model::{Name, RestartPolicy};

use super::declared::{PreStart, Replicas};
use super::fields;
use super::problem::Place;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

/// More of one container than anybody means.
const MOST: i64 = 1000;

pub(super) fn restart(reader: &mut Reader, node: &Node) -> Option<RestartPolicy> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.text == "false"
    {
        reader.error_hint(node.at, "`false` is not a restart policy", "write `restart: \"no\"`");
        return None;
    }
    reader.parse(node)
}

/// Compose's other place for it.
pub(super) fn restart_policy(reader: &mut Reader, node: &Node) -> Option<RestartPolicy> {
    let f = reader.fields(node, &fields::RESTART)?;
    let conditions = [("none", "no"), ("on-failure", "on-failure"), ("any", "always")];
    let condition = f.get("condition").map_or(Some("always"), |node| reader.choice(node, &conditions))?;
    let attempts = f.get("max_attempts").map(|node| Some((reader.integer(node)?, node.at)));
    match (condition, attempts) {
        ("on-failure", Some(attempts)) => {
            let (attempts, at) = attempts?;
            reader.parse_text(at, &format!("on-failure:{attempts}"))
        }
        (_, Some(attempts)) => {
            let (_, at) = attempts?;
            reader.error_hint(at, "only restarts after failures can be counted", "write `condition: on-failure`, or remove it");
            None
        }
        (condition, None) => condition.parse().ok(),
    }
}

/// The dependencies on containers of the same stack, with their places. Those that need not be there go to `optional` too, and
/// those of other stacks into the specification only.
pub(super) fn depends_on(
    reader: &mut Reader,
    node: &Node,
    spec: &mut ContainerSpec,
    optional: &mut BTreeSet<Name>,
) -> Vec<(Name, Place)> {
    let conditions = [
        ("service_started", Condition::ServiceStarted),
        ("service_healthy", Condition::ServiceHealthy),
        ("service_completed_successfully", Condition::ServiceCompletedSuccessfully),
    ];
    let mut places = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let mut dependency = Dependency::default();
                let mut required = true;
                if !matches!(value.value, Value::Null)
                    && let Some(f) = reader.fields(value, &fields::DEPENDENCY)
                {
                    let condition = f.get("condition").and_then(|node| reader.choice(node, &conditions));
                    dependency.condition = condition.unwrap_or_default();
                    dependency.restart = f.get("restart").and_then(|node| reader.boolean(node)).unwrap_or_default();
                    required = f.get("required").and_then(|node| reader.boolean(node)).unwrap_or(true);
                }
                if key.text.contains('/') {
                    let Some(other) = reader.parse_text(key.at, &key.text) else { continue };
                    let Dependency { condition, restart } = dependency;
                    spec.depends_beyond.insert(other, Beyond { condition, restart, optional: !required });
                    continue;
                }
                let Some(name) = reader.parse_text::<Name>(key.at, &key.text) else { continue };
                if !required {
                    optional.insert(name.clone());
                }
                places.push((name.clone(), key.at));
                spec.depends_on.insert(name, dependency);
            }
        }
        _ => {
            for item in reader.list(node) {
                let Some(text) = reader.word(item) else { continue };
                if text.contains('/') {
                    let Some(other) = reader.parse_text(item.at, text) else { continue };
                    spec.depends_beyond.insert(other, Beyond::default());
                    continue;
                }
                let Some(name) = reader.parse_text::<Name>(item.at, text) else { continue };
                places.push((name.clone(), item.at));
                spec.depends_on.insert(name, Dependency::default());
            }
        }
    }
    places
}

/// How many there are to be. `None` is one.
pub(super) fn replicas(reader: &mut Reader, f: &Fields, deploy: Option<&Fields>) -> Option<Replicas> {
    let global = deploy.and_then(|f| f.get("mode")).and_then(|node| {
        let global = reader.choice(node, &[("replicated", false), ("global", true)])?;
        global.then_some(node.at)
    });
    let mut found: Option<Replicas> = None;
    for node in [f.get("scale"), deploy.and_then(|f| f.get("replicas"))].into_iter().flatten() {
        let Some(number) = reader.integer(node) else { continue };
        let Some(count) = u32::try_from(number).ok().filter(|_| number <= MOST) else {
            reader.error(node.at, format!("there are from 0 to {MOST} of a container"));
            continue;
        };
        if let Some(other) = found.as_ref().filter(|other| other.count != count) {
            let hint = format!("remove one of the two: the other says {}", other.count);
            reader.error_hint(node.at, "`scale` and `deploy.replicas` contradict each other", hint);
        } else if global.is_some() && count != 1 {
            reader.error_hint(node.at, "of a `global` container there is one on each host", "write `mode: replicated`");
        }
        found = Some(Replicas { count, at: node.at });
    }
    found
}

/// What is done before it starts, in containers of their own.
pub(super) fn pre_start(reader: &mut Reader, node: &Node) -> Vec<PreStart> {
    let mut steps = Vec::new();
    for item in reader.list(node) {
        let Some(f) = reader.fields(item, &fields::PRE_START) else { continue };
        steps.push(PreStart {
            at: item.at,
            command: f.get("command").and_then(|node| reader.command(node)),
            image: f.get("image").and_then(|node| reader.parse(node)),
            user: f.get("user").and_then(|node| reader.word(node)).map(str::to_owned),
            privileged: f.get("privileged").and_then(|node| reader.boolean(node)).unwrap_or_default(),
            working_dir: f.get("working_dir").and_then(|node| super::container::working_dir(reader, node)),
            environment: f.get("environment").map(|node| reader.environment(node)).unwrap_or_default(),
            per_replica: f.get("per_replica").and_then(|node| reader.boolean(node)).unwrap_or_default(),
        });
    }
    steps
}

/// Commands that are run in the container.
pub(super) fn hooks(reader: &mut Reader, node: &Node) -> Vec<Hook> {
    let mut hooks = Vec::new();
    for item in reader.list(node) {
        let Some(f) = reader.fields(item, &fields::HOOK) else { continue };
        let command = f.get("command").and_then(|node| {
            let command = reader.command(node)?;
            if command.is_empty() {
                reader.error(node.at, "the command is empty");
            }
            Some(command)
        });
        let user = f.get("user").and_then(|node| reader.word(node)).map(str::to_owned);
        let privileged = f.get("privileged").and_then(|node| reader.boolean(node)).unwrap_or_default();
        let working_dir = f.get("working_dir").and_then(|node| super::container::working_dir(reader, node));
        let environment = f.get("environment").map(|node| reader.environment(node)).unwrap_or_default();
        hooks.extend(command.map(|command| Hook { command, user, privileged, working_dir, environment }));
    }
    hooks
}

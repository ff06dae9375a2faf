//! What a change of each field of a container takes: one table. Knows nothing of plans.

use serde_json::Value;

use crate::model::spec::ContainerSpec;

use super::step::Cause;

/// The least disruptive way in which a change becomes real, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// The planner itself is all that uses the field.
    Nothing,
    /// While the container runs.
    Update,
    /// Stop, remove, create and start: the writable layer goes.
    Recreate,
}

/// Every field of [`ContainerSpec`], and what its change takes.
const CLASSES: [(&str, Change); 24] = [
    ("image", Change::Recreate),
    ("entrypoint", Change::Recreate),
    ("command", Change::Recreate),
    ("environment", Change::Recreate),
    ("working_dir", Change::Recreate),
    ("user", Change::Recreate),
    ("hostname", Change::Recreate),
    // Labels and the grace are the engine's own records: the container itself has never seen them.
    ("labels", Change::Update),
    ("mounts", Change::Recreate),
    ("network_mode", Change::Recreate),
    ("networks", Change::Recreate),
    ("ports", Change::Recreate),
    // It says when a container is started, not what it is; the next start obeys what is declared then.
    ("depends_on", Change::Nothing),
    ("healthcheck", Change::Recreate),
    ("restart", Change::Update),
    ("limits", Change::Update),
    ("stop_signal", Change::Recreate),
    ("stop_grace_period", Change::Update),
    ("cap_add", Change::Recreate),
    ("cap_drop", Change::Recreate),
    ("read_only", Change::Recreate),
    ("sysctls", Change::Recreate),
    ("ulimits", Change::Recreate),
    ("extra_hosts", Change::Recreate),
];

/// What the change of a field takes.
fn class(field: &str) -> Change {
    CLASSES.iter().find(|(name, _)| *name == field).map_or(Change::Recreate, |(_, change)| *change)
}

/// How two specs differ: the strongest change that is needed, and each difference that needs one.
pub(crate) fn compare(old: &ContainerSpec, new: &ContainerSpec) -> (Change, Vec<Cause>) {
    if old == new {
        return (Change::Nothing, Vec::new());
    }
    let mut change = Change::Nothing;
    let mut causes = Vec::new();
    // A spec is plain data, so both always have a JSON form; its field names are those that users write.
    let (Some(old), Some(new)) = (fields(old), fields(new)) else {
        return (Change::Recreate, vec![changed("spec".to_owned(), None, None)]);
    };
    for (field, after) in &new {
        let before = old.get(field).unwrap_or(&Value::Null);
        if before == after || class(field) == Change::Nothing {
            continue;
        }
        change = change.max(class(field));
        differences(&format!("spec.{field}"), before, after, &mut causes);
    }
    (change, causes)
}

/// The fields of a spec, with ports in their short form.
fn fields(spec: &ContainerSpec) -> Option<serde_json::Map<String, Value>> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(spec) else { return None };
    let ports = spec.ports.iter().map(|port| Value::String(port.to_string())).collect();
    fields.insert("ports".to_owned(), Value::Array(ports));
    Some(fields)
}

/// The differences of two values, at the deepest paths at which both are mappings.
pub(crate) fn differences(path: &str, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, old) in before {
                match after.get(key) {
                    Some(new) if old == new => {}
                    Some(new) => differences(&format!("{path}.{key}"), old, new, causes),
                    None => causes.push(changed(format!("{path}.{key}"), show(old), None)),
                }
            }
            for (key, new) in after {
                if !before.contains_key(key) {
                    causes.push(changed(format!("{path}.{key}"), None, show(new)));
                }
            }
        }
        // Of lists only what is not in both is shown, where their order is the same apart from that.
        (Value::Array(before), Value::Array(after)) => {
            let gone: Vec<&Value> = before.iter().filter(|item| !after.contains(item)).collect();
            let come: Vec<&Value> = after.iter().filter(|item| !before.contains(item)).collect();
            let kept = |all: &[Value], other: &[Value]| -> Vec<Value> {
                all.iter().filter(|item| other.contains(item)).cloned().collect()
            };
            let words = before.iter().chain(after).all(Value::is_string);
            if words || (gone.is_empty() && come.is_empty()) || kept(before, after) != kept(after, before) {
                causes.push(changed(path.to_owned(), show(old), show(new)));
                return;
            }
            for index in 0..gone.len().max(come.len()) {
                let (old, new) = (gone.get(index), come.get(index));
                causes.push(changed(path.to_owned(), old.and_then(|v| show(v)), new.and_then(|v| show(v))));
            }
        }
        _ => causes.push(changed(path.to_owned(), show(old), show(new))),
    }
}

pub(crate) fn changed(field: String, old: Option<String>, new: Option<String>) -> Cause {
    Cause::Changed { field, old, new }
}

/// A value as people read it.
fn show(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().filter_map(show).collect();
            Some(format!("[{}]", shown.join(", ")))
        }
        Value::Object(fields) => {
            let shown: Vec<String> = fields.iter().filter_map(|(key, value)| Some(format!("{key}: {}", show(value)?))).collect();
            Some(format!("{{{}}}", shown.join(", ")))
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_class() {
        let spec = ContainerSpec::new("x".parse().unwrap());
        let Ok(Value::Object(fields)) = serde_json::to_value(spec) else { panic!("a spec is a mapping") };
        for field in fields.keys() {
            assert!(CLASSES.iter().any(|(name, _)| name == field), "{field} has no class");
        }
        for (name, _) in CLASSES {
            assert!(fields.contains_key(name), "{name} is not a field");
        }
    }
}

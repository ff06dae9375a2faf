//! How two specifications of a container differ, and what that takes by the table of `model/spec/classes`. Knows nothing of plans.

use serde_json::Value;

use crate::model::Digest;
use crate::model::spec::ContainerSpec;
use crate::model::spec::classes::{Change, class, strictest};

use super::step::Cause;

/// How two specs differ: the strongest change that is needed, and each difference that needs one.
pub(crate) fn compare(old: &ContainerSpec, new: &ContainerSpec) -> (Change, Vec<Cause>) {
    if old == new {
        return (Change::Nothing, Vec::new());
    }
    let change = strictest(old, new);
    let mut causes = Vec::new();
    let wanted = new;
    // A spec is plain data, so both always have a JSON form; its field names are those that users write.
    let (Some(old), Some(mut new)) = (fields(old), fields(new)) else {
        return (Change::Recreate, vec![changed("spec".to_owned(), None, None)]);
    };
    // What is as usual is left out.
    let gone: Vec<String> = old.keys().filter(|field| !new.contains_key(*field)).cloned().collect();
    new.extend(gone.into_iter().map(|field| (field, Value::Null)));
    for (field, after) in &new {
        let before = old.get(field).unwrap_or(&Value::Null);
        if before == after || class(field, wanted) == Change::Nothing {
            continue;
        }
        differences(&format!("spec.{field}"), before, after, &mut causes);
    }
    (change, causes)
}

/// The fields of a spec, with ports in their short form and mounts by their targets: two that are mounted at different
/// places need no order but that of their paths, which they have in any spec.
fn fields(spec: &ContainerSpec) -> Option<serde_json::Map<String, Value>> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(spec) else { return None };
    let ports = spec.ports.iter().map(|port| Value::String(port.to_string())).collect();
    fields.insert("ports".to_owned(), Value::Array(ports));
    let mut mounts = serde_json::Map::new();
    for mount in &spec.mounts {
        let Ok(Value::Object(mut mount_fields)) = serde_json::to_value(mount) else { return None };
        mount_fields.remove("target");
        mounts.insert(mount.target().to_owned(), Value::Object(mount_fields));
    }
    fields.insert("mounts".to_owned(), Value::Object(mounts));
    // What is written only where it is so.
    for name in ["tty", "stdin_open", "stdin_once"] {
        fields.entry(name).or_insert(Value::Bool(false));
    }
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
        Value::String(text) => Some(text.parse::<Digest>().map_or_else(|_| text.clone(), |digest| digest.short())),
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
    use crate::model::spec::Mount;
    use crate::model::spec::classes::FIELDS;

    #[test]
    fn every_field_has_a_class() {
        let mut spec = serde_json::to_value(ContainerSpec::new("x".parse().unwrap())).unwrap();
        // Those that are left out where they are as usual.
        let further = serde_json::json!({
            "init": true, "domainname": "d", "privileged": true, "security_opt": {"unconfined_paths": true}, "pid": "host",
            "ipc": "host", "uts": "host", "cgroup": "host", "cgroup_parent": "a", "userns": "auto", "shm_size": "1m", "devices": ["/dev/a"],
            "device_cgroup_rules": ["c 1:1 r"], "group_add": ["a"], "volumes_from": [{"container": "a", "read_only": true}],
            "dns": ["10.0.0.1"], "dns_search": ["a"], "dns_opt": ["a"], "mac_address": "02:42:ac:11:00:02",
            "oom_score_adj": 1, "expose": ["80/tcp"], "publish_all": true, "annotations": {"a": "b"},
            "external_links": {"a": "b"}, "depends_beyond": {"a/b": {"condition": "service_started"}}, "update_after": "a", "rollback_after": "a",
            "update_config": {"monitor": "1s"}, "rollback_config": {"delay": "1s"}, "post_start": [{"command": ["a"]}], "pre_stop": [{"command": ["a"]}],
        });
        spec.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let spec: ContainerSpec = serde_json::from_value(spec).unwrap();
        let fields = fields(&spec).unwrap();
        for field in fields.keys() {
            assert!(FIELDS.iter().any(|known| known.name == field), "{field} has no class");
        }
        for field in FIELDS {
            assert!(fields.contains_key(field.name), "{} is not a field", field.name);
        }
    }

    #[test]
    fn differences_are_told_by_their_paths() {
        let old = ContainerSpec::new("app:1".parse().unwrap());
        let mut new = old.clone();
        new.command = Some(vec!["a".into(), "b".into()]);
        new.environment.insert("X".into(), "1".into());
        new.limits.memory = Some("64m".parse().unwrap());
        let config = |text: &str| Mount::Config {
            source: "conf".parse().unwrap(),
            digest: Digest::of(text.as_bytes()),
            target: "/etc/app".into(),
            mode: 0o444,
            uid: 0,
            gid: 0,
            secret: false,
            on_change: Default::default(),
        };
        let tmpfs = |target: &str| Mount::Tmpfs { target: target.into(), size: None, mode: None, options: vec![] };
        let mut old = old;
        old.mounts = vec![config("one"), tmpfs("/run"), tmpfs("/tmp")];
        new.mounts = vec![tmpfs("/tmp"), tmpfs("/new"), config("two")];
        let (change, causes) = compare(&old, &new);
        assert_eq!(change, Change::Recreate);
        let shown: Vec<String> = causes
            .iter()
            .map(|cause| match cause {
                Cause::Changed { field, old, new } => format!("{field}: {old:?} {new:?}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "spec.command: None Some(\"[a, b]\")",
                "spec.environment.X: None Some(\"1\")",
                "spec.mounts./etc/app.digest: Some(\"7692c3ad3540\") Some(\"3fc4ccfe7458\")",
                "spec.mounts./run: Some(\"{type: tmpfs}\") None",
                "spec.mounts./new: None Some(\"{type: tmpfs}\")",
                "spec.limits.memory: None Some(\"64m\")",
            ]
        );
        new = old.clone();
        new.mounts.reverse();
        assert_eq!(compare(&old, &new), (Change::Nothing, vec![]));
        let mut shared = old.clone();
        shared.init = true;
        assert_eq!(compare(&old, &shared).0, Change::Restart);
        assert_eq!(compare(&shared, &old).1.len(), 1, "what is gone is a difference too");
        shared.init = false;
        shared.expose = ["80/tcp".parse().unwrap()].into();
        assert_eq!(compare(&old, &shared).0, Change::Nothing);
        shared.publish_all = true;
        assert_eq!(compare(&old, &shared).0, Change::Live);
        new.restart = "always".parse().unwrap();
        assert_eq!(compare(&old, &new).0, Change::Live);
        new.depends_on.insert("x".parse().unwrap(), Default::default());
        assert_eq!(compare(&old, &new).1.len(), 1);
    }
}

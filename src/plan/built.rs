//! Why an image is built again: what of its build is not as it was when the image was made, by the names that manifests have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::classes::changed;
use super::step::Cause;
use crate::model::spec::Build;
use crate::model::{Digest, ImageRef};
use crate::observed::Made;

/// More than these are not told.
const MOST: usize = 8;

/// The names that manifests have for fields that are called otherwise here.
const NAMES: [(&str, &str); 5] = [
    ("arguments", "args"),
    ("contexts", "additional_contexts"),
    ("allow", "entitlements"),
    ("context", "context"),
    ("dockerfile", "dockerfile"),
];

/// All that differs. Empty where it cannot be told.
pub(super) fn changes(made: &Made, build: &Build, bases: &BTreeMap<ImageRef, Digest>) -> Vec<Cause> {
    let mut found = Vec::new();
    fields(&made.build, build, &mut found);
    files(&made.build.files, &build.files, &mut found);
    for reference in made.bases.keys().chain(bases.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (made.bases.get(reference), bases.get(reference));
        if old != new {
            found.push(changed(format!("the base {reference}"), old.map(Digest::short), new.map(Digest::short)));
        }
    }
    if found.len() > MOST {
        let more = found.len() - MOST + 1;
        found.truncate(MOST - 1);
        found.push(Cause::Drift { what: format!("{more} more changes of its build") });
    }
    found
}

/// How it is built.
fn fields(old: &Build, new: &Build, found: &mut Vec<Cause>) {
    let (old, new) = (described(old), described(new));
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (before, after) = (old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
        // The argument that it is of is told.
        if before == after || key == "epoch" {
            continue;
        }
        let name = NAMES.iter().find(|(here, _)| here == key).map_or(key.as_str(), |(_, name)| name);
        match key.as_str() {
            "arguments" | "labels" | "contexts" | "secrets" | "ssh" | "extra_hosts" | "ulimits" => {
                let (before, after) = (object(before), object(after));
                for one in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                    let (before, after) = (before.get(one), after.get(one));
                    if before != after {
                        found.push(changed(format!("spec.build.{name}.{one}"), before.and_then(shown), after.and_then(shown)));
                    }
                }
            }
            _ => found.push(changed(format!("spec.build.{name}"), shown(before), shown(after))),
        }
    }
}

fn described(build: &Build) -> Map<String, Value> {
    object(&serde_json::to_value(build.without_files()).unwrap_or_default())
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A value in one line, if that says something.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // The text of a Dockerfile is no value that can be told in a line.
        Value::Object(fields) if fields.contains_key("text") => Some("other instructions".to_owned()),
        Value::Object(fields) if fields.len() == 1 => fields.values().next().and_then(shown),
        other => Some(other.to_string()),
    }
}

/// What it is built of.
fn files(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, found: &mut Vec<Cause>) {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (before, after) = (old.get(name), new.get(name));
        if before != after {
            found.push(changed(format!("spec.build.{name}"), before.cloned(), after.cloned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::{ContextSource, DockerfileSource};

    fn told(old: &Build, new: &Build) -> Vec<String> {
        let base: ImageRef = "base:1".parse().unwrap();
        let made = Made { build: old.clone(), bases: BTreeMap::from([(base.clone(), Digest::of(b"1"))]) };
        let causes = changes(&made, new, &BTreeMap::from([(base, Digest::of(b"1"))]));
        causes
            .into_iter()
            .map(|cause| match cause {
                Cause::Changed { field, old, new } => {
                    format!("{field}: {} → {}", old.unwrap_or_default(), new.unwrap_or_default())
                }
                Cause::Drift { what } => what,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_has_changed_is_told_by_its_name() {
        let old = Build::new(ContextSource::Folder("/app".into()), DockerfileSource::InContext(None));
        assert_eq!(told(&old, &old), Vec::<String>::new());
        let mut new = old.clone();
        new.arguments.insert("WHO".into(), "you".into());
        new.target = Some("web".into());
        new.files.insert("context/src".into(), "abc".into());
        assert_eq!(
            told(&old, &new),
            ["spec.build.args.WHO:  → you", "spec.build.target:  → web", "spec.build.context/src:  → abc"]
        );
        let mut text = old.clone();
        text.dockerfile = DockerfileSource::Text { name: "x".into(), text: "FROM scratch".into() };
        assert_eq!(told(&old, &text).len(), 1);
        for number in 0..20 {
            new.files.insert(format!("context/{number}"), "abc".into());
        }
        let told = told(&old, &new);
        assert_eq!((told.len(), told[7].as_str()), (8, "16 more changes of its build"));
        let made = Made { build: old.clone(), bases: BTreeMap::new() };
        let bases = BTreeMap::from([("base:1".parse().unwrap(), Digest::of(b"1"))]);
        assert_eq!(changes(&made, &old, &bases).len(), 1);
    }
}

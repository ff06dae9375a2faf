//! What differs between two states of a stack that were applied, by the fields that plans name. Looks at no host.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, to_value};

use super::classes::{changed, compare, differences};
use super::images::DIGEST;
use super::step::{Cause, Kind, Resource};
use crate::manifest::{Desired, Placed};
use crate::model::spec::{ContainerSpec, ImageSpec};
use crate::model::{Digest, ImageRef, Name};

/// What was applied: the manifests, and which images their references meant.
#[derive(Clone, Copy, Debug)]
pub struct Edition<'a> {
    pub desired: &'a Desired,
    pub images: &'a BTreeMap<ImageRef, Digest>,
}

/// How one resource differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub resource: Resource,
    /// `Missing` alone: only the second one has it. `NotDeclared` alone: only the first one has it. Else the fields.
    pub causes: Vec<Cause>,
}

/// All that differs, by resource. Empty when both are the same.
pub fn between(old: Edition<'_>, new: Edition<'_>) -> Vec<Difference> {
    let (a, b) = (old.desired, new.desired);
    let mut all = Vec::new();
    each(Kind::Image, &a.images, &b.images, &mut all, |before, after| image(old, new, before, after));
    each(Kind::Network, &a.networks, &b.networks, &mut all, placed);
    each(Kind::Volume, &a.volumes, &b.volumes, &mut all, placed);
    each(Kind::Config, &a.configs, &b.configs, &mut all, |before, after| content(before.digest(), after.digest()));
    each(Kind::Secret, &a.secrets, &b.secrets, &mut all, |before, after| content(before.digest(), after.digest()));
    each(Kind::Container, &a.containers, &b.containers, &mut all, container);
    all
}

fn each<T>(
    kind: Kind,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
    all: &mut Vec<Difference>,
    both: impl Fn(&T, &T) -> Vec<Cause>,
) {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let causes = match (old.get(name), new.get(name)) {
            (Some(before), Some(after)) => both(before, after),
            (None, Some(_)) => vec![Cause::Missing],
            (Some(_), None) | (None, None) => vec![Cause::NotDeclared],
        };
        if !causes.is_empty() {
            all.push(Difference { resource: Resource { kind, name: name.clone() }, causes });
        }
    }
}

/// Its fields, and the image that its reference meant.
fn image(old: Edition<'_>, new: Edition<'_>, before: &ImageSpec, after: &ImageSpec) -> Vec<Cause> {
    let mut causes = fields("spec", before, after);
    let (was, is) = (old.images.get(&before.reference), new.images.get(&after.reference));
    if was != is {
        causes.push(changed(DIGEST.to_owned(), was.map(Digest::short), is.map(Digest::short)));
    }
    causes
}

fn placed<T: Serialize>(before: &Placed<T>, after: &Placed<T>) -> Vec<Cause> {
    let mut causes = place(before, after);
    causes.extend(fields("spec", &before.spec, &after.spec));
    causes
}

fn container(before: &Placed<ContainerSpec>, after: &Placed<ContainerSpec>) -> Vec<Cause> {
    let mut causes = place(before, after);
    causes.extend(compare(&before.spec, &after.spec).1);
    // What plans need not act on is a difference all the same.
    causes.extend(fields("spec.depends_on", &before.spec.depends_on, &after.spec.depends_on));
    causes.extend(fields("spec.depends_beyond", &before.spec.depends_beyond, &after.spec.depends_beyond));
    causes
}

fn place<T>(before: &Placed<T>, after: &Placed<T>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if before.engine_name != after.engine_name {
        let (old, new) = (before.engine_name.to_string(), after.engine_name.to_string());
        causes.push(changed("name".to_owned(), Some(old), Some(new)));
    }
    if before.external != after.external {
        causes.push(changed("external".to_owned(), Some(before.external.to_string()), Some(after.external.to_string())));
    }
    causes
}

fn content(before: Digest, after: Digest) -> Vec<Cause> {
    if before == after {
        return Vec::new();
    }
    vec![changed("content".to_owned(), Some(before.short()), Some(after.short()))]
}

fn fields(path: &str, before: &impl Serialize, after: &impl Serialize) -> Vec<Cause> {
    let mut causes = Vec::new();
    // Plain data always has a JSON form.
    let (old, new): (Value, Value) = (to_value(before).unwrap_or_default(), to_value(after).unwrap_or_default());
    if old != new {
        differences(path, &old, &new, &mut causes);
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::{ConfigSpec, ImageSource, Pull};
    use crate::plan::cause_line;

    #[test]
    fn what_differs_is_told_by_resource_and_field() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let mut one = Desired::empty(name("shop"));
        let reference: ImageRef = "app:1".parse().unwrap();
        one.images.insert(name("app"), ImageSpec::new(reference.clone(), ImageSource::Pull(Pull::default())));
        let web = Placed { engine_name: name("shop-web"), external: false, spec: ContainerSpec::new(reference.clone()) };
        one.containers.insert(name("web"), web.clone());
        one.containers.insert(name("old"), web.clone());
        one.configs.insert(name("conf"), ConfigSpec { content: b"1".to_vec(), external: None });
        let images = |content: &[u8]| BTreeMap::from([(reference.clone(), Digest::of(content))]);
        let (first, second) = (images(b"1"), images(b"2"));
        let of = |desired, images| Edition { desired, images };
        assert!(between(of(&one, &first), of(&one, &first)).is_empty());
        let mut two = one.clone();
        two.containers.remove("old");
        two.containers.insert(name("new"), web);
        two.configs.insert(name("conf"), ConfigSpec { content: b"2".to_vec(), external: None });
        let spec = &mut two.containers.get_mut("web").unwrap().spec;
        spec.command = Some(vec!["run".into()]);
        spec.depends_on.insert(name("new"), serde_json::from_str(r#"{"condition": "service_started"}"#).unwrap());
        let shown: Vec<String> = between(of(&one, &first), of(&two, &second))
            .iter()
            .flat_map(|one| one.causes.iter().map(|cause| (one.resource.to_string(), cause_line(cause))))
            .map(|(resource, line)| format!("{resource}: {}", line.unwrap_or_else(|| "added".to_owned())))
            .collect();
        let short = |content: &[u8]| Digest::of(content).short();
        let digests = format!("{} → {}", short(b"1"), short(b"2"));
        assert_eq!(
            shown,
            [
                format!("image/app: digest: {digests}"),
                format!("config/conf: content: {digests}"),
                "container/new: added".to_owned(),
                "container/old: no longer declared".to_owned(),
                "container/web: spec.command: ∅ → [run]".to_owned(),
                "container/web: spec.depends_on.new: ∅ → {condition: service_started}".to_owned(),
            ]
        );
    }
}

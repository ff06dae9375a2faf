//! Reads manifests: the envelope of `apiVersion`, `kind`, `metadata` and `spec`, and by its kind what is within.

use std::collections::BTreeMap;

use crate::model::Name;

use super::declared::Declared;
use super::fields;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::{container, resources};

pub(super) const API_VERSION: &str = "setpoint/v1";
pub(super) const KINDS: [&str; 6] = ["Image", "Container", "Network", "Volume", "Config", "Stack"];

#[derive(Clone, Copy)]
enum Kind {
    Image,
    Container,
    Network,
    Volume,
    Config,
    Stack,
}

/// Reads one document into `declared`.
pub(super) fn read(reader: &mut Reader, root: &Node, declared: &mut Declared) {
    if super::is_compose(root) {
        let hint = "call it compose.yaml, or name the file itself instead of its folder";
        reader.error_hint(root.at, "a compose file does not stand among manifests", hint);
        return;
    }
    let Some(f) = reader.fields(root, &fields::DOCUMENT) else { return };
    if let Some(node) = f.get("apiVersion") {
        reader.choice(node, &[(API_VERSION, ())]);
    }
    let kinds = [Kind::Image, Kind::Container, Kind::Network, Kind::Volume, Kind::Config, Kind::Stack];
    let kind = f.get("kind").and_then(|node| {
        if let Value::Scalar(scalar) = &node.value
            && scalar.text == "Secret"
        {
            reader.error_hint(node.at, "secrets are not supported yet", "use a Config, mounted with `mode: 0400`");
            return None;
        }
        let choices: Vec<(&str, Kind)> = KINDS.into_iter().zip(kinds).collect();
        reader.choice(node, &choices)
    });
    let metadata = f.get("metadata").and_then(|node| reader.fields(node, &fields::METADATA));
    let named = metadata.as_ref().and_then(|f| f.get("name"));
    let name = named.and_then(|node| reader.parse::<Name>(node));
    let labels = metadata.as_ref().and_then(|f| f.get("labels")).map(|node| reader.labels(node)).unwrap_or_default();
    if let Some(node) = metadata.as_ref().and_then(|f| f.get("annotations")) {
        reader.labels(node);
    }
    let Some(kind) = kind else { return };
    let empty = Node { at: named.map_or(root.at, |node| node.at), value: Value::Map(Vec::new()) };
    let spec = f.get("spec").unwrap_or(&empty);
    let at = named.map_or(root.at, |node| node.at);
    // Without a name the spec is read all the same, for its problems.
    let nameless = name.is_none();
    let Some(name) = name.or_else(|| "unnamed".parse().ok()) else { return };
    let mut found = Declared::default();
    match kind {
        Kind::Image => found.images.extend(resources::image(reader, name, at, spec)),
        Kind::Container => found.containers.extend(container::read(reader, name, at, spec).map(|mut it| {
            it.body.spec.labels = over(labels, it.body.spec.labels);
            it
        })),
        Kind::Network => found.networks.extend(resources::network(reader, name, at, spec).map(|mut it| {
            it.body.labels = over(labels, it.body.labels);
            it
        })),
        Kind::Volume => found.volumes.extend(resources::volume(reader, name, at, spec).map(|mut it| {
            it.body.labels = over(labels, it.body.labels);
            it
        })),
        Kind::Config => found.configs.extend(resources::config(reader, name, at, spec)),
        Kind::Stack => {
            reader.fields(spec, &fields::STACK);
            if let Some((first, place)) = &declared.stack {
                let hint = format!("`{first}` is declared in {}", reader.problems.show(*place));
                reader.error_hint(at, "a stack is declared twice", hint);
            }
            found.stack = Some((name, at));
        }
    }
    if nameless {
        return;
    }
    declared.stack = declared.stack.take().or(found.stack);
    declared.images.append(&mut found.images);
    declared.containers.append(&mut found.containers);
    declared.networks.append(&mut found.networks);
    declared.volumes.append(&mut found.volumes);
    declared.configs.append(&mut found.configs);
}

/// The labels of `metadata`, and over them those of `spec`.
fn over(mut labels: BTreeMap<String, String>, spec: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.extend(spec);
    labels
}

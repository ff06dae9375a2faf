//! Reads manifests: the envelope of `apiVersion`, `kind`, `metadata` and `spec`, and by its kind what is within.

use std::collections::BTreeMap;

use crate::model::Name;

use super::declared::Declared;
use super::fields;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::{container, images, resources, updates};

pub(super) const API_VERSION: &str = "setpoint/v1";
pub(super) const KINDS: [&str; 7] = ["Image", "Container", "Network", "Volume", "Config", "Secret", "Stack"];

#[derive(Clone, Copy)]
enum Kind {
    Image,
    Container,
    Network,
    Volume,
    Config,
    Secret,
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
    let kinds = [Kind::Image, Kind::Container, Kind::Network, Kind::Volume, Kind::Config, Kind::Secret, Kind::Stack];
    let kind = f.get("kind").and_then(|node| {
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
    // Without a name the spec is read all the same, for its problems; nothing is made of it then.
    let mut nowhere = Declared::default();
    let (name, declared) = match name {
        Some(name) => (name, declared),
        None => {
            let Ok(name) = "unnamed".parse::<Name>() else { return };
            (name, &mut nowhere)
        }
    };
    match kind {
        Kind::Image => {
            let image = images::read(reader, name.clone(), at, spec);
            declared.note("image", &name, image, |all| &mut all.images);
        }
        Kind::Container => {
            let container = container::read(reader, name.clone(), at, spec).map(|mut container| {
                let own = &mut container.body.spec.labels;
                *own = over(labels, std::mem::take(own));
                container
            });
            declared.note("container", &name, container, |all| &mut all.containers);
        }
        Kind::Network => {
            let network = resources::network(reader, name.clone(), at, spec).map(|mut network| {
                network.body.labels = over(labels, network.body.labels);
                network
            });
            declared.note("network", &name, network, |all| &mut all.networks);
        }
        Kind::Volume => {
            let volume = resources::volume(reader, name.clone(), at, spec).map(|mut volume| {
                volume.body.labels = over(labels, volume.body.labels);
                volume
            });
            declared.note("volume", &name, volume, |all| &mut all.volumes);
        }
        Kind::Config => {
            let config = resources::config(reader, name.clone(), at, spec);
            declared.note("config", &name, config, |all| &mut all.configs);
        }
        Kind::Secret => {
            let secret = resources::secret(reader, name.clone(), at, spec);
            declared.note("secret", &name, secret, |all| &mut all.secrets);
        }
        Kind::Stack => {
            if let Some(node) = reader.fields(spec, &fields::STACK).and_then(|f| f.get("update")) {
                declared.update = Some(updates::of_stack(reader, node));
            }
            match &declared.stack {
                Some((first, place)) => {
                    let hint = format!("`{first}` is declared at {}", reader.problems.show(*place));
                    reader.error_hint(at, "a stack is declared twice", hint);
                }
                None => declared.stack = Some((name, at)),
            }
        }
    }
}

/// The labels of `metadata`, and over them those of `spec`.
fn over(mut labels: BTreeMap<String, String>, spec: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.extend(spec);
    labels
}

//! Reads networks, volumes, configs and secrets: a manifest's `spec` and a compose file's sections alike.

use std::path::Path;

use crate::model::Name;
use crate::model::spec::{ConfigSpec, NetworkSpec, Subnet, VolumeSpec};

use super::declared::{Resource, Secret};
use super::fields;
use super::files::{MAX_CONFIG_BYTES, read_limited};
use super::problem::{Place, Problems};
use super::reader::{Fields, Reader};
use super::tree::Node;

pub(super) fn network(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<NetworkSpec>> {
    let f = reader.fields(node, &fields::NETWORK)?;
    let (engine_name, external) = placing(reader, &f, &["driver", "internal", "ipam", "labels"]);
    if let Some(node) = f.get("driver") {
        reader.choice(node, &[("bridge", ())]);
    }
    let internal = f.get("internal").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    let subnet = f.get("ipam").and_then(|node| subnet(reader, node));
    Some(Resource { name, at, engine_name, external, body: NetworkSpec { subnet, internal, labels } })
}

fn subnet(reader: &mut Reader, node: &Node) -> Option<Subnet> {
    let f = reader.fields(node, &fields::IPAM)?;
    if let Some(node) = f.get("driver") {
        reader.choice(node, &[("default", ())]);
    }
    let configs = f.get("config").map(|node| reader.list(node)).unwrap_or_default();
    if let Some(second) = configs.get(1) {
        reader.error_hint(second.at, "a network has one subnet only", "remove the others");
    }
    let f = reader.fields(configs.first()?, &fields::IPAM_CONFIG)?;
    f.get("subnet").and_then(|node| reader.parse(node))
}

pub(super) fn volume(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<VolumeSpec>> {
    let f = reader.fields(node, &fields::VOLUME)?;
    let (engine_name, external) = placing(reader, &f, &["driver", "labels"]);
    if let Some(node) = f.get("driver") {
        reader.choice(node, &[("local", ())]);
    }
    let labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    Some(Resource { name, at, engine_name, external, body: VolumeSpec { labels } })
}

/// `name` and `external`. What is external is not described here, so `described` must be absent from it.
fn placing(reader: &mut Reader, f: &Fields, described: &[&str]) -> (Option<Name>, bool) {
    let engine_name = f.get("name").and_then(|node| reader.parse(node));
    let external = f.get("external").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if external {
        for name in described {
            if f.get(name).is_some() {
                let at = f.place(name);
                let message = format!("`{name}` cannot be given for what is external");
                reader.error_hint(at, message, "it belongs to somebody else: remove this, or `external`");
            }
        }
    }
    (engine_name, external)
}

pub(super) fn config(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<ConfigSpec>> {
    let f = reader.fields(node, &fields::CONFIG)?;
    let content = match one_source(reader, &f, "a config", &["file", "content", "environment"])? {
        ("content", node) => {
            let text = reader.text(node)?;
            limit(reader, node.at, text.len());
            text.as_bytes().to_vec()
        }
        ("environment", node) => variable(reader, node)?,
        (_, node) => {
            let text = reader.text(node)?;
            let path = reader.host_path(node.at, text)?;
            reader.watched.push(path.clone());
            read_content(&path, node.at, reader.problems)?
        }
    };
    Some(Resource { name, at, engine_name: None, external: false, body: ConfigSpec { content } })
}

pub(super) fn secret(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Secret>> {
    let f = reader.fields(node, &fields::SECRET)?;
    let body = match one_source(reader, &f, "a secret", &["file", "environment"])? {
        ("environment", node) => Secret::Content(variable(reader, node)?),
        (_, node) => {
            let text = reader.text(node)?;
            Secret::File(reader.host_path(node.at, text)?, node.at)
        }
    };
    Some(Resource { name, at, engine_name: None, external: false, body })
}

/// The one of these fields that is given.
fn one_source<'n>(reader: &mut Reader, f: &Fields<'n>, what: &str, all: &[&'static str]) -> Option<(&'static str, &'n Node)> {
    let given: Vec<(&'static str, &Node)> = all.iter().filter_map(|name| Some((*name, f.get(name)?))).collect();
    let all: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
    match given.as_slice() {
        [one] => Some(*one),
        [] => {
            reader.error_hint(f.at, format!("{what} needs its content"), format!("give it {}", all.join(" or ")));
            None
        }
        [.., (second, _)] => {
            let at = f.place(second);
            let given: Vec<String> = given.iter().map(|(name, _)| format!("`{name}`")).collect();
            reader.error_hint(at, format!("{what} has one source only"), format!("remove {}", given.join(" or ")));
            None
        }
    }
}

/// The content of the variable that a node names.
fn variable(reader: &mut Reader, node: &Node) -> Option<Vec<u8>> {
    let name = reader.text(node)?;
    let Some(value) = reader.variables.get(name) else {
        let hint = "set it in the environment or in a file `.env` beside the manifest";
        reader.error_hint(node.at, format!("the variable `{name}` is not set"), hint);
        return None;
    };
    let value = value.as_bytes().to_vec();
    limit(reader, node.at, value.len());
    Some(value)
}

fn limit(reader: &mut Reader, at: Place, length: usize) {
    if length as u64 > MAX_CONFIG_BYTES {
        reader.error(at, format!("the content is larger than {} KiB", MAX_CONFIG_BYTES >> 10));
    }
}

/// The content of a config's or secret's file.
pub(super) fn read_content(path: &Path, at: Place, problems: &mut Problems) -> Option<Vec<u8>> {
    read_limited(path, MAX_CONFIG_BYTES)
        .inspect_err(|error| problems.error(at, format!("the file {} cannot be read: {error}", path.display())))
        .ok()
}

//! Reads networks, volumes and configs: a manifest's `spec` and a compose file's sections alike.

use crate::model::Name;
use crate::model::spec::{ConfigSpec, NetworkSpec, Subnet, VolumeSpec};

use super::declared::Resource;
use super::fields;
use super::files::{MAX_CONFIG_BYTES, read_limited};
use super::problem::Place;
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
    let content = match (f.get("file"), f.get("content")) {
        (Some(_), Some(_)) => {
            let at = f.place("content");
            reader.error_hint(at, "a config has one source only", "remove `file` or `content`");
            None
        }
        (None, None) => {
            reader.error_hint(f.at, "a config needs its content", "give it `file` or `content`");
            None
        }
        (None, Some(node)) => {
            let text = reader.text(node)?;
            if text.len() as u64 > MAX_CONFIG_BYTES {
                reader.error(node.at, format!("the content is larger than {} KiB", MAX_CONFIG_BYTES >> 10));
            }
            Some(text.as_bytes().to_vec())
        }
        (Some(node), None) => {
            let text = reader.text(node)?;
            let path = reader.host_path(node.at, text)?;
            reader.watched.push(path.clone());
            match read_limited(&path, MAX_CONFIG_BYTES) {
                Ok(content) => Some(content),
                Err(error) => {
                    reader.error(node.at, format!("the file {} cannot be read: {error}", path.display()));
                    None
                }
            }
        }
    };
    Some(Resource { name, at, engine_name: None, external: false, body: ConfigSpec { content: content? } })
}

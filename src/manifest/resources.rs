//! Reads networks, volumes, configs and secrets: a manifest's `spec` and a compose file's sections alike.

use std::path::Path;

use crate::model::Name;
use crate::model::spec::{BridgeOptions, Elsewhere, Ipv6Spec, NetworkSpec, VolumeSpec};

use super::addresses;
use super::declared::{Config, Resource, Secret};
use super::fields;
use super::files::{MAX_CONFIG_BYTES, read_limited};
use super::print::ContentOrigin;
use super::problem::{Place, Problems};
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

pub(super) fn network(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<NetworkSpec>> {
    let f = reader.fields(node, &fields::NETWORK)?;
    let (engine_name, external) = placing(reader, &f, &["driver", "driver_opts", "internal", "ipam", "labels"]);
    if let Some(node) = f.get("driver") {
        driver(reader, node, "bridge", "a network", "all networks are bridges of this host");
    }
    let internal = f.get("internal").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    let mut body = NetworkSpec { internal, labels, ..NetworkSpec::default() };
    addresses::addresses(reader, &f, &mut body);
    if let Some(node) = f.get("driver_opts") {
        body.driver_opts = bridge_options(reader, node, body.ipv6.is_some());
    }
    Some(Resource { name, at, engine_name, external, body })
}

fn bridge_options(reader: &mut Reader, node: &Node, ipv6: bool) -> BridgeOptions {
    let mut options = BridgeOptions::default();
    for (key, (value, at)) in reader.pairs(node) {
        if let Err(error) = options.set(&key, value.as_deref().unwrap_or_default()) {
            reader.error_hint(at, error.to_string(), error.hint());
        } else if ipv6 && options.mtu.is_some_and(|mtu| mtu < Ipv6Spec::LEAST_MTU) {
            reader.error(at, format!("links of IPv6 carry {} bytes at least", Ipv6Spec::LEAST_MTU));
        }
    }
    options
}

pub(super) fn volume(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<VolumeSpec>> {
    let f = reader.fields(node, &fields::VOLUME)?;
    let (engine_name, external) = placing(reader, &f, &["driver", "labels"]);
    if let Some(node) = f.get("driver") {
        driver(reader, node, "local", "a volume", "all volumes are folders of this host");
    }
    let labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    Some(Resource { name, at, engine_name, external, body: VolumeSpec { labels } })
}

/// `name` and `external`. What is external is not described here, so `described` must be absent from it.
fn placing(reader: &mut Reader, f: &Fields, described: &[&str]) -> (Option<Name>, bool) {
    let engine_name = f.get("name").and_then(|node| reader.parse(node));
    let (external, old_name) = external(reader, f);
    if external {
        for name in described {
            if f.get(name).is_some() {
                let at = f.place(name);
                let message = format!("`{name}` cannot be given for what is external");
                reader.error_hint(at, message, "it belongs to somebody else: remove this, or `external`");
            }
        }
    }
    if let (Some(old), Some(new)) = (&old_name, &engine_name)
        && old != new
    {
        reader.error_hint(f.place("external"), format!("it is called `{new}` here"), "remove one of the two names");
    }
    (engine_name.or(old_name), external)
}

/// Whether it is external, and its name where old compose files have it.
fn external(reader: &mut Reader, f: &Fields) -> (bool, Option<Name>) {
    match f.get("external") {
        Some(node @ Node { value: Value::Map(_), .. }) => {
            let name = reader.fields(node, &fields::EXTERNAL_NAME).and_then(|f| f.get("name"));
            (true, name.and_then(|node| reader.parse(node)))
        }
        node => (node.and_then(|node| reader.boolean(node)).unwrap_or_default(), None),
    }
}

fn driver(reader: &mut Reader, node: &Node, only: &str, what: &str, why: &str) {
    if let Some(text) = reader.text(node)
        && text != only
    {
        let hint = format!("remove it: {why}");
        reader.error_hint(node.at, format!("{what} of the driver `{text}` cannot be had here"), hint);
    }
}

/// The config or secret of another stack that is meant, where one is; `Err` where it is not said which.
fn content_elsewhere(reader: &mut Reader, f: &Fields, sources: &[&str]) -> Result<Option<Elsewhere>, ()> {
    let old = match f.get("external") {
        Some(node @ Node { value: Value::Map(_), .. }) => {
            Some(reader.fields(node, &fields::EXTERNAL_CONTENT).and_then(|f| f.get("name")).ok_or(())?)
        }
        Some(node) => {
            if !reader.boolean(node).ok_or(())? {
                named_in_vain(reader, f);
                return Ok(None);
            }
            None
        }
        None => {
            named_in_vain(reader, f);
            return Ok(None);
        }
    };
    for name in sources {
        if f.get(name).is_some() {
            let message = format!("`{name}` cannot be given for what is external");
            reader.error_hint(f.place(name), message, "another stack says what it is: remove this, or `external`");
        }
    }
    let hint = "name the stack that has it, and what it is called there: `name: STACK/NAME`. There is no store apart from stacks; a `file` \
                that several stacks name is another way";
    let Some(node) = old.or_else(|| f.get("name")) else {
        reader.error_hint(f.place("external"), "whose it is has to be said", hint);
        return Err(());
    };
    let text = reader.text(node).ok_or(())?;
    let found = text.parse().ok();
    if found.is_none() {
        reader.error_hint(node.at, format!("`{text}` is nothing of another stack"), hint);
    }
    found.map(Some).ok_or(())
}

fn named_in_vain(reader: &mut Reader, f: &Fields) {
    if f.get("name").is_some_and(|node| reader.text(node).is_some()) {
        let hint = "remove it: it is called by its own name, and `name` is for what another stack has (`external`)";
        reader.problems.warn(f.place("name"), "`name` is without effect", Some(hint.to_owned()));
    }
}

/// Where their contents may be.
const OF_CONFIG: [&str; 3] = ["file", "content", "environment"];
const OF_SECRET: [&str; 2] = ["file", "environment"];

pub(super) fn config(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Config>> {
    let f = reader.fields(node, &fields::CONFIG)?;
    if let Some(external) = content_elsewhere(reader, &f, &OF_CONFIG).ok()? {
        let body = Config { content: Vec::new(), origin: ContentOrigin::External(external) };
        return Some(Resource { name, at, engine_name: None, external: false, body });
    }
    let (content, origin) = match one_source(reader, &f, "a config", &OF_CONFIG)? {
        ("content", node) => {
            let text = reader.text(node)?;
            limit(reader, node.at, text.len());
            (text.as_bytes().to_vec(), ContentOrigin::Inline)
        }
        ("environment", node) => {
            let (name, value) = variable(reader, node)?;
            (value, ContentOrigin::Variable(name))
        }
        (_, node) => {
            let text = reader.text(node)?;
            let path = reader.host_path(node.at, text)?;
            reader.watched.push(path.clone());
            (read_content(&path, node.at, reader.problems)?, ContentOrigin::File(path))
        }
    };
    Some(Resource { name, at, engine_name: None, external: false, body: Config { content, origin } })
}

pub(super) fn secret(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Secret>> {
    let f = reader.fields(node, &fields::SECRET)?;
    if let Some(external) = content_elsewhere(reader, &f, &OF_SECRET).ok()? {
        return Some(Resource { name, at, engine_name: None, external: false, body: Secret::External(external) });
    }
    let body = match one_source(reader, &f, "a secret", &OF_SECRET)? {
        ("environment", node) => {
            let (name, value) = variable(reader, node)?;
            Secret::Variable(name, value)
        }
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

/// The variable that a node names, and its content.
fn variable(reader: &mut Reader, node: &Node) -> Option<(String, Vec<u8>)> {
    let name = reader.text(node)?;
    let Some(value) = reader.variables.get(name) else {
        let hint = "set it in the environment or in a file `.env` beside the manifest";
        reader.error_hint(node.at, format!("the variable `{name}` is not set"), hint);
        return None;
    };
    let value = value.as_bytes().to_vec();
    limit(reader, node.at, value.len());
    Some((name.to_owned(), value))
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

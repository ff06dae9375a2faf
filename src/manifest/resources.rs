//! Reads networks, volumes, configs and secrets: a manifest's `spec` and a compose file's sections alike.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::model::Name;
use crate::model::spec::{NetworkSpec, Subnet, VolumeSpec};

use super::declared::{Config, Resource, Secret};
use super::fields;
use super::files::{MAX_CONFIG_BYTES, read_limited};
use super::print::ContentOrigin;
use super::problem::{Place, Problems};
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

pub(super) fn network(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<NetworkSpec>> {
    let f = reader.fields(node, &fields::NETWORK)?;
    let (engine_name, external) = placing(reader, &f, &["driver", "internal", "ipam", "labels"]);
    if let Some(node) = f.get("driver") {
        driver(reader, node, "bridge", "a network", "all networks are bridges of this host");
    }
    for (name, wanted) in [("enable_ipv4", true), ("enable_ipv6", false)] {
        if let Some(node) = f.get(name)
            && reader.boolean(node) == Some(!wanted)
        {
            reader.error_hint(node.at, format!("`{name}: {}` is not supported", !wanted), "remove it: networks are IPv4");
        }
    }
    let internal = f.get("internal").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    let mut body = NetworkSpec { internal, labels, ..NetworkSpec::default() };
    if let Some(node) = f.get("ipam") {
        addresses(reader, node, &mut body);
    }
    Some(Resource { name, at, engine_name, external, body })
}

/// What says which addresses there are.
fn addresses(reader: &mut Reader, node: &Node, spec: &mut NetworkSpec) {
    let Some(f) = reader.fields(node, &fields::IPAM) else { return };
    if let Some(node) = f.get("driver") {
        reader.choice(node, &[("default", ())]);
    }
    let configs = f.get("config").map(|node| reader.list(node)).unwrap_or_default();
    if let Some(second) = configs.get(1) {
        reader.error_hint(second.at, "a network has one subnet only", "remove the others: networks are IPv4");
    }
    let Some(f) = configs.first().and_then(|first| reader.fields(first, &fields::IPAM_CONFIG)) else { return };
    spec.subnet = f.get("subnet").and_then(|node| reader.parse(node));
    let gateway = f.get("gateway").and_then(|node| Some((reader.parse::<Ipv4Addr>(node)?, node.at)));
    let range = f.get("ip_range").and_then(|node| Some((reader.parse::<Subnet>(node)?, node.at)));
    let aux = f.get("aux_addresses").and_then(|node| reader.map(node)).unwrap_or_default().iter();
    let aux: Vec<_> = aux.filter_map(|(key, node)| Some((key.text.clone(), reader.parse::<Ipv4Addr>(node)?, node.at))).collect();
    let Some(subnet) = spec.subnet else {
        for name in ["gateway", "ip_range", "aux_addresses"] {
            if f.get(name).is_some() && f.get("subnet").is_none() {
                reader.error_hint(f.place(name), format!("`{name}` needs a subnet"), "give the network its `subnet`");
            }
        }
        return;
    };
    let hint = format!("the subnet is {subnet}");
    for (address, at) in gateway.into_iter().chain(aux.iter().map(|(_, address, at)| (*address, *at))) {
        if !subnet.is_inside(address) {
            reader.error_hint(at, format!("{address} is not an address of the subnet"), hint.clone());
        }
    }
    if let Some((range, at)) = range
        && (!subnet.contains(range.address()) || range.prefix() < subnet.prefix())
    {
        reader.error_hint(at, format!("{range} is not within the subnet"), hint);
    }
    // What is as usual is not said.
    spec.gateway = gateway.map(|(address, _)| address).filter(|address| *address != subnet.gateway());
    spec.ip_range = range.map(|(range, _)| range).filter(|range| *range != subnet);
    spec.aux_addresses = aux.into_iter().map(|(name, address, _)| (name, address)).collect();
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

/// Configs and secrets are read with their stack, and kept nowhere else.
fn refuse_external(reader: &mut Reader, f: &Fields) -> bool {
    let (external, _) = external(reader, f);
    if external {
        let hint = "give it a `file` or the `environment`: nothing is kept here apart from stacks";
        reader.error_hint(f.place("external"), "it cannot be external", hint);
    }
    external
}

pub(super) fn config(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Config>> {
    let f = reader.fields(node, &fields::CONFIG)?;
    if refuse_external(reader, &f) {
        return None;
    }
    let (content, origin) = match one_source(reader, &f, "a config", &["file", "content", "environment"])? {
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
    if refuse_external(reader, &f) {
        return None;
    }
    let body = match one_source(reader, &f, "a secret", &["file", "environment"])? {
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

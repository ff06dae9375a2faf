//! Reads how a container is reached and what it reaches: host names, networks, ports and hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use crate::model::spec::{Attachment, HostAddress, MacAddress};
use crate::model::{Name, PortMapping, Protocol, places_overlap};

use super::fields;
use super::problem::Place;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

pub(super) fn host_name(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let ok = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !text.starts_with(['-', '.']);
    if ok {
        return Some(text.to_owned());
    }
    reader.error_hint(node.at, format!("`{text}` is not a host name"), "letters, digits, `-` and `.`, at most 63");
    None
}

pub(super) fn networks(reader: &mut Reader, node: &Node) -> Vec<(Name, Place, Attachment)> {
    let mut found: Vec<(Name, Place, Attachment)> = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let Some(name) = reader.parse_text(key.at, &key.text) else { continue };
                let attachment = match value.value {
                    Value::Null => Attachment::default(),
                    _ => attachment(reader, value),
                };
                let same = |other: &&(Name, Place, Attachment)| other.2.interface_name == attachment.interface_name;
                if let Some(link) = &attachment.interface_name
                    && let Some((other, ..)) = found.iter().find(same)
                {
                    let hint = "give each link a name of its own";
                    reader.error_hint(value.at, format!("the link into `{other}` is called `{link}` already"), hint);
                }
                found.push((name, key.at, attachment));
            }
        }
        _ => {
            for item in reader.list(node) {
                let Some(name) = reader.parse::<Name>(item) else { continue };
                if found.iter().any(|(known, ..)| *known == name) {
                    reader.error(item.at, format!("the network `{name}` is given twice"));
                } else {
                    found.push((name, item.at, Attachment::default()));
                }
            }
        }
    }
    found
}

fn attachment(reader: &mut Reader, node: &Node) -> Attachment {
    let mut attachment = Attachment::default();
    let Some(f) = reader.fields(node, &fields::ATTACHMENT) else { return attachment };
    if let Some(node) = f.get("aliases") {
        for item in reader.list(node) {
            attachment.aliases.extend(host_name(reader, item));
        }
    }
    attachment.ipv4_address = address(reader, &f, "ipv4_address", "an IPv4 address");
    attachment.ipv6_address = address(reader, &f, "ipv6_address", "an IPv6 address");
    if let Some(node) = f.get("gw_priority") {
        match reader.integer(node).map(i32::try_from) {
            Some(Ok(priority)) => attachment.gw_priority = priority,
            Some(Err(_)) => reader.error(node.at, "it is a number of 32 bits"),
            None => {}
        }
    }
    attachment.interface_name = f.get("interface_name").and_then(|node| reader.parse(node));
    attachment
}

fn address<A: FromStr>(reader: &mut Reader, f: &Fields, name: &str, what: &str) -> Option<A> {
    let node = f.get(name)?;
    let text = reader.text(node)?;
    let address = text.parse().ok();
    if address.is_none() {
        reader.error(node.at, format!("`{text}` is not {what}"));
    }
    address
}

/// The address of the link of a container that has one network, where it stands with the network.
pub(super) fn link_address(reader: &mut Reader, node: &Node) -> Option<MacAddress> {
    let Value::Map(entries) = &node.value else { return None };
    let mut found = None;
    for (_, value) in entries.iter().filter(|(_, value)| matches!(value.value, Value::Map(_))) {
        let Some(node) = reader.fields(value, &fields::ATTACHMENT).and_then(|f| f.get("mac_address")) else { continue };
        if entries.len() > 1 {
            let hint = "remove it, or the other networks";
            reader.error_hint(node.at, "only the link of a container with one network has an address of its own", hint);
            return None;
        }
        found = reader.parse(node);
    }
    found
}

/// A range of the host's ports for one port of the container: `8080-8089:80`. Each of a container's replicas has one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortRange {
    /// The mapping of the range's first port.
    pub(super) first: PortMapping,
    pub(super) last: u16,
    pub(super) at: Place,
}

impl PortRange {
    /// As [`PortMapping::parse_all`] has it, where the host's part is a range and the container's is not.
    fn parse(text: &str, at: Place) -> Option<Self> {
        let (host, container) = text.rsplit_once(':')?;
        let (before, last) = host.rsplit_once('-')?;
        if container.contains('-') {
            return None;
        }
        let first: PortMapping = format!("{before}:{container}").parse().ok()?;
        let last = last.parse().ok().filter(|last| first.host_port.is_some_and(|first| first <= *last))?;
        Some(Self { first, last, at })
    }

    /// The first port that is none of `taken`.
    pub(super) fn port(&self, taken: &BTreeSet<PortMapping>) -> Option<PortMapping> {
        let is_free =
            |port: &u16| !taken.iter().any(|known| known.host_port == Some(*port) && known.protocol == self.first.protocol);
        let host_port = (self.first.host_port?..=self.last).find(is_free)?;
        Some(PortMapping { host_port: Some(host_port), ..self.first.clone() })
    }
}

pub(super) fn ports(reader: &mut Reader, node: &Node) -> (BTreeSet<PortMapping>, Vec<PortRange>) {
    let mut ports = BTreeSet::new();
    let mut ranges = Vec::new();
    for item in reader.list(node) {
        let text = match &item.value {
            Value::Map(_) => long_port(reader, item),
            _ => reader.word(item).map(str::to_owned),
        };
        let Some(text) = text else { continue };
        if let Some(range) = PortRange::parse(&text, item.at) {
            ranges.push(range);
            continue;
        }
        let found = PortMapping::parse_all(&text).unwrap_or_else(|error| {
            reader.error_hint(item.at, error.to_string(), "such as \"8080:80\" or \"127.0.0.1:5353:53/udp\"");
            Vec::new()
        });
        for port in found {
            if let Some(host_port) = port.host_port {
                let clash = |other: &&PortMapping| {
                    other.host_port == Some(host_port)
                        && other.protocol == port.protocol
                        && places_overlap(other.host_ip, port.host_ip)
                };
                if let Some(other) = ports.iter().find(clash) {
                    reader.error(item.at, format!("the host's port {host_port} is taken by `{other}` already"));
                    continue;
                }
            }
            ports.insert(port);
        }
    }
    (ports, ranges)
}

/// The long form in the short form's spelling, so that both obey the same rules.
fn long_port(reader: &mut Reader, node: &Node) -> Option<String> {
    let f = reader.fields(node, &fields::PORT)?;
    let target = f.get("target").and_then(|node| reader.word(node));
    let published = f.get("published").and_then(|node| reader.word(node));
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = f.get("protocol").and_then(|node| reader.choice(node, &protocols)).unwrap_or_default();
    let ip = f.get("host_ip").and_then(|node| reader.text(node));
    let mut text = String::new();
    if let Some(ip) = ip {
        let is_bare = ip.contains(':') && !ip.starts_with('[');
        text.push_str(&if is_bare { format!("[{ip}]") } else { ip.to_owned() });
        text.push(':');
    }
    if published.is_some() || ip.is_some() {
        text.push_str(published.unwrap_or_default());
        text.push(':');
    }
    text.push_str(target?);
    text.push('/');
    text.push_str(protocol.as_str());
    Some(text)
}

pub(super) fn extra_hosts(reader: &mut Reader, node: &Node) -> BTreeMap<String, HostAddress> {
    let mut found = BTreeMap::new();
    let pairs: Vec<(String, String, Place)> = match &node.value {
        // `name:address` is Compose's older spelling; an IPv6 address has colons of its own.
        Value::List(items) => items
            .iter()
            .filter_map(|item| {
                let text = reader.text(item)?;
                let Some((name, address)) = text.split_once('=').or_else(|| text.split_once(':')) else {
                    reader.error_hint(item.at, format!("`{text}` is not a host"), "write name=address");
                    return None;
                };
                Some((name.trim().to_owned(), address.trim().to_owned(), item.at))
            })
            .collect(),
        _ => reader
            .map(node)
            .unwrap_or_default()
            .iter()
            .filter_map(|(key, value)| Some((key.text.clone(), reader.text(value)?.to_owned(), value.at)))
            .collect(),
    };
    for (name, address, at) in pairs {
        match address.parse::<HostAddress>() {
            Ok(address) => {
                found.insert(name, address);
            }
            Err(_) => reader.error(at, format!("`{address}` is not an IP address")),
        }
    }
    found
}

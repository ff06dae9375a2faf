//! The packet filter: one table of family `ip` that this instance owns, and one of `ip6` by the same name where a network has
//! IPv6. What differs by network or container is an
//! element of a set or a map, so the rules are constant and a lookup does not grow with the number of containers.
//! Every change is one transaction of `nft`. Touches no other table.
//!
//! Text goes in and JSON comes out: the text form is the one that every version of `nft` documents and accepts alike,
//! and nothing in it comes from users (names of links and tables, addresses and numbers are all made here).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::error::NetworkError;
use super::outside;
use super::rows::{Published, Rows};
use crate::engine::rootless;
use crate::model::{Digest, Instance};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ip,
    Ip6,
}

impl Family {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }

    /// What is written once for both families, as it is in this one. `None`: it is not there.
    fn spell(self, text: &str) -> Option<String> {
        match (self, text.strip_prefix(ONLY_IP6)) {
            (Self::Ip, None) => Some(text.to_owned()),
            (Self::Ip, Some(_)) => None,
            (Self::Ip6, rest) => Some(
                rest.unwrap_or(text)
                    .replace("ipv4_addr", "ipv6_addr")
                    .replace("ip daddr", "ip6 daddr")
                    .replace("ip saddr", "ip6 saddr")
                    .replace("dnat ip to", "dnat ip6 to"),
            ),
        }
    }
}

/// How a text begins that is of `ip6` alone.
const ONLY_IP6: &str = "ip6 only: ";

/// The sets and maps: name and declaration, as they are for IPv4.
const SETS: [(&str, &str, &str); 9] = [
    ("set", "bridges", "type ifname;"),
    ("set", "internal", "type ifname;"),
    ("set", "gateways", "type ipv4_addr;"),
    // What is the host's alone.
    ("set", "hidden", "type ipv4_addr; flags interval;"),
    ("set", "subnets", "type ipv4_addr; flags interval;"),
    // A bridge with its own subnet; and a bridge with itself.
    ("set", "within", "type ifname . ipv4_addr; flags interval;"),
    ("set", "same", "type ifname . ifname;"),
    // Ports of all the host's addresses; and ports of one.
    ("map", "published", "type inet_proto . inet_service : ipv4_addr . inet_service;"),
    ("map", "published_at", "type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service;"),
];

struct Chain {
    name: &'static str,
    /// Type, hook and priority; none for a chain that others jump to.
    hook: Option<(&'static str, &'static str, i32)>,
    rules: &'static [&'static str],
}

/// In an order in which no chain jumps to a later one.
const CHAINS: [Chain; 6] = [
    // Bridges route to 127.0.0.0/8 so that the host's loopback can reach published ports. A container must not use that
    // to reach what listens on the host's loopback only; nor, where the networks are a user's own, the address at which
    // ports of the host's single addresses arrive.
    Chain { name: "guard", hook: Some(("filter", "prerouting", -300)), rules: &["iifname @bridges ip daddr @hidden drop"] },
    Chain {
        name: "publish",
        hook: None,
        rules: &[
            "meta l4proto != { tcp, udp } return",
            "dnat ip to meta l4proto . ip daddr . th dport map @published_at",
            "dnat ip to meta l4proto . th dport map @published",
        ],
    },
    // The gateways' own DNS comes before any container that publishes port 53.
    Chain {
        name: "prerouting",
        hook: Some(("nat", "prerouting", -100)),
        rules: &["iifname @bridges ip daddr @gateways th dport 53 return", "fib daddr type local jump publish"],
    },
    // An answer from a container to IPv6's loopback would come in by a link, so who calls it is led by a process (`dns/pass.rs`).
    Chain {
        name: "output",
        hook: Some(("nat", "output", -100)),
        rules: &["ip daddr @gateways th dport 53 return", "ip6 only: ip6 daddr ::1 return", "fib daddr type local jump publish"],
    },
    // The answer must come back through here whenever the sender's address alone would not bring it: a container that
    // reaches its own network by a published port; containers leaving their network; the host's own connections, which
    // may have 127.0.0.1 as their source.
    Chain {
        name: "postrouting",
        hook: Some(("nat", "postrouting", 100)),
        rules: &[
            "oifname . ip saddr @within ct status dnat masquerade",
            "oifname . ip saddr @within return",
            "ip saddr @subnets masquerade",
            "oifname @bridges ct status dnat fib saddr type local masquerade",
        ],
    },
    // Networks are apart from each other, internal ones from everything, and from outside only published ports are
    // reached. Accepting here overrules no other table that drops.
    Chain {
        name: "forward",
        hook: Some(("filter", "forward", 0)),
        rules: &[
            "iifname . oifname @same accept",
            "iifname @internal drop",
            "oifname @internal drop",
            "ct state established,related accept",
            "oifname @bridges ct status dnat accept",
            "oifname @bridges drop",
        ],
    },
];

type Elements = BTreeMap<&'static str, BTreeSet<String>>;

/// The families that the rows need a table of. The one of IPv4 is there even where only IPv6 is used.
fn families(rows: &Rows) -> impl Iterator<Item = Family> {
    let six = rows.networks.iter().any(|network| network.subnet6.is_some());
    [Family::Ip, Family::Ip6].into_iter().filter(move |family| *family == Family::Ip || six)
}

/// All elements that the rows need, by set.
fn elements(family: Family, rows: &Rows, instance: &Instance) -> Elements {
    let mut all: Elements = SETS.iter().map(|(_, name, _)| (*name, BTreeSet::new())).collect();
    let mut add = |set: &'static str, element: String| all.entry(set).or_default().insert(element);
    let apart = outside::is_apart(instance);
    // Nothing of IPv6's loopback ever comes in by a link.
    if family == Family::Ip {
        add("hidden", "127.0.0.0/8".to_owned());
        if apart {
            add("hidden", rootless::ADDRESS.to_string());
        }
    }
    for network in &rows.networks {
        let (gateway, subnet) = match family {
            Family::Ip => (network.gateway().map(IpAddr::V4), network.subnet.map(|subnet| subnet.to_string())),
            Family::Ip6 => (network.gateway6().map(IpAddr::V6), network.subnet6.map(|subnet| subnet.to_string())),
        };
        let (Some(gateway), Some(subnet)) = (gateway, subnet) else { continue };
        let bridge = instance.bridge(&network.id);
        add("bridges", bridge.clone());
        if network.spec.internal {
            add("internal", bridge.clone());
        }
        add("gateways", gateway.to_string());
        add("within", format!("{bridge} . {subnet}"));
        let options = &network.spec.driver_opts;
        if !options.unmasqueraded {
            add("subnets", subnet);
        }
        if !options.isolated {
            add("same", format!("{bridge} . {bridge}"));
        }
    }
    for port in &rows.published {
        if let Some((map, element)) = element(family, port, apart) {
            add(map, element);
        }
    }
    all
}

/// Where the networks are apart from the host's, what is for any single address of the host arrives at one address, and by IPv4.
fn element(family: Family, port: &Published, apart: bool) -> Option<(&'static str, String)> {
    let protocol = port.protocol.as_str();
    let (address, host_ip) = match (family, port.host_ip) {
        (Family::Ip, None) => (port.address.map(IpAddr::V4)?, None),
        (Family::Ip, Some(IpAddr::V4(ip))) => (port.address.map(IpAddr::V4)?, Some(IpAddr::V4(ip))),
        (Family::Ip6, None) if !apart => (port.address6.map(IpAddr::V6)?, None),
        (Family::Ip6, Some(IpAddr::V6(ip))) if !apart && !ip.is_loopback() => {
            (port.address6.map(IpAddr::V6)?, Some(IpAddr::V6(ip)))
        }
        _ => return None,
    };
    let to = address_and_port(address, port.container_port);
    Some(match host_ip.filter(|ip| !ip.is_unspecified()).map(|ip| if apart { rootless::ADDRESS.into() } else { ip }) {
        None => ("published", format!("{protocol} . {} : {to}", port.host_port)),
        Some(ip) => ("published_at", format!("{protocol} . {ip} . {} : {to}", port.host_port)),
    })
}

fn address_and_port(address: IpAddr, port: u16) -> String {
    format!("{address} . {port}")
}

/// A rule's comment tells which version of which rule it is, so that a look need not understand expressions.
fn mark(rule: &str) -> String {
    format!("{:.8}", Digest::of(rule.as_bytes()).hex())
}

/// Makes the table what the rows need, whatever it was, in one transaction.
pub(super) fn rebuild(instance: &Instance, rows: &Rows) -> Result<(), NetworkError> {
    let table = instance.nft_table();
    let script: String = families(rows).map(|family| whole(family, &table, &elements(family, rows, instance))).collect();
    run(&table, &script)
}

fn whole(family: Family, table: &str, elements: &Elements) -> String {
    let of = family.as_str();
    let mut script = format!("table {of} {table}\ndelete table {of} {table}\ntable {of} {table} {{\n");
    for (kind, name, declaration) in SETS {
        let Some(declaration) = family.spell(declaration) else { continue };
        script.push_str(&format!("{kind} {name} {{ {declaration}"));
        if let Some(all) = elements.get(name).filter(|all| !all.is_empty()) {
            let list: Vec<String> = all.iter().map(|e| quoted(e)).collect();
            script.push_str(&format!(" elements = {{ {} }};", list.join(", ")));
        }
        script.push_str(" }\n");
    }
    for chain in &CHAINS {
        script.push_str(&format!("chain {} {{\n", chain.name));
        if let Some((kind, hook, priority)) = chain.hook {
            script.push_str(&format!("type {kind} hook {hook} priority {priority}; policy accept;\n"));
        }
        for rule in chain.rules.iter().filter_map(|rule| family.spell(rule)) {
            script.push_str(&format!("{rule} comment \"{}\"\n", mark(&rule)));
        }
        script.push_str("}\n");
    }
    script.push_str("}\n");
    script
}

/// Names of bridges must be quoted in a script; nothing else may be.
fn quoted(element: &str) -> String {
    element
        .split(" . ")
        .map(|part| if part.starts_with("sp") { format!("\"{part}\"") } else { part.to_owned() })
        .collect::<Vec<_>>()
        .join(" . ")
}

/// Adds ports. Fails when the table or the maps are not there, or a port has another container's address.
pub(super) fn publish(instance: &Instance, ports: &[Published]) -> Result<(), NetworkError> {
    change(instance, "add", ports)
}

/// Removes ports. Fails when one is not there.
pub(super) fn withdraw(instance: &Instance, ports: &[Published]) -> Result<(), NetworkError> {
    change(instance, "delete", ports)
}

fn change(instance: &Instance, verb: &str, ports: &[Published]) -> Result<(), NetworkError> {
    let table = instance.nft_table();
    let script: String = ports
        .iter()
        .flat_map(|port| [Family::Ip, Family::Ip6].map(|family| (family, port)))
        .filter_map(|(family, port)| {
            let (map, element) = element(family, port, outside::is_apart(instance))?;
            Some(format!("{verb} element {} {table} {map} {{ {element} }}\n", family.as_str()))
        })
        .collect();
    run(&table, &script)
}

/// Removes the table. One that is not there is removed already.
pub(super) fn remove(instance: &Instance) -> Result<(), NetworkError> {
    remove_of(Family::Ip, instance)
}

/// The same of IPv6, once no network has it any more. A kernel without IPv6 has no such table, and does not like to be asked.
pub(super) fn remove6(instance: &Instance) -> Result<(), NetworkError> {
    remove_of(Family::Ip6, instance)
}

fn remove_of(family: Family, instance: &Instance) -> Result<(), NetworkError> {
    let (table, family) = (instance.nft_table(), family.as_str());
    run(&table, &format!("table {family} {table}\ndelete table {family} {table}\n"))
}

/// What of the table differs from what the rows need; `None` when it is whole, or not there and not needed.
pub(super) fn differences(instance: &Instance, rows: &Rows) -> Result<Option<String>, NetworkError> {
    for family in families(rows) {
        let found = differences_of(family, instance, rows)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn differences_of(family: Family, instance: &Instance, rows: &Rows) -> Result<Option<String>, NetworkError> {
    let table = instance.nft_table();
    let output = nft(&["-j", "list", "table", family.as_str(), &table], "")?;
    if !output.status.success() {
        let message = message(&output);
        return if message.contains("No such file or directory") {
            Ok((!rows.networks.is_empty()).then(|| format!("table {} {table} is gone", family.as_str())))
        } else {
            Err(NetworkError::Nft { table, message })
        };
    }
    let listing: Value =
        serde_json::from_slice(&output.stdout).map_err(|source| NetworkError::NftListing { table: table.clone(), source })?;
    Ok(compare(family, &table, &listing, &elements(family, rows, instance)))
}

fn compare(family: Family, table: &str, listing: &Value, needed: &Elements) -> Option<String> {
    let mut hooks: BTreeMap<&str, Option<(&str, &str, i64)>> = BTreeMap::new();
    let mut rules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut sets: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for object in listing["nftables"].as_array().into_iter().flatten() {
        let text = |key: &str, field: &str| object[key][field].as_str().unwrap_or_default();
        if object.get("chain").is_some() {
            let hook = object["chain"]
                .get("hook")
                .is_some()
                .then(|| (text("chain", "type"), text("chain", "hook"), object["chain"]["prio"].as_i64().unwrap_or_default()));
            hooks.insert(text("chain", "name"), hook);
        } else if object.get("rule").is_some() {
            rules.entry(text("rule", "chain")).or_default().push(text("rule", "comment"));
        } else if let Some(set) = object.get("set").or_else(|| object.get("map")) {
            let elements = set["elem"].as_array().into_iter().flatten().map(listed).collect();
            sets.insert(set["name"].as_str().unwrap_or_default(), elements);
        }
    }
    for (name, needed) in needed {
        match sets.get(name) {
            None => return Some(format!("table {table} has no set {name}")),
            Some(found) => {
                if let Some(missing) = needed.difference(found).next() {
                    return Some(format!("set {name} lacks {missing}"));
                }
                if let Some(extra) = found.difference(needed).next() {
                    return Some(format!("set {name} has {extra}, which nothing needs"));
                }
            }
        }
    }
    for chain in &CHAINS {
        let name = chain.name;
        match hooks.get(name) {
            None => return Some(format!("chain {name} is gone")),
            Some(hook) if *hook != chain.hook.map(|(kind, hook, priority)| (kind, hook, i64::from(priority))) => {
                return Some(format!("chain {name} hooks elsewhere"));
            }
            Some(_) => {}
        }
        let needed: Vec<String> = chain.rules.iter().filter_map(|rule| family.spell(rule)).map(|rule| mark(&rule)).collect();
        if rules.get(name).map(Vec::as_slice).unwrap_or_default() != needed {
            return Some(format!("chain {name} has other rules than setpoint's"));
        }
    }
    hooks.keys().find(|name| CHAINS.iter().all(|c| c.name != **name)).map(|name| format!("chain {name} is not setpoint's"))
}

/// An element of a listing, in the form of [`elements`].
fn listed(element: &Value) -> String {
    match element {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        // A map's element is a pair.
        Value::Array(pair) => pair.iter().map(listed).collect::<Vec<_>>().join(" : "),
        Value::Object(object) => {
            if let Some(parts) = object.get("concat").and_then(Value::as_array) {
                parts.iter().map(listed).collect::<Vec<_>>().join(" . ")
            } else if let Some(prefix) = object.get("prefix") {
                format!("{}/{}", listed(&prefix["addr"]), listed(&prefix["len"]))
            } else if let Some(element) = object.get("elem") {
                listed(&element["val"])
            } else {
                element.to_string()
            }
        }
        other => other.to_string(),
    }
}

fn run(table: &str, script: &str) -> Result<(), NetworkError> {
    let output = nft(&["-f", "-"], script)?;
    if output.status.success() { Ok(()) } else { Err(NetworkError::Nft { table: table.to_owned(), message: message(&output) }) }
}

/// The first line that says something.
fn message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("it failed and did not say why");
    line.trim_start_matches("/dev/stdin:").to_owned()
}

fn nft(arguments: &[&str], input: &str) -> Result<Output, NetworkError> {
    // A service manager or a minimal PATH may leave out the folders of administrators' programs.
    for program in ["nft", "/usr/sbin/nft", "/sbin/nft"] {
        let child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(NetworkError::NftRun(e)),
        };
        if let Some(mut stdin) = child.stdin.take()
            && let Err(e) = stdin.write_all(input.as_bytes())
            && e.kind() != io::ErrorKind::BrokenPipe
        {
            child.kill().and_then(|()| child.wait()).map_err(NetworkError::NftRun)?;
            return Err(NetworkError::NftRun(e));
        }
        return child.wait_with_output().map_err(NetworkError::NftRun);
    }
    Err(NetworkError::NftMissing)
}

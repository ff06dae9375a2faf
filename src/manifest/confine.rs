//! Reads what a container shares with others, how it is confined, and how it reaches others beside its networks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::spec::{
    ContainerSpec, Device, DeviceCgroupRule, Exposed, IpcMode, NamespaceMode, NetworkMode, SecurityOption, VolumesFrom,
};
use crate::model::{ByteSize, Name};

use super::fields;
use super::problem::Place;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

/// Reads it into `spec`, and gives the containers of the same stack that it shares something with.
pub(super) fn read(reader: &mut Reader, f: &Fields, spec: &mut ContainerSpec) -> Vec<(Name, Place)> {
    let mut services = Vec::new();
    spec.init = f.get("init").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.privileged = f.get("privileged").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if let Some(node) = f.get("security_opt") {
        security(reader, node, spec);
    }
    if let Some(node) = f.get("pid") {
        spec.pid = mode::<NamespaceMode>(reader, node, &mut services).unwrap_or_default();
    }
    if let Some(node) = f.get("ipc") {
        spec.ipc = mode::<IpcMode>(reader, node, &mut services).unwrap_or_default();
    }
    let own_or_host = [("host", NamespaceMode::Host), ("private", NamespaceMode::Private)];
    for (name, slot) in [("uts", &mut spec.uts), ("cgroup", &mut spec.cgroup)] {
        if let Some(node) = f.get(name) {
            let picked = reader.choice(node, &[("host", 0), ("private", 1)]).unwrap_or(1);
            slot.clone_from(&own_or_host[picked].1);
        }
    }
    spec.cgroup_parent = f.get("cgroup_parent").and_then(|node| reader.parse(node));
    if let Some(node) = f.get("userns_mode") {
        spec.userns = reader.parse(node).unwrap_or_default();
    }
    spec.shm_size = f.get("shm_size").and_then(|node| reader.parse::<ByteSize>(node)).filter(|size| size.0 > 0);
    if spec.shm_size.is_some() && matches!(spec.ipc, IpcMode::Host | IpcMode::None | IpcMode::Container(_)) {
        reader.error_hint(f.place("shm_size"), "with this `ipc` its shared memory is not its own", "remove one of the two");
    }
    if let Some(node) = f.get("devices") {
        for item in reader.list(node) {
            spec.devices.extend(device(reader, item));
        }
    }
    if let Some(node) = f.get("device_cgroup_rules") {
        for item in reader.list(node) {
            spec.device_cgroup_rules.extend(reader.parse::<DeviceCgroupRule>(item));
        }
    }
    if let Some(node) = f.get("group_add") {
        for item in reader.list(node) {
            spec.group_add.extend(reader.word(item).map(str::to_owned));
        }
    }
    if let Some(node) = f.get("volumes_from") {
        for item in reader.list(node) {
            let Some(text) = reader.text(item) else { continue };
            match VolumesFrom::parse(text) {
                Ok(mut from) => {
                    if !text.starts_with("container:") {
                        from.container = service(reader, item.at, &from.container, &mut services);
                    }
                    spec.volumes_from.push(from);
                }
                Err(why) => reader.error_hint(item.at, why.to_owned(), "write name, name:ro or container:name"),
            }
        }
    }
    if let Some(node) = f.get("oom_score_adj") {
        match reader.integer(node).map(i16::try_from) {
            Some(Ok(score)) if (-1000..=1000).contains(&score) => spec.oom_score_adj = Some(score),
            Some(_) => reader.error(node.at, "`oom_score_adj` is from -1000 to 1000"),
            None => {}
        }
    }
    spec.annotations = f.get("annotations").map(|node| reader.labels(node)).unwrap_or_default();
    reach(reader, f, spec, &mut services);
    if let Some(what) = spec.users_exclude() {
        let hint = "that is open to the host's root only: leave it out, or write `userns_mode: host`";
        reader.error_hint(f.place("userns_mode"), format!("a container with users of its own cannot have {what}"), hint);
    }
    services
}

/// Names and addresses.
fn reach(reader: &mut Reader, f: &Fields, spec: &mut ContainerSpec, services: &mut Vec<(Name, Place)>) {
    if let Some(node) = f.get("network_mode") {
        spec.network_mode = mode::<NetworkMode>(reader, node, services).unwrap_or_default();
    }
    spec.domainname = f.get("domainname").and_then(|node| super::connections::host_name(reader, node));
    if let Some(node) = f.get("dns") {
        for (text, at) in reader.texts(node) {
            match text.parse::<IpAddr>() {
                Ok(address) => spec.dns.push(address),
                Err(_) => reader.error(at, format!("`{text}` is not an IP address")),
            }
        }
    }
    for (name, slot) in [("dns_search", &mut spec.dns_search), ("dns_opt", &mut spec.dns_opt)] {
        let Some(node) = f.get(name) else { continue };
        for (text, at) in reader.texts(node) {
            if text.is_empty() || text.contains(char::is_whitespace) {
                reader.error(at, format!("`{text}` is not one word"));
            } else {
                slot.push(text);
            }
        }
    }
    spec.mac_address = f.get("mac_address").and_then(|node| reader.parse(node));
    if let Some(node) = f.get("expose") {
        for item in reader.list(node) {
            let Some(text) = reader.word(item) else { continue };
            match Exposed::parse_all(text) {
                Ok(ports) => spec.expose.extend(ports),
                Err(error) => reader.error_hint(item.at, error.to_string(), "such as \"80\" or \"53/udp\""),
            }
        }
    }
    if let Some(node) = f.get("external_links") {
        for (text, at) in reader.texts(node) {
            let (name, alias) = text.split_once(':').unwrap_or((&text, &text));
            let (name, alias) = (reader.parse_text::<Name>(at, name), reader.parse_text::<Name>(at, alias));
            spec.external_links.extend(alias.zip(name).map(|(alias, name)| (alias.to_string(), name.to_string())));
        }
        if spec.network_mode != NetworkMode::Bridge {
            reader.error_hint(f.place("external_links"), "`external_links` needs a network", "remove it, or `network_mode`");
        }
    }
    spec.publish_all = f.get("publish_all").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if spec.uts == NamespaceMode::Host {
        for (name, given) in [("hostname", spec.hostname.is_some()), ("domainname", spec.domainname.is_some())] {
            if given {
                let message = format!("with `uts: host`, `{name}` would rename the host");
                reader.error_hint(f.place(name), message, "remove one of the two");
            }
        }
    }
    if let NetworkMode::Container(_) = spec.network_mode {
        for name in ["hostname", "dns", "dns_search", "dns_opt", "extra_hosts", "expose", "mac_address", "publish_all"] {
            if f.get(name).is_some() {
                let message = format!("`{name}` is the other container's, whose network this one has");
                reader.error_hint(f.place(name), message, "say it there");
            }
        }
    } else if spec.network_mode != NetworkMode::Bridge && (spec.mac_address.is_some() || spec.publish_all) {
        let name = if spec.publish_all { "publish_all" } else { "mac_address" };
        reader.error_hint(f.place(name), format!("`{name}` needs a network"), "remove it, or `network_mode`");
    }
}

fn security(reader: &mut Reader, node: &Node, spec: &mut ContainerSpec) {
    for item in reader.list(node) {
        let Some(option) = reader.parse::<SecurityOption>(item) else { continue };
        let mut problem = None;
        let read = |file: &str| -> Result<String, ()> {
            // It may stand here as well.
            let text = if file.trim_start().starts_with('{') {
                file.to_owned()
            } else {
                let path = reader.host_path(item.at, file).ok_or(())?;
                super::files::small_text(reader, item.at, &path).ok_or(())?
            };
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) if value.is_object() => return Ok(text),
                Ok(_) => problem = Some("it is not a mapping".to_owned()),
                Err(error) => problem = Some(error.to_string()),
            }
            Err(())
        };
        // What is wrong has been told, or is told now.
        let applied = spec.security_opt.apply(option, read);
        if let (Err(()), Some(why)) = (applied, problem) {
            reader.error(item.at, format!("the profile cannot be used: {why}"));
        }
    }
}

/// A mode that may name another container: `service:NAME` of this stack, or `container:NAME` of the engine.
fn mode<T: std::str::FromStr<Err: std::fmt::Display>>(
    reader: &mut Reader,
    node: &Node,
    services: &mut Vec<(Name, Place)>,
) -> Option<T> {
    let text = reader.text(node)?;
    match text.strip_prefix("service:") {
        Some(name) => {
            let name = service(reader, node.at, name, services);
            reader.parse_text(node.at, &format!("container:{name}"))
        }
        None => reader.parse(node),
    }
}

/// What another container of this stack is called until its name in the engine is known.
fn service(reader: &mut Reader, at: Place, name: &str, services: &mut Vec<(Name, Place)>) -> String {
    if let Some(name) = reader.parse_text::<Name>(at, name) {
        services.push((name, at));
    }
    format!("{}{name}", super::sharing::SERVICE)
}

/// `PATH[:PATH[:ACCESS]]`, or the long form.
fn device(reader: &mut Reader, node: &Node) -> Option<Device> {
    let Value::Map(_) = &node.value else { return reader.parse(node) };
    let f = reader.fields(node, &fields::DEVICE)?;
    let text = |reader: &mut Reader, name: &str| f.get(name).and_then(|node| reader.text(node)).map(str::to_owned);
    let source = text(reader, "source")?;
    let target = text(reader, "target").unwrap_or_else(|| source.clone());
    let access = text(reader, "permissions").unwrap_or_else(|| "rwm".to_owned());
    reader.parse_text(node.at, &format!("{source}:{target}:{access}"))
}

/// Labels of files, one `KEY=VALUE` a line.
pub(super) fn label_files(reader: &mut Reader, node: &Node) -> std::collections::BTreeMap<String, String> {
    let mut labels = std::collections::BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (text, at) in reader.texts(node) {
        let Some(path) = reader.host_path(at, &text).filter(|path| seen.insert(path.clone())) else { continue };
        let Some(content) = super::files::small_text(reader, at, &path) else { continue };
        for line in content.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if key.is_empty() || key.contains(char::is_whitespace) {
                reader.error(at, format!("in {}: `{line}` is not a label", path.display()));
            } else {
                labels.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    labels
}

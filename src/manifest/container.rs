//! Reads a container: a manifest's `spec` and a compose file's service alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::spec::{
    Attachment, Condition, ContainerSpec, Dependency, Healthcheck, NetworkMode, Probe, PullPolicy, ResourceLimits, Ulimit,
};
use crate::model::{ByteSize, ImageRef, Name, PortMapping, Protocol, Span};

use super::declared::{Container, Resource};
use super::fields;
use super::problem::{Place, did_you_mean};
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

/// The capabilities of Linux, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads a container called `name`. `None` only when not even its image could be read.
pub(super) fn read(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Container>> {
    let f = reader.fields(node, &fields::CONTAINER)?;
    let image = f.get("image").and_then(|node| reader.parse::<ImageRef>(node));
    // Everything else is read even without an image, so that all its problems are told at once.
    let placeholder: ImageRef = "unknown".parse().ok()?;
    let mut spec = ContainerSpec::new(image.clone().unwrap_or(placeholder));

    spec.entrypoint = f.get("entrypoint").and_then(|node| reader.command(node));
    spec.command = f.get("command").and_then(|node| reader.command(node));
    if let Some(node) = f.get("env_file") {
        spec.environment = super::files::env_files(reader, node);
    }
    if let Some(node) = f.get("environment") {
        spec.environment.extend(reader.environment(node));
    }
    if let Some(node) = f.get("working_dir")
        && let Some(text) = reader.text(node)
    {
        if text.starts_with('/') {
            spec.working_dir = Some(text.to_owned());
        } else {
            reader.error(node.at, format!("`{text}` is not a path within the container: it must begin with `/`"));
        }
    }
    spec.user = f.get("user").and_then(|node| reader.word(node)).map(str::to_owned);
    spec.hostname = f.get("hostname").and_then(|node| host_name(reader, node));
    spec.labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    spec.read_only = f.get("read_only").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if let Some(node) = f.get("restart") {
        spec.restart = restart(reader, node).unwrap_or_default();
    }
    spec.healthcheck = f.get("healthcheck").and_then(|node| healthcheck(reader, node));
    spec.limits = limits(reader, &f);
    spec.stop_signal = f.get("stop_signal").and_then(|node| reader.parse(node));
    if let Some(period) = f.get("stop_grace_period").and_then(|node| reader.parse(node)) {
        spec.stop_grace_period = period;
    }
    spec.cap_add = f.get("cap_add").map(|node| capabilities(reader, node)).unwrap_or_default();
    spec.cap_drop = f.get("cap_drop").map(|node| capabilities(reader, node)).unwrap_or_default();
    spec.ulimits = f.get("ulimits").map(|node| ulimits(reader, node)).unwrap_or_default();
    spec.sysctls = f.get("sysctls").map(|node| sysctls(reader, node)).unwrap_or_default();
    spec.extra_hosts = f.get("extra_hosts").map(|node| extra_hosts(reader, node)).unwrap_or_default();

    let modes = [("bridge", NetworkMode::Bridge), ("none", NetworkMode::None), ("host", NetworkMode::Host)];
    if let Some(node) = f.get("network_mode") {
        spec.network_mode = network_mode(reader, node, &modes).unwrap_or_default();
    }
    let networks = f.get("networks").map(|node| networks(reader, node));
    spec.ports = f.get("ports").map(|node| ports(reader, node)).unwrap_or_default();
    if let Some(node) = f.get("expose") {
        expose(reader, node);
    }
    if spec.network_mode != NetworkMode::Bridge {
        for (name, present) in [("networks", networks.is_some()), ("ports", !spec.ports.is_empty())] {
            if present {
                let at = f.place(name);
                reader.error_hint(at, format!("`{name}` cannot stand beside this `network_mode`"), "remove one of the two");
            }
        }
    }

    let mounts = super::mounts::read(reader, &f, &mut spec.mounts);
    let depends_on = f.get("depends_on").map(|node| depends_on(reader, node, &mut spec.depends_on)).unwrap_or_default();
    let policies = [
        ("always", PullPolicy::Always),
        ("missing", PullPolicy::Missing),
        ("if_not_present", PullPolicy::Missing),
        ("never", PullPolicy::Never),
    ];
    let pull_policy = f.get("pull_policy").and_then(|node| Some((reader.choice(node, &policies)?, node.at)));
    let platform = f.get("platform").and_then(|node| Some((reader.parse(node)?, node.at)));
    let engine_name = f.get("container_name").and_then(|node| reader.parse(node));
    let image_at = f.get("image").map_or(f.at, |node| node.at);
    image?;
    Some(Resource {
        name,
        at,
        engine_name,
        external: false,
        body: Container { spec, image_at, pull_policy, platform, networks, mounts, depends_on },
    })
}

fn host_name(reader: &mut Reader, node: &Node) -> Option<String> {
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

fn restart(reader: &mut Reader, node: &Node) -> Option<crate::model::RestartPolicy> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.text == "false"
    {
        reader.error_hint(node.at, "`false` is not a restart policy", "write `restart: \"no\"`");
        return None;
    }
    reader.parse(node)
}

fn network_mode(reader: &mut Reader, node: &Node, modes: &[(&str, NetworkMode)]) -> Option<NetworkMode> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.text.contains(':')
    {
        let hint = "put both containers in one network, where they find each other by name";
        reader.error_hint(node.at, "the network of another container is not supported yet", hint);
        return None;
    }
    reader.choice(node, modes)
}

fn networks(reader: &mut Reader, node: &Node) -> Vec<(Name, Place, Attachment)> {
    let mut found: Vec<(Name, Place, Attachment)> = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let Some(name) = reader.parse_text(key.at, &key.text) else { continue };
                let attachment = match value.value {
                    Value::Null => Attachment::default(),
                    _ => attachment(reader, value),
                };
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
    attachment.ipv4_address = f.get("ipv4_address").and_then(|node| {
        let text = reader.text(node)?;
        let address = text.parse().ok();
        if address.is_none() {
            reader.error(node.at, format!("`{text}` is not an IPv4 address"));
        }
        address
    });
    attachment
}

fn ports(reader: &mut Reader, node: &Node) -> BTreeSet<PortMapping> {
    let mut ports = BTreeSet::new();
    for item in reader.list(node) {
        let found = match &item.value {
            Value::Map(_) => long_port(reader, item),
            _ => reader.word(item).and_then(|text| match PortMapping::parse_all(text) {
                Ok(found) => Some(found),
                Err(error) => {
                    reader.error_hint(item.at, error.to_string(), "such as \"8080:80\" or \"127.0.0.1:5353:53/udp\"");
                    None
                }
            }),
        };
        for port in found.unwrap_or_default() {
            if let Some(host_port) = port.host_port {
                let clash = |other: &&PortMapping| {
                    other.host_port == Some(host_port)
                        && other.protocol == port.protocol
                        && (other.host_ip.is_none() || port.host_ip.is_none() || other.host_ip == port.host_ip)
                };
                if let Some(other) = ports.iter().find(clash) {
                    reader.error(item.at, format!("the host's port {host_port} is taken by `{other}` already"));
                    continue;
                }
            }
            ports.insert(port);
        }
    }
    ports
}

/// The long form is put together in the short form's spelling, so that both obey the same rules.
fn long_port(reader: &mut Reader, node: &Node) -> Option<Vec<PortMapping>> {
    let f = reader.fields(node, &fields::PORT)?;
    let target = f.get("target").and_then(|node| reader.word(node));
    let published = f.get("published").and_then(|node| reader.word(node));
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = f.get("protocol").and_then(|node| reader.choice(node, &protocols)).unwrap_or_default();
    let ip = f.get("host_ip").and_then(|node| reader.text(node));
    let mut text = String::new();
    if let Some(ip) = ip {
        text.push_str(ip);
        text.push(':');
    }
    if published.is_some() || ip.is_some() {
        text.push_str(published.unwrap_or_default());
        text.push(':');
    }
    text.push_str(target?);
    text.push('/');
    text.push_str(protocol.as_str());
    match PortMapping::parse_all(&text) {
        Ok(found) => Some(found),
        Err(error) => {
            reader.error(node.at, error.to_string());
            None
        }
    }
}

fn expose(reader: &mut Reader, node: &Node) {
    for item in reader.list(node) {
        let Some(text) = reader.word(item) else { continue };
        if text.contains(':') || PortMapping::parse_all(text).is_err() {
            reader.error_hint(item.at, format!("`{text}` is not a container's port"), "such as \"80\" or \"53/udp\"");
        }
    }
}

fn depends_on(reader: &mut Reader, node: &Node, found: &mut BTreeMap<Name, Dependency>) -> Vec<(Name, Place)> {
    let conditions = [
        ("service_started", Condition::ServiceStarted),
        ("service_healthy", Condition::ServiceHealthy),
        ("service_completed_successfully", Condition::ServiceCompletedSuccessfully),
    ];
    let mut places = Vec::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let Some(name) = reader.parse_text::<Name>(key.at, &key.text) else { continue };
                let mut condition = Condition::default();
                if !matches!(value.value, Value::Null)
                    && let Some(f) = reader.fields(value, &fields::DEPENDENCY)
                {
                    condition = f.get("condition").and_then(|node| reader.choice(node, &conditions)).unwrap_or_default();
                }
                places.push((name.clone(), key.at));
                found.insert(name, Dependency { condition });
            }
        }
        _ => {
            for item in reader.list(node) {
                let Some(name) = reader.parse::<Name>(item) else { continue };
                places.push((name.clone(), item.at));
                found.insert(name, Dependency { condition: Condition::default() });
            }
        }
    }
    places
}

fn healthcheck(reader: &mut Reader, node: &Node) -> Option<Healthcheck> {
    let f = reader.fields(node, &fields::HEALTHCHECK)?;
    let disabled = f.get("disable").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let mut check = Healthcheck {
        test: Probe::None,
        interval: Healthcheck::INTERVAL,
        timeout: Healthcheck::TIMEOUT,
        retries: Healthcheck::RETRIES,
        start_period: Span::default(),
        start_interval: Healthcheck::START_INTERVAL,
    };
    for (name, slot) in [
        ("interval", &mut check.interval),
        ("timeout", &mut check.timeout),
        ("start_period", &mut check.start_period),
        ("start_interval", &mut check.start_interval),
    ] {
        let Some(node) = f.get(name) else { continue };
        let Some(span) = reader.parse::<Span>(node) else { continue };
        if name != "start_period" && span.0.is_zero() {
            reader.error(node.at, format!("`{name}` must be more than nothing"));
        }
        *slot = span;
    }
    if let Some(node) = f.get("retries") {
        match reader.integer(node).map(u32::try_from) {
            Some(Ok(retries)) if retries > 0 => check.retries = retries,
            Some(_) => reader.error(node.at, "`retries` must be at least 1"),
            None => {}
        }
    }
    match f.get("test") {
        Some(node) if disabled => {
            reader.error_hint(node.at, "a disabled health check has no `test`", "remove one of the two");
            None
        }
        Some(node) => {
            check.test = probe(reader, node)?;
            Some(check)
        }
        None if disabled => Some(check),
        None => {
            reader.error_hint(f.at, "a health check needs a `test`", "or `disable: true`");
            None
        }
    }
}

fn probe(reader: &mut Reader, node: &Node) -> Option<Probe> {
    let Value::List(items) = &node.value else { return Some(Probe::Shell(reader.text(node)?.to_owned())) };
    let words: Vec<String> = items.iter().filter_map(|item| reader.text(item).map(str::to_owned)).collect();
    if words.len() != items.len() {
        return None;
    }
    let Some((first, rest)) = words.split_first() else {
        reader.error_hint(node.at, "the test is empty", "write [CMD, program, …], [CMD-SHELL, line] or [NONE]");
        return None;
    };
    match (first.as_str(), rest) {
        ("NONE", []) => Some(Probe::None),
        ("CMD", [_, ..]) => Some(Probe::Command(rest.to_vec())),
        ("CMD-SHELL", [line]) => Some(Probe::Shell(line.clone())),
        _ => {
            let at = items.first().map_or(node.at, |item| item.at);
            reader.error_hint(at, "the test is in none of its forms", "write [CMD, program, …], [CMD-SHELL, line] or [NONE]");
            None
        }
    }
}

/// Limits stand in two places, Compose's new and its old; each limit may be given in one of them.
fn limits(reader: &mut Reader, f: &Fields) -> ResourceLimits {
    let deploy = f.get("deploy").and_then(|node| reader.fields(node, &fields::DEPLOY));
    let resources = deploy.and_then(|f| f.get("resources")).and_then(|node| reader.fields(node, &fields::RESOURCES));
    let limits = resources.and_then(|f| f.get("limits")).and_then(|node| reader.fields(node, &fields::LIMITS));
    let mut pick = |new: &str, old: &str| {
        let (new, old) = (limits.as_ref().and_then(|f| f.get(new)), f.get(old));
        if new.is_some() && old.is_some() {
            let at = f.place(old_name(old, f));
            reader.error_hint(at, "this limit is given in `deploy.resources.limits` too", "remove one of the two");
        }
        new.or(old)
    };
    let (memory, cpus, pids) = (pick("memory", "mem_limit"), pick("cpus", "cpus"), pick("pids", "pids_limit"));
    ResourceLimits {
        memory: memory.and_then(|node| reader.parse::<ByteSize>(node)).filter(|size| size.0 > 0),
        cpus: cpus.and_then(|node| reader.parse(node)),
        pids: pids.and_then(|node| match reader.integer(node)? {
            -1 | 0 => None,
            number => {
                let pids = u32::try_from(number).ok();
                if pids.is_none() {
                    reader.error(node.at, "the most processes are a number from 1 on, or -1 for no limit");
                }
                pids
            }
        }),
    }
}

fn old_name<'a>(node: Option<&Node>, f: &Fields) -> &'a str {
    let same = |name: &str| f.get(name).zip(node).is_some_and(|(a, b)| std::ptr::eq(a, b));
    ["mem_limit", "cpus", "pids_limit"].into_iter().find(|name| same(name)).unwrap_or("deploy")
}

fn capabilities(reader: &mut Reader, node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in reader.list(node) {
        let Some(text) = reader.text(item) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            found.insert("ALL".to_owned());
        } else if CAPABILITIES.contains(&name) {
            found.insert(format!("CAP_{name}"));
        } else {
            let hint = did_you_mean(name, CAPABILITIES).unwrap_or_else(|| "such as NET_ADMIN, or ALL".to_owned());
            reader.error_hint(item.at, format!("`{text}` is not a capability"), hint);
        }
    }
    found
}

fn ulimits(reader: &mut Reader, node: &Node) -> BTreeMap<String, Ulimit> {
    let mut found = BTreeMap::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        if !ULIMITS.contains(&key.text.as_str()) {
            let hint = did_you_mean(&key.text, ULIMITS).unwrap_or_else(|| format!("they are {}", ULIMITS.join(", ")));
            reader.error_hint(key.at, format!("there is no limit `{}`", key.text), hint);
            continue;
        }
        let limit = match &value.value {
            Value::Map(_) => reader.fields(value, &fields::ULIMIT).and_then(|f| {
                let mut get = |name| f.get(name).and_then(|node| limit(reader, node));
                let (soft, hard) = (get("soft"), get("hard"));
                Some(Ulimit { soft: soft?, hard: hard? })
            }),
            _ => limit(reader, value).map(|both| Ulimit { soft: both, hard: both }),
        };
        let Some(limit) = limit else { continue };
        if limit.soft > limit.hard {
            reader.error(value.at, "the soft limit is above the hard one");
        }
        found.insert(key.text.clone(), limit);
    }
    found
}

fn limit(reader: &mut Reader, node: &Node) -> Option<u64> {
    match reader.integer(node)? {
        -1 => Some(u64::MAX),
        number => {
            let limit = u64::try_from(number).ok();
            if limit.is_none() {
                reader.error(node.at, "a limit is a number from 0 on, or -1 for none");
            }
            limit
        }
    }
}

fn sysctls(reader: &mut Reader, node: &Node) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, (value, at)) in reader.pairs(node) {
        let ok =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/')) && !name.contains("..");
        match value {
            Some(value) if ok => {
                found.insert(name, value);
            }
            Some(_) => reader.error(at, format!("`{name}` is not a kernel parameter")),
            None => reader.error(at, format!("the kernel parameter `{name}` needs a value")),
        }
    }
    found
}

fn extra_hosts(reader: &mut Reader, node: &Node) -> BTreeMap<String, IpAddr> {
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
        if address == "host-gateway" {
            reader.error_hint(at, "`host-gateway` is not supported yet", "write an address of the host");
            continue;
        }
        let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(&address);
        match bare.parse() {
            Ok(ip) => {
                found.insert(name, ip);
            }
            Err(_) => reader.error(at, format!("`{address}` is not an IP address")),
        }
    }
    found
}

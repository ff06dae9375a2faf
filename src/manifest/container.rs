//! Reads a container: a manifest's `spec` and a compose file's service alike.

use std::collections::BTreeMap;

use crate::model::spec::{Condition, ContainerSpec, Dependency, Healthcheck, NetworkMode, Probe};
use crate::model::{ImageRef, Name, Span};

use super::declared::{Container, Resource};
use super::problem::Place;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::{connections, fields, images, limits};

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
    spec.hostname = f.get("hostname").and_then(|node| connections::host_name(reader, node));
    spec.tty = f.get("tty").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.stdin_open = f.get("stdin_open").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    spec.read_only = f.get("read_only").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if let Some(node) = f.get("restart") {
        spec.restart = restart(reader, node).unwrap_or_default();
    }
    spec.healthcheck = f.get("healthcheck").and_then(|node| healthcheck(reader, node));
    spec.limits = limits::limits(reader, &f);
    spec.stop_signal = f.get("stop_signal").and_then(|node| reader.parse(node));
    if let Some(period) = f.get("stop_grace_period").and_then(|node| reader.parse(node)) {
        spec.stop_grace_period = period;
    }
    spec.cap_add = f.get("cap_add").map(|node| limits::capabilities(reader, node)).unwrap_or_default();
    spec.cap_drop = f.get("cap_drop").map(|node| limits::capabilities(reader, node)).unwrap_or_default();
    spec.ulimits = f.get("ulimits").map(|node| limits::ulimits(reader, node)).unwrap_or_default();
    spec.sysctls = f.get("sysctls").map(|node| limits::sysctls(reader, node)).unwrap_or_default();
    spec.extra_hosts = f.get("extra_hosts").map(|node| connections::extra_hosts(reader, node)).unwrap_or_default();

    let modes = [("bridge", NetworkMode::Bridge), ("none", NetworkMode::None), ("host", NetworkMode::Host)];
    if let Some(node) = f.get("network_mode") {
        spec.network_mode = connections::network_mode(reader, node, &modes).unwrap_or_default();
    }
    let networks = f.get("networks").map(|node| connections::networks(reader, node));
    spec.ports = f.get("ports").map(|node| connections::ports(reader, node)).unwrap_or_default();
    if let Some(node) = f.get("expose") {
        connections::expose(reader, node);
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
    let pull_policy = f.get("pull_policy").and_then(|node| Some((images::policy(reader, node)?, node.at)));
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

fn restart(reader: &mut Reader, node: &Node) -> Option<crate::model::RestartPolicy> {
    if let Value::Scalar(scalar) = &node.value
        && scalar.text == "false"
    {
        reader.error_hint(node.at, "`false` is not a restart policy", "write `restart: \"no\"`");
        return None;
    }
    reader.parse(node)
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

//! A container as `inspect` shows it: Docker's fields, whose names begin with capitals, and setpoint's own beside them.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::containers;
use crate::engine::Details;
use crate::model::spec::{Attachment, ContainerSpec, IdList, NamespaceMode, NetworkMode, SwapLimit, UsersMode};
use crate::model::{PortMapping, RestartPolicy};
use crate::observed::{Container, ContainerState, Health};

/// All that is known of a container.
pub fn container(details: &Details) -> Result<Value, serde_json::Error> {
    let container = &details.container;
    let command = command(details);
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| drop(all.insert(key.to_owned(), value));
    put("Id", json!(container.id));
    put("Created", time(Some(container.created)));
    put("Path", command.first().cloned().unwrap_or(Value::from("")));
    put("Args", Value::from(command.get(1..).unwrap_or_default()));
    put("State", state(details));
    put("Image", json!(container.image_digest));
    for (key, file) in [("ResolvConfPath", "resolv.conf"), ("HostnamePath", "hostname"), ("HostsPath", "hosts")] {
        put(key, json!(details.folders.run.join(file)));
    }
    put("LogPath", json!(details.folders.logs));
    put("Name", json!(format!("/{}", container.name)));
    put("RestartCount", json!(container.restarts));
    put("Driver", json!("overlay2"));
    put("Platform", json!("linux"));
    put("HostConfig", host_config(details)?);
    let lower: Vec<String> = details.folders.lower.iter().map(|path| path.display().to_string()).collect();
    let (upper, work) = (&details.folders.upper, &details.folders.work);
    put("GraphDriver", json!({"Name": "overlay2", "Data": {"LowerDir": lower.join(":"), "UpperDir": upper, "WorkDir": work}}));
    if let Some(sizes) = details.sizes {
        put("SizeRw", json!(sizes.written));
        put("SizeRootFs", json!(sizes.whole));
    }
    put("Mounts", mounts(details)?);
    put("Config", config(details));
    put("NetworkSettings", networks(details));
    if let Value::Object(own) = serde_json::to_value(container)? {
        all.extend(own);
    }
    Ok(Value::Object(all))
}

/// What is executed: the container's own words, or the image's where it has none.
fn command(details: &Details) -> Vec<Value> {
    let spec = &details.container.spec;
    let entrypoint = spec.entrypoint.clone().map(Value::from).unwrap_or_else(|| of_image(details, "Entrypoint"));
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => Value::from(command.clone()),
        // Another entrypoint than the image's has nothing to do with the image's command.
        (None, Some(_)) => Value::Null,
        (None, None) => of_image(details, "Cmd"),
    };
    [entrypoint, command].iter().filter_map(Value::as_array).flatten().cloned().collect()
}

fn of_image(details: &Details, key: &str) -> Value {
    details.image_config.get(key).cloned().unwrap_or(Value::Null)
}

/// Docker's word for a time that there is not is the first moment of the year 1.
fn time(at: Option<OffsetDateTime>) -> Value {
    let text = at.and_then(|at| at.format(&Rfc3339).ok());
    Value::from(text.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()))
}

fn state(details: &Details) -> Value {
    let container = &details.container;
    let (pid, code, error, started, finished) = match &container.state {
        ContainerState::Created => (0, 0, None, None, None),
        ContainerState::Running { pid, started, .. } => (*pid, 0, None, Some(*started), None),
        ContainerState::Restarting { code, since, .. } => (0, *code, None, details.started, Some(*since)),
        ContainerState::Exited { code, at, error, .. } => (0, *code, error.clone(), details.started, Some(*at)),
        ContainerState::Lost => (0, 255, None, details.started, None),
    };
    let mut state = json!({
        "Status": containers::state(container),
        "Running": container.state.is_alive(),
        "Paused": container.paused,
        "Restarting": matches!(container.state, ContainerState::Restarting { .. }),
        "OOMKilled": details.oom_killed,
        "Dead": container.state == ContainerState::Lost,
        "Pid": pid,
        "ExitCode": code,
        "Error": error.unwrap_or_default(),
        "StartedAt": time(started),
        "FinishedAt": time(finished),
    });
    let health = match &container.state {
        ContainerState::Running { health: Health::Starting, .. } => Some("starting"),
        ContainerState::Running { health: Health::Healthy, .. } => Some("healthy"),
        ContainerState::Running { health: Health::Unhealthy, .. } => Some("unhealthy"),
        _ => None,
    };
    if let (Some(health), Value::Object(state)) = (health, &mut state) {
        let log = details.checks.iter().map(|check| {
            let code = check.code.unwrap_or(-1);
            json!({"Start": time(Some(check.started)), "End": time(Some(check.ended)), "ExitCode": code, "Output": check.output})
        });
        let log: Vec<Value> = log.collect();
        state.insert("Health".to_owned(), json!({"Status": health, "FailingStreak": details.failing, "Log": log}));
    }
    state
}

fn host_config(details: &Details) -> Result<Value, serde_json::Error> {
    let spec = &details.container.spec;
    let (policy, most) = match spec.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure(most) => ("on-failure", most.unwrap_or(0)),
    };
    let mode = match spec.network_mode {
        NetworkMode::Host => "host",
        NetworkMode::None => "none",
        _ => spec.networks.keys().next().map_or("bridge", |name| name.as_str()),
    };
    let hosts = spec.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
    let ulimits = spec.ulimits.iter().map(|(name, limit)| json!({"Name": name, "Soft": limit.soft, "Hard": limit.hard}));
    let binds = mounts(details)?;
    let binds = binds.as_array().into_iter().flatten().filter_map(|mount| {
        let (source, target) = (mount["Name"].as_str().or_else(|| mount["Source"].as_str())?, mount["Destination"].as_str()?);
        let read_only = if mount["RW"] == true { "" } else { ":ro" };
        (mount["Type"] != "tmpfs").then(|| format!("{source}:{target}{read_only}"))
    });
    let mut all = json!({
        "Binds": binds.collect::<Vec<_>>(),
        "NetworkMode": mode,
        "PortBindings": published(spec.ports.iter(), &details.container),
        "RestartPolicy": {"Name": policy, "MaximumRetryCount": most},
        "AutoRemove": details.auto_remove,
        "CapAdd": spec.cap_add,
        "CapDrop": spec.cap_drop,
        "ExtraHosts": hosts.collect::<Vec<_>>(),
        "ReadonlyRootfs": spec.read_only,
        "Sysctls": spec.sysctls,
        "Ulimits": ulimits.collect::<Vec<_>>(),
        "Memory": spec.limits.memory.map_or(0, |size| size.0),
        "NanoCpus": spec.limits.cpus.map_or(0, |cpus| u64::from(cpus.millis()) * 1_000_000),
        "PidsLimit": spec.limits.pids,
    });
    if let (Value::Object(all), Value::Object(further)) = (&mut all, confinement(spec)) {
        all.extend(further);
    }
    Ok(all)
}

/// Limits beside the usual ones, and what it shares.
fn confinement(spec: &ContainerSpec) -> Value {
    // Docker writes nothing for a namespace of the container's own.
    let shared = |mode: &NamespaceMode| match mode {
        NamespaceMode::Private => String::new(),
        mode => mode.to_string(),
    };
    let limits = &spec.limits;
    let swap = match limits.memory_swap {
        Some(SwapLimit::Unlimited) => -1,
        Some(SwapLimit::Bytes(size)) => i64::try_from(size.0).unwrap_or(i64::MAX),
        None => 0,
    };
    json!({
        "MemoryReservation": limits.memory_reservation.map_or(0, |size| size.0),
        "MemorySwap": swap,
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_ref().map_or("", IdList::as_str),
        "CpusetMems": limits.cpuset_mems.as_ref().map_or("", IdList::as_str),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "Privileged": spec.privileged,
        "PidMode": shared(&spec.pid),
        "UTSMode": shared(&spec.uts),
        "IpcMode": spec.ipc,
        "CgroupnsMode": spec.cgroup,
        "UsernsMode": if spec.userns == UsersMode::Host { String::new() } else { spec.userns.to_string() },
    })
}

fn mounts(details: &Details) -> Result<Value, serde_json::Error> {
    let mut all = Vec::new();
    for mount in &details.container.spec.mounts {
        let fields = serde_json::to_value(mount)?;
        let read_only = fields["read_only"] == true || fields["type"] == "config";
        let mut shown =
            json!({"Type": fields["type"], "Destination": mount.target(), "Mode": "", "RW": !read_only, "Propagation": ""});
        let source = fields["source"].as_str().unwrap_or_default();
        match fields["type"].as_str() {
            Some("volume") => {
                let path = details.volumes.iter().find(|(name, _)| name.as_str() == source).map(|(_, path)| path);
                shown["Name"] = json!(source);
                shown["Source"] = json!(path);
                shown["Driver"] = json!("local");
            }
            _ => shown["Source"] = json!(source),
        }
        all.push(shown);
    }
    Ok(Value::Array(all))
}

fn config(details: &Details) -> Value {
    let spec = &details.container.spec;
    let or_image = |own: Option<Value>, key: &str| own.unwrap_or_else(|| of_image(details, key));
    let name_of = |line: &str| line.split_once('=').map_or(line, |(name, _)| name).to_owned();
    let mut env: Vec<String> = of_image(details, "Env")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line.as_str().map(str::to_owned))
        .filter(|line| !spec.environment.contains_key(&name_of(line)))
        .collect();
    env.extend(spec.environment.iter().map(|(name, value)| format!("{name}={value}")));
    let mut labels = of_image(details, "Labels").as_object().cloned().unwrap_or_default();
    labels.extend(spec.labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
    let mut exposed = of_image(details, "ExposedPorts").as_object().cloned().unwrap_or_default();
    exposed.extend(spec.ports.iter().map(|port| (inner(port), json!({}))));
    let command = match (&spec.command, &spec.entrypoint) {
        (None, Some(_)) => Value::Null,
        (command, _) => or_image(command.clone().map(Value::from), "Cmd"),
    };
    json!({
        "Hostname": spec.hostname.clone().unwrap_or_else(|| details.container.id.short().to_owned()),
        "User": or_image(spec.user.clone().map(Value::from), "User"),
        "ExposedPorts": exposed,
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": spec.stdin_once,
        "Env": env,
        "Cmd": command,
        "Image": spec.image.to_string(),
        "WorkingDir": or_image(spec.working_dir.clone().map(Value::from), "WorkingDir"),
        "Entrypoint": or_image(spec.entrypoint.clone().map(Value::from), "Entrypoint"),
        "Labels": labels,
        "StopSignal": or_image(spec.stop_signal.map(|signal| Value::from(signal.to_string())), "StopSignal"),
        "StopTimeout": spec.stop_grace_period.0.as_secs(),
    })
}

fn networks(details: &Details) -> Value {
    let container = &details.container;
    let joined = |name: &crate::model::Name| {
        let endpoint = container.networks.get(name);
        let network = details.networks.get(name);
        let there = network.filter(|_| endpoint.is_some());
        let (ipv4, ipv6) = (there.and_then(|network| network.ipv4), there.and_then(|network| network.ipv6));
        json!({
            "Aliases": endpoint.map(|endpoint| &endpoint.aliases),
            "NetworkID": network.map_or("", |network| network.id.as_str()),
            "Gateway": shown(ipv4.map(|(gateway, _)| gateway)),
            "IPAddress": shown(endpoint.and_then(|endpoint| endpoint.address)),
            "IPPrefixLen": ipv4.map_or(0, |(_, prefix)| prefix),
            "IPv6Gateway": shown(ipv6.map(|(gateway, _)| gateway)),
            "GlobalIPv6Address": shown(endpoint.and_then(|endpoint| endpoint.ipv6_address)),
            "GlobalIPv6PrefixLen": ipv6.map_or(0, |(_, prefix)| prefix),
            "IPAMConfig": asked(container.spec.networks.get(name)),
        })
    };
    let all: Map<String, Value> = container.spec.networks.keys().map(|name| (name.to_string(), joined(name))).collect();
    // Docker's older fields, of the default network.
    let default = all.get("bridge").cloned().unwrap_or(Value::Null);
    let text = |key: &str| default.get(key).cloned().unwrap_or(Value::from(""));
    json!({
        "Ports": published(container.ports.iter(), container),
        "Gateway": text("Gateway"),
        "IPAddress": text("IPAddress"),
        "IPPrefixLen": default.get("IPPrefixLen").cloned().unwrap_or(Value::from(0)),
        "IPv6Gateway": text("IPv6Gateway"),
        "GlobalIPv6Address": text("GlobalIPv6Address"),
        "GlobalIPv6PrefixLen": default.get("GlobalIPv6PrefixLen").cloned().unwrap_or(Value::from(0)),
        "Networks": all,
    })
}

fn shown(address: Option<impl ToString>) -> String {
    address.map_or_else(String::new, |address| address.to_string())
}

/// The addresses that a container asks for in a network, as Docker has them: nothing where it asks for none.
fn asked(attachment: Option<&Attachment>) -> Value {
    let Some(attachment) = attachment.filter(|attachment| attachment.fixed().next().is_some()) else { return Value::Null };
    let mut all = Map::new();
    for (key, address) in [
        ("IPv4Address", attachment.ipv4_address.map(|ip| ip.to_string())),
        ("IPv6Address", attachment.ipv6_address.map(|ip| ip.to_string())),
    ] {
        all.extend(address.map(|address| (key.to_owned(), Value::from(address))));
    }
    Value::Object(all)
}

fn inner(port: &PortMapping) -> String {
    format!("{}/{}", port.container_port, port.protocol.as_str())
}

/// Ports of the container, each with where it is published.
fn published<'a>(ports: impl Iterator<Item = &'a PortMapping>, container: &Container) -> Value {
    let mut all = Map::new();
    for port in ports {
        let places = all.entry(inner(port)).or_insert(Value::Null);
        let Some(outer) = port.host_port else { continue };
        for ip in containers::host_addresses(port, container) {
            let place = json!({"HostIp": ip.to_string(), "HostPort": outer.to_string()});
            match places.as_array_mut() {
                Some(places) => places.push(place),
                None => *places = json!([place]),
            }
        }
    }
    Value::Object(all)
}

//! A container of Docker's as a specification of setpoint's: what is the image's own or the default is left out, and what has no
//! counterpart is told of.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use super::inspect::{Config, Container, HostConfig, Mount as DockerMount, Rate};
use crate::model::spec::{
    Attachment, ContainerSpec, DeviceRate, DeviceWeight, Exposed, Healthcheck, Logging, Mount, NamespaceMode, NetworkMode, Probe,
    ResourceLimits, SecurityOption, Ulimit, VolumesFrom,
};
use crate::model::{ByteSize, ImageRef, Name, PortMapping, Span};

/// Docker's own defaults, which it says of every container.
const SHM: u64 = 64 << 20;
/// Labels of Docker's own tools.
const OF_COMPOSE: &str = "com.docker.compose.";

/// What the link of a container in a network is called there.
const LINK_NAME: &str = "com.docker.network.endpoint.ifname";

/// What is known beside the container itself.
pub(super) struct Around<'a> {
    pub(super) image: ImageRef,
    /// The image's own configuration.
    pub(super) of_image: &'a Config,
    /// The names of all containers, by their ids.
    pub(super) names: &'a BTreeMap<String, Name>,
}

/// What could not be taken over.
pub(super) type Warnings = Vec<String>;

pub(super) fn spec(container: &Container, around: &Around<'_>, warnings: &mut Warnings) -> ContainerSpec {
    let mut spec = ContainerSpec::new(around.image.clone());
    program(&container.config, around.of_image, &mut spec, warnings);
    names(container, around, &mut spec, warnings);
    shared(&container.host_config, around, &mut spec, warnings);
    confinement(&container.host_config, &mut spec, warnings);
    spec.limits = limits(&container.host_config, warnings);
    mounts(container, &mut spec, warnings);
    for (what, there) in [
        ("device requests (GPUs)", container.host_config.device_requests.as_ref().is_some_and(|all| !all.is_empty())),
        ("links to other containers", container.host_config.links.as_ref().is_some_and(|all| !all.is_empty())),
        ("storage options", container.host_config.storage_opt.as_ref().is_some_and(|all| !all.is_empty())),
        ("swappiness", container.host_config.memory_swappiness.is_some_and(|value| value >= 0)),
        ("its runtime", !matches!(container.host_config.runtime.as_str(), "" | "runc" | "crun" | "io.containerd.runc.v2")),
    ] {
        if there {
            warnings.push(format!("{what} are not taken over"));
        }
    }
    spec
}

/// A value in the spelling of a type of the model, or a warning.
fn parse<T: FromStr<Err: Display>>(text: &str, warnings: &mut Warnings) -> Option<T> {
    text.parse().map_err(|error: T::Err| warnings.push(error.to_string())).ok()
}

fn all<T: FromStr<Err: Display>>(texts: Option<&Vec<String>>, warnings: &mut Warnings) -> Vec<T> {
    texts.into_iter().flatten().filter_map(|text| parse(text, warnings)).collect()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What runs in it, and with what.
fn program(config: &Config, of_image: &Config, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    let differs = |own: &Option<Vec<String>>, image: &Option<Vec<String>>| {
        own.clone().unwrap_or_default() != image.clone().unwrap_or_default()
    };
    if differs(&config.entrypoint, &of_image.entrypoint) {
        // Another entrypoint does away with the image's command.
        spec.entrypoint = Some(config.entrypoint.clone().unwrap_or_default());
        spec.command = config.cmd.clone();
    } else if differs(&config.cmd, &of_image.cmd) {
        spec.command = Some(config.cmd.clone().unwrap_or_default());
    }
    let of_image_env = of_image.env.clone().unwrap_or_default();
    for variable in config.env.iter().flatten().filter(|variable| !of_image_env.contains(variable)) {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        spec.environment.insert(name.to_owned(), value.to_owned());
    }
    let of_image_labels = of_image.labels.clone().unwrap_or_default();
    let labels = config.labels.clone().unwrap_or_default().into_iter();
    let own = |(key, value): &(String, String)| of_image_labels.get(key) != Some(value) && !key.starts_with(OF_COMPOSE);
    spec.labels = labels.filter(own).collect();
    spec.working_dir = some(&config.working_dir).filter(|folder| *folder != of_image.working_dir);
    spec.user = some(&config.user).filter(|user| *user != of_image.user);
    (spec.tty, spec.stdin_open, spec.stdin_once) = (config.tty, config.open_stdin, config.stdin_once);
    if !config.stop_signal.is_empty() && config.stop_signal != of_image.stop_signal && config.stop_signal != "SIGTERM" {
        spec.stop_signal = parse(&config.stop_signal, warnings);
    }
    if let Some(seconds) = config.stop_timeout {
        spec.stop_grace_period = Span::seconds(seconds);
    }
    if config.healthcheck.is_some() && config.healthcheck != of_image.healthcheck {
        spec.healthcheck = healthcheck(config, warnings);
    }
    let of_image_ports = of_image.exposed_ports.clone().unwrap_or_default();
    for port in config.exposed_ports.iter().flat_map(BTreeMap::keys).filter(|port| !of_image_ports.contains_key(*port)) {
        spec.expose.extend(parse::<Exposed>(port, warnings));
    }
}

fn healthcheck(config: &Config, warnings: &mut Warnings) -> Option<Healthcheck> {
    let check = config.healthcheck.clone().unwrap_or_default();
    let words = check.test.unwrap_or_default();
    let test = match words.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        Some(("NONE", _)) => Probe::None,
        Some(("CMD", rest @ [_, ..])) => Probe::Command(rest.to_vec()),
        Some(("CMD-SHELL", [line])) => Probe::Shell(line.clone()),
        _ => {
            warnings.push(format!("its health check {words:?} is not taken over"));
            return None;
        }
    };
    let or = |nanos: u64, usual: Span| if nanos == 0 { usual } else { Span(Duration::from_micros(nanos / 1000)) };
    let usual = Healthcheck::new(test);
    Some(Healthcheck {
        interval: or(check.interval, usual.interval),
        timeout: or(check.timeout, usual.timeout),
        retries: if check.retries == 0 { usual.retries } else { check.retries },
        start_period: or(check.start_period, usual.start_period),
        start_interval: or(check.start_interval, usual.start_interval),
        ..usual
    })
}

/// How it is called and reached.
fn names(container: &Container, around: &Around<'_>, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    let (config, host) = (&container.config, &container.host_config);
    spec.network_mode = match host.network_mode.as_str() {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        mode if mode.starts_with("container:") => NetworkMode::Container(other(mode, around)),
        _ => NetworkMode::Bridge,
    };
    if !container.id.starts_with(&config.hostname) && matches!(spec.network_mode, NetworkMode::Bridge | NetworkMode::None) {
        spec.hostname = some(&config.hostname);
    }
    spec.domainname = some(&config.domainname);
    if spec.network_mode == NetworkMode::Bridge {
        for (network, endpoint) in container.network_settings.networks.iter().flatten() {
            // Docker's own network is for those that name none, as `default` is here.
            let name = if network == "bridge" { "default" } else { network };
            let Some(name) = parse::<Name>(name, warnings) else { continue };
            let mut attachment = Attachment::default();
            let is_id = |alias: &&String| container.id.starts_with(alias.as_str());
            let own = |alias: &&String| **alias == container.name.trim_start_matches('/');
            attachment.aliases = endpoint.aliases.iter().flatten().filter(|a| !is_id(a) && !own(a)).cloned().collect();
            let address = endpoint.ipam_config.as_ref();
            if let Some(address) = address.filter(|address| !address.ipv4_address.is_empty()) {
                attachment.ipv4_address = parse(&address.ipv4_address, warnings);
            }
            if let Some(address) = address.filter(|address| !address.ipv6_address.is_empty()) {
                attachment.ipv6_address = parse(&address.ipv6_address, warnings);
            }
            let link = endpoint.driver_opts.iter().flatten().find(|(key, _)| *key == LINK_NAME);
            attachment.interface_name = link.and_then(|(_, link)| parse(link, warnings));
            spec.networks.insert(name, attachment);
        }
        spec.mac_address = some(&config.mac_address).and_then(|address| parse(&address, warnings));
    }
    for (port, bindings) in host.port_bindings.iter().flatten() {
        for binding in bindings.iter().flatten() {
            let host_ip = &binding.host_ip;
            let host_ip = if host_ip.contains(':') { format!("[{host_ip}]") } else { host_ip.clone() };
            let text = format!("{host_ip}:{}:{port}", binding.host_port);
            let text = if host_ip.is_empty() { text.trim_start_matches(':') } else { &text };
            spec.ports.extend(parse::<PortMapping>(text, warnings));
        }
    }
    spec.publish_all = host.publish_all_ports;
    spec.dns = all(host.dns.as_ref(), warnings);
    spec.dns_search = host.dns_search.clone().unwrap_or_default();
    spec.dns_opt = host.dns_options.clone().unwrap_or_default();
    for line in host.extra_hosts.iter().flatten() {
        let Some((name, address)) = line.split_once([':', '=']) else { continue };
        if let Some(address) = parse(address, warnings) {
            spec.extra_hosts.insert(name.to_owned(), address);
        }
    }
}

/// `container:ID` by the name of the container.
fn other(mode: &str, around: &Around<'_>) -> String {
    let id = mode.trim_start_matches("container:");
    let named = around.names.iter().find(|(known, _)| known.starts_with(id));
    named.map_or_else(|| id.to_owned(), |(_, name)| name.to_string())
}

/// What it shares with the host or with others.
fn shared(host: &HostConfig, around: &Around<'_>, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    let with_name = |mode: &str| match mode.starts_with("container:") {
        true => format!("container:{}", other(mode, around)),
        false => mode.to_owned(),
    };
    if let Some(mode) = parse::<NamespaceMode>(&with_name(&host.pid_mode), warnings) {
        spec.pid = mode;
    }
    if let Some(mode) = parse(&with_name(&host.ipc_mode), warnings) {
        spec.ipc = mode;
    }
    if host.uts_mode == "host" {
        spec.uts = NamespaceMode::Host;
    }
    // Docker's default depends on the host's version of cgroups; what the container sees of its own is the default here.
    if host.cgroupns_mode == "host" && host.privileged {
        spec.cgroup = NamespaceMode::Host;
    }
    if !host.userns_mode.is_empty() && host.userns_mode != "host" {
        warnings.push(format!("its users ({}) are not taken over", host.userns_mode));
    }
    spec.cgroup_parent = some(&host.cgroup_parent).and_then(|parent| parse(&parent, warnings));
    for from in host.volumes_from.iter().flatten() {
        match VolumesFrom::parse(from) {
            Ok(from) => {
                let container = other(&from.container, around);
                spec.volumes_from.push(VolumesFrom { container, ..from });
            }
            Err(why) => warnings.push(format!("volumes from {from}: {why}")),
        }
    }
}

fn confinement(host: &HostConfig, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    let capability = |name: &String| match name.to_ascii_uppercase().trim_start_matches("CAP_") {
        "ALL" => "ALL".to_owned(),
        name => format!("CAP_{name}"),
    };
    spec.cap_add = host.cap_add.iter().flatten().map(capability).collect();
    spec.cap_drop = host.cap_drop.iter().flatten().map(capability).collect();
    (spec.privileged, spec.read_only) = (host.privileged, host.readonly_rootfs);
    spec.init = host.init == Some(true);
    for text in host.security_opt.iter().flatten() {
        // What a privileged container has of labels anyway.
        let Some(option) = (text != "label=disable").then(|| parse::<SecurityOption>(text, warnings)).flatten() else { continue };
        // Docker has read the file of a profile, and says its content.
        let applied: Result<(), std::convert::Infallible> = spec.security_opt.apply(option, |content| Ok(content.to_owned()));
        let Ok(()) = applied;
    }
    spec.sysctls = host.sysctls.clone().unwrap_or_default();
    for limit in host.ulimits.iter().flatten() {
        // What is unlimited is -1 there.
        let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        spec.ulimits.insert(limit.name.clone(), Ulimit { soft: number(limit.soft), hard: number(limit.hard) });
    }
    for device in host.devices.iter().flatten() {
        let text = format!("{}:{}:{}", device.path_on_host, device.path_in_container, device.cgroup_permissions);
        spec.devices.extend(parse::<crate::model::spec::Device>(&text, warnings));
    }
    spec.device_cgroup_rules = all(host.device_cgroup_rules.as_ref(), warnings);
    spec.group_add = host.group_add.clone().unwrap_or_default().into_iter().collect();
    let score = i16::try_from(host.oom_score_adj).ok().filter(|score| *score != 0);
    spec.oom_score_adj = score;
    spec.annotations = host.annotations.clone().unwrap_or_default();
    if host.shm_size != SHM && host.shm_size > 0 {
        spec.shm_size = Some(ByteSize(host.shm_size));
    }
    let policy = match host.restart_policy.name.as_str() {
        "on-failure" if host.restart_policy.maximum_retry_count > 0 => {
            format!("on-failure:{}", host.restart_policy.maximum_retry_count)
        }
        name => name.to_owned(),
    };
    spec.restart = parse(&policy, warnings).unwrap_or_default();
    logging(host, spec, warnings);
}

/// Options that only say where Docker keeps its files are not taken over.
fn logging(host: &HostConfig, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    if host.log_config.driver.is_empty() {
        return;
    }
    let Some(driver) = parse(&host.log_config.driver, warnings) else { return };
    let mut logging = Logging { driver, ..Logging::default() };
    for (name, value) in host.log_config.config.iter().flatten() {
        let mut options: Vec<(&str, &str)> = vec![(name, value)];
        options.retain(|(name, _)| *name != "compress" && *name != "mode");
        match Logging::new(driver, options) {
            Ok(read) => {
                logging.max_size = read.max_size.or(logging.max_size);
                logging.max_file = read.max_file.or(logging.max_file);
                logging.tag = read.tag.or(logging.tag);
                logging.labels.extend(read.labels);
            }
            Err(error) => warnings.push(error.to_string()),
        }
    }
    spec.logging = logging;
}

fn limits(host: &HostConfig, warnings: &mut Warnings) -> ResourceLimits {
    let size = |bytes: u64| (bytes > 0).then_some(ByteSize(bytes));
    let number = |value: u64| (value > 0).then_some(value);
    let rates = |rates: &Option<Vec<Rate>>| -> Vec<DeviceRate> {
        rates.iter().flatten().map(|rate| DeviceRate { path: rate.path.clone(), rate: rate.rate }).collect()
    };
    let mut limits = ResourceLimits {
        memory: size(host.memory),
        memory_reservation: size(host.memory_reservation),
        cpu_shares: number(host.cpu_shares),
        cpu_period: number(host.cpu_period),
        cpu_quota: u64::try_from(host.cpu_quota).ok().and_then(number),
        oom_kill_disable: host.oom_kill_disable == Some(true),
        blkio_weight: (host.blkio_weight > 0).then_some(host.blkio_weight),
        blkio_weight_device: (host.blkio_weight_device.iter().flatten())
            .map(|one| DeviceWeight { path: one.path.clone(), weight: one.weight })
            .collect(),
        device_read_bps: rates(&host.blkio_device_read_bps),
        device_write_bps: rates(&host.blkio_device_write_bps),
        device_read_iops: rates(&host.blkio_device_read_iops),
        device_write_iops: rates(&host.blkio_device_write_iops),
        ..ResourceLimits::default()
    };
    // As much swap as memory is the default of both.
    limits.memory_swap = match host.memory_swap {
        -1 => parse("-1", warnings),
        swap if swap > 0 && u64::try_from(swap).ok() != Some(host.memory * 2) => parse(&swap.to_string(), warnings),
        _ => None,
    };
    if host.nano_cpus > 0 {
        limits.cpus = parse(&format!("{:.3}", host.nano_cpus as f64 / 1e9), warnings);
    }
    limits.cpuset_cpus = some(&host.cpuset_cpus).and_then(|list| parse(&list, warnings));
    limits.cpuset_mems = some(&host.cpuset_mems).and_then(|list| parse(&list, warnings));
    limits.pids = match host.pids_limit {
        // Docker limits nothing unless told to, and setpoint does: what could be many stays so.
        None | Some(0 | -1) => Some(ResourceLimits::ANY_PIDS),
        Some(pids) => u32::try_from(pids).ok(),
    };
    limits
}

fn mounts(container: &Container, spec: &mut ContainerSpec, warnings: &mut Warnings) {
    for mount in &container.mounts {
        let DockerMount { kind, name, source, destination, writable, propagation } = mount;
        let propagation: Vec<String> = some(propagation).filter(|word| word != "rprivate").into_iter().collect();
        let (target, read_only) = (destination.clone(), !writable);
        match kind.as_str() {
            "bind" | "volume" => {
                if kind == "volume" {
                    warnings.push(format!("the data of the volume {name} stays at {source}, which is mounted at {destination}"));
                }
                spec.mounts.push(Mount::Bind {
                    source: source.into(),
                    target,
                    read_only,
                    create_host_path: false,
                    options: propagation,
                    watched: None,
                });
            }
            "tmpfs" => spec.mounts.push(Mount::Tmpfs { target, size: None, mode: None, options: Vec::new() }),
            other => warnings.push(format!("the mount of type {other} at {destination} is not taken over")),
        }
    }
    for (target, options) in container.host_config.tmpfs.iter().flatten() {
        let (mut size, mut mode, mut further) = (None, None, Vec::new());
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", value)) => size = parse::<ByteSize>(value, warnings),
                Some(("mode", value)) => mode = u32::from_str_radix(value, 8).ok(),
                _ => match crate::model::spec::mount_options::of_tmpfs(option) {
                    Ok(word) => further.extend(word),
                    Err(why) => warnings.push(why),
                },
            }
        }
        spec.mounts.push(Mount::Tmpfs { target: target.clone(), size, mode, options: further });
    }
    let key = |mount: &Mount| (mount.target().matches('/').count(), mount.target().to_owned());
    spec.mounts.sort_by_key(key);
}

//! What a start needs of all parts: layers, volumes, a network namespace, name resolution. In this order, because each
//! later one is undone more easily; an error undoes what was done.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use oci_spec::image::ImageConfiguration;

use super::containers::{Further, Record, StartWith};
use super::hooks::Ahead;
use super::networks::{Attached, Given, Join};
use super::{EngineError, Parts, mounts, sharing};
use crate::files;
use crate::model::spec::{Attachment, ContainerSpec, Exposed, Healthcheck, HostAddress, NamespaceMode, NetworkMode, Probe};
use crate::model::{ContainerId, Digest, Name, PortMapping, Span};
use crate::observed::Endpoint;

/// What is to be run in it now, where it has been started: one that runs is left alone. With `awaits_attach` the container's output
/// waits for whoever attaches next.
pub(super) async fn start(parts: &Parts, id: &ContainerId, awaits_attach: bool) -> Result<Option<Ahead>, EngineError> {
    // Held until the monitor runs: neither a settling monitor of the last run nor a recovery may release what this
    // start attaches.
    let held = parts.containers.hold(id).await?;
    let record = parts.containers.get(id)?;
    if parts.containers.runs(&held).await? {
        parts.containers.refuse_paused(id)?;
        return Ok(None);
    }
    let rootfs = parts.images.rootfs(record.image_digest)?;
    let joins = sharing::joins(parts, &record)?;
    let devices = sharing::devices(&record.spec)?;
    let effective = mounts::effective(parts, &record, &rootfs.config)?;
    let mut mounts = mounts::prepare(parts, &record, &effective, &rootfs.layers).await?;
    let shared = match record.spec.network_mode.container() {
        Some(other) => Some(sharing::network(parts, &record, other)?),
        None => None,
    };
    let of_image = of_image(parts, record.image_digest)?;
    let users = parts.containers.assign_users(&held, &record)?;
    let ahead = Ahead::of(parts, &record)?;
    let attached = attach(parts, &record, &rootfs.config).await?;
    files::failpoint("start attached")?;
    let further = Further { joins, devices, users, hostname: own_name(&record.spec, shared.as_ref())?, shell: of_image.shell };
    let given = attached.as_ref().map(|attached| &attached.given);
    let hosts = hosts(&record, given)? + &linked(parts, &record, given)?;
    let resolv_conf = resolv_conf(&record.spec, given)?;
    let netns = match shared {
        Some(shared) => {
            mounts.extend(shared.files);
            Some(shared.netns)
        }
        None => attached.map(|attached| attached.netns),
    };
    let with = StartWith {
        lower: rootfs.layers,
        image_healthcheck: of_image.healthcheck.filter(|_| record.spec.healthcheck.is_none()),
        image: rootfs.config,
        mounts,
        netns,
        hosts,
        resolv_conf,
        awaits_attach,
        further,
    };
    if let Err(error) = parts.containers.start_held(&held, with).await {
        parts.networks.detach(id).await?;
        return Err(error.into());
    }
    Ok(Some(ahead))
}

/// The name that a container has for itself, where it is somebody else's.
fn own_name(spec: &ContainerSpec, shared: Option<&sharing::SharedNetwork>) -> Result<Option<String>, EngineError> {
    if spec.uts == NamespaceMode::Host {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return Ok(Some(name));
    }
    Ok(shared.map(|shared| shared.hostname.clone()))
}

/// What only Docker's images carry: no field of OCI has it.
#[derive(Default)]
pub(super) struct OfImage {
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) shell: Option<Vec<String>>,
}

/// The health check that the image brings. No OCI field has it: Docker's images carry it in their configuration.
/// Source: Docker Image Specification 1.3, `Healthcheck`; times are in nanoseconds.
pub(super) fn of_image(parts: &Parts, digest: Digest) -> Result<OfImage, EngineError> {
    #[derive(serde::Deserialize)]
    struct Image {
        config: Option<Config>,
    }
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(rename = "Healthcheck")]
        healthcheck: Option<Check>,
        /// What runs lines of a shell in the image.
        #[serde(rename = "Shell", default)]
        shell: Option<Vec<String>>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    #[derive(Default)]
    struct Check {
        test: Vec<String>,
        interval: u64,
        timeout: u64,
        retries: u32,
        start_period: u64,
        start_interval: u64,
    }
    let raw = parts.images.raw_config(digest)?;
    let image: Image = serde_json::from_slice(&raw).map_err(|source| EngineError::ImageConfig { digest, source })?;
    let Some(config) = image.config else { return Ok(OfImage::default()) };
    let shell = config.shell.filter(|words| !words.is_empty());
    let Some(check) = config.healthcheck else { return Ok(OfImage { healthcheck: None, shell }) };
    let test = match check.test.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        Some(("CMD", arguments)) => Probe::Command(arguments.to_vec()),
        Some(("CMD-SHELL", [line])) => Probe::Shell(line.clone()),
        _ => return Ok(OfImage { healthcheck: None, shell }),
    };
    let or = |nanos: u64, default| if nanos == 0 { default } else { Span(Duration::from_nanos(nanos)) };
    let defaults = Healthcheck::new(test);
    let healthcheck = Healthcheck {
        interval: or(check.interval, Healthcheck::INTERVAL),
        timeout: or(check.timeout, Healthcheck::TIMEOUT),
        retries: if check.retries == 0 { Healthcheck::RETRIES } else { check.retries },
        start_period: Span(Duration::from_nanos(check.start_period)),
        start_interval: or(check.start_interval, Healthcheck::START_INTERVAL),
        ..defaults
    };
    Ok(OfImage { healthcheck: Some(healthcheck), shell })
}

/// The network namespace, unless the container shares the host's or another one's.
async fn attach(parts: &Parts, record: &Record, image: &ImageConfiguration) -> Result<Option<Attached>, EngineError> {
    let Some(joins) = joins(record) else { return Ok(None) };
    Ok(Some(parts.networks.attach(&record.id, &joins, &published(&record.spec, image)).await?))
}

/// How a container is to be attached to its networks; `None` of one that has no network namespace of its own.
pub(super) fn joins(record: &Record) -> Option<Vec<Join>> {
    let spec = &record.spec;
    let join = |(network, attachment): (&Name, &Attachment)| {
        let mut names = BTreeSet::from([record.name.to_string(), record.id.short().to_owned()]);
        // One that is not in its place is nobody's answer to the names of that.
        if let Some(owner) = record.owner.as_ref().filter(|_| !record.name.is_aside()) {
            names.insert(owner.resource.to_string());
        }
        if record.owner.is_none() || !record.name.is_aside() {
            names.extend(attachment.aliases.iter().cloned());
        }
        let mac = spec.mac_address.map(|mac| mac.0);
        Join {
            network: network.clone(),
            names,
            ipv4_address: attachment.ipv4_address,
            ipv6_address: attachment.ipv6_address,
            interface: attachment.interface_name.as_ref().map(ToString::to_string),
            mac,
        }
    };
    let mut joins: Vec<Join> = match spec.network_mode {
        NetworkMode::Host | NetworkMode::Container(_) => return None,
        NetworkMode::None => Vec::new(),
        NetworkMode::Bridge => spec.networks.iter().map(join).collect(),
    };
    // The first that leads anywhere is the way out.
    joins.sort_by_key(|join| std::cmp::Reverse(spec.networks.get(&join.network).map_or(0, |attachment| attachment.gw_priority)));
    Some(joins)
}

/// The ports that are published: those that the container says and, where it wants all, those that it or its image exposes.
pub(super) fn published(spec: &ContainerSpec, image: &ImageConfiguration) -> BTreeSet<PortMapping> {
    let mut ports = spec.ports.clone();
    if !spec.publish_all {
        return ports;
    }
    let of_image = image.config().as_ref().and_then(|config| config.exposed_ports().clone()).unwrap_or_default();
    // What an image exposes of other protocols cannot be published.
    let of_image = of_image.iter().filter_map(|text| Exposed::parse_all(text).ok()).flatten();
    for Exposed { port, protocol } in spec.expose.iter().copied().chain(of_image) {
        if !ports.iter().any(|known| known.container_port == port && known.protocol == protocol) {
            ports.insert(PortMapping { host_ip: None, host_port: None, container_port: port, protocol });
        }
    }
    ports
}

/// The name that a container has for itself: as told, its resource's name, or the short id as Docker has it.
pub(super) fn hostname(record: &Record) -> String {
    match (&record.spec.hostname, &record.owner) {
        (Some(hostname), _) => hostname.clone(),
        (None, Some(owner)) => owner.resource.to_string(),
        (None, None) => record.id.short().to_owned(),
    }
}

pub(super) fn hosts(record: &Record, given: Option<&Given>) -> Result<String, EngineError> {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let mut own_names = hostname(record);
    if let Some(domain) = &record.spec.domainname {
        own_names = format!("{own_names}.{domain} {own_names}");
    }
    let own: Vec<IpAddr> = given.iter().flat_map(|given| given.endpoints.values()).flat_map(Endpoint::addresses).collect();
    if own.is_empty() {
        // The container must be able to resolve its own name, whatever network it has.
        text.push_str(&line(&Ipv4Addr::LOCALHOST, &own_names));
    }
    for address in own {
        text.push_str(&line(&address, &own_names));
    }
    for (name, address) in &record.spec.extra_hosts {
        let address = match address {
            HostAddress::Ip(address) => *address,
            HostAddress::Gateway => gateway(record, given)?,
        };
        text.push_str(&line(&address, name));
    }
    Ok(text)
}

/// Containers of others by the names that this one has for them.
pub(super) fn linked(parts: &Parts, record: &Record, given: Option<&Given>) -> Result<String, EngineError> {
    let mut text = String::new();
    for (alias, other) in &record.spec.external_links {
        let other = parts.containers.find(other)?;
        let theirs = parts.networks.addresses(&other)?;
        let own = given.iter().flat_map(|given| given.endpoints.keys());
        let Some(addresses) = own.filter_map(|network| theirs.get(network)).next() else {
            return Err(EngineError::LinkedApart { name: record.name.clone(), other: parts.containers.get(&other)?.name });
        };
        addresses.iter().for_each(|address| text.push_str(&line(address, alias)));
    }
    Ok(text)
}

/// The address by which a container reaches the host.
fn gateway(record: &Record, given: Option<&Given>) -> Result<IpAddr, EngineError> {
    match (&record.spec.network_mode, given.and_then(|given| given.nameservers.first())) {
        (NetworkMode::Host, _) => Ok(Ipv4Addr::LOCALHOST.into()),
        // The host answers for names at its own address in the network.
        (_, Some(gateway)) => Ok(*gateway),
        (_, None) => Err(EngineError::NoGateway { name: record.name.clone() }),
    }
}

fn line(address: &dyn std::fmt::Display, name: &str) -> String {
    format!("{address}\t{name}\n")
}

/// Networks bring their own name server; without one the container resolves as the host does, unless it has name servers
/// of its own.
pub(super) fn resolv_conf(spec: &ContainerSpec, given: Option<&Given>) -> Result<String, EngineError> {
    let servers = given.map(|given| given.nameservers.as_slice()).unwrap_or_default();
    let mut lines: Vec<String> = if !spec.dns.is_empty() {
        spec.dns.iter().map(|server| format!("nameserver {server}")).collect()
    } else if !servers.is_empty() {
        servers.iter().map(|server| format!("nameserver {server}")).collect()
    } else if spec.network_mode == NetworkMode::None {
        Vec::new()
    } else {
        let host = files::read_if_there(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
        String::from_utf8_lossy(&host).lines().map(str::to_owned).collect()
    };
    if !spec.dns_search.is_empty() {
        lines.retain(|line| !line.starts_with("search") && !line.starts_with("domain"));
        // A dot alone says: in no domain.
        if spec.dns_search.iter().any(|domain| domain != ".") {
            lines.push(format!("search {}", spec.dns_search.join(" ")));
        }
    }
    if !spec.dns_opt.is_empty() {
        lines.retain(|line| !line.starts_with("options"));
        lines.push(format!("options {}", spec.dns_opt.join(" ")));
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// Two words, as Docker names containers that nobody named.
pub(super) fn invented_name() -> Result<Name, EngineError> {
    const HOW: [&str; 16] = [
        "calm", "steady", "brisk", "level", "keen", "quiet", "sturdy", "swift", "tidy", "warm", "bright", "clear", "firm",
        "fair", "lucid", "sound",
    ];
    const WHAT: [&str; 16] = [
        "anchor", "beacon", "compass", "dial", "gauge", "governor", "lever", "needle", "pilot", "pivot", "relay", "rudder",
        "sensor", "servo", "valve", "vane",
    ];
    loop {
        let random = crate::sys::random_bytes::<4>().map_err(EngineError::Random)?;
        let (how, what) = (HOW[usize::from(random[0] % 16)], WHAT[usize::from(random[1] % 16)]);
        let number = u16::from_le_bytes([random[2], random[3]]);
        if let Ok(name) = format!("{how}-{what}-{number:04x}").parse() {
            return Ok(name);
        }
    }
}

//! What a start needs of all parts: layers, volumes, a network namespace, name resolution. In this order, because each
//! later one is undone more easily; an error undoes what was done.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use super::containers::{Record, StartWith};
use super::networks::{Attached, Join};
use super::runtime::spec::HostMount;
use super::{EngineError, Parts};
use crate::files;
use crate::model::spec::{ContainerSpec, Healthcheck, Mount, NetworkMode, Probe, VolumeSpec};
use crate::model::{ContainerId, Digest, Name, Span};

/// With `awaits_attach` the container's output waits for whoever attaches next.
pub(super) async fn start(parts: &Parts, id: &ContainerId, awaits_attach: bool) -> Result<(), EngineError> {
    // Held until the monitor runs: neither a settling monitor of the last run nor a recovery may release what this
    // start attaches.
    let held = parts.containers.hold(id).await?;
    let record = parts.containers.get(id)?;
    if parts.containers.runs(&held).await? {
        return Ok(());
    }
    let rootfs = parts.images.rootfs(record.image_digest)?;
    let mounts = mounts(parts, &record, &rootfs.layers).await?;
    let attached = attach(parts, &record).await?;
    let hosts = hosts(&record, attached.as_ref());
    let resolv_conf = resolv_conf(&record.spec, attached.as_ref())?;
    let with = StartWith {
        lower: rootfs.layers,
        image_healthcheck: match record.spec.healthcheck {
            Some(_) => None,
            None => healthcheck_of(parts, record.image_digest)?,
        },
        image: rootfs.config,
        mounts,
        netns: attached.map(|attached| attached.netns),
        hosts,
        resolv_conf,
        awaits_attach,
    };
    if let Err(error) = parts.containers.start_held(&held, with).await {
        parts.networks.detach(id).await?;
        return Err(error.into());
    }
    Ok(())
}

/// The health check that the image brings. No OCI field has it: Docker's images carry it in their configuration.
/// Source: Docker Image Specification 1.3, `Healthcheck`; times are in nanoseconds.
pub(super) fn healthcheck_of(parts: &Parts, digest: Digest) -> Result<Option<Healthcheck>, EngineError> {
    #[derive(serde::Deserialize)]
    struct Image {
        config: Option<Config>,
    }
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(rename = "Healthcheck")]
        healthcheck: Option<Check>,
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
    let Some(check) = image.config.and_then(|config| config.healthcheck) else { return Ok(None) };
    let test = match check.test.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        Some(("CMD", arguments)) => Probe::Command(arguments.to_vec()),
        Some(("CMD-SHELL", [line])) => Probe::Shell(line.clone()),
        _ => return Ok(None),
    };
    let or = |nanos: u64, default| if nanos == 0 { default } else { Span(Duration::from_nanos(nanos)) };
    let defaults = Healthcheck::new(test);
    Ok(Some(Healthcheck {
        interval: or(check.interval, Healthcheck::INTERVAL),
        timeout: or(check.timeout, Healthcheck::TIMEOUT),
        retries: if check.retries == 0 { Healthcheck::RETRIES } else { check.retries },
        start_period: Span(Duration::from_nanos(check.start_period)),
        start_interval: or(check.start_interval, Healthcheck::START_INTERVAL),
        ..defaults
    }))
}

/// The named volumes that a container mounts.
pub(super) fn volumes_of(spec: &ContainerSpec) -> impl Iterator<Item = &Name> {
    spec.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { source, .. } => Some(source),
        Mount::Bind { .. } | Mount::Tmpfs { .. } | Mount::Config { .. } => None,
    })
}

/// Everything but configs, which the containers' part keeps itself, as paths of the host.
async fn mounts(parts: &Parts, record: &Record, layers: &[std::path::PathBuf]) -> Result<Vec<HostMount>, EngineError> {
    let mut mounts = Vec::new();
    for mount in &record.spec.mounts {
        mounts.push(match mount {
            Mount::Volume { source, target, read_only } => {
                let volume = match parts.volumes.get(source)? {
                    Some(volume) if volume.present => volume,
                    // A `run -v name:/path` makes the volume that it names.
                    _ => parts.volumes.create(source, None, &VolumeSpec::default())?,
                };
                if parts.volumes.needs_populating(source)? {
                    let (volumes, name) = (parts.volumes.clone(), source.clone());
                    let (layers, target) = (layers.to_vec(), target.clone());
                    tokio::task::spawn_blocking(move || volumes.populate(&name, &layers, &target))
                        .await
                        .map_err(|_| EngineError::Interrupted)??;
                }
                HostMount::Bind { source: volume.path, target: target.clone(), read_only: *read_only }
            }
            Mount::Bind { source, target, read_only, create_host_path } => {
                if !source.exists() {
                    if !create_host_path {
                        return Err(EngineError::NoBindSource { path: source.clone() });
                    }
                    files::create_dirs(source, 0o755)?;
                }
                HostMount::Bind { source: source.clone(), target: target.clone(), read_only: *read_only }
            }
            Mount::Tmpfs { target, size, mode } => {
                HostMount::Tmpfs { target: target.clone(), size: size.map(|size| size.0), mode: *mode }
            }
            Mount::Config { .. } => continue,
        });
    }
    Ok(mounts)
}

/// The network namespace, unless the container shares the host's.
async fn attach(parts: &Parts, record: &Record) -> Result<Option<Attached>, EngineError> {
    let spec = &record.spec;
    let joins: Vec<Join> = match spec.network_mode {
        NetworkMode::Host => return Ok(None),
        NetworkMode::None => Vec::new(),
        NetworkMode::Bridge => spec
            .networks
            .iter()
            .map(|(network, attachment)| {
                let mut names = attachment.aliases.clone();
                names.insert(record.name.to_string());
                names.insert(record.id.short().to_owned());
                names.extend(record.owner.as_ref().map(|owner| owner.resource.to_string()));
                Join { network: network.clone(), names, ipv4_address: attachment.ipv4_address }
            })
            .collect(),
    };
    Ok(Some(parts.networks.attach(&record.id, &joins, &spec.ports).await?))
}

/// The name that a container has for itself: as told, its resource's name, or the short id as Docker has it.
pub(super) fn hostname(record: &Record) -> String {
    match (&record.spec.hostname, &record.owner) {
        (Some(hostname), _) => hostname.clone(),
        (None, Some(owner)) => owner.resource.to_string(),
        (None, None) => record.id.short().to_owned(),
    }
}

fn hosts(record: &Record, attached: Option<&Attached>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let hostname = hostname(record);
    let own: Vec<Ipv4Addr> = attached.iter().flat_map(|a| a.endpoints.values()).map(|endpoint| endpoint.address).collect();
    if own.is_empty() {
        // The container must be able to resolve its own name, whatever network it has.
        text.push_str(&line(&Ipv4Addr::LOCALHOST, &hostname));
    }
    for address in own {
        text.push_str(&line(&address, &hostname));
    }
    for (name, address) in &record.spec.extra_hosts {
        text.push_str(&line(address, name));
    }
    text
}

fn line(address: &dyn std::fmt::Display, name: &str) -> String {
    format!("{address}\t{name}\n")
}

/// Networks bring their own name server; without one the container resolves as the host does.
fn resolv_conf(spec: &ContainerSpec, attached: Option<&Attached>) -> Result<String, EngineError> {
    let servers = attached.map(|attached| attached.nameservers.as_slice()).unwrap_or_default();
    if !servers.is_empty() {
        return Ok(servers.iter().map(|server| format!("nameserver {server}\n")).collect());
    }
    if spec.network_mode == NetworkMode::None {
        return Ok(String::new());
    }
    let host = files::read_if_there(Path::new("/etc/resolv.conf"))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&host).into_owned())
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

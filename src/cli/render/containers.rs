//! Containers as people list them, in Docker's columns.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::table::{Cell, bytes, shorten};
use crate::cli::format::{Kind, Row, column};
use crate::cli::output::Tone;
use crate::cli::time::{ago, humane};
use crate::engine::Sizes;
use crate::model::PortMapping;
use crate::model::spec::{ContainerSpec, Mount, NetworkMode};
use crate::observed::{Container, ContainerState, Endpoint, Health};

pub const KIND: Kind = Kind {
    columns: &[
        column("ID", "CONTAINER ID"),
        column("Image", "IMAGE"),
        column("Command", "COMMAND"),
        column("CreatedAt", "CREATED AT"),
        column("RunningFor", "CREATED"),
        column("State", "STATE"),
        column("Status", "STATUS"),
        column("Ports", "PORTS"),
        column("Size", "SIZE"),
        column("Names", "NAMES"),
        column("Labels", "LABELS"),
        column("Mounts", "MOUNTS"),
        column("LocalVolumes", "LOCAL VOLUMES"),
        column("Networks", "NETWORKS"),
    ],
    methods: &["Label"],
};

/// The fields of a plain table, without and with sizes.
pub const SHOWN: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
pub const SHOWN_WITH_SIZE: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"];

/// As Go prints a time.
const CREATED: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");

/// One container's row.
pub fn row(container: &Container, size: Option<&Sizes>, now: OffsetDateTime, whole: bool) -> Row {
    let spec = &container.spec;
    let id = if whole { container.id.as_str() } else { container.id.short() };
    let command = command(spec);
    let command = if whole { command } else { shorten(&command, COMMAND) };
    let labels: BTreeMap<String, String> = spec.labels.clone();
    let volumes = spec.mounts.iter().filter(|mount| matches!(mount, Mount::Volume { .. })).count();
    let networks: Vec<&str> = match spec.network_mode {
        NetworkMode::Host => vec!["host"],
        NetworkMode::None => vec!["none"],
        _ => spec.networks.keys().map(|name| name.as_str()).collect(),
    };
    let created = container.created.to_offset(time::UtcOffset::UTC).format(CREATED).unwrap_or_default();
    let size = size.map_or_else(|| "0B".to_owned(), |size| format!("{} (virtual {})", bytes(size.written), bytes(size.whole)));
    Row::new([
        Cell::from(id),
        spec.image.to_string().into(),
        format!("\"{command}\"").into(),
        created.into(),
        ago(container.created, now).into(),
        state(container).into(),
        Cell::toned(status(container, now), tone(&container.state)),
        ports(container).into(),
        size.into(),
        container.name.to_string().into(),
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",").into(),
        spec.mounts.iter().map(|mount| mounted(mount, whole)).collect::<Vec<_>>().join(",").into(),
        volumes.to_string().into(),
        networks.join(",").into(),
    ])
    .with(&labels)
}

/// What a mount is called in a list: the volume's name, or the path on the host.
fn mounted(mount: &Mount, whole: bool) -> String {
    let name = match mount {
        Mount::Volume { source, .. } => source.to_string(),
        Mount::Bind { source, .. } => source.display().to_string(),
        other => other.target().to_owned(),
    };
    if whole { name } else { shorten(&name, MOUNT) }
}

/// Characters of a mount that are shown.
const MOUNT: usize = 15;

/// Docker's word for where a container is in its life.
pub const fn state(container: &Container) -> &'static str {
    match &container.state {
        ContainerState::Created => "created",
        ContainerState::Running { .. } if container.paused => "paused",
        ContainerState::Running { .. } => "running",
        ContainerState::Restarting { .. } => "restarting",
        ContainerState::Exited { .. } => "exited",
        ContainerState::Lost => "dead",
    }
}

/// Characters of a command that are shown.
const COMMAND: usize = 20;

fn command(spec: &ContainerSpec) -> String {
    let words = spec.entrypoint.iter().chain(&spec.command).flatten();
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// `Up 3 minutes (healthy)`, `Exited (0) 3 minutes ago`.
pub fn status(container: &Container, now: OffsetDateTime) -> String {
    match &container.state {
        ContainerState::Created => "Created".into(),
        ContainerState::Running { started, health, .. } => {
            let up = humane(now - *started);
            match health {
                _ if container.paused => format!("Up {up} (Paused)"),
                Health::None => format!("Up {up}"),
                Health::Starting => format!("Up {up} (health: starting)"),
                Health::Healthy => format!("Up {up} (healthy)"),
                Health::Unhealthy => format!("Up {up} (unhealthy)"),
            }
        }
        ContainerState::Restarting { code, since, .. } => format!("Restarting ({code}) {}", ago(*since, now)),
        ContainerState::Exited { code, at, error: None, .. } => format!("Exited ({code}) {}", ago(*at, now)),
        ContainerState::Exited { code, at, error: Some(_), .. } => format!("Failed ({code}) {}", ago(*at, now)),
        ContainerState::Lost => "Lost".into(),
    }
}

const fn tone(state: &ContainerState) -> Tone {
    match state {
        ContainerState::Running { health: Health::Unhealthy, .. } | ContainerState::Lost => Tone::Bad,
        ContainerState::Running { .. } => Tone::Good,
        ContainerState::Restarting { .. } => Tone::Warn,
        ContainerState::Exited { error: Some(_), .. } => Tone::Bad,
        ContainerState::Created | ContainerState::Exited { .. } => Tone::Faint,
    }
}

/// `0.0.0.0:8080->80/tcp`, with neighbours joined to ranges.
fn ports(container: &Container) -> String {
    let mut parts: Vec<(PortMapping, u16)> = Vec::new();
    for port in &container.ports {
        match parts.last_mut() {
            Some((first, more)) if follows(first, *more, port) => *more += 1,
            _ => parts.push((port.clone(), 0)),
        }
    }
    let range = |from: u16, more: u16| if more == 0 { from.to_string() } else { format!("{from}-{}", from + more) };
    let texts = parts.into_iter().map(|(port, more)| {
        let protocol = port.protocol.as_str();
        let inner = range(port.container_port, more);
        match port.host_port {
            Some(outer) => {
                let at = host_addresses(&port, container).into_iter().map(|ip| match ip {
                    IpAddr::V4(ip) => format!("{ip}:{}->{inner}/{protocol}", range(outer, more)),
                    IpAddr::V6(ip) => format!("[{ip}]:{}->{inner}/{protocol}", range(outer, more)),
                });
                at.collect::<Vec<_>>().join(", ")
            }
            None => format!("{inner}/{protocol}"),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// The addresses of the host at which a port is published: all of the families that the container has, unless it says.
pub fn host_addresses(port: &PortMapping, container: &Container) -> Vec<IpAddr> {
    if let Some(ip) = port.host_ip {
        return vec![ip];
    }
    let mut all = Vec::new();
    let has = |is: fn(&IpAddr) -> bool| container.networks.values().flat_map(Endpoint::addresses).any(|ip| is(&ip));
    if has(IpAddr::is_ipv4) || container.networks.is_empty() {
        all.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    if has(IpAddr::is_ipv6) {
        all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    all
}

fn follows(first: &PortMapping, more: u16, port: &PortMapping) -> bool {
    let next = more + 1;
    first.host_ip == port.host_ip
        && first.protocol == port.protocol
        && first.container_port.checked_add(next) == Some(port.container_port)
        && first.host_port.is_some()
        && first.host_port.and_then(|outer| outer.checked_add(next)) == port.host_port
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::format::Format;
    use crate::model::{ContainerId, Digest, Span};

    fn container(name: &str, seed: u8, state: ContainerState) -> Container {
        let mut spec = ContainerSpec::new("nginx:1.27".parse().unwrap());
        spec.command = Some(vec!["nginx".into(), "-g".into(), "daemon off; and more".into()]);
        Container {
            id: ContainerId::from_random([seed; 32]),
            name: name.parse().unwrap(),
            owner: None,
            created: OffsetDateTime::from_unix_timestamp(1_000).unwrap(),
            spec: std::sync::Arc::new(spec),
            image_digest: Digest::of(b"image"),
            state,
            paused: false,
            networks: Default::default(),
            ports: Default::default(),
            network_faults: vec![],
            faults: vec![],
            restarts: 0,
            health: None,
        }
    }

    #[test]
    fn as_docker_lists_them() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let mut web = container("web", 1, ContainerState::Running { pid: 7, started: at(1_010), health: Health::Healthy });
        for text in ["8080-8082:80-82", "127.0.0.1:53:53/udp", "99"] {
            web.ports.extend(PortMapping::parse_all(text).unwrap());
        }
        let mut job = container("job", 2, ContainerState::Exited { code: 3, at: at(1_180), stopped: false, error: None });
        std::sync::Arc::make_mut(&mut job.spec).command = None;
        let crash = container("crash", 3, ContainerState::Restarting { code: 1, since: at(1_239), delay: Span::seconds(1) });
        let rows: Vec<_> = [&web, &job, &crash].map(|container| row(container, None, at(1_240), false)).into();
        let text = KIND.render(&rows, &Format::Table, SHOWN, false).unwrap();
        insta::assert_snapshot!(text, @r#"
        CONTAINER ID   IMAGE        COMMAND                  CREATED         STATUS                          PORTS                                                        NAMES
        010101010101   nginx:1.27   "nginx -g daemon off…"   4 minutes ago   Up 3 minutes (healthy)          99/tcp, 0.0.0.0:8080-8082->80-82/tcp, 127.0.0.1:53->53/udp   web
        020202020202   nginx:1.27   ""                       4 minutes ago   Exited (3) about a minute ago                                                                job
        030303030303   nginx:1.27   "nginx -g daemon off…"   4 minutes ago   Restarting (1) 1 second ago                                                                  crash
        "#);
    }
}

//! Containers as people list them, in Docker's columns.

use time::OffsetDateTime;

use super::table::{self, Cell, shorten};
use crate::cli::output::Tone;
use crate::cli::time::{ago, humane};
use crate::model::PortMapping;
use crate::model::spec::ContainerSpec;
use crate::observed::{Container, ContainerState, Health};

pub fn table(containers: &[&Container], now: OffsetDateTime, whole: bool, colour: bool) -> String {
    let rows: Vec<[Cell; 7]> = containers
        .iter()
        .map(|container| {
            let id = if whole { container.id.as_str() } else { container.id.short() };
            let command = command(&container.spec);
            let command = if whole { command } else { shorten(&command, COMMAND) };
            [
                id.into(),
                container.spec.image.to_string().into(),
                format!("\"{command}\"").into(),
                ago(container.created, now).into(),
                Cell::toned(status(&container.state, now), tone(&container.state)),
                ports(container).into(),
                container.name.to_string().into(),
            ]
        })
        .collect();
    table::render(["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], &rows, colour)
}

/// Characters of a command that are shown.
const COMMAND: usize = 20;

fn command(spec: &ContainerSpec) -> String {
    let words = spec.entrypoint.iter().chain(&spec.command).flatten();
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// `Up 3 minutes (healthy)`, `Exited (0) 3 minutes ago`.
pub fn status(state: &ContainerState, now: OffsetDateTime) -> String {
    match state {
        ContainerState::Created => "Created".into(),
        ContainerState::Running { started, health, .. } => {
            let up = humane(now - *started);
            match health {
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
                let ip = port.host_ip.map_or_else(|| "0.0.0.0".into(), |ip| ip.to_string());
                format!("{ip}:{}->{inner}/{protocol}", range(outer, more))
            }
            None => format!("{inner}/{protocol}"),
        }
    });
    texts.collect::<Vec<_>>().join(", ")
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
    use crate::model::{ContainerId, Digest, Span};

    fn container(name: &str, seed: u8, state: ContainerState) -> Container {
        let mut spec = ContainerSpec::new("nginx:1.27".parse().unwrap());
        spec.command = Some(vec!["nginx".into(), "-g".into(), "daemon off; and more".into()]);
        Container {
            id: ContainerId::from_random([seed; 32]),
            name: name.parse().unwrap(),
            owner: None,
            created: OffsetDateTime::from_unix_timestamp(1_000).unwrap(),
            spec,
            image_digest: Digest::of(b"image"),
            state,
            networks: Default::default(),
            ports: Default::default(),
            network_faults: vec![],
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
        job.spec.command = None;
        let crash = container("crash", 3, ContainerState::Restarting { code: 1, since: at(1_239), delay: Span::seconds(1) });
        let text = table(&[&web, &job, &crash], at(1_240), false, false);
        insta::assert_snapshot!(text, @r#"
        CONTAINER ID   IMAGE        COMMAND                  CREATED         STATUS                          PORTS                                                        NAMES
        010101010101   nginx:1.27   "nginx -g daemon off…"   4 minutes ago   Up 3 minutes (healthy)          99/tcp, 0.0.0.0:8080-8082->80-82/tcp, 127.0.0.1:53->53/udp   web
        020202020202   nginx:1.27   ""                       4 minutes ago   Exited (3) about a minute ago                                                                job
        030303030303   nginx:1.27   "nginx -g daemon off…"   4 minutes ago   Restarting (1) 1 second ago                                                                  crash
        "#);
    }
}

//! `top`, `diff`, `port`, `rename`, `update` and `container prune`: looks into containers, and changes of them.

use std::net::SocketAddr;

use time::OffsetDateTime;

use super::each;
use super::image_select::until;
use super::store::agreed;
use crate::cli::args::{ContainerPruneArgs, NameArgs, PortArgs, RenameArgs, TopArgs, UpdateArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render::containers::host_addresses;
use crate::cli::render::table;
use crate::cli::select::Filters;
use crate::cli::spec::SpecError;
use crate::client::Client;
use crate::engine::DifferenceKind;
use crate::model::{ByteSize, PortMapping, Protocol};
use crate::wire::store::Label;
use crate::wire::verbs::{Limit, PruneContainers, Rename, Top, Update};

pub(super) async fn top(client: &Client, args: TopArgs, output: Output) -> Result<i32, CliError> {
    let mut rest = args.rest.into_iter();
    let name = rest.next().unwrap_or_default();
    let found = client.top(&name, &Top { arguments: rest.collect() }).await?;
    let titles: Vec<&str> = found.titles.iter().map(String::as_str).collect();
    let rows: Vec<Vec<table::Cell>> =
        found.processes.iter().map(|row| row.iter().map(|field| field.as_str().into()).collect()).collect();
    output.text(table::render_all(&titles, &rows, output.colour))?;
    Ok(0)
}

pub(super) async fn diff(client: &Client, args: &NameArgs, output: Output) -> Result<i32, CliError> {
    let mut text = String::new();
    for difference in client.diff(&args.name).await? {
        let letter = match difference.kind {
            DifferenceKind::Changed => 'C',
            DifferenceKind::Added => 'A',
            DifferenceKind::Deleted => 'D',
        };
        text.push_str(&format!("{letter} {}\n", difference.path));
    }
    output.text(text)?;
    Ok(0)
}

pub(super) async fn port(client: &Client, args: &PortArgs, output: Output) -> Result<i32, CliError> {
    let wanted = args.port.as_deref().map(wanted_port).transpose()?;
    let container = client.container(&args.name).await?;
    let published: Vec<&PortMapping> = container
        .ports
        .iter()
        .filter(|port| port.host_port.is_some())
        .filter(|port| wanted.is_none_or(|wanted| wanted == (port.container_port, port.protocol)))
        .collect();
    if let (Some((port, protocol)), true) = (wanted, published.is_empty()) {
        return Err(CliError::NotPublished { port, protocol, name: args.name.clone() });
    }
    for port in published {
        for ip in host_addresses(port, &container) {
            let outer = SocketAddr::new(ip, port.host_port.unwrap_or_default());
            match wanted {
                Some(_) => output.line(outer.to_string())?,
                None => output.line(format!("{}/{} -> {outer}", port.container_port, port.protocol.as_str()))?,
            }
        }
    }
    Ok(0)
}

fn wanted_port(text: &str) -> Result<(u16, Protocol), CliError> {
    let wrong = || CliError::PortOfContainer { text: text.to_owned() };
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(wrong()),
    };
    Ok((port.parse().map_err(|_| wrong())?, protocol))
}

pub(super) async fn rename(client: &Client, args: RenameArgs) -> Result<i32, CliError> {
    client.rename(&args.name, &Rename { name: args.new }).await?;
    Ok(0)
}

pub(super) async fn update(client: &Client, args: &UpdateArgs, output: Output) -> Result<i32, CliError> {
    let pids = |number: i64| match number {
        -1 | 0 => Ok(Limit::None),
        number => u32::try_from(number).map(Limit::At).map_err(|_| CliError::PidsLimit { number }),
    };
    let refused = &args.refused;
    for (flag, given, advice) in [
        ("--cpu-rt-period", &refused.cpu_rt_period, "leave it out, or use `--ulimit rtprio=…` when it is made"),
        ("--cpu-rt-runtime", &refused.cpu_rt_runtime, "leave it out, or use `--ulimit rtprio=…` when it is made"),
        ("--kernel-memory", &refused.kernel_memory, "use `--memory`: kernels have no such limit any more"),
    ] {
        if given.is_some() {
            return Err(SpecError::Refused { flag, advice }.into());
        }
    }
    let size = |size: ByteSize| if size.0 == 0 { Limit::None } else { Limit::At(size) };
    let number = |number: u64| if number == 0 { Limit::None } else { Limit::At(number) };
    let update = Update {
        restart: args.restart,
        memory: args.memory.map(size),
        cpus: args.cpus,
        pids: args.pids_limit.map(pids).transpose()?,
        memory_reservation: args.memory_reservation.map(size),
        memory_swap: args.memory_swap,
        cpu_shares: args.cpu_shares.map(number),
        cpu_quota: args.cpu_quota.map(number),
        cpu_period: args.cpu_period.map(number),
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        blkio_weight: args.blkio_weight,
    };
    each(&args.names, output, async |name: &str| {
        client.update(name, &update).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn prune(client: &Client, args: &ContainerPruneArgs, output: Output) -> Result<i32, CliError> {
    let filters = Filters::new(&args.filter, &["label", "until"])?;
    let label = |(key, value, without): (&str, Option<&str>, bool)| Label {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        without,
    };
    let prune =
        PruneContainers { until: until(&filters, OffsetDateTime::now_utc())?, labels: filters.labels().map(label).collect() };
    if !args.force && !agreed(output, "This removes all containers that do not run and belong to no stack.")? {
        return Ok(0);
    }
    let pruned = client.prune_containers(&prune).await?;
    if !pruned.removed.is_empty() {
        output.line("Deleted Containers:")?;
        for id in &pruned.removed {
            output.line(id.as_str())?;
        }
        output.line("")?;
    }
    output.line(format!("Total reclaimed space: {}", table::bytes(pruned.bytes)))?;
    Ok(0)
}

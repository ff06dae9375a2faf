//! Networks and volumes as people list them.

use time::OffsetDateTime;

use super::table::{self, Cell};
use crate::cli::time::ago;
use crate::model::Owner;
use crate::observed::{Network, Volume};

pub fn networks(networks: &[Network], colour: bool) -> String {
    let rows: Vec<[Cell; 6]> = networks
        .iter()
        .map(|network| {
            let internal = if network.spec.internal { "internal" } else { "" };
            [
                network.id.chars().take(12).collect::<String>().into(),
                network.name.to_string().into(),
                subnets(network).into(),
                network.bridge.clone().into(),
                owner(network.owner.as_ref()).into(),
                if network.faults.is_empty() { internal.into() } else { network.faults.join("; ").into() },
            ]
        })
        .collect();
    table::render(["NETWORK ID", "NAME", "SUBNET", "BRIDGE", "STACK", "NOTES"], &rows, colour)
}

fn subnets(network: &Network) -> String {
    let all: Vec<String> =
        network.subnet.iter().map(ToString::to_string).chain(network.subnet6.iter().map(ToString::to_string)).collect();
    all.join(", ")
}

pub fn volumes(volumes: &[Volume], now: OffsetDateTime, colour: bool) -> String {
    let rows: Vec<[Cell; 4]> = volumes
        .iter()
        .map(|volume| {
            [
                volume.name.to_string().into(),
                owner(volume.owner.as_ref()).into(),
                ago(volume.created, now).into(),
                if volume.present { volume.path.display().to_string().into() } else { "its folder is gone".into() },
            ]
        })
        .collect();
    table::render(["VOLUME NAME", "STACK", "CREATED", "PATH"], &rows, colour)
}

fn owner(owner: Option<&Owner>) -> String {
    owner.map(|owner| owner.stack.to_string()).unwrap_or_default()
}

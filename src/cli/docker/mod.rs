//! Docker's containers as a stack: asked for by its socket, and described in setpoint's own words. Nothing of them is touched.

mod inspect;
mod socket;
mod translate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub use socket::DockerError;

use crate::manifest::{Desired, Placed};
use crate::model::spec::{ContainerSpec, ImageSource, ImageSpec, NetworkSpec, Pull};
use crate::model::{Name, PortMapping};
use inspect::{Container, Image, Listed, Network};
use socket::{get, segment};
use translate::Around;

/// Where Docker's daemon listens.
pub const SOCKET: &str = "/var/run/docker.sock";

/// The containers of these names as the stack's, all that run where none is named; and what could not be taken over.
pub async fn read(socket: &Path, names: &[String], stack: &Name) -> Result<(Desired, Vec<String>), DockerError> {
    let listed: Vec<Listed> = get(socket, "/containers/json?all=1").await?;
    let named = listed.iter().filter_map(|one| {
        let name = one.names.iter().find_map(|name| name.strip_prefix('/').filter(|name| !name.contains('/')))?;
        Some((one.id.clone(), name.parse().ok()?))
    });
    let known: BTreeMap<String, Name> = named.collect();
    let wanted: Vec<String> = match names {
        [] => listed.into_iter().filter(|one| one.state == "running").map(|one| one.id).collect(),
        names => names.to_vec(),
    };
    let mut desired = Desired::empty(stack.clone());
    let mut warnings = Vec::new();
    for text in wanted {
        let container: Container = get(socket, &format!("/containers/{}/json", segment(&text))).await?;
        one(socket, &container, &known, &mut desired, &mut warnings).await?;
    }
    Ok((desired, warnings))
}

/// Adds a container, with its image and its networks.
async fn one(
    socket: &Path,
    container: &Container,
    known: &BTreeMap<String, Name>,
    desired: &mut Desired,
    warnings: &mut Vec<String>,
) -> Result<(), DockerError> {
    let text = container.name.trim_start_matches('/');
    let mut told = Vec::new();
    let image: Image = get(socket, &format!("/images/{}/json", segment(&container.image))).await?;
    // What was started by its id has a name all the same, if the image has one.
    let tags = image.repo_tags.unwrap_or_default();
    let is_id = |text: &str| text.starts_with("sha256:") || container.image.trim_start_matches("sha256:").starts_with(text);
    let reference = Some(&container.config.image).filter(|text| !is_id(text)).or(tags.first());
    let of_image = image.config.unwrap_or_default();
    match (text.parse::<Name>(), reference.map(|text| text.parse())) {
        (Ok(name), Some(Ok(reference))) => {
            let around = Around { image: reference, of_image: &of_image, names: known };
            let mut spec = translate::spec(container, &around, &mut told);
            if container.host_config.auto_remove {
                told.push("it is removed when it exits, and a stack's container is not".to_owned());
            }
            networks(socket, container, &mut spec, desired, &mut told).await?;
            let image = ImageSpec::new(spec.image.clone(), ImageSource::Pull(Pull::default()));
            if let Some(pulled) = crate::manifest::pulled_name(&spec.image, |name| {
                desired.images.get(name).is_some_and(|known| known.reference != spec.image)
            }) {
                desired.images.insert(pulled, image);
            }
            desired.containers.insert(name.clone(), Placed { engine_name: name, external: false, spec });
        }
        (Err(error), _) => told.push(error.to_string()),
        (_, Some(Err(error))) => told.push(format!("it is left out, because its image cannot be named: {error}")),
        (_, None) => told.push("it is left out, because its image has no name: give it one with `docker tag`".to_owned()),
    }
    warnings.extend(told.into_iter().map(|what| format!("{text}: {what}")));
    Ok(())
}

/// Declares the networks of a container, and names them as the stack's own will be called.
async fn networks(
    socket: &Path,
    container: &Container,
    spec: &mut ContainerSpec,
    desired: &mut Desired,
    told: &mut Vec<String>,
) -> Result<(), DockerError> {
    for (name, attachment) in std::mem::take(&mut spec.networks) {
        let Ok(engine_name) = desired.stack.join(&name) else {
            told.push(format!("the network {name} has too long a name"));
            continue;
        };
        let is_own = container.network_settings.networks.iter().flatten().any(|(known, _)| *known == *name.as_str());
        let (is_fixed, is_fixed6) = (attachment.ipv4_address.is_some(), attachment.ipv6_address.is_some());
        spec.networks.insert(engine_name.clone(), attachment);
        let placed =
            desired.networks.entry(name.clone()).or_insert(Placed { engine_name, external: false, spec: NetworkSpec::default() });
        if !is_own {
            continue;
        }
        let network: Network = get(socket, &format!("/networks/{}", segment(name.as_str()))).await?;
        placed.spec.internal = network.internal;
        placed.spec.labels = network.labels.unwrap_or_default();
        placed.spec.labels.retain(|key, _| !key.starts_with("com.docker.compose."));
        if network.enable_ipv6 {
            placed.spec.ipv6.get_or_insert_default();
        }
        let configs = network.ipam.config.unwrap_or_default();
        if is_fixed {
            // Others get their addresses as they come.
            placed.spec.subnet = configs.iter().find_map(|config| config.subnet.parse().ok());
        }
        if is_fixed6 && let Some(six) = &mut placed.spec.ipv6 {
            six.subnet = configs.iter().find_map(|config| config.subnet.parse().ok());
        }
        if is_fixed || is_fixed6 {
            told.push(format!("the network {name} has its addresses: remove it in Docker before the stack is applied"));
        }
        if network.driver != "bridge" {
            told.push(format!("of the network {name}, its driver is not taken over"));
        }
        for (key, value) in network.options.iter().flatten() {
            if let Err(error) = placed.spec.driver_opts.set(key, value) {
                told.push(format!("of the network {name}: {error}"));
            }
        }
    }
    let has_ipv6 =
        |name: &Name| desired.networks.values().any(|placed| placed.engine_name == *name && placed.spec.ipv6.is_some());
    if !spec.networks.keys().any(has_ipv6) {
        spec.ports = std::mem::take(&mut spec.ports).into_iter().map(PortMapping::at_all_of_ipv4).collect();
    }
    Ok(())
}

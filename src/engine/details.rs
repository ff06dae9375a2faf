//! All that is known of one container, for whoever looks closely.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::containers::ContainersError;
use super::{Engine, EngineError, mounts};
use crate::files;
use crate::model::{ContainerId, Name};
use crate::observed::{Check, Container};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    pub container: Container,
    pub auto_remove: bool,
    pub oom_killed: bool,
    /// Failed health checks in a row, and the last ones that were made.
    pub failing: u32,
    pub checks: Vec<Check>,
    /// When it last began, where that is known.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started: Option<OffsetDateTime>,
    /// Its monitor's process.
    pub monitor: Option<i32>,
    /// What containers of its image run by default, as the image has it.
    pub image_config: Value,
    /// The folders of its volumes on the host.
    pub volumes: BTreeMap<Name, PathBuf>,
    pub networks: BTreeMap<Name, Joined>,
    pub folders: Folders,
    /// Where that was asked for.
    pub sizes: Option<Sizes>,
}

/// A network that a container is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub id: String,
    /// The host's address in it and the length of its prefix, of each family that it has.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    #[serde(default)]
    pub ipv6: Option<(Ipv6Addr, u8)>,
}

/// Where things of a container are on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    pub run: PathBuf,
    pub logs: PathBuf,
    pub upper: PathBuf,
    pub work: PathBuf,
    /// The topmost first.
    pub lower: Vec<PathBuf>,
}

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// What the container has written.
    pub written: u64,
    /// With its image.
    pub whole: u64,
}

impl Engine {
    pub async fn details(&self, id: &ContainerId, sizes: bool) -> Result<Details, EngineError> {
        let record = self.0.containers.get(id)?;
        let observed = self.observe().await?;
        let found = observed.containers.into_iter().find(|container| container.id == *id);
        let container = found.ok_or_else(|| ContainersError::NotFound { text: record.name.to_string() })?;
        let container = Container { health: self.health(id)?, ..container };
        let status = self.0.containers.status(id)?;
        let folder = self.0.instance.container_dir(id);
        let layers = self.0.images.rootfs(record.image_digest)?.layers;
        let digest = record.image_digest;
        let config: Value = serde_json::from_slice(&self.0.images.raw_config(digest)?)
            .map_err(|source| EngineError::ImageConfig { digest, source })?;
        let used: Vec<&Name> = mounts::volumes_of(&record.spec).collect();
        let upper = folder.join("upper");
        let sizes = if sizes {
            let written = upper.clone();
            let written = tokio::task::spawn_blocking(move || files::usage(&written)).await;
            let written = written.map_err(|_| EngineError::Interrupted)??;
            let image = observed.images.iter().find(|image| image.digest == digest).map_or(0, |image| image.size);
            Some(Sizes { written, whole: written + image })
        } else {
            None
        };
        Ok(Details {
            auto_remove: record.auto_remove,
            oom_killed: status.oom_killed,
            failing: status.failing,
            checks: status.checks,
            started: status.began,
            monitor: status.monitor.filter(|_| container.state.is_alive()).map(|(pid, _)| pid),
            image_config: config.get("config").cloned().unwrap_or(Value::Null),
            volumes: observed
                .volumes
                .into_iter()
                .filter(|volume| used.contains(&&volume.name))
                .map(|volume| (volume.name, volume.path))
                .collect(),
            networks: observed
                .networks
                .into_iter()
                .filter(|network| record.spec.networks.contains_key(&network.name))
                .map(|network| {
                    let ipv4 = network.subnet.map(|subnet| (network.spec.gateway_in(subnet), subnet.prefix()));
                    let six = network.spec.ipv6.as_ref().zip(network.subnet6);
                    let ipv6 = six.map(|(spec, subnet)| (spec.gateway_in(subnet), subnet.prefix()));
                    (network.name, Joined { id: network.id, ipv4, ipv6 })
                })
                .collect(),
            folders: Folders {
                run: self.0.instance.container_run_dir(id),
                logs: folder.join(crate::engine::monitor::LOGS),
                work: folder.join("work"),
                upper,
                lower: layers,
            },
            sizes,
            container,
        })
    }

    /// What each of some containers has written, and that with its image: for lists that show sizes.
    pub async fn sizes(&self) -> Result<BTreeMap<ContainerId, Sizes>, EngineError> {
        let engine = self.clone();
        let work = move || {
            let images = engine.0.images.list()?;
            let mut all = BTreeMap::new();
            for record in engine.0.containers.list()? {
                let written = files::usage(&engine.0.instance.container_dir(&record.id).join("upper"))?;
                let image = images.iter().find(|image| image.digest == record.image_digest).map_or(0, |image| image.size);
                all.insert(record.id.clone(), Sizes { written, whole: written + image });
            }
            Ok(all)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }
}

//! Care for what the instance keeps: checks, prunes and measures. Here, because what may go is known by those who use it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::images::{CheckReport, ImagesUsage, PruneFilter, Pruned};
use super::{Engine, EngineError, mounts};
use crate::files;
use crate::model::{ContainerId, Digest, Name, ProgressSink};

/// What the instance takes on the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskUsage {
    pub images: ImagesUsage,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeUsage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUsage {
    pub id: ContainerId,
    pub name: Name,
    pub image_digest: Digest,
    pub running: bool,
    /// Bytes that it has written, and of its log.
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUsage {
    pub name: Name,
    /// Containers that mount it.
    pub containers: u64,
    pub size: u64,
}

impl Engine {
    /// Checks all images, and brings what is damaged again where that is asked for.
    pub async fn check_images(&self, repair: bool, progress: ProgressSink) -> Result<CheckReport, EngineError> {
        Ok(self.0.images.check(repair, progress).await?)
    }

    /// Removes images that neither a container nor `keep` needs and that the filter takes.
    pub async fn prune_images(&self, filter: PruneFilter, keep: &BTreeSet<Digest>) -> Result<Pruned, EngineError> {
        let live = self.live_images(keep)?;
        let images = self.0.images.clone();
        let pruned = tokio::task::spawn_blocking(move || images.prune(&filter, &live)).await;
        Ok(pruned.map_err(|_| EngineError::Interrupted)??)
    }

    /// Deletes what neither an image with a name, nor a container, nor `keep` needs.
    pub async fn collect(&self, keep: &BTreeSet<Digest>) -> Result<(), EngineError> {
        let live = self.live_images(keep)?;
        let images = self.0.images.clone();
        tokio::task::spawn_blocking(move || images.collect(&live)).await.map_err(|_| EngineError::Interrupted)??;
        Ok(())
    }

    /// What a container was made from, and what else must stay.
    fn live_images(&self, keep: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, EngineError> {
        let used = self.0.containers.list()?.into_iter().map(|container| container.image_digest);
        Ok(used.chain(keep.iter().copied()).collect())
    }

    /// What everything takes. Walks through all that containers and volumes have written.
    pub async fn disk_usage(&self) -> Result<DiskUsage, EngineError> {
        let engine = self.clone();
        let measured = tokio::task::spawn_blocking(move || engine.measure()).await;
        measured.map_err(|_| EngineError::Interrupted)?
    }

    fn measure(&self) -> Result<DiskUsage, EngineError> {
        let records = self.0.containers.list()?;
        let live = records.iter().map(|record| record.image_digest).collect();
        let mut usage = DiskUsage { images: self.0.images.usage(&live)?, ..DiskUsage::default() };
        let mut mounted: BTreeMap<Name, u64> = BTreeMap::new();
        for record in records {
            let own = mounts::own_volumes(&self.0, &record)?;
            for volume in mounts::volumes_of(&record.spec).cloned().chain(own).collect::<BTreeSet<_>>() {
                *mounted.entry(volume).or_default() += 1;
            }
            usage.containers.push(ContainerUsage {
                running: self.0.containers.state(&record.id)?.is_alive(),
                size: files::usage(&self.0.instance.container_dir(&record.id))?,
                id: record.id,
                name: record.name,
                image_digest: record.image_digest,
            });
        }
        for volume in self.0.volumes.list()? {
            let containers = mounted.get(&volume.name).copied().unwrap_or(0);
            usage.volumes.push(VolumeUsage { size: files::usage(&volume.path)?, name: volume.name, containers });
        }
        Ok(usage)
    }
}

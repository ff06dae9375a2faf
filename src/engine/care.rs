//! Care for what the instance keeps: checks, prunes and measures. Here, because what may go is known by those who use it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::images::{CheckReport, ImagesUsage, Live, PruneFilter, Pruned};
use super::{Engine, EngineError, containers, mounts};
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

/// Asks the database what must stay besides what containers are made of.
pub trait Keep: Fn(&Transaction<'_>) -> Live + Send + 'static {}

impl<F: Fn(&Transaction<'_>) -> Live + Send + 'static> Keep for F {}

/// What a container was made from, or is being made from, and what else must stay.
pub(super) fn live_images(t: &Transaction<'_>, keep: &impl Keep) -> Live {
    let mut live = containers::images_in_use(t)?;
    live.extend(keep(t)?);
    Ok(live)
}

impl Engine {
    /// Checks all images, and brings what is damaged again where that is asked for.
    pub async fn check_images(&self, repair: bool, progress: ProgressSink) -> Result<CheckReport, EngineError> {
        Ok(self.0.images.check(repair, progress).await?)
    }

    /// Removes images that neither a container nor `keep` needs and that the filter takes.
    pub async fn prune_images(&self, filter: PruneFilter, keep: impl Keep) -> Result<Pruned, EngineError> {
        let images = self.0.images.clone();
        let work = move || {
            let members = images.all_members()?;
            let mut pruned = images.prune(&filter, |t| live_images(t, &keep))?;
            pruned.bytes += images.collect_among(&members, |t| live_images(t, &keep))?.bytes;
            Ok(pruned)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }

    /// Deletes what neither an image with a name, nor a container, nor `keep` needs.
    pub async fn collect(&self, keep: impl Keep) -> Result<(), EngineError> {
        let images = self.0.images.clone();
        let collected = tokio::task::spawn_blocking(move || images.collect(|t| live_images(t, &keep))).await;
        collected.map_err(|_| EngineError::Interrupted)??;
        Ok(())
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
                id: record.id.clone(),
                name: record.name.clone(),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::engine::NewContainer;
    use crate::engine::images::ImportSource;
    use crate::files::Lock;
    use crate::model::spec::{ContainerSpec, NetworkMode};
    use crate::model::{ImageRef, Instance};

    /// An engine with an image that nobody uses.
    async fn engine(folder: &std::path::Path) -> (Engine, NewContainer, Digest) {
        let engine = Engine::open(Instance::new(folder.join("s"), folder.join("r"), None)).await.unwrap();
        std::fs::create_dir(folder.join("root")).unwrap();
        std::fs::write(folder.join("root/file"), "content").unwrap();
        let reference: ImageRef = "localhost/app:1".parse().unwrap();
        let source = ImportSource::Path(folder.join("root"));
        let digest = engine.import(source, &reference, Default::default(), None, Arc::new(|_| {})).await.unwrap();
        let spec = ContainerSpec { network_mode: NetworkMode::None, ..ContainerSpec::new(reference) };
        (engine, NewContainer { name: None, owner: None, spec, auto_remove: false }, digest)
    }

    fn all() -> PruneFilter {
        PruneFilter { all: true, ..PruneFilter::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_container_that_is_made_while_images_are_pruned_keeps_its_own() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let (engine, new, digest) = engine(folder.path()).await;
        // Somebody publishes an image: the prune has begun, and has to wait.
        let publishing = Lock::wait(&folder.path().join("s/images/lock")).unwrap();
        let other = engine.clone();
        let pruning = tokio::spawn(async move { other.prune_images(all(), |_| Ok(BTreeSet::new())).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let id = engine.create(new).await.unwrap();
        drop(publishing);
        assert_eq!(pruning.await.unwrap().unwrap(), Pruned::default());
        assert_eq!(engine.images().unwrap().len(), 1);
        // Once it is gone, so may be its image.
        engine.remove(&id, true).await.unwrap();
        let pruned = engine.prune_images(all(), |_| Ok(BTreeSet::new())).await.unwrap();
        assert_eq!(pruned.images.iter().map(|image| image.digest).collect::<Vec<_>>(), [digest]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_container_whose_image_goes_before_it_is_made_is_not_made() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let (engine, new, digest) = engine(folder.path()).await;
        engine.prune_images(all(), |_| Ok(BTreeSet::new())).await.unwrap();
        // As if it had been looked up before.
        let error = engine.create_of(digest, new).await.unwrap_err();
        assert!(matches!(error, EngineError::NoSuchImage { .. }), "{error}");
        assert!(engine.containers().list().unwrap().is_empty());
    }
}

//! What is changed of a container while it is there: its name, its limits, its restart policy; and which containers go when
//! nobody needs them.

use time::OffsetDateTime;

use super::{Engine, EngineError, Kind};
use crate::engine::containers::ContainersError;
use crate::files;
use crate::model::spec::{IdList, ResourceLimits, SwapLimit};
use crate::model::{ByteSize, ContainerId, Cpus, Name, RestartPolicy};

/// What is to be changed; the rest stays as it is. A limit of `Some(None)` is lifted.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub restart: Option<RestartPolicy>,
    pub memory: Option<Option<ByteSize>>,
    pub cpus: Option<Option<Cpus>>,
    pub pids: Option<Option<u32>>,
    pub memory_reservation: Option<Option<ByteSize>>,
    pub memory_swap: Option<SwapLimit>,
    pub cpu_shares: Option<Option<u64>>,
    pub cpu_quota: Option<Option<u64>>,
    pub cpu_period: Option<Option<u64>>,
    pub cpuset_cpus: Option<IdList>,
    pub cpuset_mems: Option<IdList>,
    pub blkio_weight: Option<u16>,
}

/// A label that containers must have, or must not.
#[derive(Clone, Debug)]
pub struct WantedLabel {
    pub key: String,
    pub value: Option<String>,
    pub without: bool,
}

/// Which containers a prune takes.
#[derive(Clone, Debug, Default)]
pub struct Unneeded {
    /// Created before then.
    pub until: Option<OffsetDateTime>,
    pub labels: Vec<WantedLabel>,
}

impl Engine {
    /// Changes a container, of the running one too.
    pub async fn change(&self, id: &ContainerId, change: Change) -> Result<(), EngineError> {
        let record = self.0.containers.get(id)?;
        if record.auto_remove && change.restart.is_some_and(|restart| restart != RestartPolicy::No) {
            return Err(EngineError::RemovedAndRestarted { name: record.name });
        }
        let now = record.spec.limits.clone();
        let limits = ResourceLimits {
            memory: change.memory.unwrap_or(now.memory),
            cpus: change.cpus.unwrap_or(now.cpus),
            pids: change.pids.unwrap_or(now.pids),
            memory_reservation: change.memory_reservation.unwrap_or(now.memory_reservation),
            memory_swap: change.memory_swap.or(now.memory_swap),
            cpu_shares: change.cpu_shares.unwrap_or(now.cpu_shares),
            cpu_quota: change.cpu_quota.unwrap_or(now.cpu_quota),
            cpu_period: change.cpu_period.unwrap_or(now.cpu_period),
            cpuset_cpus: change.cpuset_cpus.or_else(|| now.cpuset_cpus.clone()),
            cpuset_mems: change.cpuset_mems.or_else(|| now.cpuset_mems.clone()),
            blkio_weight: change.blkio_weight.or(now.blkio_weight),
            ..now.clone()
        };
        limits.check().map_err(|(which, why)| EngineError::Limit { which, why })?;
        Ok(self.0.containers.update(id, change.restart, (limits != now).then_some(limits)).await?)
    }

    /// Gives a container another name, by which others find it from now on.
    pub async fn rename(&self, id: &ContainerId, name: &Name) -> Result<(), EngineError> {
        let record = self.0.containers.get(id)?;
        if let Some(owner) = record.owner {
            return Err(EngineError::NamedByStack { name: record.name, stack: owner.stack });
        }
        let held = self.0.containers.hold(id).await?;
        self.0.containers.rename(&held, name)?;
        Ok(self.0.networks.rename(id, &record.name, name).await?)
    }

    /// Removes the containers that do not run and belong to no stack. Gives them, and the bytes that they took.
    pub async fn prune_containers(&self, unneeded: &Unneeded) -> Result<(Vec<ContainerId>, u64), EngineError> {
        let (mut removed, mut bytes) = (Vec::new(), 0);
        for record in self.0.containers.list()? {
            let labels = &record.spec.labels;
            let takes = |wanted: &WantedLabel| {
                let has = labels.get(&wanted.key).is_some_and(|found| wanted.value.as_ref().is_none_or(|value| value == found));
                has != wanted.without
            };
            let old = unneeded.until.is_none_or(|until| record.created < until);
            // What a stack has made is its own: a job that has done its work would be done again.
            if record.owner.is_some() || !old || !unneeded.labels.iter().all(takes) {
                continue;
            }
            if self.0.containers.state(&record.id)?.is_alive() {
                continue;
            }
            let folder = self.0.instance.container_dir(&record.id);
            let size = tokio::task::spawn_blocking(move || files::usage(&folder)).await;
            let size = size.map_err(|_| EngineError::Interrupted)??;
            match self.remove(&record.id, false).await {
                Ok(()) => {
                    removed.push(record.id.clone());
                    bytes += size;
                }
                // Started or removed by somebody else meanwhile.
                Err(EngineError::Running { .. } | EngineError::Containers(ContainersError::StillRunning { .. })) => {}
                Err(error) if error.status() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((removed, bytes))
    }
}

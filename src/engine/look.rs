//! One look at the host: what is recorded, and what the kernel has of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::containers::Record;
use super::monitor::Status;
use super::networks::Live;
use super::vigil::{Round, Run};
use super::{Engine, EngineError, closely};
use crate::model::{ContainerId, Name, Owner};
use crate::observed::{Container, ContainerState, Fault, Health, HealthReport, Observed};

/// So many containers are looked into by one thread.
const WORTH_A_THREAD: usize = 64;

impl Engine {
    /// Everything that this instance has on the host. One netlink dump and one look at the packet filter, however many
    /// containers there are.
    pub async fn observe(&self) -> Result<Observed, EngineError> {
        self.look(|_| false).await
    }

    /// The same, and what of the containers of a stack, or of all stacks, is not as it was made, though they run.
    pub async fn observe_closely(&self, stack: Option<&Name>) -> Result<Observed, EngineError> {
        self.look(|owner| stack.is_none_or(|stack| owner.stack == *stack)).await
    }

    /// All containers, in the order of their creation, each with its status.
    pub fn with_statuses(&self) -> Result<Vec<(Arc<Record>, Status)>, EngineError> {
        let containers = &self.0.containers;
        match self.0.vigil.get() {
            Some(vigil) => vigil.statuses(containers.list()?, containers),
            None => Ok(containers.with_statuses()?),
        }
    }

    /// Looks closely at those whose owners are chosen.
    async fn look(&self, chosen: impl Fn(&Owner) -> bool) -> Result<Observed, EngineError> {
        let parts = &self.0;
        let is_chosen = |record: &Record| record.owner.as_ref().is_some_and(&chosen);
        let found = self.with_statuses()?;
        let runs: Vec<Run> = found.iter().filter_map(|(record, status)| run(record, status)).collect();
        let vigil = parts.vigil.get();
        let mut round = match vigil {
            Some(vigil) => vigil.begin(&runs, is_chosen, &parts.containers)?,
            None => Round::default(),
        };
        let live: Vec<Live> = found
            .iter()
            .filter_map(|(record, status)| {
                let inside = is_chosen(record) && closely::is_seen_inside(record) && !round.spares_inside(&record.id);
                Some(Live { inside, ..live(&record.id, status, None)? })
            })
            .collect();
        let known = round.known.take();
        let faults = self.faults(&found, is_chosen, &round);
        // Both ask the kernel, and neither waits for the other.
        let network = async { Ok::<_, EngineError>(parts.networks.observe(&live, known).await?) };
        let (mut network, mut faults) = tokio::try_join!(network, faults)?;
        if let Some(vigil) = vigil {
            let (faults, broken) = (|id: &_| faults.contains_key(id), |id: &_| network.network_faults.contains_key(id));
            vigil.end(round, faults, broken, std::mem::take(&mut network.namespaces), network.seen)?;
        }
        let images = parts.images.present()?;
        let containers = found
            .into_iter()
            .map(|(record, status)| Container {
                networks: network.endpoints.remove(&record.id).unwrap_or_default(),
                ports: network.ports.remove(&record.id).unwrap_or_default(),
                faults: faults.remove(&record.id).unwrap_or_default(),
                network_faults: network.network_faults.remove(&record.id).unwrap_or_default(),
                id: record.id.clone(),
                name: record.name.clone(),
                owner: record.owner.clone(),
                created: record.created,
                spec: record.spec.clone(),
                image_digest: record.image_digest,
                restarts: status.restarts,
                health: None,
                paused: status.paused && status.state.is_running(),
                state: status.state,
            })
            .collect();
        Ok(Observed {
            containers,
            images: images.whole,
            gone: images.gone,
            networks: network.networks,
            volumes: parts.volumes.list()?,
            firewall: network.firewall,
            known: Default::default(),
        })
    }

    /// Of those that have any.
    async fn faults(
        &self,
        found: &[(Arc<Record>, Status)],
        is_chosen: impl Fn(&Record) -> bool,
        round: &Round,
    ) -> Result<BTreeMap<ContainerId, Vec<Fault>>, EngineError> {
        let to_look_at: Vec<_> = found
            .iter()
            .filter(|(record, status)| is_chosen(record) && status.state.is_running())
            .map(|(record, status)| (Arc::clone(record), status.clone(), round.spares_limits(&record.id)))
            .filter(|(record, _, spared)| !spared || closely::has_more(&record.spec))
            .collect();
        if to_look_at.is_empty() {
            return Ok(BTreeMap::new());
        }
        let engine = self.clone();
        let work = move || {
            let look = |(record, status, spared): &(Arc<Record>, Status, bool)| {
                closely::faults(&engine.0, record, status, *spared).map(|faults| (record.id.clone(), faults))
            };
            // The kernel answers several at once; a few containers are not worth a thread.
            let threads = if to_look_at.len() < WORTH_A_THREAD {
                1
            } else {
                std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
            };
            let share = to_look_at.len().div_ceil(threads).max(1);
            std::thread::scope(|scope| {
                let parts: Vec<_> =
                    to_look_at.chunks(share).map(|part| scope.spawn(move || part.iter().map(look).collect::<Vec<_>>())).collect();
                let found =
                    parts.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                let all: Result<Vec<_>, EngineError> = found.collect();
                Ok(all?.into_iter().filter(|(_, faults)| !faults.is_empty()).collect())
            })
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }

    /// One container, as [`observe`](Self::observe) sees it.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Container, EngineError> {
        let name = self.0.containers.get(id)?.name;
        let found = self.observe().await?.containers.into_iter().find(|container| container.id == *id);
        let found = match found {
            Some(container) => Some(Container { health: self.health(id)?, ..container }),
            None => None,
        };
        // It may have been removed between the two looks.
        found.ok_or_else(|| super::containers::ContainersError::NotFound { text: name.to_string() }.into())
    }

    /// What a container's checks said, if it has any.
    pub(super) fn health(&self, id: &ContainerId) -> Result<Option<HealthReport>, EngineError> {
        let status = self.0.containers.status(id)?;
        let ContainerState::Running { health, .. } = status.state else { return Ok(None) };
        let report = HealthReport { status: health, failing_streak: status.failing, log: status.checks };
        Ok((health != Health::None).then_some(report))
    }

    /// The containers that run now, for the repair of networks.
    pub(super) fn live(&self) -> Result<Vec<Live>, EngineError> {
        let mut all = Vec::new();
        for record in self.0.containers.list()? {
            all.extend(self.live_one(&record)?);
        }
        Ok(all)
    }

    /// The same of one; `None` when it does not run.
    pub(super) fn live_one(&self, record: &Record) -> Result<Option<Live>, EngineError> {
        let mac = record.spec.mac_address.map(|mac| mac.0);
        Ok(live(&record.id, &self.0.containers.status(&record.id)?, mac))
    }
}

fn run(record: &Arc<Record>, status: &Status) -> Option<Run> {
    let ContainerState::Running { pid, .. } = status.state else { return None };
    Some(Run::new(Arc::clone(record), pid, status.started_ticks))
}

fn live(id: &ContainerId, status: &Status, mac: Option<[u8; 6]>) -> Option<Live> {
    match &status.state {
        ContainerState::Running { pid, .. } => {
            Some(Live { id: id.clone(), pid: *pid, started_ticks: status.started_ticks, mac, inside: false })
        }
        ContainerState::Created | ContainerState::Restarting { .. } | ContainerState::Exited { .. } | ContainerState::Lost => {
            None
        }
    }
}

//! Ends: what is released when a container has exited for good, what a crash left half-made, and the end of everything.

use std::collections::HashSet;

use super::vigil::Vigil;
use super::{Engine, EngineError, mounts};
use crate::files;
use crate::model::{ContainerId, Name, Span};
use crate::observed::ContainerState;

/// What a restart policy is asked about a container of which nobody knows how it ended.
const UNKNOWN: i32 = 255;

impl Engine {
    /// What a container that exited for good no longer needs goes: its addresses, links and published ports, and the
    /// container itself when it was to be removed at its end. Called by its monitor, in a process of its own.
    pub async fn settle(&self, id: &ContainerId) -> Result<(), EngineError> {
        let parts = &self.0;
        let held = parts.containers.hold(id).await?;
        // Somebody may have started it again, or removed it, in the meantime.
        let Some(record) = parts.containers.list()?.into_iter().find(|record| record.id == *id) else { return Ok(()) };
        if parts.containers.state(id)?.is_alive() {
            return Ok(());
        }
        parts.networks.detach(id).await?;
        if record.auto_remove {
            let own = mounts::own_volumes(parts, &record)?;
            parts.containers.remove_held(held).await?;
            mounts::remove_unused(parts, own)?;
        }
        Ok(())
    }

    /// Finishes or undoes what a crash left half-made, and removes what belongs to nothing. What another live process
    /// works on at this moment is left alone. Cheap when there is nothing to do.
    pub async fn recover(&self) -> Result<(), EngineError> {
        let parts = &self.0;
        let vigil = parts.vigil.get();
        let (mut alive, mut sweep) = (HashSet::new(), None);
        if let Some(vigil) = vigil {
            self.with_statuses()?;
            alive = vigil.alive()?;
            sweep = vigil.begin_sweep(&parts.containers)?;
        }
        let found = parts.containers.recover(&alive, vigil.is_none() || sweep.is_some()).await?;
        for error in &found.failures {
            // The next recovery tries again; what works now must not wait for it.
            tracing::warn!(%error, "recover");
        }
        if let Some((vigil, sweep)) = vigil.zip(sweep).filter(|_| found.is_clean) {
            vigil.end_sweep(sweep)?;
        }
        for id in &found.unsettled {
            self.remove(id, true).await?;
        }
        let containers = parts.containers.clone();
        // A container in the middle of its start is held, or has a monitor already, before it runs. In this order: its lock
        // is let go only when it has a monitor. What cannot be told is kept, for the next recovery to ask again.
        let keeps = move |id: &ContainerId| {
            alive.contains(id) || containers.is_held(id).unwrap_or(true) || containers.has_monitor(id).unwrap_or(true)
        };
        let links = parts.vigil.get().map(Vigil::host).transpose()?.flatten();
        parts.networks.recover(keeps, links).await?;
        parts.volumes.recover()?;
        let images = parts.images.clone();
        tokio::task::spawn_blocking(move || images.recover()).await.map_err(|_| EngineError::Interrupted)??;
        Ok(())
    }

    /// Does what is due for a container whose monitor was killed: it is removed if it is one that is removed at its end,
    /// started again if its policy says so of one that did not end well, and else what it held is given back. True when it
    /// stays lost.
    pub async fn see_to_lost(&self, id: &ContainerId) -> Result<bool, EngineError> {
        let parts = &self.0;
        let Some(record) = parts.containers.list()?.into_iter().find(|record| record.id == *id) else { return Ok(false) };
        if parts.containers.state(id)? != ContainerState::Lost {
            return Ok(false);
        }
        if record.auto_remove {
            self.remove_ended(id).await?;
            return Ok(false);
        }
        // How it ended is not known, which is no success.
        if record.spec.restart.restarts(UNKNOWN, 0) {
            self.start(id).await?;
            return Ok(false);
        }
        let held = parts.containers.hold(id).await?;
        if parts.containers.runs(&held).await? {
            return Ok(false);
        }
        parts.containers.clear(&held).await?;
        parts.networks.detach(id).await?;
        Ok(true)
    }

    /// Starts the containers of no stack that ought to run and do not, as after a reboot. Gives those that could not.
    pub async fn revive(&self) -> Result<Vec<(Name, EngineError)>, EngineError> {
        let mut failed = Vec::new();
        for record in self.0.containers.list()? {
            let policy = record.spec.restart;
            let wanted = match self.0.containers.state(&record.id)? {
                ContainerState::Lost => policy.restarts(UNKNOWN, 0),
                ContainerState::Exited { stopped, error, .. } => policy.keeps_running() && !stopped && error.is_none(),
                ContainerState::Created | ContainerState::Running { .. } | ContainerState::Restarting { .. } => false,
            };
            if record.owner.is_none()
                && wanted
                && let Err(error) = self.start(&record.id).await
            {
                failed.push((record.name.clone(), error));
            }
        }
        Ok(failed)
    }

    /// Puts a network back as it is recorded: its bridge, its address, the links of the containers that run.
    pub async fn repair_network(&self, name: &Name) -> Result<(), EngineError> {
        let live = self.live()?;
        Ok(self.0.networks.repair_network(name, &live).await?)
    }

    /// Puts back what a running container lacks and can be given without a new process: its links, its limits, the content of
    /// its configs. One that does not run gets them when it starts.
    pub async fn repair_container(&self, id: &ContainerId) -> Result<(), EngineError> {
        let held = self.0.containers.hold(id).await?;
        let Some(live) = self.live_one(&self.0.containers.get(id)?)? else { return Ok(()) };
        self.0.networks.repair_container(live).await?;
        Ok(self.0.containers.repair(&held).await?)
    }

    pub async fn repair_firewall(&self) -> Result<(), EngineError> {
        Ok(self.0.networks.repair_firewall().await?)
    }

    /// Stops and removes every container and network of this instance, and what it holds of the kernel. Images and
    /// volumes stay, the latter unless `volumes`.
    pub async fn reset(&self, volumes: bool) -> Result<(), EngineError> {
        self.recover().await?;
        let mut work = tokio::task::JoinSet::new();
        for record in self.0.containers.list()? {
            let engine = self.clone();
            work.spawn(async move {
                engine.0.containers.stop(&record.id, Some(Span::seconds(1))).await?;
                engine.remove(&record.id, true).await
            });
        }
        while let Some(done) = work.join_next().await {
            done.map_err(|_| EngineError::Interrupted)??;
        }
        self.0.networks.teardown().await?;
        self.0.containers.teardown()?;
        if volumes {
            for volume in self.0.volumes.list()? {
                self.remove_volume(&volume.name)?;
            }
        }
        self.0.db.write(|t| t.execute("DELETE FROM stacks", []))?;
        files::remove_all(&self.0.instance.run_dir().join("containers"))?;
        Ok(())
    }
}

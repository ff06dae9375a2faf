//! Removing a container with all that is its own. Idempotent: what was begun and not finished is finished by doing it again.

use super::records::Phase;
use super::{Containers, ContainersError, Held};
use crate::engine::monitor;
use crate::engine::runtime::cgroups;
use crate::files;
use crate::model::ContainerId;

impl Containers {
    /// Removes a container that does not run: its cgroup, its folders, its record. What is not there is removed already.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), ContainersError> {
        let held = self.hold(id).await?;
        self.remove_held(held).await
    }

    /// Like [`Self::remove`], for a caller who has undone other things under the container's lock.
    pub async fn remove_held(&self, held: Held) -> Result<(), ContainersError> {
        if monitor::read_state(&self.instance, &held.id)?.is_alive() {
            return Err(ContainersError::StillRunning { name: self.called(&held.id) });
        }
        self.monitor_gone(&held.id).await?;
        self.set_phase(&held.id, Phase::Removing)?;
        self.erase(held).await
    }

    /// Ends what a killed monitor left of a container's processes, and removes their cgroup.
    pub async fn clear(&self, held: &Held) -> Result<(), ContainersError> {
        let (this, id) = (self.clone(), held.id.clone());
        let cleared = tokio::task::spawn_blocking(move || this.clear_cgroup(&id)).await;
        cleared.map_err(|e| ContainersError::Spawn(std::io::Error::other(e)))?
    }

    /// Gives back what the instance holds of the kernel when it has no container left.
    pub fn teardown(&self) -> Result<(), ContainersError> {
        Ok(cgroups::remove_parent(&self.instance.cgroup_parent())?)
    }

    /// Deletes all that is a container's, its row and its lock last: as long as something is left, a recovery finds it.
    pub(super) async fn erase(&self, held: Held) -> Result<(), ContainersError> {
        let this = self.clone();
        // A large writable layer takes a while to delete.
        let work = move || {
            this.clear_cgroup(&held.id)?;
            files::failpoint("erase begun")?;
            files::remove_all(&this.instance.container_run_dir(&held.id))?;
            files::remove_all(&this.instance.container_dir(&held.id))?;
            this.delete_row(&held.id)?;
            // Whoever waits for this lock finds that its file has gone, and that there is no such container any more.
            files::remove_all(&this.lock_path(&held.id))?;
            drop(held);
            Ok(())
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(ContainersError::Spawn(std::io::Error::other(e))),
        }
    }
}

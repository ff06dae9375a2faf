//! A container that stands still for a moment, so that what it has written can be read as one state.

use super::{Containers, ContainersError, Held};
use crate::engine::monitor;
use crate::engine::runtime::cgroups::Cgroup;
use crate::files::{self, FileError};
use crate::model::ContainerId;

/// Says to a recovery that the container was frozen by a process that may have died.
const MARKER: &str = "frozen";

/// A running container that stands still until this is dropped.
#[derive(Debug)]
pub struct Frozen<'a> {
    containers: &'a Containers,
    held: &'a Held,
}

impl Containers {
    /// Freezes a container, where it runs.
    pub fn freeze<'a>(&'a self, held: &'a Held) -> Result<Option<Frozen<'a>>, ContainersError> {
        let status = monitor::read_status(&self.instance, &held.id)?;
        // One that a user has paused stands still already, and stays so.
        if !status.state.is_alive() || status.paused {
            return Ok(None);
        }
        let marker = self.instance.container_run_dir(&held.id).join(MARKER);
        std::fs::write(&marker, b"").map_err(|e| FileError::new("write", &marker, e))?;
        // From here on it is thawed, however this ends.
        let frozen = Frozen { containers: self, held };
        match self.kin(&held.id)? {
            Some(kin) => kin.freeze().map_err(ContainersError::Processes)?,
            None => Cgroup::at(&self.cgroup(&held.id)?)?.freeze()?,
        }
        Ok(Some(frozen))
    }

    /// Whether somebody has made it stand still for a moment, and has not let it go on yet.
    pub fn is_held_still(&self, id: &ContainerId) -> bool {
        self.instance.container_run_dir(id).join(MARKER).exists()
    }

    /// Lets a container go on that a killed process left frozen. The caller holds it.
    pub(super) fn thaw_left(&self, id: &ContainerId) -> Result<(), ContainersError> {
        let marker = self.instance.container_run_dir(id).join(MARKER);
        if self.is_held_still(id) {
            match self.kin(id)? {
                Some(kin) => kin.thaw().map_err(ContainersError::Processes)?,
                None => Cgroup::at(&self.cgroup(id)?)?.thaw()?,
            }
            files::remove_all(&marker)?;
        }
        Ok(())
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.containers.thaw_left(&self.held.id) {
            tracing::error!(%error, container = %self.held.id, "the container stays frozen until the next recovery");
        }
    }
}

//! A new container takes the place of one that runs: its name, the names that others know it by, and its published ports. From one
//! moment to the next, so that nobody asks in between; the old one runs on, for whom it has at work, until it is stopped.

use std::sync::Arc;

use super::containers::{ContainersError, Record, exchange_names};
use super::networks::HandOver;
use super::{Engine, EngineError, start};
use crate::files;
use crate::model::spec::ContainerSpec;
use crate::model::{ContainerId, Name};

impl Engine {
    /// Gives the container the name that another one of the same owner has, and `spec`, which is its own with the ports that it takes
    /// over. The other one comes to have the name that this one had. One that has the name already is left as it is.
    ///
    /// Guarantees: names and ports of both are rows that change in one transaction, and what the kernel has follows them.
    ///
    /// # Errors
    /// When the name is somebody else's.
    pub async fn switch(&self, id: &ContainerId, name: &Name, spec: ContainerSpec) -> Result<(), EngineError> {
        let parts = &self.0;
        let held = parts.containers.hold(id).await?;
        let record = parts.containers.get(id)?;
        if record.name == *name {
            return Ok(());
        }
        let left = match parts.containers.list()?.into_iter().find(|old| old.name == *name) {
            Some(old) if old.owner.is_none() || old.owner != record.owner => {
                return Err(ContainersError::NameTaken { name: name.clone(), by: old.id.clone() }.into());
            }
            // Somebody may have removed it meanwhile.
            old => old.map(|old| Record { name: record.name.clone(), ..Record::clone(&old) }),
        };
        let new = Record { name: name.clone(), spec: Arc::new(spec), ..record.clone() };
        let image = parts.images.rootfs(new.image_digest)?.config;
        let hand_over = HandOver {
            from: left.as_ref().map(|left| left.id.clone()),
            left: left.as_ref().and_then(start::joins).unwrap_or_default(),
            to: new.id.clone(),
            taken: start::joins(&new).unwrap_or_default(),
            ports: start::published(&new.spec, &image),
        };
        let exchange = exchange_names(&new, left.as_ref())?;
        parts.networks.hand_over(hand_over, exchange).await?;
        files::failpoint("names exchanged")?;
        // Its monitor notes under which name it logs.
        let beside = self.beside(&new, &image)?;
        Ok(parts.containers.tell(&held, &Record { spec: new.spec.clone(), ..record }, &new, &beside).await?)
    }
}

//! Containers that nobody declared become a stack's.

use super::{Engine, EngineError, mounts};
use crate::model::spec::{ContainerSpec, Mount};
use crate::model::{ContainerId, Name, Owner};

impl Engine {
    /// What a container is as one of a stack. All that it mounts has its name then, so that it is mounted again when the container
    /// is made anew. With `take` it belongs to the stack from now on, under its own name, and goes on running as it is.
    ///
    /// # Errors
    /// When it belongs to a stack already, or is one that is removed when it exits.
    pub async fn adopt(&self, id: &ContainerId, stack: &Name, take: bool) -> Result<(Name, ContainerSpec), EngineError> {
        let held = self.0.containers.hold(id).await?;
        let record = self.0.containers.get(id)?;
        if let Some(owner) = record.owner {
            return Err(EngineError::Owned { name: record.name, stack: owner.stack });
        }
        if record.auto_remove {
            return Err(EngineError::RemovedAtItsEnd { name: record.name });
        }
        let image = self.0.images.rootfs(record.image_digest)?.config;
        let mut spec = ContainerSpec::clone(&record.spec);
        let mut all = Vec::new();
        for mount in mounts::effective(&self.0, &record, &image)? {
            match &mount {
                // Of one that was never started, its own volumes are not there yet.
                Mount::Volume { source, target, .. } if self.0.volumes.get(source)?.is_none() => {
                    all.extend(spec.mounts.iter().find(|own| own.target() == target).cloned());
                }
                _ => all.push(mount),
            }
        }
        spec.mounts = all;
        // What it had of others is among its own.
        spec.volumes_from.clear();
        if spec.image.id().is_some() {
            // Whoever has the manifests gets it by its name.
            let names = self.0.images.get(&record.image_digest)?.map(|image| image.references).unwrap_or_default();
            let nameless = || EngineError::NamelessImage { name: record.name.clone(), image: record.image_digest };
            spec.image = names.into_iter().next().ok_or_else(nameless)?;
        }
        if take {
            let owner = Owner { stack: stack.clone(), resource: record.name.clone() };
            self.0.containers.adopt(&held, &owner, &spec)?;
        }
        Ok((record.name, spec))
    }
}

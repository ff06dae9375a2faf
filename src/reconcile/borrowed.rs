//! Contents of configs and secrets that another stack declares: what that stack's last generation has that was applied to its end.
//! What a generation of the stack itself is brought back with, it has already.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ReconcileError, Reconciler, generations};
use crate::manifest::Desired;
use crate::model::Name;
use crate::model::spec::{Elsewhere, Mount};

/// Whether something is not known yet.
pub(super) fn lacks(desired: &Desired) -> bool {
    desired.configs.values().any(|config| config.external.is_some() && config.content.is_empty())
        || desired.secrets.values().any(|secret| secret.external.is_some() && secret.content.is_empty())
}

impl Reconciler {
    /// Fills in what is not known yet. Where the other stack has it no more, it stays what it was when this stack was made last.
    pub(super) fn borrow(&self, desired: &mut Desired) -> Result<(), ReconcileError> {
        let mut stacks = Stacks { reconciler: self, known: BTreeMap::new() };
        let own = desired.stack.clone();
        for (name, config) in &mut desired.configs {
            if let Some(external) = config.external.as_ref().filter(|_| config.content.is_empty()) {
                config.content = stacks.content(&own, name, external, false)?;
            }
        }
        for (name, secret) in &mut desired.secrets {
            if let Some(external) = secret.external.as_ref().filter(|_| secret.content.is_empty()) {
                secret.content = stacks.content(&own, name, external, true)?;
            }
        }
        let Desired { containers, configs, secrets, .. } = desired;
        for mount in containers.values_mut().flat_map(|container| &mut container.spec.mounts) {
            if let Mount::Config { source, digest, secret, .. } = mount {
                let now = match secret {
                    true => secrets.get(source).map(|secret| secret.digest()),
                    false => configs.get(source).map(|config| config.digest()),
                };
                *digest = now.unwrap_or(*digest);
            }
        }
        Ok(())
    }
}

/// What stacks were when they were applied last.
struct Stacks<'a> {
    reconciler: &'a Reconciler,
    known: BTreeMap<Name, Option<Arc<Desired>>>,
}

impl Stacks<'_> {
    fn content(&mut self, own: &Name, name: &Name, external: &Elsewhere, secret: bool) -> Result<Vec<u8>, ReconcileError> {
        let theirs = self.applied(&external.stack)?.and_then(|theirs| theirs.content(&external.name, secret)).map(<[u8]>::to_vec);
        if let Some(content) = theirs {
            return Ok(content);
        }
        // Of another one by the same name it says nothing.
        let is_same = |had: &&Desired| match secret {
            true => had.secrets.get(name).is_some_and(|had| had.external.as_ref() == Some(external)),
            false => had.configs.get(name).is_some_and(|had| had.external.as_ref() == Some(external)),
        };
        let had = self.applied(own)?.filter(is_same).and_then(|had| had.content(name, secret)).map(<[u8]>::to_vec);
        had.ok_or_else(|| ReconcileError::NoContent { external: external.clone(), secret })
    }

    fn applied(&mut self, stack: &Name) -> Result<Option<&Desired>, ReconcileError> {
        if !self.known.contains_key(stack) {
            let last = generations::last_applied(self.reconciler.engine.db(), stack)?;
            self.known.insert(stack.clone(), last.map(|last| last.desired));
        }
        Ok(self.known.get(stack).and_then(Option::as_deref))
    }
}

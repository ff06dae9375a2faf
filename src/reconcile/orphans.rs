//! Containers of no stack whose monitor was killed: no plan speaks of them, so each is seen to by itself, by its own
//! restart policy. Level-triggered like all of the keeper: it looks at which are lost now, and not at what was killed.

use std::collections::HashSet;
use std::time::Instant;

use super::schedule::{Schedule, Verdict};
use crate::engine::{Engine, EngineError};
use crate::model::ContainerId;
use crate::observed::ContainerState;

/// The lost containers that are known, and when each is tried again.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    schedule: Schedule<ContainerId>,
    /// Those that stay lost by their policy, and hold nothing any more.
    settled: HashSet<ContainerId>,
}

impl Orphans {
    /// Finds the containers that have lost their monitor. Reads one small file for each container.
    pub(super) fn look(&mut self, engine: &Engine, now: Instant) -> Result<(), EngineError> {
        let mut lost = HashSet::new();
        for record in engine.containers().list()? {
            if record.owner.is_none() && engine.state(&record.id)? == ContainerState::Lost {
                lost.insert(record.id);
            }
        }
        self.settled.retain(|id| lost.contains(id));
        for id in lost.difference(&self.settled) {
            self.schedule.wake(id.clone(), now);
        }
        Ok(())
    }

    /// When [`Self::take_due`] has something, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ContainerId> {
        self.schedule.take_due(now)
    }

    /// Takes in what became of one: it is well, or it failed and is tried again later.
    pub(super) fn finished(&mut self, id: ContainerId, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::AwaitChange => {
                self.schedule.forget(&id);
                self.settled.insert(id);
            }
            Verdict::Retry => self.schedule.finished(&id, verdict, now),
        }
    }
}

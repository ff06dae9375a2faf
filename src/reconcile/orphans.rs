//! Containers of no stack whose monitor was killed: no plan speaks of them, so each is seen to by itself, by its own
//! restart policy. Level-triggered like all of the keeper: it looks at which are lost now, and not at what was killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::schedule::{Schedule, Verdict};
use crate::engine::containers::Record;
use crate::engine::monitor::Status;
use crate::model::ContainerId;
use crate::observed::ContainerState;

/// The lost containers that are known, and when each is tried again.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    schedule: Schedule<ContainerId>,
    /// Those that stay lost by their policy, and hold nothing any more.
    settled: HashSet<ContainerId>,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenTo {
    /// It runs again, or is gone.
    Well,
    /// As its policy says.
    StaysLost,
    /// It is tried again later.
    Failed,
}

impl Orphans {
    /// Finds those of all containers that have lost their monitor.
    pub(super) fn look(&mut self, all: &[(Arc<Record>, Status)], now: Instant) {
        let is_lost = |(record, status): &&(Arc<Record>, Status)| record.owner.is_none() && status.state == ContainerState::Lost;
        let lost: HashSet<ContainerId> = all.iter().filter(is_lost).map(|(record, _)| record.id.clone()).collect();
        self.settled.retain(|id| lost.contains(id));
        for id in lost.difference(&self.settled) {
            self.schedule.wake(id.clone(), now);
        }
    }

    /// When [`Self::take_due`] has something, if ever.
    pub(super) fn next(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ContainerId> {
        self.schedule.take_due(now)
    }

    pub(super) fn finished(&mut self, id: ContainerId, seen_to: SeenTo, now: Instant) {
        match seen_to {
            // Should it have been lost again since, it is found by the next look.
            SeenTo::Well => self.schedule.forget(&id),
            SeenTo::StaysLost => {
                self.schedule.forget(&id);
                self.settled.insert(id);
            }
            SeenTo::Failed => self.schedule.finished(&id, Verdict::Retry, now),
        }
    }
}

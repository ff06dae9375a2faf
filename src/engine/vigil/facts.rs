//! What was found well, of which run of which container, and until when that is taken as given.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::containers::Record;
use crate::model::ContainerId;

/// For how long at least something counts as well of which nothing was told. Up to [`SPREAD`] more, so that not all are read at once.
const LASTS: Duration = Duration::from_secs(600);
const SPREAD: Duration = Duration::from_secs(300);

/// One run of a container, as one record describes it.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Run {
    record: Arc<Record>,
    pid: i32,
    started_ticks: u64,
}

impl Run {
    pub(in crate::engine) const fn new(record: Arc<Record>, pid: i32, started_ticks: u64) -> Self {
        Self { record, pid, started_ticks }
    }

    pub(in crate::engine) fn id(&self) -> &ContainerId {
        &self.record.id
    }

    pub(in crate::engine) fn record(&self) -> &Record {
        &self.record
    }

    fn is(&self, other: &Self) -> bool {
        // The same record is the same value: see `Containers::list`.
        Arc::ptr_eq(&self.record, &other.record) && self.pid == other.pid && self.started_ticks == other.started_ticks
    }
}

/// One attempt to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(u64);

#[derive(Debug)]
enum Fact {
    /// Somebody reads it, and nothing was told since.
    Sought(Token),
    WellUntil(Instant),
}

/// Of each container.
#[derive(Debug, Default)]
pub(super) struct Facts {
    known: HashMap<ContainerId, (Run, Fact)>,
    tokens: u64,
}

impl Facts {
    pub(super) fn is_well(&self, run: &Run, now: Instant) -> bool {
        matches!(self.known.get(run.id()), Some((known, Fact::WellUntil(end))) if known.is(run) && now < *end)
    }

    /// Before something is read.
    pub(super) fn begin(&mut self, run: Run) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.known.insert(run.id().clone(), (run, Fact::Sought(token)));
        token
    }

    /// When it was read, and is well. What was told meanwhile has been taken.
    pub(super) fn end(&mut self, id: &ContainerId, token: Token, now: Instant) {
        if let Some((_, fact)) = self.known.get_mut(id)
            && matches!(fact, Fact::Sought(by) if *by == token)
        {
            *fact = Fact::WellUntil(now + LASTS + SPREAD * u32::try_from(token.0 % 64).unwrap_or(0) / 64);
        }
    }

    /// Something may have changed. Whether anybody has to look because of it: what nobody has looked at yet will be looked at anyway.
    pub(super) fn forget(&mut self, id: &ContainerId) -> bool {
        self.known.remove(id).is_some()
    }

    /// The same of all.
    pub(super) fn forget_all(&mut self) -> bool {
        let any = !self.known.is_empty();
        self.known.clear();
        any
    }

    /// Forgets all but these, and says which those were.
    pub(super) fn retain(&mut self, there: &BTreeSet<&ContainerId>) -> Vec<ContainerId> {
        let gone: Vec<ContainerId> = self.known.keys().filter(|id| !there.contains(id)).cloned().collect();
        for id in &gone {
            self.known.remove(id);
        }
        gone
    }
}

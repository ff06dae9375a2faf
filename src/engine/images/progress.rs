//! Progress of one part of a pull or an import, at a rate that a reader can bear.

use std::time::{Duration, Instant};

use crate::model::{Phase, Progress, ProgressSink};

const PAUSE: Duration = Duration::from_millis(100);

/// Reports one part.
pub(super) struct Meter {
    sink: ProgressSink,
    part: String,
    total: Option<u64>,
    last: Option<Instant>,
}

impl Meter {
    pub(super) fn new(sink: &ProgressSink, part: String, total: Option<u64>) -> Self {
        Self { sink: sink.clone(), part, total, last: None }
    }

    /// A new phase, always reported.
    pub(super) fn enter(&mut self, phase: Phase, current: u64) {
        self.last = Some(Instant::now());
        (self.sink)(Progress { part: self.part.clone(), phase, current, total: self.total });
    }

    /// More of the same phase, reported ten times a second at most.
    pub(super) fn moved(&mut self, phase: Phase, current: u64) {
        if self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.enter(phase, current);
        }
    }
}

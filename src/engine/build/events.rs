//! What a build tells while it runs: steps with numbers, in the order in which they begin.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::model::build::{BuildEvent, BuildSink, BuildStream};
use crate::model::{Progress, ProgressSink};

/// Where a build's events go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Events {
    next: std::sync::Arc<AtomicU32>,
    sink: BuildSink,
}

/// A step that has begun. One that is dropped without an end was given up.
pub(super) struct Running {
    number: u32,
    began: Instant,
    sink: BuildSink,
}

impl Events {
    pub(super) fn new(sink: BuildSink) -> Self {
        Self { next: std::sync::Arc::new(AtomicU32::new(1)), sink }
    }

    pub(super) fn begin(&self, title: String) -> Running {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (self.sink)(BuildEvent::Started { step: number, title });
        Running { number, began: Instant::now(), sink: self.sink.clone() }
    }

    pub(super) fn warn(&self, text: String) {
        (self.sink)(BuildEvent::Warning { text });
    }
}

impl Running {
    pub(super) fn output(&self, stream: BuildStream, text: String) {
        (self.sink)(BuildEvent::Output { step: self.number, stream, text });
    }

    /// For what reports bytes.
    pub(super) fn progress(&self) -> ProgressSink {
        let (step, sink) = (self.number, self.sink.clone());
        std::sync::Arc::new(move |progress: Progress| sink(BuildEvent::Progress { step, progress }))
    }

    pub(super) fn done(self, cached: bool) {
        self.end(cached, None);
    }

    pub(super) fn failed(self, error: &dyn std::fmt::Display) {
        self.end(false, Some(error.to_string()));
    }

    /// The end that the outcome is.
    pub(super) fn ended<T, E: std::fmt::Display>(self, outcome: Result<T, E>, cached: bool) -> Result<T, E> {
        match &outcome {
            Ok(_) => self.done(cached),
            Err(error) => self.failed(error),
        }
        outcome
    }

    fn end(self, cached: bool, error: Option<String>) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (self.sink)(BuildEvent::Finished { step: self.number, cached, error, millis });
    }
}

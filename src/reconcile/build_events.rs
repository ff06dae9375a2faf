//! What a build tells, on its way to whoever listens. A build never waits for its listeners: what it tells waits in memory, and
//! what is too much of that is left out, which is told as well.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::model::build::{BuildEvent, BuildSink};

/// Bytes of output that wait at most. What comes then is left out, and that is told.
pub const MOST_OUTPUT: usize = 64 << 20;
/// Events that wait at most before progress is left out: the next one says more.
pub const MOST_PROGRESS: usize = 256;

/// What waits.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    events: AtomicUsize,
}

fn weight(event: &BuildEvent) -> usize {
    match event {
        BuildEvent::Output { text, .. } => text.len(),
        BuildEvent::Started { .. } | BuildEvent::Progress { .. } | BuildEvent::Finished { .. } | BuildEvent::Warning { .. } => 0,
    }
}

/// The listener's end.
pub struct Queue {
    events: mpsc::UnboundedReceiver<BuildEvent>,
    waiting: Arc<Waiting>,
}

impl Queue {
    /// The next event; `None` once the build holds its sink no longer.
    pub async fn next(&mut self) -> Option<BuildEvent> {
        let event = self.events.recv().await?;
        self.waiting.bytes.fetch_sub(weight(&event), Ordering::Relaxed);
        self.waiting.events.fetch_sub(1, Ordering::Relaxed);
        Some(event)
    }
}

/// A sink that never blocks, and where its events come out in their order.
pub fn queue() -> (BuildSink, Queue) {
    let (sender, events) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    let queue = Queue { events, waiting: Arc::clone(&waiting) };
    let left_out = Mutex::new(BTreeSet::new());
    let send = {
        let waiting = Arc::clone(&waiting);
        move |event: BuildEvent| {
            waiting.bytes.fetch_add(weight(&event), Ordering::Relaxed);
            waiting.events.fetch_add(1, Ordering::Relaxed);
            // Nobody listens any more: then the build is about to end.
            drop(sender.send(event));
        }
    };
    let sink: BuildSink = Arc::new(move |event| match &event {
        BuildEvent::Progress { .. } if waiting.events.load(Ordering::Relaxed) >= MOST_PROGRESS => {}
        BuildEvent::Output { step, .. } if waiting.bytes.load(Ordering::Relaxed) >= MOST_OUTPUT => {
            let is_news = left_out.lock().unwrap_or_else(PoisonError::into_inner).insert(*step);
            if is_news {
                let text = format!("output of step {step} is left out, because it is not read fast enough");
                send(BuildEvent::Warning { text });
            }
        }
        _ => send(event),
    });
    (sink, queue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::BuildStream;
    use crate::model::{Phase, Progress};

    fn output(step: u32, bytes: usize) -> BuildEvent {
        BuildEvent::Output { step, stream: BuildStream::Stdout, text: "x".repeat(bytes) }
    }

    #[tokio::test]
    async fn output_waits_for_a_slow_listener_and_progress_does_not() {
        let (sink, mut queue) = queue();
        for _ in 0..2 * MOST_PROGRESS {
            let progress = Progress { part: "a".into(), phase: Phase::Waiting, current: 0, total: None };
            sink(BuildEvent::Progress { step: 1, progress });
            sink(output(1, 10));
        }
        drop(sink);
        let (mut moved, mut printed) = (0, 0);
        while let Some(event) = queue.next().await {
            match event {
                BuildEvent::Progress { .. } => moved += 1,
                BuildEvent::Output { .. } => printed += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(printed, 2 * MOST_PROGRESS);
        assert!(moved <= MOST_PROGRESS, "{moved}");
    }

    #[tokio::test]
    async fn more_than_memory_should_hold_is_left_out_and_that_is_told() {
        let (sink, mut queue) = queue();
        for _ in 0..5 {
            sink(output(7, MOST_OUTPUT / 2));
        }
        let mut kinds = String::new();
        let next = async |queue: &mut Queue| match queue.next().await.unwrap() {
            BuildEvent::Output { .. } => 'o',
            BuildEvent::Warning { .. } => 'w',
            other => panic!("{other:?}"),
        };
        for _ in 0..3 {
            kinds.push(next(&mut queue).await);
        }
        assert_eq!(kinds, "oow");
        sink(output(7, 1));
        assert_eq!(next(&mut queue).await, 'o', "there is room again");
    }
}

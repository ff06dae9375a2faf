//! Runs a plan along its graph: every step as soon as what it needs has succeeded, many at a time. A step that fails
//! stops only what depends on it. Knows nothing of what the steps do.

use std::future::Future;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::report::{Event, Outcome};
use crate::plan::{Plan, Step, StepId};

/// How many steps run at the same time at most. They mostly wait for the kernel, the disk or a registry.
const PARALLEL: usize = 16;

/// How a step that has not failed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Done,
    /// It has turned out to be needless.
    Spared,
}

/// Why a step failed, as users read it.
#[derive(Debug)]
pub struct Failure {
    pub error: String,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Done,
    Failed,
}

/// Runs all steps and tells `events` about each. The outcome's generation is left 0.
///
/// Assumption: `plan.steps` is in an order that satisfies `needs`.
pub async fn run<F, Fut>(plan: &Plan, events: &mpsc::Sender<Event>, mut effect: F) -> Outcome
where
    F: FnMut(StepId, Step) -> Fut,
    Fut: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    let mut stages = vec![Stage::Waiting; plan.steps.len()];
    let mut running = JoinSet::new();
    let mut outcome = Outcome::default();
    loop {
        // Steps are in topological order: one pass settles every chain of skips.
        for (id, step) in plan.steps.iter().enumerate() {
            if stages[id] != Stage::Waiting {
                continue;
            }
            if let Some(because) = step.needs.iter().copied().find(|need| stages[*need] == Stage::Failed) {
                stages[id] = Stage::Failed;
                outcome.skipped += 1;
                tell(events, Event::StepSkipped { step: id, because }).await;
            } else if running.len() < PARALLEL && step.needs.iter().all(|need| stages[*need] == Stage::Done) {
                stages[id] = Stage::Running;
                tell(events, Event::StepStarted { step: id }).await;
                let work = effect(id, step.clone());
                running.spawn(async move {
                    let began = Instant::now();
                    // A task of its own, so that a panic is this step's failure and not the apply's.
                    let result = tokio::spawn(work).await;
                    (id, began.elapsed(), result)
                });
            }
        }
        let Some(joined) = running.join_next().await else { return outcome };
        let Ok((id, took, result)) = joined else { continue };
        let result = result.unwrap_or_else(|crash| Err(Failure { error: format!("internal error: {crash}"), hint: None }));
        match result {
            Ok(Done::Spared) => {
                stages[id] = Stage::Done;
                tell(events, Event::StepSpared { step: id }).await;
            }
            Ok(Done::Done) => {
                stages[id] = Stage::Done;
                outcome.done += 1;
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tell(events, Event::StepDone { step: id, millis }).await;
            }
            Err(Failure { error, hint }) => {
                stages[id] = Stage::Failed;
                outcome.failed += 1;
                tell(events, Event::StepFailed { step: id, error, hint }).await;
            }
        }
    }
}

/// Nobody may be listening any more (the client went away): the apply goes on all the same.
pub async fn tell(events: &mpsc::Sender<Event>, event: Event) {
    drop(events.send(event).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::plan::{Action, Cause, Kind, Resource};
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    /// The step that turns out to be needless, in all tests.
    const SPARED: StepId = 3;

    fn plan(needs: &[&[StepId]]) -> Plan {
        let steps = needs
            .iter()
            .enumerate()
            .map(|(id, needs)| Step {
                action: Action::Create,
                resource: Resource { kind: Kind::Volume, name: format!("v{id}").parse().unwrap() },
                target: format!("v{id}"),
                container: None,
                causes: vec![Cause::Missing],
                needs: needs.iter().copied().collect::<BTreeSet<_>>(),
                spared_if: None,
            })
            .collect();
        Plan {
            stack: "s".parse().unwrap(),
            base: Digest::of(b""),
            parts: Default::default(),
            steps,
            unchanged: vec![],
            answers: Default::default(),
        }
    }

    async fn outcome(plan: &Plan, failing: &'static [StepId]) -> (Outcome, Vec<StepId>) {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (events, mut inbox) = mpsc::channel(100);
        let outcome = run(plan, &events, |id, _| {
            let order = Arc::clone(&order);
            async move {
                tokio::task::yield_now().await;
                order.lock().unwrap().push(id);
                assert!(id != 99);
                if failing.contains(&id) {
                    Err(Failure { error: "no".into(), hint: None })
                } else {
                    Ok(if id == SPARED { Done::Spared } else { Done::Done })
                }
            }
        })
        .await;
        drop(events);
        while inbox.recv().await.is_some() {}
        let order = order.lock().unwrap().clone();
        (outcome, order)
    }

    #[tokio::test]
    async fn a_step_runs_after_what_it_needs() {
        let plan = plan(&[&[], &[0], &[], &[1, 2], &[3]]);
        let (outcome, order) = outcome(&plan, &[]).await;
        // What needs a step that was spared runs all the same.
        assert_eq!((outcome.done, order.len()), (4, 5));
        for (id, step) in plan.steps.iter().enumerate() {
            let at = |id| order.iter().position(|o| *o == id).unwrap();
            assert!(step.needs.iter().all(|need| at(*need) < at(id)), "{order:?}");
        }
    }

    #[tokio::test]
    async fn a_failure_stops_only_what_depends_on_it() {
        let plan = plan(&[&[], &[0], &[1], &[], &[3]]);
        let (outcome, order) = outcome(&plan, &[0]).await;
        assert_eq!((outcome.done, outcome.failed, outcome.skipped), (1, 1, 2));
        assert!(order.contains(&4) && !order.contains(&2));
    }
}

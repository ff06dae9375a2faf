//! Runs a plan along its graph: every step as soon as what it needs has succeeded, many at a time. A step that fails
//! stops only what depends on it, and what the update that it is part of stops with it. Knows nothing of what the steps do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::report::{BrokenOff, Event, Outcome};
use crate::model::Name;
use crate::model::spec::FailureAction;
use crate::plan::{Plan, Resource, Step, StepId};

/// How many steps that do something run at the same time at most. They mostly wait for the kernel, the disk or a registry.
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

/// What a plan has come to.
#[derive(Debug, Default)]
pub struct Ran {
    pub outcome: Outcome,
    /// Where an update has failed that says what is to be done then: the first.
    pub broke: Option<Broke>,
}

/// An update that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broke {
    pub resource: Resource,
    /// The step and its error, in a sentence.
    pub why: String,
    pub action: FailureAction,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Done,
    Failed,
    /// It has failed, or needed one that has, and the update that it is part of goes on.
    Tolerated,
    /// Nobody waits for it any more, or it needed one like that.
    BrokenOff,
}

impl Stage {
    const fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Tolerated)
    }
}

/// Runs all steps and tells `events` about each. The outcome's generation is left 0.
///
/// Where an update fails that is to be rolled back, what has not begun is not begun any more, and nothing is waited for. Once `enough` ends
/// nothing is waited for either, and what needs that is left to the next apply; all else comes to its end.
///
/// Assumption: `plan.steps` is in an order that satisfies `needs` and `after`.
pub async fn run<F, Fut>(plan: &Plan, events: &mpsc::Sender<Event>, enough: impl Future<Output = BrokenOff>, mut effect: F) -> Ran
where
    F: FnMut(StepId, Step) -> Fut,
    Fut: Future<Output = Result<Done, Failure>> + Send + 'static,
{
    let mut stages = vec![Stage::Waiting; plan.steps.len()];
    let mut running = JoinSet::new();
    let mut busy = 0usize;
    let mut waits: BTreeMap<StepId, AbortHandle> = BTreeMap::new();
    let mut ran = Ran::default();
    let mut failed = Failed::default();
    let mut enough = std::pin::pin!(enough);
    let mut stopping = None;
    loop {
        // Steps are in topological order: one pass settles every chain of skips.
        for (id, step) in plan.steps.iter().enumerate() {
            if stages[id] != Stage::Waiting {
                continue;
            }
            let now = &stages;
            let is = |stage: Stage| move |need: &StepId| now[*need] == stage;
            let outcome = &mut ran.outcome;
            if let Some(because) = step.needs.iter().chain(&step.after).copied().find(is(Stage::Failed)) {
                stages[id] = Stage::Failed;
                outcome.skipped += 1;
                tell(events, Event::StepSkipped { step: id, because }).await;
            } else if let Some(because) = failed.fatal {
                stages[id] = Stage::Failed;
                outcome.skipped += 1;
                tell(events, Event::StepSkipped { step: id, because }).await;
            } else if (stopping.is_some() && step.action.only_waits())
                || step.needs.iter().chain(&step.after).any(is(Stage::BrokenOff))
            {
                stages[id] = Stage::BrokenOff;
                outcome.skipped += 1;
                outcome.broken_off = stopping;
                tell(events, Event::StepSkipped { step: id, because: id }).await;
            } else if let Some(because) = step.needs.iter().copied().find(is(Stage::Tolerated)) {
                // What is left of the one that has failed is part of that failure; whoever else needs it is not.
                let own = plan.steps[because].resource == step.resource;
                stages[id] = if own { Stage::Tolerated } else { Stage::Failed };
                outcome.skipped += usize::from(!own);
                tell(events, Event::StepSkipped { step: id, because }).await;
            } else if (step.action.only_waits() || busy < PARALLEL)
                && step.needs.iter().all(is(Stage::Done))
                && step.after.iter().all(|before| stages[*before].has_ended())
            {
                stages[id] = Stage::Running;
                busy += usize::from(!step.action.only_waits());
                tell(events, Event::StepStarted { step: id }).await;
                let began = Instant::now();
                // A task of its own, so that a panic is this step's failure and not the apply's.
                let work = tokio::spawn(effect(id, step.clone()));
                if step.action.only_waits() {
                    waits.insert(id, work.abort_handle());
                }
                running.spawn(async move {
                    let result = work.await;
                    (id, began.elapsed(), result)
                });
            }
        }
        let joined = tokio::select! {
            joined = running.join_next() => joined,
            why = &mut enough, if stopping.is_none() => {
                stopping = Some(why);
                waits.values().for_each(AbortHandle::abort);
                continue;
            }
        };
        let Some(joined) = joined else { return ran };
        let Ok((id, took, result)) = joined else { continue };
        let step = &plan.steps[id];
        busy -= usize::from(!step.action.only_waits());
        waits.remove(&id);
        if result.as_ref().is_err_and(JoinError::is_cancelled) {
            stages[id] = if failed.fatal.is_some() { Stage::Failed } else { Stage::BrokenOff };
            ran.outcome.skipped += 1;
            ran.outcome.broken_off = ran.outcome.broken_off.or(stopping.filter(|_| failed.fatal.is_none()));
            tell(events, Event::StepSkipped { step: id, because: failed.fatal.unwrap_or(id) }).await;
            continue;
        }
        let result = result.unwrap_or_else(|crash| Err(Failure { error: format!("internal error: {crash}"), hint: None }));
        match result {
            Ok(Done::Spared) => {
                stages[id] = Stage::Done;
                tell(events, Event::StepSpared { step: id }).await;
            }
            Ok(Done::Done) => {
                stages[id] = Stage::Done;
                ran.outcome.done += 1;
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                tell(events, Event::StepDone { step: id, millis }).await;
            }
            Err(Failure { error, hint }) => {
                let tolerated = failed.is_tolerated(step);
                if tolerated {
                    stages[id] = Stage::Tolerated;
                    ran.outcome.tolerated += 1;
                } else {
                    stages[id] = Stage::Failed;
                    ran.outcome.failed += 1;
                    if let (Some(stake), None) = (&step.stake, &ran.broke) {
                        let why = format!("{}: {}: {error}", step.resource, step.action.verb());
                        ran.broke = Some(Broke { resource: step.resource.clone(), why, action: stake.action });
                        if stake.action == FailureAction::Rollback {
                            failed.fatal = Some(id);
                            // Nobody cares any more for what the others wait for.
                            waits.values().for_each(AbortHandle::abort);
                        }
                    }
                }
                tell(events, Event::StepFailed { step: id, error, hint, tolerated }).await;
            }
        }
    }
}

/// Who has failed so far.
#[derive(Debug, Default)]
struct Failed<'a> {
    /// By the group in which failures are counted.
    groups: BTreeMap<&'a Name, BTreeSet<&'a Resource>>,
    /// The failure after which all is to be as it was.
    fatal: Option<StepId>,
}

impl<'a> Failed<'a> {
    /// Counts the failure of a step, and says whether the update that it is part of goes on all the same.
    fn is_tolerated(&mut self, step: &'a Step) -> bool {
        let Some(stake) = &step.stake else { return false };
        let group = self.groups.entry(stake.group.as_ref().unwrap_or(&step.resource.name)).or_default();
        group.insert(&step.resource);
        group.len() <= stake.tolerates
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
    use crate::plan::{Action, Cause, Kind, Stake};
    use std::sync::{Arc, Mutex};
    use tokio_util::sync::CancellationToken;

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
                after: BTreeSet::new(),
                aside: None,
                stake: None,
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
        let (ran, order) = ran(plan, failing).await;
        (ran.outcome, order)
    }

    async fn ran(plan: &Plan, failing: &'static [StepId]) -> (Ran, Vec<StepId>) {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (events, mut inbox) = mpsc::channel(100);
        let ran = run(plan, &events, std::future::pending(), |id, _| {
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
        (ran, order)
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

    /// Two containers of a group, the second after the first, and something else that is ready when both have begun.
    fn update(action: FailureAction, tolerates: usize) -> Plan {
        let mut plan = plan(&[&[], &[0], &[], &[2], &[1]]);
        for (id, name) in [(0, "a"), (1, "a"), (2, "b"), (3, "b")] {
            let resource = Resource { kind: Kind::Container, name: name.parse().unwrap() };
            let stake = Stake { action, group: Some("g".parse().unwrap()), tolerates };
            plan.steps[id] = Step { resource, stake: Some(stake), ..plan.steps[id].clone() };
        }
        plan.steps[2].after = BTreeSet::from([0, 1]);
        plan
    }

    #[tokio::test]
    async fn a_failed_update_does_what_it_says() {
        let counts = |ran: &Ran| (ran.outcome.done, ran.outcome.failed, ran.outcome.skipped, ran.outcome.tolerated);
        let (paused, order) = ran(&update(FailureAction::Pause, 0), &[0]).await;
        assert_eq!((counts(&paused), order), ((0, 1, 4, 0), vec![0]));
        assert_eq!(paused.broke.unwrap().why, "container/a: create: no");
        // One may fail: what is left of it is not tried, whoever needs it fails, and the update goes on.
        let (ran_on, order) = ran(&update(FailureAction::Pause, 1), &[0]).await;
        assert_eq!((counts(&ran_on), order, ran_on.broke), ((1, 0, 1, 1), vec![0, 2, 3], None));
        let (both, _) = ran(&update(FailureAction::Pause, 1), &[0, 2]).await;
        assert_eq!((counts(&both), both.broke.unwrap().resource.name.as_str()), ((0, 1, 2, 1), "b"));
        let (on, _) = ran(&update(FailureAction::Continue, usize::MAX), &[0, 2]).await;
        assert_eq!((counts(&on), on.broke), ((0, 0, 1, 2), None));
        let (back, _) = ran(&update(FailureAction::Rollback, 0), &[1]).await;
        assert_eq!((counts(&back), back.broke.unwrap().action), ((1, 1, 3, 0), FailureAction::Rollback));
    }

    #[tokio::test]
    async fn nothing_is_waited_for_when_all_is_to_be_as_it_was() {
        let mut plan = update(FailureAction::Rollback, 0);
        plan.steps.iter_mut().skip(2).for_each(|step| {
            (step.action, step.after) = (Action::Watch(crate::model::Span::seconds(3600)), BTreeSet::new());
            step.needs.clear();
        });
        let (events, mut inbox) = mpsc::channel(100);
        let run = run(&plan, &events, std::future::pending(), |id, _| async move {
            if id > 1 {
                std::future::pending::<()>().await;
            }
            Err(Failure { error: "no".into(), hint: None })
        });
        let ran = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap();
        assert_eq!((ran.outcome.failed, ran.outcome.skipped), (1, 4));
        drop(events);
        while inbox.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn who_only_waits_keeps_nobody_from_work() {
        let mut plan = plan(&vec![&[] as &[StepId]; PARALLEL + 2]);
        for step in &mut plan.steps[..=PARALLEL] {
            step.action = Action::Delay(crate::model::Span::seconds(1));
        }
        let (events, mut inbox) = mpsc::channel(100);
        let all = Arc::new(tokio::sync::Barrier::new(plan.steps.len()));
        let run = run(&plan, &events, std::future::pending(), |_, _| {
            let all = Arc::clone(&all);
            async move {
                all.wait().await;
                Ok(Done::Done)
            }
        });
        let ran = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap();
        assert_eq!(ran.outcome.done, PARALLEL + 2);
        drop(events);
        while inbox.recv().await.is_some() {}
    }

    #[tokio::test]
    async fn who_has_waited_enough_waits_for_nothing_and_ends_what_acts() {
        // A watch and what needs it, one that acts and what needs that, and a wait that comes after.
        let mut plan = plan(&[&[], &[0], &[], &[2], &[2]]);
        for at in [0, 4] {
            plan.steps[at].action = Action::Watch(crate::model::Span::seconds(3600));
            plan.steps[at].stake = Some(Stake { action: FailureAction::Rollback, group: None, tolerates: 0 });
        }
        let (events, mut inbox) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let enough = async {
            stop.cancelled().await;
            BrokenOff::Superseded
        };
        let run = run(&plan, &events, enough, |id, _| {
            let asked = asked.clone();
            async move {
                if id == 0 || id == 4 {
                    std::future::pending::<()>().await;
                }
                asked.cancel();
                tokio::task::yield_now().await;
                Ok(Done::Done)
            }
        });
        let ran = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.unwrap();
        let outcome = ran.outcome;
        assert_eq!((outcome.done, outcome.failed, outcome.skipped, outcome.broken_off), (2, 0, 3, Some(BrokenOff::Superseded)));
        assert_eq!(ran.broke, None, "what is broken off has not failed");
        drop(events);
        while inbox.recv().await.is_some() {}
    }
}

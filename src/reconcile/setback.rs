//! What becomes of a stack whose update has failed: it is left where it was, or an earlier generation is brought back. Either way it is
//! held, so that what has failed is not tried again and again, until its source says something else or somebody applies manifests.

use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::ask::Ask;
use super::execute::{Broke, tell};
use super::generations::{self, Generation, Hold, Images, Outline, PAUSED, QUARANTINED, Setback};
use super::report::{Event, Outcome};
use super::rollback::{NewHold, Settled};
use super::turns::Turn;
use super::{ReconcileError, Reconciler, record, status};
use crate::engine::images::Given;
use crate::model::Name;
use crate::model::spec::FailureAction;

impl Reconciler {
    /// Does what the update says that has failed. Gives what has come of it all. To be called under the stack's lock.
    pub(super) async fn set_back(
        &self,
        turn: &Turn,
        settled: Settled,
        outcome: Outcome,
        broke: Broke,
        given: Vec<Given>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        let stack = settled.desired.stack.clone();
        let said = settled.said();
        let good = match broke.action {
            FailureAction::Rollback => self.last_good(&stack, outcome.generation)?,
            FailureAction::Pause | FailureAction::Continue => None,
        };
        let Some(Generation { number, desired, images, source, .. }) = good else {
            return self.pause(&stack, said, outcome, broke);
        };
        let Broke { resource, why, .. } = broke;
        self.mark(&stack, outcome.generation, QUARANTINED)?;
        tell(events, Event::RollsBack { to: number, why: why.clone() }).await;
        let setback = Setback { generation: outcome.generation, resource, why, paused: false };
        let hold =
            Hold { of: number, since: OffsetDateTime::now_utc(), source: said.clone(), files: None, setback: Some(setback) };
        let hold = NewHold::Begins(Box::new(hold));
        let back = Settled { desired, held: images, source, brings_back: Some(number), hold, back: true, held_by: None };
        let (mut second, broke) = self.pass(turn, &back, None, Ask::Eagerly, given, events).await?;
        if let Some(broke) = broke {
            second = self.pause(&stack, said, second, broke)?;
        }
        Ok(Outcome {
            done: outcome.done + second.done,
            failed: outcome.failed + second.failed,
            skipped: outcome.skipped + second.skipped,
            tolerated: outcome.tolerated + second.tolerated,
            back_to: Some(number).filter(|_| second.failed == 0 && second.broken_off.is_none()),
            halted: second.failed == 0 || second.halted,
            broken_off: second.broken_off,
            generation: second.generation,
        })
    }

    /// Leaves the stack where it is.
    fn pause(&self, stack: &Name, said: Option<Outline>, outcome: Outcome, broke: Broke) -> Result<Outcome, ReconcileError> {
        let Broke { resource, why, .. } = broke;
        self.mark(stack, outcome.generation, PAUSED)?;
        let setback = Setback { generation: outcome.generation, resource, why, paused: true };
        let conditions = status::after(&outcome, &[], Some(&setback));
        let hold =
            Hold { of: outcome.generation, since: OffsetDateTime::now_utc(), source: said, files: None, setback: Some(setback) };
        generations::set_hold(self.engine.db(), stack, &hold)?;
        record::set_conditions(self.engine.db(), stack, conditions)?;
        Ok(Outcome { halted: true, ..outcome })
    }

    /// Notes what has become of the generation that was applied last.
    fn mark(&self, stack: &Name, generation: u64, said: &str) -> Result<(), ReconcileError> {
        let db = self.engine.db();
        let images: Images = self.newest(stack)?.map(|newest| newest.images).unwrap_or_default();
        Ok(generations::finish(db, stack, generation, said, &images)?)
    }

    /// The last generation before this one that was applied to its end.
    fn last_good(&self, stack: &Name, failed: u64) -> Result<Option<Generation>, ReconcileError> {
        let all = generations::all(self.engine.db(), stack)?;
        Ok(all.into_iter().find(|one| one.number < failed && one.is_applied()))
    }
}

//! From desired to real: look, plan, execute, record, again. One apply of a stack at a time, whoever asks for it.

pub mod execute;
pub mod generations;
pub mod journal;
pub mod knowledge;
pub mod record;
pub mod report;
pub mod schedule;
pub mod status;

mod ask;
mod borrowed;
pub mod build_events;
mod changes;
mod effects;
mod elsewhere;
mod gone;
pub mod keeper;
mod obtain;
mod orphans;
mod rollback;
mod setback;
mod turns;
mod why;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::images::Given;
use crate::engine::{Engine, EngineError};
use crate::files::FileError;
use crate::manifest::Desired;
use crate::model::spec::{Elsewhere, ImageSource, ImageSpec};
use crate::model::{ImageRef, Name};
use crate::observed::{Answer, Course, Observed};
use crate::plan::{self, Action, Kind, Plan, PlanError};
use ask::Ask;
use effects::Context;
use execute::{Broke, Ran, tell};
use generations::{APPLIED, APPLYING, Beginning, Generation, HoldChange, Images, PAUSED, Remembered};
use journal::Filter;
use knowledge::Lookup;
use record::RecordError;
use report::{BrokenOff, Event, Outcome};
pub use rollback::Wanted;
use rollback::{NewHold, Settled, answers_of};
use turns::Turn;

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the plan no longer fits: {}", what.join("; "))]
    Moved { what: Vec<String> },
    #[error("no stack named {0} has been applied here")]
    NoSuchStack(Name),
    #[error("no stack has been applied here")]
    NoStack,
    #[error("no stack has a resource {0:?}")]
    NoSuchResource(String),
    #[error("{text:?} can mean {}", all.join(" or "))]
    WhichResource { text: String, all: Vec<String> },
    #[error("which stack is meant? There are {}", names(.0))]
    WhichStack(Vec<Name>),
    #[error("generation {number} of {stack} is not kept; there are {}", numbers(kept))]
    NotKept { stack: Name, number: u64, kept: Vec<u64> },
    #[error("{0} has no earlier generation that was applied")]
    NoEarlier(Name),
    #[error("{} {external} is not there: its stack was not applied here, or has no such {}", kind(*secret), if *secret { "secret in a container" } else { "config" })]
    NoContent { external: Elsewhere, secret: bool },
    #[error("the daemon stops, and something else is still at work on the stack {0}")]
    Stopping(Name),
    #[error("a work thread ended before its work did")]
    Interrupted,
}

const fn kind(secret: bool) -> &'static str {
    if secret { "secret" } else { "config" }
}

fn names(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}

fn numbers(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl ReconcileError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Moved { .. } => Some("run `setpoint plan` again and look at what is different".into()),
            Self::NotKept { .. } | Self::NoEarlier(_) => Some("`setpoint stack history` lists the generations".into()),
            Self::WhichStack(_) => Some("say it with `--stack NAME`".into()),
            Self::NoSuchStack(_) => Some("`setpoint status` lists the stacks".into()),
            Self::Plan(error) => error.obstacles.first().map(plan::Obstacle::hint),
            Self::NoSuchResource(_) => Some("`setpoint status` lists the resources; name one as STACK/KIND/NAME".into()),
            Self::WhichResource { .. } => Some("name it as STACK/KIND/NAME".into()),
            Self::NoContent { external, .. } => Some(format!("apply the stack `{}` first", external.stack)),
            Self::Stopping(_) => Some("do it again when the next daemon runs, or none".into()),
            Self::NoStack | Self::Record(_) | Self::File(_) | Self::Interrupted => None,
        }
    }
}

/// Where a look has from what references mean.
enum Look {
    Ask(Ask),
    /// From a plan that was made before.
    Given(BTreeMap<ImageRef, Answer>),
}

/// What the references of `desired` mean once the plan is done, where that is known before.
fn meant(desired: &Desired, observed: &Observed, plan: &Plan) -> Images {
    let obtained = |reference: &ImageRef| {
        plan.steps
            .iter()
            .any(|step| step.resource.kind == Kind::Image && step.action != Action::Push && step.target == reference.to_string())
    };
    let meaning = |reference: &ImageRef| {
        if obtained(reference) {
            match observed.known.answers.get(reference)? {
                Answer::Is(resolved) => Some(resolved.digest),
                Answer::Held { digest } => Some(*digest),
                Answer::Unknown { .. } => None,
            }
        } else {
            observed.images.iter().find(|image| image.references.contains(reference)).map(|image| image.digest)
        }
    };
    desired.images.values().filter_map(|image| Some((image.reference.clone(), meaning(&image.reference)?))).collect()
}

/// Makes stacks real. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    engine: Engine,
    remembered: Arc<Remembered>,
    stop: CancellationToken,
}

impl Reconciler {
    pub fn new(engine: Engine) -> Self {
        Self::until(engine, CancellationToken::new())
    }

    /// One that waits for nothing any more once `stop` says so: what it has not watched to the end then is gone on with by the next.
    pub fn until(engine: Engine, stop: CancellationToken) -> Self {
        Self { engine, remembered: Arc::default(), stop }
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What an apply would do now. Changes nothing. `given` are credentials of whoever asks.
    pub async fn plan(&self, desired: &Desired, given: &[Given]) -> Result<Plan, ReconcileError> {
        let desired = self.completed(desired)?;
        let course = Course { since: self.unwatched(self.newest(&desired.stack)?.as_ref(), &desired)?, ..Course::default() };
        let (observed, _) = self.look(&desired, &Images::new(), course, Look::Ask(Ask::Eagerly), given).await?;
        Ok(plan::plan(&desired, &observed)?)
    }

    /// A stack's newest generation.
    fn newest(&self, stack: &Name) -> Result<Option<Generation>, RecordError> {
        self.remembered.newest(self.engine.db(), stack)
    }

    /// Since when what has come to a stack was not watched to the end: what is desired is still being made real, or other things were
    /// just before, and that was broken off.
    fn unwatched(&self, newest: Option<&Generation>, desired: &Desired) -> Result<Option<OffsetDateTime>, RecordError> {
        match newest {
            Some(newest) if !newest.is_applied() && (newest.outcome == APPLYING || *newest.desired == *desired) => {
                generations::on_the_way_since(self.engine.db(), newest).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The host, and what is known of the stack's images, those that are `held` among it. Gives what registries were asked, to be
    /// recorded.
    async fn look(
        &self,
        desired: &Desired,
        held: &Images,
        course: Course,
        look: Look,
        given: &[Given],
    ) -> Result<(Observed, BTreeMap<ImageRef, Lookup>), ReconcileError> {
        let mut observed = self.engine.observe_closely(Some(&desired.stack)).await?;
        let db = self.engine.db();
        observed.known = knowledge::known(db, &desired.stack)?;
        observed.known.answers = answers_of(held);
        observed.known.course = course;
        let asked = match look {
            Look::Ask(how) => {
                let last = knowledge::lookups(db, &desired.stack)?;
                gone::again(desired, &mut observed, &last);
                ask::ask(&self.engine, desired, &mut observed, &last, how, given).await
            }
            Look::Given(answers) => {
                observed.known.answers = answers;
                ask::given(desired, &observed.known)
            }
        };
        Ok((observed, asked))
    }

    /// What was read elsewhere than in the stack's own manifests, or cannot be read now, filled in.
    fn completed<'a>(&self, desired: &'a Desired) -> Result<Cow<'a, Desired>, ReconcileError> {
        let mut desired = self.recall(desired)?;
        if borrowed::lacks(&desired) {
            self.borrow(desired.to_mut())?;
        }
        Ok(desired)
    }

    /// An archive that is away counts as the one that was there when the stack was applied last.
    fn recall<'a>(&self, desired: &'a Desired) -> Result<Cow<'a, Desired>, ReconcileError> {
        let away = |image: &ImageSpec| matches!(image.source, ImageSource::Load { fingerprint: None, .. });
        if !desired.images.values().any(away) {
            return Ok(Cow::Borrowed(desired));
        }
        let mut desired = desired.clone();
        let Some(Generation { desired: last, .. }) = self.newest(&desired.stack)? else {
            return Ok(Cow::Owned(desired));
        };
        for (name, image) in desired.images.iter_mut().filter(|(_, image)| away(image)) {
            if let Some(last) = last.images.get(name)
                && let (
                    ImageSource::Load { archive: old, fingerprint: known, .. },
                    ImageSource::Load { archive, fingerprint, .. },
                ) = (&last.source, &mut image.source)
                && old == archive
            {
                *fingerprint = *known;
            }
        }
        Ok(Cow::Owned(desired))
    }

    /// What a destroy would do now. Volumes are in it only when `volumes`.
    pub async fn plan_destroy(&self, stack: &Name, volumes: bool) -> Result<Plan, ReconcileError> {
        Ok(plan::plan_destroy(stack, &self.engine.observe().await?, volumes)?)
    }

    /// Makes the host what `desired` says because a user says so: images whose pull policy is `always` are asked for at
    /// their registry first. With `expected`, does exactly that plan or nothing. `given` are the user's credentials, and `source` is
    /// where the manifests were.
    pub async fn apply(
        &self,
        desired: Desired,
        source: Option<String>,
        expected: Option<Plan>,
        given: Vec<Given>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        self.say(Wanted::Said { desired, source }, expected, given, events).await
    }

    /// Makes the host what it was made before, or what a source says, as often as one likes. Registries are asked only for what is
    /// due, unless something else is desired than was applied last. A stack that is held to a generation stays so until its source
    /// says something else than it did.
    ///
    /// Assumption: what is wanted was read in this turn, so that nothing is undone that somebody else has said meanwhile.
    async fn keep(&self, turn: &Turn, wanted: Wanted, events: mpsc::Sender<Event>) -> Result<Outcome, ReconcileError> {
        let stack = wanted.stack().clone();
        let result = self.converge(turn, wanted, None, Ask::Due, Vec::new(), events).await;
        if let Err(error) = &result
            && let Err(unsaid) = record::set_conditions(self.engine.db(), &stack, status::refused(error))
        {
            tracing::error!(%stack, %unsaid, "note why nothing was done");
        }
        result
    }

    /// Makes the host what somebody has said just now, with whatever was to be waited for before broken off.
    async fn say(
        &self,
        wanted: Wanted,
        expected: Option<Plan>,
        given: Vec<Given>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        let turn = self.new_turn(wanted.stack(), &events).await?;
        self.converge(&turn, wanted, expected, Ask::Eagerly, given, events).await
    }

    /// Makes the host what is wanted, and tells `events` about it. Where an update fails that says so, the host becomes what it was.
    ///
    /// Guarantee: killed at any point, doing it again converges, and what was half-made is finished or undone.
    async fn converge(
        &self,
        turn: &Turn,
        wanted: Wanted,
        expected: Option<Plan>,
        ask: Ask,
        given: Vec<Given>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        self.engine.recover().await?;
        let settled = self.settle(wanted).await?;
        let (outcome, broke) = self.pass(turn, &settled, expected, ask, given.clone(), &events).await?;
        let outcome = match broke {
            None => outcome,
            Some(broke) => self.set_back(turn, settled, outcome, broke, given, &events).await?,
        };
        tell(&events, Event::Finished { outcome }).await;
        Ok(outcome)
    }

    /// Makes the host what was settled. Gives the update that has failed meanwhile, where something is to be done about it.
    async fn pass(
        &self,
        turn: &Turn,
        settled: &Settled,
        expected: Option<Plan>,
        ask: Ask,
        given: Vec<Given>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(Outcome, Option<Broke>), ReconcileError> {
        let db = self.engine.db();
        let desired = match self.completed(&settled.desired)? {
            Cow::Borrowed(_) => Arc::clone(&settled.desired),
            Cow::Owned(completed) => Arc::new(completed),
        };
        let (stack, paused) = (&desired.stack, settled.is_paused());
        let newest = self.newest(stack)?;
        let since = self.unwatched(newest.as_ref(), &desired)?;
        let last = newest.filter(|last| Arc::ptr_eq(&last.desired, &desired) || last.desired == desired);
        let look = match &expected {
            Some(expected) => Look::Given(expected.answers.clone()),
            None => Look::Ask(if last.is_some() { ask } else { Ask::Eagerly }),
        };
        let course = Course { back: settled.back, paused, since };
        let (observed, asked) = self.look(&desired, &settled.held, course, look, &given).await?;
        let plan = plan::plan(&desired, &observed)?;
        let what = expected.map_or_else(Vec::new, |expected| plan::moved(&expected, &plan));
        if !what.is_empty() {
            return Err(ReconcileError::Moved { what });
        }
        let hold = match &settled.hold {
            NewHold::Stays => HoldChange::Stays,
            NewHold::Ends => HoldChange::Ends,
            NewHold::Begins(hold) => HoldChange::Begins(hold),
        };
        let meant = meant(&desired, &observed, &plan);
        let (source, brings_back) = (settled.source.as_deref(), settled.brings_back);
        let beginning = Beginning { desired: &desired, images: &meant, source, brings_back, hold };
        let before = match &last {
            Some(last) if beginning.is(last) => last.number,
            _ => generations::begin(db, beginning)?,
        };
        knowledge::record_lookups(db, stack, &asked)?;
        tell(events, Event::Planned { plan: plan.clone() }).await;
        let mark = journal::last(db)?;
        let ran = if plan.is_empty() {
            Ran::default()
        } else {
            record::set_conditions(db, stack, vec![status::reconciling(&plan)])?;
            self.execute(turn, Arc::clone(&desired), Some(before), &plan, given, events).await
        };
        let Ran { mut outcome, broke } = ran;
        if outcome.broken_off.is_some() && outcome.failed == 0 && !paused {
            // As if killed: the generation is still being made real, and says so.
            return Ok((Outcome { generation: before, ..outcome }, None));
        }
        // What was well before and is made again is no update that could be taken back.
        let broke = broke.filter(|_| !last.is_some_and(|last| last.number == before && last.is_applied()));
        let images = self.engine.images()?.into_iter().flat_map(|i| i.references.into_iter().map(move |r| (r, i.digest)));
        let declared = |reference: &ImageRef| desired.images.values().any(|image| image.reference == *reference);
        let mut images: Images = images.filter(|(reference, _)| declared(reference)).collect();
        outcome.generation = before;
        let said = if paused {
            PAUSED
        } else if outcome.failed > 0 {
            // What has failed is tried again, and is the same generation then.
            images.extend(meant.clone());
            "failed"
        } else {
            // What is made of the same manifests may be another image than the last time: then it is another generation.
            if !plan.is_empty() {
                let beginning = Beginning { images: &images, hold: HoldChange::Stays, ..beginning };
                outcome.generation = generations::begin(db, beginning)?;
            }
            APPLIED
        };
        images.extend(settled.held.clone());
        generations::finish(db, stack, outcome.generation, said, &images)?;
        if !plan.is_empty() {
            journal::trim(db)?;
            self.engine.collect_configs(generations::contents_of_generations)?;
        }
        let mut conditions = status::after(&outcome, &self.failures(stack, mark)?, settled.setback());
        // What was observed before the steps says nothing of what they came to: the next look does.
        conditions.extend(plan.is_empty().then(|| status::health(&desired, &observed)).flatten());
        record::set_conditions(db, stack, conditions)?;
        Ok((outcome, broke))
    }

    /// Removes all that a stack owns. Volumes stay unless `volumes`.
    pub async fn destroy(&self, stack: &Name, volumes: bool, events: mpsc::Sender<Event>) -> Result<Outcome, ReconcileError> {
        let turn = self.new_turn(stack, &events).await?;
        self.engine.recover().await?;
        let plan = self.plan_destroy(stack, volumes).await?;
        tell(&events, Event::Planned { plan: plan.clone() }).await;
        // The daemon must not bring back what is being taken down.
        record::forget(self.engine.db(), stack)?;
        let nothing = Arc::new(Desired::empty(stack.clone()));
        let Ran { outcome, .. } = self.execute(&turn, nothing, None, &plan, Vec::new(), &events).await;
        self.engine.collect_configs(generations::contents_of_generations)?;
        tell(&events, Event::Finished { outcome }).await;
        Ok(outcome)
    }

    /// What has failed since that step, in sentences.
    fn failures(&self, stack: &Name, mark: i64) -> Result<Vec<String>, RecordError> {
        let filter = Filter { stack: Some(stack.clone()), after: Some(mark), ..Filter::default() };
        let steps = journal::read(self.engine.db(), &filter)?.into_iter();
        Ok(steps.filter_map(|step| Some(format!("{}: {}: {}", step.resource, step.action, step.error?))).collect())
    }

    async fn execute(
        &self,
        turn: &Turn,
        desired: Arc<Desired>,
        generation: Option<u64>,
        plan: &Plan,
        given: Vec<Given>,
        events: &mpsc::Sender<Event>,
    ) -> Ran {
        let context = Arc::new(Context { desired, generation, answers: plan.answers.clone(), given });
        let enough = async {
            tokio::select! {
                () = self.stop.cancelled() => BrokenOff::Stopping,
                () = turn.is_wanted() => BrokenOff::Superseded,
            }
        };
        execute::run(plan, events, enough, |id, step| {
            effects::perform(self.engine.clone(), Arc::clone(&context), id, step, events.clone())
        })
        .await
    }
}

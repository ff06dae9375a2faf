//! From desired to real: look, plan, execute, record, again. One apply of a stack at a time, whoever asks for it.

pub mod execute;
pub mod record;
pub mod report;
pub mod schedule;
pub mod status;

mod effects;
pub mod keeper;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::engine::{Engine, EngineError};
use crate::files::{FileError, Lock};
use crate::manifest::Desired;
use crate::model::Name;
use crate::model::spec::{ImageSource, PullPolicy};
use crate::plan::{self, Plan, PlanError};
use execute::tell;
use record::RecordError;
use report::{Event, Outcome};

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
    #[error("the plan no longer fits: the host has changed since it was made")]
    Moved,
    #[error("no stack named {0} has been applied here")]
    NoSuchStack(Name),
    #[error("a work thread ended before its work did")]
    Interrupted,
}

impl ReconcileError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Moved => Some("run `setpoint plan` again and look at what is different".into()),
            Self::NoSuchStack(_) => Some("`setpoint status` lists the stacks".into()),
            Self::Plan(error) => error.obstacles.first().map(plan::Obstacle::hint),
            Self::Record(_) | Self::File(_) | Self::Interrupted => None,
        }
    }
}

/// Makes stacks real. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    engine: Engine,
}

impl Reconciler {
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What an apply would do now. Changes nothing.
    pub async fn plan(&self, desired: &Desired) -> Result<Plan, ReconcileError> {
        Ok(plan::plan(desired, &self.engine.observe().await?)?)
    }

    /// What a destroy would do now. Volumes are in it only when `volumes`.
    pub async fn plan_destroy(&self, stack: &Name, volumes: bool) -> Result<Plan, ReconcileError> {
        Ok(plan::plan_destroy(stack, &self.engine.observe().await?, volumes)?)
    }

    /// Makes the host what `desired` says because a user says so: images whose pull policy is `always` are asked for at
    /// their registry first. With `expected`, does exactly that plan or nothing.
    pub async fn apply(
        &self,
        desired: Desired,
        expected: Option<Plan>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        if expected.is_none() {
            self.refresh(&desired).await?;
        }
        self.converge(desired, expected, events).await
    }

    /// Pulls the images that are to be asked for always. What an image is now cannot be known without asking, so this
    /// comes before the plan.
    pub async fn refresh(&self, desired: &Desired) -> Result<(), ReconcileError> {
        for image in desired.images.values() {
            if let ImageSource::Pull { policy: PullPolicy::Always, platform } = &image.source {
                self.engine.pull(&image.reference, platform.as_ref(), Arc::new(|_| {})).await?;
            }
        }
        Ok(())
    }

    /// Makes the host what `desired` says, and tells `events` about it.
    ///
    /// Guarantee: killed at any point, doing it again converges, and what was half-made is finished or undone.
    pub async fn converge(
        &self,
        desired: Desired,
        expected: Option<Plan>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        let _lock = self.lock(&desired.stack).await?;
        self.engine.recover().await?;
        let plan = self.plan(&desired).await?;
        if expected.is_some_and(|expected| expected.base != plan.base || expected.steps != plan.steps) {
            return Err(ReconcileError::Moved);
        }
        let db = self.engine.db();
        let generation = record::begin(db, &desired)?;
        tell(&events, Event::Planned { plan: plan.clone() }).await;
        let mut outcome = if plan.is_empty() {
            Outcome::default()
        } else {
            record::set_conditions(db, &desired.stack, vec![status::reconciling(&plan)])?;
            self.execute(Arc::new(desired.clone()), &plan, &events).await
        };
        outcome.generation = generation;
        record::finish(db, &desired.stack, generation, if outcome.failed == 0 { "applied" } else { "failed" })?;
        record::set_conditions(db, &desired.stack, status::after(&outcome))?;
        tell(&events, Event::Finished { outcome }).await;
        Ok(outcome)
    }

    /// Removes all that a stack owns. Volumes stay unless `volumes`.
    pub async fn destroy(&self, stack: &Name, volumes: bool, events: mpsc::Sender<Event>) -> Result<Outcome, ReconcileError> {
        let _lock = self.lock(stack).await?;
        self.engine.recover().await?;
        let plan = self.plan_destroy(stack, volumes).await?;
        tell(&events, Event::Planned { plan: plan.clone() }).await;
        // The daemon must not bring back what is being taken down.
        record::forget(self.engine.db(), stack)?;
        let outcome = self.execute(Arc::new(Desired::empty(stack.clone())), &plan, &events).await;
        tell(&events, Event::Finished { outcome }).await;
        Ok(outcome)
    }

    async fn execute(&self, desired: Arc<Desired>, plan: &Plan, events: &mpsc::Sender<Event>) -> Outcome {
        execute::run(plan, events, |id, step| {
            effects::perform(self.engine.clone(), Arc::clone(&desired), id, step, events.clone())
        })
        .await
    }

    /// One writer of a stack at a time, in all processes.
    async fn lock(&self, stack: &Name) -> Result<Lock, ReconcileError> {
        let path = self.engine.instance().state_dir().join("locks").join(format!("stack-{stack}.lock"));
        if let Some(lock) = Lock::try_take(&path)? {
            return Ok(lock);
        }
        tokio::task::spawn_blocking(move || Lock::wait(&path)).await.map_err(|_| ReconcileError::Interrupted)?.map_err(Into::into)
    }
}

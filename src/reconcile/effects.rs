//! What each step of a plan does: one verb on one resource, journalled before and after. Every effect is idempotent:
//! done twice, or again after a crash, it comes to the same.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::build_events;
use super::elsewhere;
use super::execute::{Done, Failure, tell};
use super::journal;
use super::obtain;
use super::record::RecordError;
use super::report::Event;
use crate::engine::images::{Given, InvalidKey};
use crate::engine::{Engine, EngineError, Kind as EngineKind, NewContainer};
use crate::files::{self, FileError};
use crate::manifest::Desired;
use crate::model::build::BuildSink;
use crate::model::spec::{ContainerSpec, Elsewhere, Mount};
use crate::model::{ContainerId, Digest, ImageRef, Name, Owner, ProgressSink, Span};
use crate::observed::{Answer, ContainerState, Health};
use crate::plan::{Action, Kind, Step, StepId, WaitFor};

#[derive(Debug, thiserror::Error)]
pub(super) enum EffectError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0} is not among what is desired")]
    NotDesired(String),
    #[error("{0:?} is not a name")]
    NotAName(String),
    #[error("which image {reference} is now could not be found out: {why}")]
    Unanswered { reference: Box<ImageRef>, why: String },
    #[error("a key of `verify`: {0}")]
    Key(InvalidKey),
    #[error("the archive {} has no image {wanted}; it has {}", archive.display(), list(names))]
    NotInArchive { archive: PathBuf, wanted: Box<ImageRef>, names: Vec<String> },
    #[error("{name} has not completed, and an image is to be committed from it")]
    NotCompleted { name: Name },
    #[error("{} is too long for a secret", file.display())]
    LongSecret { file: PathBuf },
    #[error("{reference} was the image {} in the generation that is brought back, and this host does not have that any more", digest.short())]
    NotKept { reference: Box<ImageRef>, digest: Digest },
    #[error("{kind} cannot be the object of this step")]
    Senseless { kind: Kind },
    #[error("{name} became unhealthy")]
    Unhealthy { name: Name },
    #[error("{name} has no health check, and something waits for it to be healthy")]
    NoHealthcheck { name: Name },
    #[error("{name} exited with {code} instead of {expected}")]
    Exited { name: Name, code: i32, expected: &'static str },
    #[error("{name} is not well {}: {why}", during(*.span))]
    Unwell { name: Name, span: Span, why: String },
    #[error("{other} is not {wanted} after {}s: {why}", elsewhere::PATIENCE.as_secs())]
    Beyond { other: Elsewhere, wanted: &'static str, why: String },
    #[error("{name} is not running, and something waits for it")]
    NotRunning { name: Name },
}

fn during(span: Span) -> String {
    if span == Span::default() { "after its start".to_owned() } else { format!("while it is watched for {span}") }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "images without names".to_owned() } else { names.join(", ") }
}

impl EffectError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::NotInArchive { .. } => Some("say which one is meant with `load: {archive: …, reference: …}`".into()),
            Self::Unhealthy { name }
            | Self::Unwell { name, .. }
            | Self::Exited { name, .. }
            | Self::NotRunning { name }
            | Self::NotCompleted { name } => Some(format!("`setpoint logs {name}` tells why")),
            Self::NotKept { .. } => Some("roll back to another generation, or apply manifests that say how it is made".into()),
            Self::NoHealthcheck { .. } => {
                Some("give it a `healthcheck`, or depend on it with `condition: service_started`".into())
            }
            Self::Beyond { other, .. } => Some(format!(
                "apply the stack `{}`, or look at it with `setpoint why {other}`; a daemon tries again by itself",
                other.stack
            )),
            Self::Unanswered { .. }
            | Self::LongSecret { .. }
            | Self::Key(_)
            | Self::Record(_)
            | Self::File(_)
            | Self::NotDesired(_)
            | Self::NotAName(_)
            | Self::Senseless { .. } => None,
        }
    }
}

/// What the steps of one plan are about.
pub(super) struct Context {
    pub(super) desired: Arc<Desired>,
    /// What is applied; `None` where a stack is taken down.
    pub(super) generation: Option<u64>,
    /// What registries said when the plan was made.
    pub(super) answers: BTreeMap<ImageRef, Answer>,
    /// Credentials of whoever asked for the apply. They go before those that are stored.
    pub(super) given: Vec<Given>,
}

pub(super) async fn perform(
    engine: Engine,
    context: Arc<Context>,
    id: StepId,
    step: Step,
    events: mpsc::Sender<Event>,
) -> Result<Done, Failure> {
    let fail = |error: EffectError| Failure { error: error.to_string(), hint: error.hint() };
    if is_spared(&engine, &step).map_err(fail)? {
        return Ok(Done::Spared);
    }
    let entry = journal::begins(engine.db(), &context.desired.stack, context.generation, &step).map_err(|e| fail(e.into()))?;
    let result = match files::failpoint("step begins") {
        Ok(()) => act(&engine, &context, &step, Told { step: id, events }).await,
        Err(error) => Err(error.into()),
    };
    let result = result.and_then(|()| Ok(files::failpoint("step is done")?));
    let error = result.as_ref().err().map(ToString::to_string);
    journal::ended(engine.db(), entry, error.as_deref()).map_err(|e| fail(e.into()))?;
    result.map(|()| Done::Done).map_err(fail)
}

/// Whether the image that the step was for has turned out to be the one that it was.
fn is_spared(engine: &Engine, step: &Step) -> Result<bool, EffectError> {
    match &step.spared_if {
        Some(spared_if) => Ok(engine.image(&spared_if.image)?.digest == spared_if.is),
        None => Ok(false),
    }
}

/// Where it is told how a step goes on.
pub(super) struct Told {
    step: StepId,
    events: mpsc::Sender<Event>,
}

impl Told {
    /// Progress is dropped rather than waited for when nobody reads fast enough.
    pub(super) fn progress(self) -> ProgressSink {
        let Self { step, events } = self;
        Arc::new(move |progress| drop(events.try_send(Event::StepProgress { step, progress })))
    }

    /// What goes wrong and fails no step.
    async fn warn(&self, text: String) {
        tell(&self.events, Event::StepWarned { step: self.step, text }).await;
    }

    /// What is told of a build, and what passes it on: it ends once nothing holds the sink any more.
    pub(super) fn build(self) -> (BuildSink, impl Future<Output = ()> + Send + use<>) {
        let Self { step, events } = self;
        let (sink, mut queue) = build_events::queue();
        let pass = async move {
            while let Some(said) = queue.next().await {
                // Nobody may be listening any more: it is built all the same.
                drop(events.send(Event::StepBuild { step, said }).await);
            }
        };
        (sink, pass)
    }
}

async fn act(engine: &Engine, context: &Context, step: &Step, told: Told) -> Result<(), EffectError> {
    let desired = &context.desired;
    match (step.resource.kind, step.action) {
        (Kind::Image, Action::Pull | Action::Build | Action::Import | Action::Load | Action::Commit | Action::Restore) => {
            obtain::obtain(engine, context, step, told).await
        }
        (Kind::Image, Action::Push) => obtain::push(engine, context, step, told.progress()).await,
        (Kind::Network, action) => network(engine, desired, step, action).await,
        (Kind::Volume, action) => volume(engine, desired, step, action),
        (Kind::Container, Action::Stop) => stop(engine, context, step, told).await,
        (Kind::Container, action) => container(engine, desired, step, action).await,
        (Kind::Firewall, Action::Repair) => Ok(engine.repair_firewall().await?),
        (kind @ (Kind::Image | Kind::Config | Kind::Secret | Kind::Firewall), _) => Err(EffectError::Senseless { kind }),
    }
}

async fn network(engine: &Engine, desired: &Desired, step: &Step, action: Action) -> Result<(), EffectError> {
    let name = name(step)?;
    match action {
        Action::Create => {
            let declared = desired.networks.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
            engine.create_network(&name, Some(&owner(desired, step)), &declared.spec).await?;
        }
        Action::Remove => engine.remove_network(&name).await?,
        Action::Repair => engine.repair_network(&name).await?,
        Action::Pull
        | Action::Build
        | Action::Import
        | Action::Load
        | Action::Commit
        | Action::Restore
        | Action::Push
        | Action::Start
        | Action::Stop
        | Action::Update
        | Action::Reload
        | Action::Switch
        | Action::Wait(_)
        | Action::Watch(_)
        | Action::Delay(_) => {
            return Err(EffectError::Senseless { kind: Kind::Network });
        }
    }
    Ok(())
}

fn volume(engine: &Engine, desired: &Desired, step: &Step, action: Action) -> Result<(), EffectError> {
    let name = name(step)?;
    match action {
        Action::Create => {
            let declared = desired.volumes.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
            engine.create_volume(&name, Some(&owner(desired, step)), &declared.spec)?;
        }
        Action::Remove => engine.remove_volume(&name)?,
        Action::Pull
        | Action::Build
        | Action::Import
        | Action::Load
        | Action::Commit
        | Action::Restore
        | Action::Push
        | Action::Start
        | Action::Stop
        | Action::Update
        | Action::Reload
        | Action::Repair
        | Action::Switch
        | Action::Wait(_)
        | Action::Watch(_)
        | Action::Delay(_) => {
            return Err(EffectError::Senseless { kind: Kind::Volume });
        }
    }
    Ok(())
}

async fn container(engine: &Engine, desired: &Desired, step: &Step, action: Action) -> Result<(), EffectError> {
    if action == Action::Create {
        return create(engine, desired, step).await;
    }
    if let Action::Delay(span) = action {
        tokio::time::sleep(span.0).await;
        return Ok(());
    }
    if let (Action::Wait(condition), Some(other)) = (action, step.beyond()) {
        return elsewhere::wait(engine, other, condition).await;
    }
    let id = container_of(engine, step)?;
    match action {
        Action::Start => engine.start(&id).await?,
        Action::Remove => engine.remove(&id, true).await?,
        Action::Update | Action::Reload => {
            let declared = desired.containers.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
            put_configs(engine, desired, step, &declared.spec)?;
            engine.alter(&id, declared.spec.clone()).await?;
        }
        Action::Repair => engine.repair_container(&id).await?,
        Action::Wait(condition) => wait(engine, &id, &name(step)?, condition).await?,
        Action::Watch(span) => watch(engine, &id, &name(step)?, span).await?,
        Action::Switch => {
            let declared = desired.containers.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
            engine.switch(&id, &declared.engine_name, declared.spec.clone()).await?;
        }
        Action::Create
        | Action::Stop
        | Action::Delay(_)
        | Action::Pull
        | Action::Build
        | Action::Import
        | Action::Load
        | Action::Commit
        | Action::Restore
        | Action::Push => {
            return Err(EffectError::Senseless { kind: Kind::Container });
        }
    }
    Ok(())
}

/// The container of a step. One that an earlier step of this plan creates has no id in the plan: it goes by its name.
fn container_of(engine: &Engine, step: &Step) -> Result<ContainerId, EffectError> {
    Ok(match (&step.container, &step.aside) {
        (Some(id), _) => id.clone(),
        (None, None) => engine.find(&step.target)?,
        // Where it is not to be found beside the other one, nothing had to be done.
        (None, Some(aside)) => match engine.find(aside.as_str()) {
            Err(error) if error.status() == EngineKind::NotFound => engine.find(&step.target)?,
            found => found?,
        },
    })
}

/// Stops a container. Where its stack is taken down, a hook that fails before keeps it running, as for anybody who asks for a stop. What
/// is declared becomes real all the same: a hook that never succeeds would keep it from that for good.
async fn stop(engine: &Engine, context: &Context, step: &Step, told: Told) -> Result<(), EffectError> {
    let id = container_of(engine, step)?;
    if context.generation.is_none() {
        return Ok(engine.stop(&id, None).await?);
    }
    for text in engine.stop_anyway(&id).await? {
        told.warn(text).await;
    }
    Ok(())
}

async fn create(engine: &Engine, desired: &Desired, step: &Step) -> Result<(), EffectError> {
    let declared = desired.containers.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
    put_configs(engine, desired, step, &declared.spec)?;
    // One beside another one gets the ports of the host when it takes that one's place.
    let (name, spec) = match &step.aside {
        Some(aside) => (aside.clone(), declared.spec.unpublished()),
        None => (declared.engine_name.clone(), declared.spec.clone()),
    };
    let new = NewContainer { name: Some(name), owner: Some(owner(desired, step)), spec, auto_remove: false };
    engine.create(new).await?;
    Ok(())
}

/// Stores the contents of what a container is to have mounted.
fn put_configs(engine: &Engine, desired: &Desired, step: &Step, spec: &ContainerSpec) -> Result<(), EffectError> {
    for mount in &spec.mounts {
        if let Mount::Config { source, secret, .. } = mount {
            let content = desired.content(source, *secret).ok_or_else(|| not_desired(step))?;
            engine.put_config(content)?;
        }
    }
    Ok(())
}

/// How often a condition is looked at: one small file is read each time.
pub(super) const LOOK: Duration = Duration::from_millis(25);

async fn wait(engine: &Engine, id: &ContainerId, name: &Name, condition: WaitFor) -> Result<(), EffectError> {
    loop {
        let state = engine.state(id)?;
        match (condition, state) {
            (WaitFor::Healthy, ContainerState::Running { health, .. }) => match health {
                Health::Healthy => return Ok(()),
                Health::Starting => {}
                Health::Unhealthy => return Err(EffectError::Unhealthy { name: name.clone() }),
                Health::None => return Err(EffectError::NoHealthcheck { name: name.clone() }),
            },
            (WaitFor::Healthy, ContainerState::Exited { code, .. }) => {
                return Err(EffectError::Exited { name: name.clone(), code, expected: "becoming healthy" });
            }
            (WaitFor::Completed, ContainerState::Exited { code: 0, .. }) => return Ok(()),
            (WaitFor::Completed, ContainerState::Exited { code, .. }) => {
                return Err(EffectError::Exited { name: name.clone(), code, expected: "0" });
            }
            (WaitFor::Started, ContainerState::Running { .. } | ContainerState::Exited { .. }) => return Ok(()),
            (_, ContainerState::Created | ContainerState::Lost) => return Err(EffectError::NotRunning { name: name.clone() }),
            (_, ContainerState::Restarting { .. }) | (WaitFor::Completed, ContainerState::Running { .. }) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for as long as a new container is to be watched, and until its health check has said something.
async fn watch(engine: &Engine, id: &ContainerId, name: &Name, span: Span) -> Result<(), EffectError> {
    let began = Instant::now();
    let ends = !engine.containers().get(id).map_err(EngineError::from)?.spec.restart.keeps_running();
    let status = || engine.containers().status(id).map_err(EngineError::from);
    let restarts = status()?.restarts;
    loop {
        let status = status()?;
        let why = match status.state {
            _ if status.restarts > restarts => "it ended, and was started again".to_owned(),
            ContainerState::Running { health: Health::Unhealthy, .. } => "it is unhealthy".to_owned(),
            ContainerState::Running { health, .. } if began.elapsed() >= span.0 && health != Health::Starting => return Ok(()),
            ContainerState::Running { .. } => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            // A job that has done its work.
            ContainerState::Exited { code: 0, stopped: false, error: None, .. } if ends => return Ok(()),
            ContainerState::Exited { error: Some(error), .. } => error,
            ContainerState::Exited { stopped: true, .. } => "somebody stopped it".to_owned(),
            ContainerState::Exited { code, .. } | ContainerState::Restarting { code, .. } => format!("it exited with {code}"),
            ContainerState::Created | ContainerState::Lost => return Err(EffectError::NotRunning { name: name.clone() }),
        };
        return Err(EffectError::Unwell { name: name.clone(), span, why });
    }
}

fn owner(desired: &Desired, step: &Step) -> Owner {
    Owner { stack: desired.stack.clone(), resource: step.resource.name.clone() }
}

fn name(step: &Step) -> Result<Name, EffectError> {
    step.target.parse().map_err(|_| EffectError::NotAName(step.target.clone()))
}

pub(super) fn not_desired(step: &Step) -> EffectError {
    EffectError::NotDesired(step.resource.to_string())
}

//! The loop that keeps the host as it was declared: it watches sources and host, and applies a stack again whenever
//! something says "look again", and every minute anyway. It never learns what changed: each run reads everything.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::orphans::{Orphans, SeenTo};
use super::report::Event;
use super::schedule::{Schedule, Verdict};
use super::status::condition;
use super::turns::Turn;
use super::{ReconcileError, Reconciler, Wanted, record};
use crate::engine::EngineError;
use crate::manifest::Loaded;
use crate::model::{ContainerId, Name};
use crate::sources::Folder;
use crate::sources::wakes::{Wakes, WatchError};

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Record(#[from] record::RecordError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the name of the folder {} cannot be a stack's name; give one with --stack", path.display())]
    Nameless { path: PathBuf },
}

/// Everything that can happen to the loop.
enum Wake {
    Source(usize),
    /// Why, for who reads the log.
    Host(&'static str),
    Finished(Name, Verdict),
    /// A container of no stack, which had lost its monitor, was seen to.
    SeenTo(ContainerId, SeenTo),
}

/// Watches sources and keeps every stack of the instance.
pub struct Keeper {
    reconciler: Reconciler,
    sources: Vec<Source>,
    schedule: Schedule<Name>,
    /// By what those that are in flight learn that their source has changed.
    renewed: HashMap<Name, CancellationToken>,
    orphans: Orphans,
    sender: mpsc::UnboundedSender<Wake>,
    inbox: mpsc::UnboundedReceiver<Wake>,
}

struct Source {
    folder: Folder,
    name: Name,
    wakes: Wakes,
}

impl Keeper {
    /// Begins to watch. A source whose manifests are broken is watched too: it may be mended.
    pub async fn new(reconciler: Reconciler, folders: Vec<Folder>) -> Result<Self, KeeperError> {
        let (sender, inbox) = mpsc::unbounded_channel();
        let mut sources = Vec::new();
        for folder in folders {
            let loaded = load(folder.clone()).await;
            let name = name_of(&reconciler, &folder, loaded.as_ref().ok())?;
            let mut wakes = Wakes::new()?;
            wakes.add(folder.path())?;
            for path in loaded.iter().flat_map(|loaded| &loaded.watched) {
                wakes.add(path)?;
            }
            record::set_source(reconciler.engine().db(), &name, folder.path())?;
            sources.push(Source { folder, name, wakes });
        }
        let (schedule, orphans) = (Schedule::default(), Orphans::default());
        Ok(Self { reconciler, sources, schedule, renewed: HashMap::new(), orphans, sender, inbox })
    }

    /// Runs until told to stop; applies that are under way then come to their end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), KeeperError> {
        for (index, source) in self.sources.iter().enumerate() {
            forward(source.wakes.changes(), self.sender.clone(), index);
        }
        let engine = self.reconciler.engine().clone();
        let mut in_flight = 0usize;
        self.wake_all();
        self.look_for_orphans();
        loop {
            let next = self.schedule.next().into_iter().chain(self.orphans.next()).min();
            let next = next.unwrap_or_else(|| Instant::now() + super::schedule::FULL_LOOK);
            let wake = tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next.into()) => None,
                news = engine.news() => Some(Wake::Host(news?)),
                Some(wake) = self.inbox.recv() => Some(wake),
            };
            match wake {
                None => {}
                Some(Wake::Host(why)) => {
                    debug!(why, "looks again");
                    self.wake_all();
                    self.look_for_orphans();
                }
                Some(Wake::Source(index)) => {
                    if let Some(source) = self.sources.get(index) {
                        self.schedule.renew(source.name.clone(), Instant::now());
                        if let Some(renewed) = self.renewed.get(&source.name) {
                            renewed.cancel();
                        }
                    }
                }
                Some(Wake::Finished(name, verdict)) => {
                    in_flight -= 1;
                    self.schedule.finished(&name, verdict, Instant::now());
                    if self.renewed.remove(&name).is_some_and(|renewed| renewed.is_cancelled()) {
                        // Whatever this look came to says nothing of what the stack is to be now.
                        self.schedule.renew(name, Instant::now());
                    }
                    self.look_for_orphans();
                }
                Some(Wake::SeenTo(id, seen_to)) => {
                    in_flight -= 1;
                    self.orphans.finished(id, seen_to, Instant::now());
                    self.look_for_orphans();
                }
            }
            for id in self.orphans.take_due(Instant::now()) {
                in_flight += 1;
                self.see_to(id);
            }
            for name in self.schedule.take_due(Instant::now()) {
                in_flight += 1;
                self.start(name);
            }
        }
        while in_flight > 0 {
            match self.inbox.recv().await {
                Some(Wake::Finished(..) | Wake::SeenTo(..)) => in_flight -= 1,
                Some(Wake::Source(_) | Wake::Host(_)) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Every stack that has been applied here or has a source.
    fn wake_all(&mut self) {
        let now = Instant::now();
        for source in &self.sources {
            self.schedule.wake(source.name.clone(), now);
        }
        match record::stacks(self.reconciler.engine().db()) {
            Ok(stacks) => stacks.into_iter().for_each(|stack| self.schedule.wake(stack.name, now)),
            Err(error) => error!(%error, "list the stacks"),
        }
    }

    fn start(&mut self, name: Name) {
        let (reconciler, renewed) = (self.reconciler.clone(), CancellationToken::new());
        self.renewed.insert(name.clone(), renewed.clone());
        let folder = self.sources.iter().find(|source| source.name == name).map(|source| source.folder.clone());
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let look = tokio::spawn({
                let name = name.clone();
                async move { keep(&reconciler, &name, folder, renewed).await }
            });
            let verdict = match look.await {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(error)) => {
                    error!(stack = %name, %error, "apply");
                    Verdict::Retry
                }
                Err(crash) => {
                    error!(stack = %name, %crash, "apply ended abnormally");
                    Verdict::Retry
                }
            };
            // The loop is gone only when the daemon is.
            drop(sender.send(Wake::Finished(name, verdict)));
        });
    }

    /// Finds those of no stack that have lost their monitor.
    fn look_for_orphans(&mut self) {
        match self.reconciler.engine().with_statuses() {
            Ok(all) => self.orphans.look(&all, Instant::now()),
            Err(error) => error!(%error, "look for containers that have lost their monitor"),
        }
    }

    /// Does for a container that lost its monitor what its restart policy says.
    fn see_to(&self, id: ContainerId) {
        let (engine, sender) = (self.reconciler.engine().clone(), self.sender.clone());
        tokio::spawn(async move {
            let own = id.clone();
            let seen_to = match tokio::spawn(async move { engine.see_to_lost(&own).await }).await {
                Ok(Ok(true)) => SeenTo::StaysLost,
                Ok(Ok(false)) => SeenTo::Well,
                Ok(Err(error)) => {
                    error!(container = %id.short(), %error, "see to a container that lost its monitor");
                    SeenTo::Failed
                }
                Err(crash) => {
                    error!(container = %id.short(), %crash, "see to a container that lost its monitor");
                    SeenTo::Failed
                }
            };
            // The loop is gone only when the daemon is.
            drop(sender.send(Wake::SeenTo(id, seen_to)));
        });
    }
}

/// One look at one stack, in a turn of its own. Manifests that cannot be read leave the last good generation in force. Once `renewed`
/// says that they have changed, nothing is waited for any more.
async fn keep(
    reconciler: &Reconciler,
    name: &Name,
    folder: Option<Folder>,
    renewed: CancellationToken,
) -> Result<Verdict, ReconcileError> {
    // Before anything is read: whoever is at work on the stack may be changing it.
    let Some(turn) = reconciler.turn(name).await? else { return Ok(Verdict::AwaitChange) };
    let turn = turn.until(renewed);
    let db = reconciler.engine().db();
    let mut complaint = None;
    let said = match folder {
        None => None,
        Some(folder) => match load(folder.clone()).await {
            Ok(loaded) if loaded.desired.stack == *name => {
                Some(Wanted::Source { desired: loaded.desired, source: folder.path().to_owned(), watched: loaded.watched })
            }
            Ok(loaded) => {
                complaint =
                    Some(format!("the manifests name the stack {} now; restart the daemon to follow", loaded.desired.stack));
                None
            }
            Err(problems) => {
                complaint = Some(problems.to_string());
                None
            }
        },
    };
    let wanted = match said {
        Some(said) => Some(said),
        None => reconciler.newest(name)?.map(|last| Wanted::Same { stack: name.clone(), desired: last.desired }),
    };
    let verdict = match wanted {
        Some(wanted) => apply(reconciler, &turn, name.clone(), wanted).await?,
        None => Verdict::AwaitChange,
    };
    if let Some(complaint) = complaint {
        warn!(stack = %name, "{complaint}");
        let stalled = condition("Stalled", true, "InvalidManifests", &complaint);
        let ready = condition("Ready", false, "InvalidManifests", "the last good generation is kept; see Stalled");
        record::set_conditions(db, name, vec![stalled, ready])?;
    }
    Ok(verdict)
}

async fn apply(reconciler: &Reconciler, turn: &Turn, stack: Name, wanted: Wanted) -> Result<Verdict, ReconcileError> {
    let (events, mut inbox) = mpsc::channel(256);
    let story = tokio::spawn(async move {
        let mut steps = Vec::new();
        while let Some(event) = inbox.recv().await {
            match event {
                Event::Planned { plan } => steps = plan.steps,
                Event::StepDone { step, millis } => {
                    if let Some(step) = steps.get(step) {
                        info!(%stack, resource = %step.resource, action = ?step.action, cause = ?step.causes, millis, "done");
                    }
                }
                Event::StepFailed { step, error, .. } => {
                    if let Some(step) = steps.get(step) {
                        error!(%stack, resource = %step.resource, action = ?step.action, %error, "failed");
                    }
                }
                Event::RollsBack { to, why } => error!(%stack, generation = to, "rolls back: {why}"),
                Event::Waits
                | Event::StepStarted { .. }
                | Event::StepSpared { .. }
                | Event::StepProgress { .. }
                | Event::StepBuild { .. }
                // The engine has logged it.
                | Event::StepWarned { .. }
                | Event::StepSkipped { .. }
                | Event::Finished { .. } => {}
            }
        }
    });
    let outcome = reconciler.keep(turn, wanted, events).await;
    story.await.map_err(|_| ReconcileError::Interrupted)?;
    let outcome = outcome?;
    // Whoever has superseded it may yet be refused: then this goes on.
    let ended = outcome.failed == 0 && outcome.broken_off.is_none();
    Ok(if ended || outcome.halted { Verdict::AwaitChange } else { Verdict::Retry })
}

/// Loading reads files and may look through a whole folder: not on the threads that answer requests.
async fn load(folder: Folder) -> Result<Loaded, Arc<dyn std::error::Error + Send + Sync>> {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    match tokio::task::spawn_blocking(move || folder.load(environment)).await {
        Ok(Ok(loaded)) => Ok(loaded),
        Ok(Err(problems)) => Err(Arc::new(problems)),
        Err(crash) => Err(Arc::new(crash)),
    }
}

/// What the manifests say; while they are broken, what was recorded for this folder; else the folder's own name.
fn name_of(reconciler: &Reconciler, folder: &Folder, loaded: Option<&Loaded>) -> Result<Name, KeeperError> {
    if let Some(loaded) = loaded {
        return Ok(loaded.desired.stack.clone());
    }
    if let Some(name) = folder.given_name() {
        return Ok(name.clone());
    }
    let recorded = record::stacks(reconciler.engine().db())?;
    if let Some(record) = recorded.into_iter().find(|record| record.source.as_deref() == Some(folder.path())) {
        return Ok(record.name);
    }
    crate::manifest::default_stack_name(folder.path()).ok_or_else(|| KeeperError::Nameless { path: folder.path().to_owned() })
}

fn forward(mut changes: tokio::sync::watch::Receiver<u64>, sender: mpsc::UnboundedSender<Wake>, index: usize) {
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            if sender.send(Wake::Source(index)).is_err() {
                return;
            }
        }
    });
}

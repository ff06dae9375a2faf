//! Going back: a generation that is kept is applied again, with the images that it had, and held against its source until that says
//! something else. Here is decided what a stack is to be; how that becomes real is as for any apply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::ask::Ask;
use super::generations::{self, APPLYING, Generation, Hold, Images, Outline, Setback};
use super::report::{Comparison, Event, GenerationInfo, History, Outcome};
use super::{Look, ReconcileError, Reconciler, record};
use crate::engine::images::Given;
use crate::files::Lock;
use crate::manifest::{Desired, Loaded};
use crate::model::{Digest, ImageRef, Name};
use crate::observed::{Answer, Course};
use crate::plan::{self, Edition, Kind, Plan, Resource};
use crate::sources::{Folder, said};

/// What a stack is to be, and who says so.
#[derive(Debug)]
pub enum Wanted {
    /// A user says so. It ends a hold.
    Said { desired: Desired, source: Option<String> },
    /// Its source says so. A hold lasts as long as it says the same. `watched` is all that was read of it.
    Source { desired: Desired, source: PathBuf, watched: Vec<PathBuf> },
    /// Nobody says anything: it is to stay as it was applied last.
    Same { stack: Name, desired: Arc<Desired> },
    /// The generation with this number again.
    Generation { stack: Name, number: u64 },
}

impl Wanted {
    pub(super) const fn stack(&self) -> &Name {
        match self {
            Self::Said { desired, .. } | Self::Source { desired, .. } => &desired.stack,
            Self::Same { stack, .. } | Self::Generation { stack, .. } => stack,
        }
    }
}

/// What is applied in the end.
pub(super) struct Settled {
    pub(super) desired: Arc<Desired>,
    /// Images that are to be these, whatever their references mean by now.
    pub(super) held: Images,
    pub(super) source: Option<String>,
    pub(super) brings_back: Option<u64>,
    pub(super) hold: NewHold,
    /// It becomes what it was.
    pub(super) back: bool,
    /// The hold by which it is so, where one stays.
    pub(super) held_by: Option<Hold>,
}

impl Settled {
    /// What has gone wrong before, and is why the stack is to be this.
    pub(super) fn setback(&self) -> Option<&Setback> {
        match &self.hold {
            NewHold::Stays => self.held_by.as_ref()?.setback.as_ref(),
            NewHold::Ends => None,
            NewHold::Begins(hold) => hold.setback.as_ref(),
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.setback().is_some_and(|setback| setback.paused)
    }

    /// What the stack is held against when this fails.
    pub(super) fn said(&self) -> Option<Outline> {
        match (&self.hold, &self.held_by) {
            (NewHold::Begins(hold), _) => hold.source.clone(),
            (NewHold::Stays, Some(hold)) => hold.source.clone(),
            (NewHold::Stays | NewHold::Ends, _) => Some(Outline::of(&self.desired)),
        }
    }
}

pub(super) enum NewHold {
    Stays,
    Ends,
    Begins(Box<Hold>),
}

/// What a planner is told of images that are held.
pub(super) fn answers_of(held: &Images) -> BTreeMap<ImageRef, Answer> {
    held.iter().map(|(reference, digest)| (reference.clone(), Answer::Held { digest: *digest })).collect()
}

impl Reconciler {
    /// Decides what is applied. To be called under the stack's lock, so that nobody decides by a hold that is no more.
    pub(super) async fn settle(&self, wanted: Wanted) -> Result<Settled, ReconcileError> {
        let db = self.engine.db();
        let free = |desired, source, hold| {
            let held = Images::new();
            Settled { desired, held, source, brings_back: None, hold, back: false, held_by: None }
        };
        match wanted {
            Wanted::Said { desired, source } => {
                let hold = match generations::hold(db, &desired.stack)? {
                    Some(_) => NewHold::Ends,
                    None => NewHold::Stays,
                };
                Ok(free(Arc::new(desired), source, hold))
            }
            Wanted::Source { desired, source, watched } => {
                let (told, desired) = (Some(source.display().to_string()), Arc::new(desired));
                match generations::hold(db, &desired.stack)? {
                    Some(hold) if hold.source == Some(Outline::of(&desired)) => {
                        self.held(&desired.stack, Arc::clone(&desired), hold)
                    }
                    Some(hold) if hold.files.is_some() && hold.files == digest_of(&desired, watched).await => {
                        // Its files are what they were, and only this process's variables are others: from now on it is held by those.
                        let hold = Hold { source: Some(Outline::of(&desired)), ..hold };
                        generations::set_hold(db, &desired.stack, &hold)?;
                        self.held(&desired.stack, Arc::clone(&desired), hold)
                    }
                    Some(_) => Ok(free(desired, told, NewHold::Ends)),
                    None => Ok(free(desired, told, NewHold::Stays)),
                }
            }
            Wanted::Same { stack, desired } => match generations::hold(db, &stack)? {
                Some(hold) => self.held(&stack, desired, hold),
                None => Ok(free(desired, None, NewHold::Stays)),
            },
            Wanted::Generation { stack, number } => {
                let Generation { desired, images, source, .. } = self.generation(&stack, number)?;
                let (source_says, files) = self.said_by_source(&stack).await?;
                let hold = Hold { of: number, since: OffsetDateTime::now_utc(), source: source_says, files, setback: None };
                let hold = NewHold::Begins(Box::new(hold));
                let brings_back = Some(number);
                Ok(Settled { desired, held: images, source, brings_back, hold, back: true, held_by: None })
            }
        }
    }

    /// The newest generation of a stack that is held: it is the one that is held.
    fn held(&self, stack: &Name, otherwise: Arc<Desired>, hold: Hold) -> Result<Settled, ReconcileError> {
        let (desired, held, back) = match self.newest(stack)? {
            Some(Generation { desired, images, brings_back, .. }) => (desired, images, brings_back.is_some()),
            None => (otherwise, Images::new(), false),
        };
        Ok(Settled { desired, held, source: None, brings_back: None, hold: NewHold::Stays, back, held_by: Some(hold) })
    }

    /// What a stack's source says now, and the digest of its files; where it cannot be read, what is known of when it could. `None` where
    /// it has none.
    async fn said_by_source(&self, stack: &Name) -> Result<(Option<Outline>, Option<Digest>), ReconcileError> {
        let Some(path) = record::stack(self.engine.db(), stack)?.and_then(|record| record.source) else {
            return Ok((None, None));
        };
        let folder = Folder::new(path.clone(), Some(stack.clone()));
        let loaded = load(folder.clone()).await?;
        let Some(Loaded { desired, watched, .. }) = loaded else { return self.said_before(stack, &path) };
        let files = digest_of(&desired, watched).await;
        // Whoever has changed them meanwhile has changed what they say.
        let same = load(folder).await?.is_some_and(|again| again.desired == desired);
        Ok((Some(Outline::of(&desired)), files.filter(|_| same)))
    }

    /// What a source said when it could be read: what the stack is held against, or what was applied from it last.
    fn said_before(&self, stack: &Name, source: &Path) -> Result<(Option<Outline>, Option<Digest>), ReconcileError> {
        let db = self.engine.db();
        if let Some(Hold { source, files, .. }) = generations::hold(db, stack)? {
            return Ok((source, files));
        }
        let source = source.display().to_string();
        let is_its = |one: &Generation| one.brings_back.is_none() && one.source.as_ref() == Some(&source);
        let last = generations::all(db, stack)?.into_iter().find(is_its);
        Ok((last.map(|last| Outline::of(&last.desired)), None))
    }

    fn generation(&self, stack: &Name, number: u64) -> Result<Generation, ReconcileError> {
        let all = generations::all(self.engine.db(), stack)?;
        let kept = all.iter().map(|one| one.number).collect();
        let found = all.into_iter().find(|one| one.number == number);
        found.ok_or_else(|| ReconcileError::NotKept { stack: stack.clone(), number, kept })
    }

    /// All stacks that are known.
    pub fn stacks(&self) -> Result<Vec<Name>, ReconcileError> {
        Ok(record::stacks(self.engine.db())?.into_iter().map(|stack| stack.name).collect())
    }

    /// The stack that is meant: the one that is named, or the only one that there is.
    pub fn only_stack(&self, named: Option<Name>) -> Result<Name, ReconcileError> {
        let mut all = self.stacks()?;
        match named {
            Some(named) if all.contains(&named) => Ok(named),
            Some(named) => Err(ReconcileError::NoSuchStack(named)),
            None => match all.len() {
                0 => Err(ReconcileError::NoStack),
                1 => Ok(all.remove(0)),
                _ => Err(ReconcileError::WhichStack(all)),
            },
        }
    }

    /// What a resource is called in the engine, where it is declared and has a name of its own there.
    pub fn engine_name(&self, stack: &Name, resource: &Resource) -> Result<Option<Name>, ReconcileError> {
        let Some(Generation { desired, .. }) = self.newest(stack)? else { return Ok(None) };
        let name = &resource.name;
        Ok(match resource.kind {
            Kind::Container => desired.containers.get(name).map(|placed| placed.engine_name.clone()),
            Kind::Network => desired.networks.get(name).map(|placed| placed.engine_name.clone()),
            Kind::Volume => desired.volumes.get(name).map(|placed| placed.engine_name.clone()),
            Kind::Image | Kind::Config | Kind::Secret | Kind::Firewall => None,
        })
    }

    /// The generation that a rollback means: the one with this number; else the one that a rollback which has not succeeded was
    /// for; else the last one before the current one that was applied.
    pub fn target(&self, stack: &Name, number: Option<u64>) -> Result<u64, ReconcileError> {
        if let Some(number) = number {
            return Ok(self.generation(stack, number)?.number);
        }
        let all = generations::all(self.engine.db(), stack)?;
        if let Some(Generation { brings_back: Some(number), .. }) = all.first().filter(|newest| !newest.is_applied())
            && all.iter().any(|one| one.number == *number)
        {
            return Ok(*number);
        }
        let earlier = all.into_iter().skip(1).find(Generation::is_applied);
        earlier.map(|one| one.number).ok_or_else(|| ReconcileError::NoEarlier(stack.clone()))
    }

    /// What a rollback would do now. Changes nothing.
    pub async fn plan_rollback(&self, stack: &Name, number: u64, given: &[Given]) -> Result<Plan, ReconcileError> {
        let Generation { desired, images, .. } = self.generation(stack, number)?;
        let desired = self.recall(&desired)?;
        let since = self.unwatched(self.newest(stack)?.as_ref(), &desired)?;
        let course = Course { back: true, since, ..Course::default() };
        let (observed, _) = self.look(&desired, &images, course, Look::Ask(Ask::Eagerly), given).await?;
        Ok(plan::plan(&desired, &observed)?)
    }

    /// Makes the host what a generation was, and holds it there. With `expected`, does exactly that plan or nothing.
    pub async fn rollback(
        &self,
        stack: Name,
        number: u64,
        expected: Option<Plan>,
        given: Vec<Given>,
        events: mpsc::Sender<Event>,
    ) -> Result<Outcome, ReconcileError> {
        self.say(Wanted::Generation { stack, number }, expected, given, events).await
    }

    /// The generations of a stack that are kept.
    pub fn history(&self, stack: &Name) -> Result<History, ReconcileError> {
        let db = self.engine.db();
        let all = generations::all(db, stack)?;
        let changes = |at: usize| match (all.get(at), all.get(at + 1)) {
            (Some(new), Some(old)) => plan::between(edition(old), edition(new)).into_iter().map(|one| one.resource).collect(),
            _ => Vec::new(),
        };
        let at_work = Lock::is_held(&self.lock_path(stack))?;
        let info = |(at, one): (usize, &Generation)| {
            let mut info = GenerationInfo { changes: changes(at), ..one.info() };
            // Only the newest can be under way, and only while somebody is at work.
            if info.outcome == APPLYING && !(at == 0 && at_work) {
                info.outcome = "interrupted".to_owned();
            }
            info
        };
        let infos = all.iter().enumerate().map(info).collect();
        let held = generations::hold(db, stack)?.and(all.first()).map(|newest| newest.number);
        Ok(History { stack: stack.clone(), held, generations: infos })
    }

    /// What differs between two generations.
    pub fn compare(&self, stack: &Name, from: u64, to: u64) -> Result<Comparison, ReconcileError> {
        let (old, new) = (self.generation(stack, from)?, self.generation(stack, to)?);
        let differences = plan::between(edition(&old), edition(&new));
        Ok(Comparison { stack: stack.clone(), from, to, differences })
    }
}

/// What a source says with the variables of this process, where that can be read.
async fn load(folder: Folder) -> Result<Option<Loaded>, ReconcileError> {
    let read = move || folder.load(std::env::vars().collect());
    let loaded = tokio::task::spawn_blocking(read).await.map_err(|_| ReconcileError::Interrupted)?;
    Ok(loaded.ok())
}

/// The digest of a source's files; `None` where one is gone again, or cannot be read.
async fn digest_of(desired: &Desired, watched: Vec<PathBuf>) -> Option<Digest> {
    let desired = desired.clone();
    let digest = tokio::task::spawn_blocking(move || said::digest(&desired, &watched)).await;
    match digest {
        Ok(Ok(digest)) => Some(digest),
        Ok(Err(error)) => {
            tracing::warn!(%error, "look whether a source's files are what they were");
            None
        }
        Err(crash) => {
            tracing::error!(%crash, "look whether a source's files are what they were");
            None
        }
    }
}

fn edition(generation: &Generation) -> Edition<'_> {
    Edition { desired: &generation.desired, images: &generation.images }
}

//! What of running containers was found as it was made, and has stayed so for all that the kernel tells: whoever looks again and again
//! need not read it again. Kept by a program that stays, such as the daemon; a command that comes and goes reads everything.
//!
//! Guarantees: the kernel tells of a change in the same moment, so when all that it told has been taken, what still counts as well
//! *is* well; this is no older knowledge than reading gives. What it may not tell (too much happened at once, it gives no more
//! watches) does not count as well. And since no such list of notifications was ever complete, each container is read anew
//! from time to time.

mod comings;
mod facts;
mod folders;
mod lives;
mod monitors;
mod remains;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

pub(super) use facts::Run;
use facts::{Facts, Token};
use folders::Folders;
use lives::{Learned, Lives};
use remains::Remains;
pub(super) use remains::Sweep;

use super::EngineError;
use super::closely::is_seen_inside;
use super::containers::{Containers, Record};
use super::monitor::Status;
use super::networks::{Known, Networks, Seen, Word};
use crate::files::FileError;
use crate::model::{ContainerId, Instance};
use crate::sys::async_fd;

/// What containers do within this time is one change.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The same of networks: changes come in bursts, such as the deletion of a bridge.
const SETTLE: Duration = Duration::from_millis(20);

/// What is known of containers that run, and by what it is known to have stayed so.
pub(super) struct Vigil {
    state: Mutex<State>,
    /// There is news.
    told: Notify,
    /// The kernel has something to tell.
    wakes: Vec<AsyncFd<OwnedFd>>,
}

struct State {
    lives: Lives,
    remains: Remains,
    news: News,
    folders: Folders,
    word: Word,
    /// What their cgroups and the files of their configs say.
    limits: Facts,
    /// What they see of their networks.
    insides: Facts,
    /// The numbers of their network namespaces.
    numbers: HashMap<i32, ContainerId>,
    numbered: HashMap<ContainerId, i32>,
    /// How often something of the host's networks has changed, and of its packet filter.
    changes: Changes,
    /// What was seen of them, and how often they had changed before.
    seen: Option<(Arc<Seen>, Changes)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Changes {
    host: u64,
    filter: u64,
}

/// Why somebody should look, and has not been told yet.
#[derive(Debug, Default)]
struct News {
    /// Something that was well may not be so any more.
    disturbed: bool,
    /// A monitor has ended.
    ended: bool,
    /// Since when containers have changed.
    changed: Option<Instant>,
    /// Since when networks have.
    networks: Option<Instant>,
}

impl News {
    /// The first reason to look that there is now; or else when there will be one, as far as that is known.
    fn tell(&mut self, now: Instant) -> Result<&'static str, Option<Instant>> {
        if std::mem::take(&mut self.ended) {
            return Ok("a monitor has ended");
        }
        if std::mem::take(&mut self.disturbed) {
            return Ok("a container may have drifted");
        }
        let bursts =
            [(&mut self.changed, DEBOUNCE, "a container has changed"), (&mut self.networks, SETTLE, "a network has changed")];
        let mut next = None;
        for (since, lasts, what) in bursts {
            let Some(end) = since.map(|since| since + lasts) else { continue };
            if end <= now {
                *since = None;
                return Ok(what);
            }
            next = next.into_iter().chain([end]).min();
        }
        Err(next)
    }
}

/// What one look need not read, and what it is to find out.
#[derive(Default)]
pub(super) struct Round {
    well_limits: BTreeSet<ContainerId>,
    well_insides: BTreeSet<ContainerId>,
    limits: Vec<(ContainerId, Token)>,
    /// With the number of the namespace in which changes are told of.
    insides: Vec<(ContainerId, Token, i32)>,
    changes: Changes,
    pub(super) known: Option<Known>,
}

impl Round {
    /// Whether a container's limits and configs are as they were found before, and well.
    pub(super) fn spares_limits(&self, id: &ContainerId) -> bool {
        self.well_limits.contains(id)
    }

    pub(super) fn spares_inside(&self, id: &ContainerId) -> bool {
        self.well_insides.contains(id)
    }
}

impl Vigil {
    /// To be called in an asynchronous context.
    pub(super) fn new(instance: &Instance, networks: &Networks) -> Result<Self, EngineError> {
        let (folders, word, lives) = (Folders::new()?, networks.word()?, Lives::new(instance)?);
        let mut wakes = Vec::new();
        for fd in lives.wakes().into_iter().chain([folders.as_fd()]).chain(word.wakes()) {
            let wake = fd.try_clone_to_owned().and_then(async_fd::readable);
            wakes.push(wake.map_err(|e| FileError::new("poll", "notifications of the kernel", e))?);
        }
        let state = State {
            lives,
            remains: Remains::new()?,
            news: News::default(),
            folders,
            word,
            limits: Facts::default(),
            insides: Facts::default(),
            numbers: HashMap::new(),
            numbered: HashMap::new(),
            changes: Changes::default(),
            seen: None,
        };
        Ok(Self { state: Mutex::new(state), told: Notify::new(), wakes })
    }

    /// All of these containers with their statuses, of which only those are read that are not known.
    pub(super) fn statuses(
        &self,
        records: Vec<Arc<Record>>,
        containers: &Containers,
    ) -> Result<Vec<(Arc<Record>, Status)>, EngineError> {
        let begun = self.take()?.lives.begin(&records);
        let mut all = Vec::with_capacity(records.len());
        for (record, begun) in records.into_iter().zip(begun) {
            all.push(match begun {
                Ok(status) => (record, status, None),
                Err(attempt) => {
                    let status = containers.status(&record.id)?;
                    let learned = Learned { attempt, still: containers.is_held_still(&record.id) };
                    (record, status, Some(learned))
                }
            });
        }
        let mut state = self.take()?;
        state.lives.end(&all)?;
        // A monitor that ended meanwhile is told of by nothing else.
        self.hear(&mut state)?;
        Ok(all.into_iter().map(|(record, status, _)| (record, status)).collect())
    }

    /// Those of which it is known that they are alive, have a monitor, and stand still for nobody.
    pub(super) fn alive(&self) -> Result<HashSet<ContainerId>, EngineError> {
        Ok(self.take()?.lives.known().cloned().collect())
    }

    /// Before what a crash left of containers is looked for. `None` when there is nothing.
    pub(super) fn begin_sweep(&self, containers: &Containers) -> Result<Option<Sweep>, EngineError> {
        Ok(self.take()?.remains.begin(containers.folders_of_remains()?)?)
    }

    /// When it was, and nothing was found.
    pub(super) fn end_sweep(&self, sweep: Sweep) -> Result<(), EngineError> {
        Ok(self.take()?.remains.end(sweep)?)
    }

    /// Before a look at those that are chosen of all containers that run.
    pub(super) fn begin(
        &self,
        runs: &[Run],
        is_chosen: impl Fn(&Record) -> bool,
        containers: &Containers,
    ) -> Result<Round, EngineError> {
        let mut state = self.take()?;
        let State { folders, limits, insides, numbers, numbered, changes, seen, .. } = &mut *state;
        let (now, mut round) = (Instant::now(), Round { changes: *changes, ..Round::default() });
        round.known = seen.as_ref().map(|(seen, before)| Known {
            seen: Arc::clone(seen),
            links: before.host == changes.host,
            filter: before.filter == changes.filter,
        });
        let there: BTreeSet<&ContainerId> = runs.iter().map(Run::id).collect();
        for gone in limits.retain(&there) {
            folders.leave(&gone);
        }
        insides.retain(&there);
        numbered.retain(|id, _| there.contains(id));
        numbers.retain(|_, id| there.contains(id));
        for run in runs.iter().filter(|run| is_chosen(run.record())) {
            let id = run.id();
            if limits.is_well(run, now) {
                round.well_limits.insert(id.clone());
            } else if folders.watch(id, containers.told_of(run.record())?)? {
                round.limits.push((id.clone(), limits.begin(run.clone())));
            }
            match numbered.get(id).filter(|_| is_seen_inside(run.record())) {
                Some(_) if insides.is_well(run, now) => {
                    round.well_insides.insert(id.clone());
                }
                Some(number) => round.insides.push((id.clone(), insides.begin(run.clone()), *number)),
                None => {}
            }
        }
        Ok(round)
    }

    /// After it: which containers were not found well in the one or the other, and the numbers of their namespaces.
    pub(super) fn end(
        &self,
        round: Round,
        has_faults: impl Fn(&ContainerId) -> bool,
        has_network_faults: impl Fn(&ContainerId) -> bool,
        found: BTreeMap<ContainerId, i32>,
        looked_at: Arc<Seen>,
    ) -> Result<(), EngineError> {
        let mut state = self.take()?;
        let (now, State { word, limits, insides, numbers, numbered, seen, .. }) = (Instant::now(), &mut *state);
        *seen = word.tells_all().then_some((looked_at, round.changes));
        for (id, token) in round.limits {
            if !has_faults(&id) {
                limits.end(&id, token, now);
            }
        }
        for (id, token, number) in round.insides {
            // Was it listened to where it is?
            if !has_network_faults(&id) && found.get(&id) == Some(&number) {
                insides.end(&id, token, now);
            }
        }
        let mut learned = false;
        for (id, number) in found.into_iter().filter(|_| word.tells_all()) {
            let before = numbered.insert(id.clone(), number);
            if let Some(before) = before.filter(|before| *before != number) {
                insides.forget(&id);
                numbers.remove(&before);
            }
            learned |= before != Some(number);
            numbers.insert(number, id);
        }
        // What was told of it before was not understood: so it is looked at once more.
        if learned {
            state.news.disturbed = true;
            self.told.notify_one();
        }
        Ok(())
    }

    /// What was seen of the host, where its links are still the same.
    pub(super) fn host(&self) -> Result<Option<Arc<Seen>>, EngineError> {
        let state = self.take()?;
        let same = state.seen.as_ref().filter(|(_, before)| before.host == state.changes.host);
        Ok(same.map(|(seen, _)| Arc::clone(seen)))
    }

    /// Returns when there is a reason to look, with the reason. When it is given up before, the next call tells of it.
    pub(super) async fn news(&self) -> Result<&'static str, EngineError> {
        loop {
            let settles = match self.take()?.news.tell(Instant::now()) {
                Ok(why) => return Ok(why),
                Err(settles) => settles,
            };
            let settled = async {
                match settles {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let ready = futures_util::future::select_all(self.wakes.iter().map(|wake| Box::pin(wake.readable())));
            tokio::select! {
                () = settled => {}
                () = self.told.notified() => {}
                (ready, ..) = ready => {
                    // What there is is taken from here on; what comes meanwhile makes it ready again.
                    ready.map_err(|e| FileError::new("poll", "notifications of the kernel", e))?.clear_ready();
                }
            }
        }
    }

    /// What is known, after all that the kernel has told was taken.
    fn take(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        // What a thread that panicked has left may be half: nothing of it counts.
        let mut state = self.state.lock().unwrap_or_else(|poisoned| {
            self.state.clear_poison();
            let mut state = PoisonError::into_inner(poisoned);
            state.lives.forget_all();
            state.remains.something_came();
            state.limits.forget_all();
            state.insides.forget_all();
            state.seen = None;
            state
        });
        self.hear(&mut state)?;
        Ok(state)
    }

    /// Takes what the kernel has told.
    fn hear(&self, state: &mut State) -> Result<(), EngineError> {
        let State { lives, folders, word, limits, insides, numbers, changes, news, .. } = state;
        let lives::Told { changed, ended } = lives.take()?;
        let mut disturbed = false;
        match folders.take()? {
            Some(touched) => touched.iter().for_each(|id| disturbed |= limits.forget(id)),
            None => disturbed |= limits.forget_all(),
        }
        let told = word.take().map_err(|e| FileError::new("read", "notifications of networks", e))?;
        match told.namespaces {
            Some(changed) => {
                changed.iter().filter_map(|number| numbers.get(number)).for_each(|id| disturbed |= insides.forget(id));
            }
            None => disturbed |= insides.forget_all(),
        }
        changes.host += u64::from(told.host);
        changes.filter += u64::from(told.filter);
        news.disturbed |= disturbed;
        news.ended |= ended;
        if changed {
            news.changed.get_or_insert_with(Instant::now);
        }
        if told.ours {
            news.networks.get_or_insert_with(Instant::now);
        }
        if disturbed || ended || changed || told.ours {
            self.told.notify_one();
        }
        Ok(())
    }
}

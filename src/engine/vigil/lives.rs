//! Containers that are alive: what their monitors said last, which holds as long as nothing changes in their run-time folders and the
//! monitors live. Who has ended is not known here, and is looked up each time.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::comings::Comings;
use super::monitors::Monitors;
use crate::engine::containers::Record;
use crate::engine::monitor::Status;
use crate::files::{self, FileError};
use crate::model::{ContainerId, Instance};

/// What is known, and by what.
pub(super) struct Lives {
    instance: Instance,
    comings: Comings,
    monitors: Monitors,
    known: HashMap<ContainerId, Life>,
    /// By the names of their folders.
    ids: HashMap<OsString, ContainerId>,
    attempts: u64,
}

enum Life {
    /// Somebody reads it, and nothing was told since.
    Sought(Attempt),
    Known(Status),
}

/// One attempt to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt(u64);

/// What one has just read.
pub(super) struct Learned {
    pub(super) attempt: Attempt,
    /// Somebody lets it stand still for a moment.
    pub(super) still: bool,
}

/// Why somebody should look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Something has changed that monitors and commands write down.
    pub(super) changed: bool,
    /// A monitor has ended.
    pub(super) ended: bool,
}

impl Lives {
    pub(super) fn new(instance: &Instance) -> Result<Self, FileError> {
        let folder = instance.run_dir().join("containers");
        files::create_dirs(&folder, 0o700)?;
        Ok(Self {
            instance: instance.clone(),
            comings: Comings::new(folder)?,
            monitors: Monitors::new()?,
            known: HashMap::new(),
            ids: HashMap::new(),
            attempts: 0,
        })
    }

    /// Descriptors that are ready when there is something to take.
    pub(super) fn wakes(&self) -> [BorrowedFd<'_>; 2] {
        [self.comings.as_fd(), self.monitors.as_fd()]
    }

    /// Takes what the kernel has told, and forgets what it may have changed.
    pub(super) fn take(&mut self) -> Result<Told, FileError> {
        let heard = self.comings.take()?;
        match heard.touched {
            Some(touched) => {
                for id in touched.iter().filter_map(|name| self.ids.get(name)) {
                    self.known.remove(id);
                }
            }
            None => self.known.clear(),
        }
        let ended = self.monitors.take()?;
        for id in &ended {
            self.known.remove(id);
        }
        Ok(Told { changed: heard.news | self.monitors.take_doubts(), ended: !ended.is_empty() })
    }

    /// The status of each of all containers, or an attempt to find it out.
    pub(super) fn begin(&mut self, records: &[Arc<Record>]) -> Vec<Result<Status, Attempt>> {
        let found = records.iter().map(|record| match self.known.get(&record.id) {
            Some(Life::Known(status)) => Ok(status.clone()),
            _ => {
                self.attempts += 1;
                let attempt = Attempt(self.attempts);
                let folder = self.instance.container_run_dir(&record.id);
                self.ids.insert(folder.file_name().map(OsStr::to_owned).unwrap_or_default(), record.id.clone());
                self.known.insert(record.id.clone(), Life::Sought(attempt));
                Err(attempt)
            }
        });
        found.collect()
    }

    /// When all have been found: what was learned is known from here on, as far as its end will be told.
    pub(super) fn end(&mut self, all: &[(Arc<Record>, Status, Option<Learned>)]) -> Result<(), FileError> {
        let alive: HashMap<&ContainerId, (i32, u64)> =
            all.iter().filter_map(|(record, status, _)| Some((&record.id, status.live_monitor()?))).collect();
        self.monitors.watch(&alive)?;
        for (record, status, learned) in all {
            let Some(Learned { attempt, still: false }) = learned else { continue };
            let folder = self.instance.container_run_dir(&record.id);
            let is_told = self.monitors.watches(&record.id) && self.comings.watches(folder.file_name().unwrap_or_default());
            if let Some(life) = self.known.get_mut(&record.id)
                && is_told
                && matches!(life, Life::Sought(by) if by == attempt)
            {
                *life = Life::Known(status.clone());
            }
        }
        if self.known.len() > all.len() {
            let there: std::collections::HashSet<&ContainerId> = all.iter().map(|(record, ..)| &record.id).collect();
            self.known.retain(|id, _| there.contains(id));
            self.ids.retain(|_, id| there.contains(id));
        }
        Ok(())
    }

    /// The containers that are known to be alive, to have a monitor, and to stand still for nobody.
    pub(super) fn known(&self) -> impl Iterator<Item = &ContainerId> {
        self.known.iter().filter(|(_, life)| matches!(life, Life::Known(_))).map(|(id, _)| id)
    }

    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::model::spec::ContainerSpec;
    use crate::observed::{ContainerState, Health};
    use crate::sys;

    fn record(seed: u8) -> Arc<Record> {
        Arc::new(Record {
            id: ContainerId::from_random([seed; 32]),
            name: "a".parse().unwrap(),
            owner: None,
            spec: Arc::new(ContainerSpec::new("a:1".parse().unwrap())),
            image_digest: Digest::of(b""),
            created: time::OffsetDateTime::UNIX_EPOCH,
            auto_remove: false,
        })
    }

    /// What somebody reads who takes it for this.
    fn read(lives: &mut Lives, record: &Arc<Record>, status: &Status, still: bool) -> bool {
        let learned = match lives.begin(&[Arc::clone(record)]).remove(0) {
            Ok(known) => {
                assert_eq!(known, *status);
                return true;
            }
            Err(attempt) => Learned { attempt, still },
        };
        lives.end(&[(Arc::clone(record), status.clone(), Some(learned))]).unwrap();
        false
    }

    #[test]
    fn what_is_known_of_the_living_ends_with_their_word_or_with_their_monitor() {
        let root = tempfile::tempdir().unwrap();
        let instance = Instance::new(root.path().join("state"), root.path().join("run"), None);
        let mut lives = Lives::new(&instance).unwrap();
        let record = record(1);
        let folder = instance.container_run_dir(&record.id);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(lives.take().unwrap(), Told { changed: true, ended: false });
        let mut monitor = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(monitor.id()).unwrap();
        let started = time::OffsetDateTime::UNIX_EPOCH;
        let mut status = Status::new(ContainerState::Running { pid, started, health: Health::None });
        status.monitor = Some((pid, sys::process_start_ticks(pid).unwrap()));

        // One that stands still for somebody is not as it says.
        assert!(!read(&mut lives, &record, &status, true) && !read(&mut lives, &record, &status, false));
        assert!(read(&mut lives, &record, &status, false));
        assert_eq!(lives.known().collect::<Vec<_>>(), [&record.id]);
        files::publish(&folder.join("state.json"), b"{}", 0o600).unwrap();
        assert_eq!(lives.take().unwrap(), Told { changed: true, ended: false });
        // What was told while somebody read may not be what was read.
        let attempt = lives.begin(&[Arc::clone(&record)]).remove(0).unwrap_err();
        files::publish(&folder.join("state.json"), b"{}", 0o600).unwrap();
        lives.take().unwrap();
        lives.end(&[(Arc::clone(&record), status.clone(), Some(Learned { attempt, still: false }))]).unwrap();
        assert_eq!(lives.known().count(), 0);

        assert!(!read(&mut lives, &record, &status, false) && read(&mut lives, &record, &status, false));
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        assert_eq!(lives.take().unwrap(), Told { changed: false, ended: true });
        // Whoever takes it for alive now is mistaken, and has to look once more.
        for _ in 0..2 {
            assert!(!read(&mut lives, &record, &status, false));
            assert_eq!(lives.take().unwrap(), Told { changed: true, ended: false });
        }
        status.state = ContainerState::Lost;
        assert!(!read(&mut lives, &record, &status, false) && !read(&mut lives, &record, &status, false));
        assert_eq!(lives.take().unwrap(), Told::default());
    }
}

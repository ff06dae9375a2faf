//! Notifications of the ends of monitors. The end of a container is written to a file by its monitor (see [`super::comings`]); the end
//! of a monitor that was killed is not, and it is the container's end too.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::engine::containers::Record;
use crate::engine::monitor::Status;
use crate::files::FileError;
use crate::model::ContainerId;
use crate::sys;

/// A process, by its number and, in ticks since the boot, its start.
type Process = (i32, u64);

/// One descriptor for all of them, because the loop has one ear only, and one each that the kernel closes for nobody.
pub(super) struct Monitors {
    all: AsyncFd<OwnedFd>,
    /// Without a descriptor one that had ended already; or that is not to be seen from here, and is looked at from time to time.
    watched: HashMap<ContainerId, (Process, Option<OwnedFd>)>,
    /// One had ended before it could be watched.
    missed: bool,
}

fn failed(action: &'static str, e: Errno) -> FileError {
    FileError::new(action, "the monitors of containers", e)
}

impl Monitors {
    /// To be called in an asynchronous context.
    pub(super) fn new() -> Result<Self, FileError> {
        let all = epoll::create(CreateFlags::CLOEXEC).map_err(|e| failed("poll", e))?;
        let all = sys::async_fd::readable(all).map_err(|e| FileError::new("poll", "the monitors of containers", e))?;
        Ok(Self { all, watched: HashMap::new(), missed: false })
    }

    /// Watches the monitors of all containers that are alive, and no others.
    pub(super) fn watch(&mut self, all: &[(Arc<Record>, Status)]) -> Result<(), FileError> {
        let monitor = |(record, status): &(Arc<Record>, Status)| Some((record.id.clone(), status.live_monitor()?));
        let alive: HashMap<ContainerId, Process> = all.iter().filter_map(monitor).collect();
        // A closed descriptor is watched no more.
        self.watched.retain(|id, (process, _)| alive.get(id) == Some(process));
        for (id, process) in alive {
            if self.watched.contains_key(&id) {
                continue;
            }
            let pidfd = open(process)?;
            match &pidfd {
                Some(pidfd) => epoll::add(&self.all, pidfd, EventData::new_u64(0), EventFlags::IN | EventFlags::ONESHOT)
                    .map_err(|e| failed("poll", e))?,
                None => self.missed = true,
            }
            self.watched.insert(id, (process, pidfd));
        }
        Ok(())
    }

    /// Returns when one has ended since the last time.
    pub(super) async fn ended(&mut self) -> Result<(), FileError> {
        if std::mem::take(&mut self.missed) {
            return Ok(());
        }
        loop {
            let mut ready = self.all.readable().await.map_err(|e| FileError::new("poll", "the monitors of containers", e))?;
            let mut events = Vec::with_capacity(64);
            let zero = rustix::event::Timespec::default();
            let ended = epoll::wait(self.all.get_ref().as_fd(), rustix::buffer::spare_capacity(&mut events), Some(&zero))
                .map_err(|e| failed("poll", e))?;
            if ended > 0 {
                // There may be more: it stays ready.
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

/// `None` when the process has ended.
fn open((pid, started_ticks): Process) -> Result<Option<OwnedFd>, FileError> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(e) => return Err(failed("watch", e)),
    };
    // Asked afterwards: while it is the same process, what was opened is it.
    let is_it = sys::process_start_ticks(pid.as_raw_nonzero().get()).is_ok_and(|ticks| ticks == started_ticks);
    Ok(is_it.then_some(pidfd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = i32::try_from(std::process::id()).unwrap();
        let start = sys::process_start_ticks(own).unwrap();
        assert!(open((own, start)).unwrap().is_some());
        assert!(open((own, start + 1)).unwrap().is_none());
        assert!(open((i32::MAX, 0)).unwrap().is_none());
    }
}

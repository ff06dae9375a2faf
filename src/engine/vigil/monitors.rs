//! Notifications of the ends of monitors. The end of a container is written to a file by its monitor (see [`super::comings`]); the end
//! of a monitor that was killed is not, and it is the container's end too.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::files::FileError;
use crate::model::ContainerId;
use crate::sys;

/// A process, by its number and, in ticks since the boot, its start.
type Process = (i32, u64);

/// One descriptor for all of them, because who waits has one ear only, and one each that the kernel closes for nobody.
pub(super) struct Monitors {
    all: OwnedFd,
    watched: HashMap<ContainerId, Watched>,
    /// By the number of the notification.
    ids: HashMap<u64, ContainerId>,
    last: u64,
    /// Those that had ended before they could be watched, and were not told of yet.
    missed: Vec<ContainerId>,
    /// Somebody still takes a container for alive whose monitor's end has been told.
    doubted: bool,
}

struct Watched {
    process: Process,
    number: u64,
    end: End,
}

/// What is known of a monitor's end.
enum End {
    WillBeTold {
        _pidfd: OwnedFd,
    },
    Told,
    /// It had ended already; or it is not to be seen from here, and is looked at from time to time.
    Unseen,
}

fn failed(action: &'static str, e: Errno) -> FileError {
    FileError::new(action, "the monitors of containers", e)
}

impl Monitors {
    pub(super) fn new() -> Result<Self, FileError> {
        let all = epoll::create(CreateFlags::CLOEXEC).map_err(|e| failed("poll", e))?;
        Ok(Self { all, watched: HashMap::new(), ids: HashMap::new(), last: 0, missed: Vec::new(), doubted: false })
    }

    /// Watches the monitors of all containers that are alive, and no others.
    pub(super) fn watch(&mut self, alive: &HashMap<&ContainerId, Process>) -> Result<(), FileError> {
        // A closed descriptor is watched no more.
        self.watched.retain(|id, watched| {
            let stays = alive.get(id) == Some(&watched.process);
            if !stays {
                self.ids.remove(&watched.number);
            }
            stays
        });
        for (id, process) in alive {
            if let Some(watched) = self.watched.get(*id) {
                self.doubted |= matches!(watched.end, End::Told);
                continue;
            }
            self.last += 1;
            let number = self.last;
            let end = match open(*process)? {
                Some(pidfd) => {
                    epoll::add(&self.all, &pidfd, EventData::new_u64(number), EventFlags::IN | EventFlags::ONESHOT)
                        .map_err(|e| failed("poll", e))?;
                    End::WillBeTold { _pidfd: pidfd }
                }
                None => {
                    self.missed.push((*id).clone());
                    End::Unseen
                }
            };
            self.ids.insert(number, (*id).clone());
            self.watched.insert((*id).clone(), Watched { process: *process, number, end });
        }
        Ok(())
    }

    /// Whether the end of this container's monitor will be told.
    pub(super) fn watches(&self, id: &ContainerId) -> bool {
        self.watched.get(id).is_some_and(|watched| matches!(watched.end, End::WillBeTold { .. }))
    }

    /// Whether somebody has taken a container for alive since the last time whose monitor had ended: who looks at its lock may have met
    /// another one who looked.
    pub(super) fn take_doubts(&mut self) -> bool {
        std::mem::take(&mut self.doubted)
    }

    /// The containers whose monitors have ended since the last time.
    pub(super) fn take(&mut self) -> Result<Vec<ContainerId>, FileError> {
        let mut ended = std::mem::take(&mut self.missed);
        let zero = rustix::event::Timespec::default();
        loop {
            let mut events = Vec::with_capacity(64);
            match epoll::wait(self.all.as_fd(), rustix::buffer::spare_capacity(&mut events), Some(&zero)) {
                Ok(0) => return Ok(ended),
                Ok(_) => {
                    for id in events.iter().filter_map(|event| self.ids.get(&event.data.u64())) {
                        if let Some(watched) = self.watched.get_mut(id) {
                            watched.end = End::Told;
                        }
                        ended.push(id.clone());
                    }
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(failed("poll", e)),
            }
        }
    }
}

impl AsFd for Monitors {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.all.as_fd()
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

    #[test]
    fn an_end_is_told_once_and_names_the_container() {
        let mut monitors = Monitors::new().unwrap();
        let ids = [1, 2, 3].map(|n| ContainerId::from_random([n; 32]));
        let mut children = [(); 2].map(|()| std::process::Command::new("sleep").arg("1000").spawn().unwrap());
        let process = |child: &std::process::Child| {
            let pid = i32::try_from(child.id()).unwrap();
            (pid, sys::process_start_ticks(pid).unwrap())
        };
        let mut alive: HashMap<_, _> = ids.iter().zip(children.iter().map(process)).collect();
        alive.insert(&ids[2], (i32::MAX, 0));
        monitors.watch(&alive).unwrap();
        assert!(monitors.watches(&ids[0]) && monitors.watches(&ids[1]) && !monitors.watches(&ids[2]));
        // The third was never there.
        assert_eq!(monitors.take().unwrap(), [ids[2].clone()]);
        children[1].kill().unwrap();
        children[1].wait().unwrap();
        monitors.watch(&alive).unwrap();
        assert!(monitors.watches(&ids[1]) && !monitors.take_doubts());
        assert_eq!(monitors.take().unwrap(), [ids[1].clone()]);
        assert_eq!(monitors.take().unwrap(), []);
        // What is said of it afterwards does not hold.
        assert!(!monitors.watches(&ids[1]));
        monitors.watch(&alive).unwrap();
        assert!(!monitors.watches(&ids[1]) && monitors.take_doubts() && !monitors.take_doubts());
        // Of who is not watched any more nothing is told.
        alive.remove(&ids[0]);
        monitors.watch(&alive).unwrap();
        children[0].kill().unwrap();
        children[0].wait().unwrap();
        assert_eq!(monitors.take().unwrap(), []);
    }
}

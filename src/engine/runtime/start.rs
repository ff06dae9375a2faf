//! The starter's side: makes the cgroup, clones the process that becomes the container, and waits until it has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxNamespaceType;

use super::cgroups::{self, Cgroup};
use super::error::RuntimeError;
use super::exec::clone_into_pid_namespace;
use super::failure::{At, Channel, Failure, Report, Stage};
use super::launch::{Launch, Network, Process, Stdio};
use super::own_users::{self, Users};
use super::spaces::{self, Space};
use super::{devices, ended, init, seccomp, support};
use crate::sys;
use crate::sys::clone::{Cloned, clone_process, exit_now};
use crate::sys::process_start_ticks;

/// Starts a container's first process. Returns when it executes its command.
///
/// # Errors
/// Typed by the step that failed; then nothing of the container is left.
pub fn start(launch: &Launch, stdio: Stdio, netns: Option<BorrowedFd<'_>>) -> Result<Process, RuntimeError> {
    if launch.network == Network::Given && netns.is_none() {
        return Err(RuntimeError::NoNetworkGiven);
    }
    support::check(&launch.spec, launch.network)?;
    // Without a cgroup, the processes of a container are those of its pid namespace.
    if cgroups::is_absent() && spaces::of(&launch.spec, LinuxNamespaceType::Pid) != Space::New {
        return Err(RuntimeError::ProcessesShared);
    }
    let users = Users::of(&launch.spec).map(|users| own_users::namespace(&users).map(|space| (users, space))).transpose()?;
    let init = launch.init.then(sys::own_program::open).transpose();
    let init = init.map_err(RuntimeError::starter("open the own program for the init"))?;
    let cgroup = Cgroup::create(&launch.cgroup)?;
    let started = cgroup
        .apply(&launch.limits)
        .and_then(|()| cgroup.restrict_devices(&devices::rules(&launch.spec)))
        .map_err(RuntimeError::from)
        .and_then(|()| {
            clone_init(
                launch,
                stdio,
                netns,
                &cgroup,
                &Tools { filter: launch.filter.program(), init: init.as_ref(), users: users.as_ref() },
            )
        });
    if started.is_err() {
        // The failure is what the caller is told; what cannot be removed now is found by the caller's own sweep.
        drop(cgroup.kill_all());
        drop(cgroup.remove());
    }
    started
}

/// What was made ready for the child.
pub(super) struct Tools<'a> {
    pub(super) filter: &'a seccomp::Program,
    /// The program of the init, where there is to be one.
    pub(super) init: Option<&'a OwnedFd>,
    /// The container's own users and their namespace, where it has any.
    pub(super) users: Option<&'a (Users, OwnedFd)>,
}

fn clone_init(
    launch: &Launch,
    stdio: Stdio,
    netns: Option<BorrowedFd<'_>>,
    cgroup: &Cgroup,
    tools: &Tools<'_>,
) -> Result<Process, RuntimeError> {
    let mut namespaces = spaces::made_by_clone(&launch.spec);
    if launch.network == Network::New {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    let (starter, child) = Channel::pair().map_err(RuntimeError::starter("make a socket pair"))?;
    let birthplace = cgroup.birthplace()?;
    let doors = cgroup.doors()?;
    let cloned = match spaces::of(&launch.spec, LinuxNamespaceType::Pid) {
        Space::At(path) => {
            let there = std::fs::File::open(path).map_err(RuntimeError::starter("open the pid namespace to join"))?;
            if sys::userns::is_inside() {
                return clone_by_another(launch, stdio, netns, tools, (birthplace, doors), namespaces, &there);
            }
            clone_into_pid_namespace(&there, namespaces, birthplace.as_ref())?
        }
        Space::New | Space::Caller => {
            clone_process(namespaces, birthplace.as_ref().map(AsFd::as_fd)).map_err(RuntimeError::Clone)?
        }
    };
    match cloned {
        Cloned::Child => {
            drop(starter);
            let failure = init::run(launch, &stdio, netns, tools, doors, &child);
            fail(&child, failure)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child);
            NewProcess { pid, pidfd }.until_executed(&starter).and_then(hold_mounts)
        }
    }
}

/// The same for who could not come back from another pid namespace, because the own one is the host's: a process goes ahead
/// into it, and bears the container's as its sibling.
fn clone_by_another(
    launch: &Launch,
    stdio: Stdio,
    netns: Option<BorrowedFd<'_>>,
    tools: &Tools<'_>,
    (birthplace, doors): (Option<OwnedFd>, Vec<OwnedFd>),
    namespaces: CloneFlags,
    there: &std::fs::File,
) -> Result<Process, RuntimeError> {
    let (starter, child) = Channel::pair().map_err(RuntimeError::starter("make a socket pair"))?;
    match clone_process(CloneFlags::empty(), None).map_err(RuntimeError::Clone)? {
        Cloned::Child => {
            drop(starter);
            let born = nix::sched::setns(there, CloneFlags::CLONE_NEWPID)
                .map_err(io::Error::from)
                .and_then(|()| clone_process(namespaces | CloneFlags::CLONE_PARENT, birthplace.as_ref().map(AsFd::as_fd)));
            match born.at(Stage::JoinNamespaces, "of the processes") {
                Ok(Cloned::Child) => {
                    // What it reports is to come after the report of its birth.
                    if let Err(failure) = child.await_go().at(Stage::AwaitStarter, "") {
                        fail(&child, failure)
                    }
                    let failure = init::run(launch, &stdio, netns, tools, doors, &child);
                    fail(&child, failure)
                }
                Ok(Cloned::Parent { pid, .. }) => match child.report(&Report::Born { pid }) {
                    Ok(()) => exit_now(0),
                    Err(e) => fail(&child, Failure::new(Stage::AwaitStarter, "", e)),
                },
                Err(failure) => fail(&child, failure),
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child);
            NewProcess { pid, pidfd }.until_born(&starter)?.let_go(&starter)?.until_executed(&starter).and_then(hold_mounts)
        }
    }
}

/// The mount namespace lives as long as a descriptor of it. Of a process that has ended already it is gone, and there is
/// nothing to hold.
fn hold_mounts(process: Process) -> Result<Process, RuntimeError> {
    use rustix::fs::{Mode, OFlags};
    let path = format!("/proc/{}/ns/mnt", process.pid);
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(mounts) => Ok(Process { mounts: Some(mounts), ..process }),
        Err(rustix::io::Errno::NOENT) => Ok(process),
        Err(e) => {
            let error = RuntimeError::Starter { action: "open the mount namespace", source: e.into() };
            Err(NewProcess { pid: process.pid, pidfd: process.pidfd }.abandon(error))
        }
    }
}

/// Tells the starter and ends the child. When nobody listens there is nobody to tell.
pub(super) fn fail(channel: &Channel, failure: Failure) -> ! {
    drop(channel.report(&Report::Failed(failure)));
    exit_now(125)
}

/// A child that has not yet said that it executes its command.
pub(super) struct NewProcess {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

impl NewProcess {
    /// Waits for the sibling that the child bears, which is a child of the caller too. The child is gone then.
    pub(super) fn until_born(self, channel: &Channel) -> Result<Self, RuntimeError> {
        let pid = match channel.next_report() {
            Ok(Some(Report::Born { pid })) => pid,
            Ok(Some(Report::Failed(failure))) => return Err(self.abandon(failure.into())),
            Ok(Some(Report::Executing) | None) => {
                return Err(RuntimeError::Died { how: ended::how(&self.pidfd) });
            }
            Err(e) => {
                return Err(self.abandon(RuntimeError::Starter { action: "read the new process's report", source: e }));
            }
        };
        let open = |pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        // Not waited for yet, so the number is still its own.
        let pidfd = rustix::process::Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).and_then(open);
        match (pidfd, ended::reap(&self.pidfd)) {
            (Ok(pidfd), Ok(_)) => Ok(Self { pid, pidfd }),
            (Ok(pidfd), Err(source)) => {
                Err(Self { pid, pidfd }.abandon(RuntimeError::Starter { action: "wait for the process that went ahead", source }))
            }
            // It waits for a word that never comes, and ends when this end of the channel is closed.
            (Err(e), _) => Err(RuntimeError::Starter { action: "open the new process", source: e.into() }),
        }
    }

    /// Lets the child go on, which waits for that.
    pub(super) fn let_go(self, channel: &Channel) -> Result<Self, RuntimeError> {
        match channel.go() {
            Ok(()) => Ok(self),
            Err(e) => Err(self.abandon(RuntimeError::Starter { action: "let the new process go on", source: e })),
        }
    }

    /// Waits until the child has become its program.
    pub(super) fn until_executed(self, channel: &Channel) -> Result<Process, RuntimeError> {
        let mut executing = false;
        loop {
            match channel.next_report() {
                Ok(Some(Report::Executing)) => executing = true,
                Ok(Some(Report::Born { .. })) => return Err(self.abandon(RuntimeError::Died { how: "born twice".to_owned() })),
                Ok(Some(Report::Failed(failure))) => return Err(self.abandon(failure.into())),
                Ok(None) if executing => break,
                Ok(None) => return Err(RuntimeError::Died { how: ended::how(&self.pidfd) }),
                Err(e) => {
                    return Err(self.abandon(RuntimeError::Starter { action: "read the new process's report", source: e }));
                }
            }
        }
        // Even if it has ended by now its record is there, because it has not been waited for.
        match process_start_ticks(self.pid) {
            Ok(started_ticks) => Ok(Process { pid: self.pid, pidfd: self.pidfd, started_ticks, mounts: None }),
            Err(e) => Err(self.abandon(RuntimeError::Starter { action: "read the new process's start time", source: e })),
        }
    }

    /// Kills and reaps the child; the error passes through.
    pub(super) fn abandon(self, error: RuntimeError) -> RuntimeError {
        ended::abandon(&self.pidfd);
        error
    }
}

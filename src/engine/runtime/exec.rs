//! A further process in a running container: joins what the first one has.

use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;

use super::cgroups::Cgroup;
use super::enter::{self, Becoming};
use super::error::RuntimeError;
use super::failure::{At, Channel, Failure, Report, Stage};
use super::launch::{ExecRequest, Process, Stdio};
use super::own_users::Users;
use super::start::{NewProcess, fail};
use super::users;
use crate::sys;
use crate::sys::clone::{Born, Cloned, Sibling, clone_process, exit_now};

/// Starts a process in a running container. Returns when it executes its command.
///
/// # Assumptions
/// The caller waits for the process. Until it has, the container's first process cannot finish its own exit: the kernel
/// keeps the last of a pid namespace until all others are gone for good. A caller that waits for both must not wait for
/// the first one first.
///
/// # Errors
/// Typed by the step that failed; then nothing of the process is left.
pub fn exec(request: &ExecRequest, stdio: Stdio) -> Result<Process, RuntimeError> {
    let target = open_identified(request.pid, request.started_ticks)?;
    let spec_process = request.spec.process().as_ref().ok_or(RuntimeError::NoProcess)?;
    let cgroup = Cgroup::open(&request.cgroup)?;
    let birthplace = cgroup.birthplace()?;
    let doors = cgroup.doors()?;
    let (starter, child) = Channel::pair().map_err(RuntimeError::starter("make a socket pair"))?;
    match clone_process(CloneFlags::empty(), birthplace.as_ref().map(AsFd::as_fd)).map_err(RuntimeError::Clone)? {
        Cloned::Child => {
            drop(starter);
            let failure = match go_ahead(request, spec_process, &stdio, &target, doors, &child) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            fail(&child, failure)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child);
            NewProcess { pid, pidfd }.until_born(&starter)?.let_go(&starter)?.until_executed(&starter)
        }
    }
}

/// A terminal for a command in the container, by which the programs there can name it.
pub fn open_terminal(request: &ExecRequest) -> Result<sys::pty::Pty, RuntimeError> {
    let failed = |source| RuntimeError::Starter { action: "make a terminal in the container", source };
    let root = std::fs::File::open(format!("/proc/{}/root", request.pid)).map_err(failed)?;
    // Only now does the number surely mean the process whose root has been opened.
    open_identified(request.pid, request.started_ticks)?;
    sys::pty::open_beneath(&root).map_err(failed)
}

/// A descriptor of exactly this process. Once it is open the number cannot be reused behind our back: the start time is
/// read after the opening, and a process that ended in between has no namespaces to join.
fn open_identified(pid: i32, started_ticks: u64) -> Result<OwnedFd, RuntimeError> {
    let gone = RuntimeError::NotRunning { pid };
    let Some(number) = rustix::process::Pid::from_raw(pid) else { return Err(gone) };
    let Ok(pidfd) = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) else { return Err(gone) };
    match sys::process_start_ticks(pid) {
        Ok(ticks) if ticks == started_ticks => Ok(pidfd),
        _ => Err(gone),
    }
}

/// A pid namespace is entered by the children of who joins it, so the starter joins it for the length of one clone.
pub(super) fn clone_into_pid_namespace(
    target: impl AsFd,
    namespaces: CloneFlags,
    birthplace: Option<&OwnedFd>,
) -> Result<Cloned, RuntimeError> {
    let own = std::fs::File::open("/proc/self/ns/pid").map_err(RuntimeError::starter("open the own pid namespace"))?;
    nix::sched::setns(target, CloneFlags::CLONE_NEWPID)
        .map_err(|e| RuntimeError::Starter { action: "join the container's pid namespace", source: e.into() })?;
    let cloned = clone_process(namespaces, birthplace.map(AsFd::as_fd));
    if matches!(cloned, Ok(Cloned::Child)) {
        return cloned.map_err(RuntimeError::Clone);
    }
    let restored = nix::sched::setns(&own, CloneFlags::CLONE_NEWPID);
    match (cloned, restored) {
        (Ok(cloned), Ok(())) => Ok(cloned),
        (Ok(Cloned::Parent { pid, pidfd }), Err(e)) => Err(NewProcess { pid, pidfd }
            .abandon(RuntimeError::Starter { action: "return to the own pid namespace", source: e.into() })),
        (Ok(Cloned::Child), Err(e)) => Err(RuntimeError::Clone(e.into())),
        (Err(e), _) => Err(RuntimeError::Clone(e)),
    }
}

/// The container's namespaces. In a user namespace, those are left out that this process has too: they may be the host's,
/// which nobody joins from here.
fn to_be_joined(pid: i32) -> std::io::Result<CloneFlags> {
    const ALL: [(&str, CloneFlags); 6] = [
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("net", CloneFlags::CLONE_NEWNET),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ];
    let mut flags = CloneFlags::empty();
    for (kind, flag) in ALL {
        if !sys::userns::is_inside() || !sys::userns::shares(kind, pid)? {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// The process that goes ahead: it joins the container, but for the pid namespace, which only its children are in. So while
/// it still has anything of the host (files, the root, capabilities) no process of the container can see it, whatever it may
/// look into. What it bears then has no more than any process there.
fn go_ahead(
    request: &ExecRequest,
    process: &oci_spec::runtime::Process,
    stdio: &Stdio,
    target: &OwnedFd,
    doors: Vec<OwnedFd>,
    channel: &Channel,
) -> Result<std::convert::Infallible, Failure> {
    let joined = to_be_joined(request.pid).at(Stage::JoinNamespaces, "")?;
    enter::harden(channel)?;
    enter::join_cgroups(&doors)?;
    drop(doors);
    enter::set_oom_score(process)?;
    let sibling = Sibling::conceive().at(Stage::JoinNamespaces, "")?;
    sys::process::reset_signals().at(Stage::ResetSignals, "")?;
    nix::sched::setns(target, joined).at(Stage::JoinNamespaces, "")?;
    let mut identity = match &request.user {
        Some(user) => users::look_up(user)?,
        None => users::of_spec(process.user()),
    };
    users::add_groups(&mut identity, &request.groups)?;
    let own_users = Users::of(&request.spec);
    let becoming = Becoming {
        process,
        identity: &identity,
        argv: &request.argv,
        env: &request.env,
        cwd: &request.cwd,
        terminal: request.tty,
        stdio,
        filter: request.filter.program(),
        init: None,
        users: own_users.as_ref().map(|users| (users, target.as_fd())),
        first: false,
        channel,
    };
    enter::shed(&becoming)?;
    match sibling.bear().at(Stage::JoinNamespaces, "as a process of the container")? {
        Born::Elder(pid) => {
            channel.report(&Report::Born { pid }).at(Stage::AwaitStarter, "")?;
            exit_now(0)
        }
        Born::Younger => {
            channel.await_go().at(Stage::AwaitStarter, "")?;
            enter::become_program(&becoming)
        }
    }
}

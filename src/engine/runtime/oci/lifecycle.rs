//! What is done to a container that exists: start, state, kill, delete, pause, resume, update, list and ps.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{UnmountFlags, unmount};

use super::cgroups::Cgroup;
use super::error::OciError;
use super::record::{self, Folder, Record, State, Status};
use super::{hooks, placement, waiting};
use crate::files::FileError;
use crate::sys;

/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container's folder and record, for a call that needs both.
pub(super) fn open(root: &Path, id: &str) -> Result<(Folder, Record), OciError> {
    let folder = Folder::of(root, id)?;
    let record = folder.read()?;
    Ok((folder, record))
}

fn refused(verb: &'static str, folder: &Folder, status: Status) -> OciError {
    OciError::Status { verb, id: folder.id().to_owned(), status }
}

/// Lets a created container's program run. Returns when it does.
pub fn start(root: &Path, id: &str) -> Result<(), OciError> {
    let (folder, record) = open(root, id)?;
    let _lock = folder.lock_existing()?;
    let spec = folder.spec()?;
    if spec.process().is_none() {
        let part = "start of a container without a process".to_owned();
        return Err(OciError::Unsupported { part, hint: "name one in config.json before it is created" });
    }
    match record::status(&folder, &record)? {
        Status::Created => {}
        other => return Err(refused("start", &folder, other)),
    }
    let listed = spec.hooks().as_ref().and_then(|h| h.poststart().as_ref());
    match waiting::start(folder.path())? {
        None => return Err(refused("start", &folder, record::status(&folder, &record)?)),
        // Those hooks get their turn also when the program could not be executed: other runtimes do not know of it by then,
        // and the conformance suite expects what they do.
        Some(Err(failure)) => {
            drop(hooks::run("poststart", listed, &State::of(&record, Status::Stopped), None));
            return Err(failure.into());
        }
        Some(Ok(())) => {}
    }
    hooks::run("poststart", listed, &State::of(&record, Status::Running), None).inspect_err(|_| {
        // The container is not as its bundle wants it, and must not go on. That it may have ended already is no matter.
        drop(end(&record));
    })
}

pub fn state(root: &Path, id: &str) -> Result<State, OciError> {
    let (folder, record) = open(root, id)?;
    let status = record::status(&folder, &record)?;
    Ok(State::of(&record, status))
}

/// Every container below the root, by name. What is being made or removed at this moment is left out.
pub fn list(root: &Path) -> Result<Vec<State>, OciError> {
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| FileError::new("list", root, e))?,
    };
    let mut states = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| FileError::new("list", root, e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match state(root, &name) {
            Ok(state) => states.push(state),
            Err(OciError::NoContainer { .. } | OciError::Id { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    states.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(states)
}

/// Sends a signal to the container's process, or to all of its processes.
pub fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), OciError> {
    let (folder, record) = open(root, id)?;
    if all {
        return signal_all(&Cgroup::at(&record.cgroup)?, signal);
    }
    let failed = OciError::step("send the signal");
    let gone = |folder: &Folder| refused("kill", folder, Status::Stopped);
    let Some(pidfd) = record::process(&record) else { return Err(gone(&folder)) };
    match sys::signal::send(&pidfd, signal) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(gone(&folder)),
        other => other.map_err(failed),
    }?;
    // What is frozen dies only when it is thawed.
    let cgroup = Cgroup::at(&record.cgroup)?;
    if signal == libc::SIGKILL && cgroup.is_frozen()? { Ok(cgroup.thaw()?) } else { Ok(()) }
}

fn signal_all(cgroup: &Cgroup, signal: i32) -> Result<(), OciError> {
    if signal == libc::SIGKILL {
        return Ok(cgroup.kill_all()?);
    }
    for pid in cgroup.processes()? {
        let Some(number) = rustix::process::Pid::from_raw(pid) else { continue };
        // One that has ended since it was read needs no signal, and by its descriptor no other one gets it.
        let Ok(pidfd) = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) else { continue };
        if !cgroup.processes()?.contains(&pid) {
            continue;
        }
        match sys::signal::send(&pidfd, signal) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(OciError::step("send the signal")(e)),
            _ => {}
        }
    }
    Ok(())
}

/// Kills the container's process and waits for its end.
fn end(record: &Record) -> Result<(), OciError> {
    let cgroup = Cgroup::at(&record.cgroup)?;
    if let Some(pidfd) = record::process(record) {
        match sys::signal::send(&pidfd, libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(OciError::step("kill the process")(e)),
            _ => {}
        }
        cgroup.thaw()?;
        wait_for_end(&pidfd)?;
    }
    // Without a pid namespace others outlive the first.
    Ok(cgroup.kill_all()?)
}

fn wait_for_end(pidfd: &OwnedFd) -> Result<(), OciError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(OciError::step("wait for the end of the process")(e.into())),
            Ok(0) => return Err(OciError::step("wait for the end of the process")(std::io::ErrorKind::TimedOut.into())),
            Ok(_) => return Ok(()),
        }
    }
}

/// Removes a container that has stopped, or that was never started; with `force` any, and none is no mistake.
/// Returns what is worth a warning.
pub fn delete(root: &Path, id: &str, force: bool) -> Result<Vec<String>, OciError> {
    let folder = Folder::of(root, id)?;
    let _lock = match folder.lock_existing() {
        Err(OciError::NoContainer { .. }) if force => return Ok(Vec::new()),
        other => other?,
    };
    let record = match folder.read() {
        // Nothing but a folder, left by a creation that was killed.
        Err(OciError::NoContainer { .. }) if force => return folder.remove().map(|()| Vec::new()),
        other => other?,
    };
    match record::status(&folder, &record)? {
        Status::Stopped => {}
        Status::Created | Status::Creating => end(&record)?,
        Status::Running | Status::Paused if force => end(&record)?,
        other => return Err(refused("delete", &folder, other)),
    }
    let cgroup = Cgroup::at(&record.cgroup)?;
    cgroup.kill_all()?;
    placement::stop(record.unit.as_deref())?;
    cgroup.remove()?;
    cgroup.remove_default_parent();
    if record.mounts_on_host {
        // It may have been taken away by whoever saw it.
        match unmount(&record.rootfs, UnmountFlags::DETACH) {
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            other => other.map_err(|e| FileError::new("unmount", &record.rootfs, e))?,
        }
    }
    let spec = folder.spec()?;
    folder.remove()?;
    let state = State::of(&record, Status::Stopped);
    let mut warnings = Vec::new();
    // Each hook gets its turn, whatever became of those before it: that is what the specification says of these.
    for hook in spec.hooks().iter().flat_map(|h| h.poststop().iter().flatten()) {
        if let Err(error) = hooks::run("poststop", Some(&vec![hook.clone()]), &state, None) {
            warnings.push(error.to_string());
        }
    }
    Ok(warnings)
}

pub fn pause(root: &Path, id: &str) -> Result<(), OciError> {
    let (folder, record) = open(root, id)?;
    let _lock = folder.lock_existing()?;
    match record::status(&folder, &record)? {
        Status::Running | Status::Created => Ok(Cgroup::at(&record.cgroup)?.freeze()?),
        other => Err(refused("pause", &folder, other)),
    }
}

pub fn resume(root: &Path, id: &str) -> Result<(), OciError> {
    let (folder, record) = open(root, id)?;
    let _lock = folder.lock_existing()?;
    match record::status(&folder, &record)? {
        Status::Paused => Ok(Cgroup::at(&record.cgroup)?.thaw()?),
        other => Err(refused("resume", &folder, other)),
    }
}

/// Changes the resources of a container that lives; what is not named stays.
pub fn update(root: &Path, id: &str, resources: &LinuxResources) -> Result<(), OciError> {
    let (folder, record) = open(root, id)?;
    let _lock = folder.lock_existing()?;
    match record::status(&folder, &record)? {
        Status::Stopped => Err(refused("update", &folder, Status::Stopped)),
        Status::Creating | Status::Created | Status::Running | Status::Paused => {
            placement::update(record.unit.as_deref(), resources)?;
            let cgroup = Cgroup::at(&record.cgroup)?;
            cgroup.apply(resources)?;
            Ok(cgroup.restrict_devices(resources)?)
        }
    }
}

/// All processes of a container.
pub fn processes(root: &Path, id: &str) -> Result<Vec<i32>, OciError> {
    let (_, record) = open(root, id)?;
    Ok(Cgroup::at(&record.cgroup)?.processes()?)
}

/// Waits for a child of this process, and gives the exit code that stands for its end.
pub fn wait(pidfd: impl AsFd) -> Result<i32, OciError> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(OciError::step("wait for the process")(e.into())),
            Ok(None) => return Err(OciError::step("wait for the process")(std::io::ErrorKind::NotFound.into())),
            Ok(Some(status)) => {
                let signalled = status.terminating_signal().map(|s| 128 + s);
                return Ok(status.exit_status().or(signalled).unwrap_or(1));
            }
        }
    }
}

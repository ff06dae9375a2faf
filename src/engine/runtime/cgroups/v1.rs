//! What only hierarchies of v1 need: moving, device files, and killing without a file for it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupError, PATIENCE};
use crate::sys::devices::{DeviceKind, Rule};

/// Moves a process. One that has ended is no error: its end is told elsewhere.
pub(super) fn add(folder: &Path, pid: i32) -> Result<(), CgroupError> {
    let file = folder.join("cgroup.procs");
    match fs::write(&file, pid.to_string()) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        other => other.map_err(CgroupError::file("write", file)),
    }
}

/// The file by which a thread moves itself.
pub(in crate::engine::runtime) fn door(folder: &Path) -> Result<OwnedFd, CgroupError> {
    let file = folder.join("tasks");
    let opened = rustix::fs::open(&file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    opened.map_err(|e| CgroupError::file("open", file)(e.into()))
}

pub(super) fn restrict_devices(folder: &Path, rules: &[Rule]) -> Result<(), CgroupError> {
    let deny = folder.join("devices.deny");
    fs::write(&deny, "a").map_err(CgroupError::file("write", deny))?;
    for rule in rules {
        // To the kernel `a` is everything, whatever numbers stand beside it.
        let all = rule.major.is_none() && rule.minor.is_none() && rule.access == Rule::ALL;
        let kinds: &[&str] = match rule.kind {
            Some(DeviceKind::Block) => &["b"],
            Some(DeviceKind::Character) => &["c"],
            None if all => &["a"],
            None => &["b", "c"],
        };
        let letters = [(Rule::READ, 'r'), (Rule::WRITE, 'w'), (Rule::MAKE, 'm')];
        let access: String = letters.into_iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect();
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let file = folder.join(if rule.allow { "devices.allow" } else { "devices.deny" });
        for kind in kinds {
            let line = format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor));
            // One rule a write, or the kernel reads only the first.
            fs::write(&file, line).map_err(CgroupError::file("write", &file))?;
        }
    }
    Ok(())
}

/// Stops all first, so that none can fork while the others are killed.
pub(in crate::engine::runtime) fn kill_frozen(folder: &Path) -> Result<(), CgroupError> {
    let state = folder.join("freezer.state");
    match fs::write(&state, "FROZEN") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(CgroupError::file("write", &state))?,
    }
    let killed = until_frozen(&state).and_then(|()| kill_each(&folder.join("cgroup.procs")));
    // Dead or not, they must run again: a frozen process does not even die.
    fs::write(&state, "THAWED").map_err(CgroupError::file("write", &state))?;
    killed
}

fn until_frozen(state: &Path) -> Result<(), CgroupError> {
    let begun = Instant::now();
    loop {
        let now = fs::read_to_string(state).map_err(CgroupError::file("read", state))?;
        if now.trim() == "FROZEN" {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(CgroupError::Busy { path: state.to_owned(), waited: PATIENCE });
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn kill_each(procs: &Path) -> Result<(), CgroupError> {
    let text = fs::read_to_string(procs).map_err(CgroupError::file("read", procs))?;
    for pid in text.lines().filter_map(|line| line.trim().parse().ok()).filter_map(Pid::from_raw) {
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(CgroupError::file("kill the processes of", procs)(e.into())),
        }
    }
    Ok(())
}

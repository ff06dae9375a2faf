//! The processes of a container that has no cgroup: those that have the pid namespace of its first one. Finds them, counts
//! what they use, and lets them stand still. Less than a cgroup can: what they used that have ended is known only as far as
//! their parents have waited for them.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroups::Stats;
use crate::sys;

/// The processes of one container.
#[derive(Clone, Copy, Debug)]
pub struct Kin {
    /// The pid namespace, by what the kernel tells namespaces apart.
    namespace: (u64, u64),
}

/// How long all of them may take to stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kernel counts time in these for programs, on every architecture. Source: time(7), "The software clock".
const TICKS_A_SECOND: u64 = 100;

impl Kin {
    /// Those of the container whose first process began then. `None` when it has ended.
    pub fn of(pid: i32, started_ticks: u64) -> io::Result<Option<Self>> {
        let namespace = namespace(pid)?;
        // Read afterwards: another process may have the number by now.
        let same = sys::process_start_ticks(pid).is_ok_and(|ticks| ticks == started_ticks);
        Ok(namespace.filter(|_| same).map(|namespace| Self { namespace }))
    }

    /// Their numbers here, sorted.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            if namespace(pid)? == Some(self.namespace) {
                found.push(pid);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Stops every process; when this returns, none runs.
    pub fn freeze(&self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            // One that forks at this moment has a child that was not seen: they are asked until all stand still.
            let mut moving = false;
            for pid in self.pids()? {
                if !stands(pid) {
                    moving = true;
                    self.send(pid, Signal::STOP)?;
                }
            }
            if !moving {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.thaw()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.pids()?.into_iter().try_for_each(|pid| self.send(pid, Signal::CONT))
    }

    /// What they use now.
    pub fn stats(&self) -> io::Result<Stats> {
        let pids = self.pids()?;
        let mut stats = Stats { memory: 0, memory_limit: None, cpu_usec: 0, pids: pids.len() as u64, oom_kills: 0 };
        for pid in pids {
            // One that has ended meanwhile uses nothing.
            let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let number =
                |text: &str, n: usize| text.split_ascii_whitespace().nth(n).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            let kilobytes = of("status").lines().find_map(|line| line.strip_prefix("VmRSS:").map(|rest| number(rest, 0)));
            stats.memory += kilobytes.unwrap_or(0) * 1024;
            let line = of("stat");
            let after_name = line.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
            let ticks: u64 = (11..15).map(|n| number(after_name, n)).sum();
            stats.cpu_usec += ticks * 1_000_000 / TICKS_A_SECOND;
        }
        Ok(stats)
    }

    /// To exactly the process that was found, or to none.
    fn send(&self, pid: i32, signal: Signal) -> io::Result<()> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(()) };
        let process = match pidfd_open(number, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            other => other?,
        };
        if namespace(pid)? != Some(self.namespace) {
            return Ok(());
        }
        match pidfd_send_signal(&process, signal) {
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The pid namespace of a process. `None` of one that has ended, or is none of this user's.
fn namespace(pid: i32) -> io::Result<Option<(u64, u64)>> {
    match rustix::fs::stat(format!("/proc/{pid}/ns/pid")) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
        Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether it is stopped, or dead.
fn stands(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn processes_of_a_namespace() {
        let script = "sleep 1000 & sleep 1000";
        let mut child = Command::new("unshare").args(["--pid", "--fork", "--kill-child", "sh", "-c", script]).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let find = || fs::read_to_string(&children).ok()?.trim().parse::<i32>().ok();
        let first = loop {
            match find() {
                Some(pid)
                    if Kin::of(pid, sys::process_start_ticks(pid).unwrap()).unwrap().unwrap().pids().unwrap().len() == 3 =>
                {
                    break pid;
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let kin = Kin::of(first, sys::process_start_ticks(first).unwrap()).unwrap().unwrap();
        let pids = kin.pids().unwrap();
        assert!(pids.contains(&first) && !pids.contains(&child.id().cast_signed()));
        kin.freeze().unwrap();
        assert!(pids.iter().all(|pid| stands(*pid)));
        let stats = kin.stats().unwrap();
        assert!(stats.pids == 3 && stats.memory > 0, "{stats:?}");
        kin.thaw().unwrap();
        let end = Instant::now() + PATIENCE;
        while pids.iter().any(|pid| stands(*pid)) {
            assert!(Instant::now() < end);
        }
        assert!(Kin::of(first, 1).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

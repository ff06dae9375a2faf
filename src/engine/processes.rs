//! The processes of a container, as the host sees them, and what they use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use time::OffsetDateTime;
use tokio::process::Command;

use super::{Engine, EngineError};
use crate::engine::containers::ContainersError;
use crate::files::{self, FileError};
use crate::model::ContainerId;
use crate::observed::ContainerState;
use crate::wire::verbs::Sample;

/// A table of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Engine {
    /// The processes of a running container: what `ps -ef` says of them, or what the host's ps(1) says with other arguments.
    pub async fn top(&self, id: &ContainerId, arguments: &[String]) -> Result<Processes, EngineError> {
        if !self.0.containers.state(id)?.is_running() {
            let name = self.0.containers.get(id)?.name.to_string();
            return Err(ContainersError::NotRunning { name }.into());
        }
        let pids: BTreeSet<i32> = self.0.containers.pids(id)?.into_iter().collect();
        if arguments.is_empty() {
            return listing(&pids);
        }
        let output = Command::new("ps").args(arguments).output().await.map_err(EngineError::Ps)?;
        if !output.status.success() {
            return Err(EngineError::PsFailed { said: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        chosen(&String::from_utf8_lossy(&output.stdout), &pids).ok_or(EngineError::NoPidColumn)
    }

    /// What containers use now: those that are named, or all.
    pub fn usage_of(&self, ids: &[ContainerId]) -> Result<Vec<Sample>, EngineError> {
        let records = self.0.containers.list()?;
        let chosen = records.into_iter().filter(|record| ids.is_empty() || ids.contains(&record.id));
        let host_memory = host_memory()?;
        let mut all = Vec::new();
        for record in chosen {
            let state = self.0.containers.state(&record.id)?;
            let stats = self.0.containers.stats(&record.id)?;
            let running = state.is_running();
            let mut usage = Sample {
                running,
                at: OffsetDateTime::now_utc(),
                cpu_usec: stats.cpu_usec,
                memory: stats.memory,
                memory_limit: stats.memory_limit.unwrap_or(host_memory).min(host_memory),
                network_received: 0,
                network_sent: 0,
                block_read: 0,
                block_written: 0,
                pids: stats.pids,
                id: record.id.clone(),
                name: record.name.clone(),
            };
            if let ContainerState::Running { pid, .. } = state {
                (usage.network_received, usage.network_sent) = network(pid);
                (usage.block_read, usage.block_written) = self.0.containers.block_io(&usage.id)?;
            }
            all.push(usage);
        }
        Ok(all)
    }
}

fn host_memory() -> Result<u64, EngineError> {
    let path = Path::new("/proc/meminfo");
    let text = files::read_to_string(path)?;
    let kilobytes =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let missing = || FileError::new("find MemTotal in", path, std::io::ErrorKind::InvalidData);
    Ok(kilobytes.ok_or_else(missing)? * 1024)
}

/// Bytes that came in and went out by all links of a process's network but the loopback. Of one that has ended, none.
/// Source: proc(5), `/proc/net/dev`.
fn network(pid: i32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let links = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    links.fold((0, 0), |(received, sent), (_, counts)| {
        let field = |n: usize| counts.split_ascii_whitespace().nth(n).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        (received + field(0), sent + field(8))
    })
}

/// The lines of ps(1) about some processes, by its column PID.
fn chosen(text: &str, pids: &BTreeSet<i32>) -> Option<Processes> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next()?.split_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID")?;
    let rows = lines.filter_map(|line| {
        let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let pid: i32 = fields.get(column)?.parse().ok()?;
        // The last column is the rest of the line.
        if fields.len() > titles.len() {
            let last = fields.split_off(titles.len() - 1).join(" ");
            fields.push(last);
        }
        pids.contains(&pid).then_some(fields)
    });
    Some(Processes { rows: rows.collect(), titles })
}

/// What `ps -ef` says of processes, without that program. Source: proc(5), `/proc/pid/stat`.
fn listing(pids: &BTreeSet<i32>) -> Result<Processes, EngineError> {
    let titles = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"].map(str::to_owned).to_vec();
    let boot = files::read_to_string(Path::new("/proc/stat"))?;
    let boot: i64 = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0);
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let now = OffsetDateTime::now_utc();
    let rows = pids.iter().filter_map(|pid| process(*pid, boot, &users, now)).collect();
    Ok(Processes { titles, rows })
}

/// The kernel counts time in these for programs, on every architecture. Source: time(7), "The software clock".
const TICKS: i64 = 100;

/// One process; `None` when it has ended meanwhile.
fn process(pid: i32, boot: i64, users: &str, now: OffsetDateTime) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // The name may have any sign, and ends with the last parenthesis.
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |n: usize| fields.get(n).and_then(|field| field.parse::<i64>().ok()).unwrap_or(0);
    let busy = (number(11) + number(12)) / TICKS;
    let started = boot + number(19) / TICKS;
    let lived = (now.unix_timestamp() - started).max(1);
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().nth(1))?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let command = match (command.is_empty(), head.split_once('(')) {
        (true, Some((_, name))) => format!("[{name}]"),
        _ => command,
    };
    Some(vec![
        user(users, uid),
        pid.to_string(),
        number(1).to_string(),
        (100 * busy / lived).to_string(),
        start_time(started, now),
        terminal(number(4)),
        format!("{:02}:{:02}:{:02}", busy / 3600, busy / 60 % 60, busy % 60),
        command,
    ])
}

/// A user's name on the host, as ps(1) shows it.
fn user(users: &str, uid: &str) -> String {
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    });
    name.filter(|name| name.len() <= 8).unwrap_or_else(|| uid.to_owned())
}

/// The time of the day in UTC, as logs have it, or the day where that is another one.
fn start_time(started: i64, now: OffsetDateTime) -> String {
    let Ok(started) = OffsetDateTime::from_unix_timestamp(started) else { return "?".to_owned() };
    if started.date() == now.date() {
        format!("{:02}:{:02}", started.hour(), started.minute())
    } else if started.year() == now.year() {
        format!("{}{:02}", &started.month().to_string()[..3], started.day())
    } else {
        started.year().to_string()
    }
}

/// A terminal by the number of its device.
fn terminal(device: i64) -> String {
    let device = u64::try_from(device).unwrap_or(0);
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => format!("{major},{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column_of_pids() {
        let text = "  PID USER  COMMAND\n    1 root  init\n   20 ann   sh -c 'a  b'\n";
        let found = chosen(text, &BTreeSet::from([20])).unwrap();
        assert_eq!(found.titles, ["PID", "USER", "COMMAND"]);
        assert_eq!(found.rows, [["20", "ann", "sh -c 'a b'"]]);
        assert_eq!(chosen("USER COMMAND\n", &BTreeSet::new()), None);
    }

    #[test]
    fn this_process_is_listed() {
        let own = std::process::id().cast_signed();
        let found = listing(&BTreeSet::from([own, i32::MAX])).unwrap();
        assert_eq!(found.rows.len(), 1);
        assert_eq!((found.rows[0].len(), found.rows[0][1].as_str()), (found.titles.len(), own.to_string().as_str()));
        assert_eq!(terminal(34816), "pts/0");
        assert_eq!(user("root:x:0:0::/:/bin/sh\nann:x:7:7::/:/bin/sh\n", "7"), "ann");
        assert!(host_memory().unwrap() > 1 << 20);
    }
}

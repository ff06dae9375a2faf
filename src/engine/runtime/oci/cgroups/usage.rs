//! What a cgroup uses, in the form that runc's `events` gave it. What this host does not count is 0 or left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Cgroup;

/// The files of one folder. One that is missing is of a controller that is not there, and counts nothing.
struct Files(Option<PathBuf>);

impl Files {
    fn text(&self, name: &str) -> String {
        self.0.as_ref().and_then(|folder| fs::read_to_string(folder.join(name)).ok()).unwrap_or_default()
    }

    /// `max` is as much as there can be.
    fn number(&self, name: &str) -> u64 {
        let text = self.text(name);
        let text = text.trim();
        if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }
    }

    /// Lines of a name and a number.
    fn table(&self, name: &str) -> BTreeMap<String, u64> {
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        };
        self.text(name).lines().filter_map(pair).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = self.0.as_ref().and_then(|folder| fs::read_dir(folder).ok());
        entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

impl Cgroup {
    /// How often the kernel has killed in it because its memory did not suffice.
    pub(in super::super) fn oom_kills(&self) -> u64 {
        let (files, name) = match self.hierarchies.is_unified() {
            true => (self.unified(), "memory.events"),
            false => (self.of("memory"), "memory.oom_control"),
        };
        files.table(name).get("oom_kill").copied().unwrap_or(0)
    }

    /// What it uses.
    pub(in super::super) fn usage(&self) -> Value {
        if self.hierarchies.is_unified() { of_v2(&self.unified()) } else { self.of_v1() }
    }

    fn unified(&self) -> Files {
        Files(self.hierarchies.unified.as_ref().map(|root| root.join(&self.path)))
    }

    fn of(&self, controller: &str) -> Files {
        Files(self.hierarchies.folder(controller, &self.path))
    }

    fn of_v1(&self) -> Value {
        let (time, cpu, memory, pids) = (self.of("cpuacct"), self.of("cpu"), self.of("memory"), self.of("pids"));
        let throttled = cpu.table("cpu.stat");
        let bounded = |prefix: &str| {
            let number = |name: &str| memory.number(&format!("{prefix}{name}"));
            json!({
                "limit": number("limit_in_bytes"), "usage": number("usage_in_bytes"), "max": number("max_usage_in_bytes"),
                "failcnt": number("failcnt"),
            })
        };
        let raw = memory.table("memory.stat");
        let per_processor: Vec<u64> =
            time.text("cpuacct.usage_percpu").split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
        let huge = self.of("hugetlb");
        json!({
            "cpu": {
                "usage": {
                    "total": time.number("cpuacct.usage"), "percpu": per_processor,
                    "kernel": time.number("cpuacct.usage_sys"), "user": time.number("cpuacct.usage_user"),
                },
                "throttling": throttling(&throttled, "throttled_time", 1),
            },
            "memory": {
                "cache": raw.get("cache").copied().unwrap_or(0),
                "usage": bounded("memory."), "swap": bounded("memory.memsw."),
                "kernel": bounded("memory.kmem."), "kernelTCP": bounded("memory.kmem.tcp."),
                "raw": raw,
            },
            "pids": pids_of(&pids),
            "blkio": {
                "ioServiceBytesRecursive": of_disks(&self.of("blkio").text("blkio.throttle.io_service_bytes_recursive")),
                "ioServicedRecursive": of_disks(&self.of("blkio").text("blkio.throttle.io_serviced_recursive")),
            },
            "hugetlb": of_huge_pages(&huge, "usage_in_bytes", "max_usage_in_bytes", "failcnt"),
        })
    }
}

fn of_v2(files: &Files) -> Value {
    let time = files.table("cpu.stat");
    let nanoseconds = |name: &str| time.get(name).copied().unwrap_or(0) * 1000;
    let raw = files.table("memory.stat");
    let events = files.table("memory.events");
    let bounded = |prefix: &str, failures: u64| {
        let number = |name: &str| files.number(&format!("{prefix}{name}"));
        json!({ "limit": number("max"), "usage": number("current"), "max": number("peak"), "failcnt": failures })
    };
    json!({
        "cpu": {
            "usage": {
                "total": nanoseconds("usage_usec"), "kernel": nanoseconds("system_usec"), "user": nanoseconds("user_usec"),
            },
            "throttling": throttling(&time, "throttled_usec", 1000),
        },
        "memory": {
            "cache": raw.get("file").copied().unwrap_or(0),
            "usage": bounded("memory.", events.get("max").copied().unwrap_or(0)),
            "swap": bounded("memory.swap.", files.table("memory.swap.events").get("max").copied().unwrap_or(0)),
            "raw": raw,
        },
        "pids": pids_of(files),
        "blkio": {
            "ioServiceBytesRecursive": of_disks_v2(&files.text("io.stat"), &[("rbytes", "Read"), ("wbytes", "Write")]),
            "ioServicedRecursive": of_disks_v2(&files.text("io.stat"), &[("rios", "Read"), ("wios", "Write")]),
        },
        "hugetlb": of_huge_pages(files, "current", "max", "events"),
    })
}

/// `unit` in nanoseconds.
fn throttling(table: &BTreeMap<String, u64>, time: &str, unit: u64) -> Value {
    let number = |name: &str| table.get(name).copied().unwrap_or(0);
    json!({ "periods": number("nr_periods"), "throttledPeriods": number("nr_throttled"), "throttledTime": number(time) * unit })
}

/// Without a limit it is 0.
fn pids_of(files: &Files) -> Value {
    let limit = Some(files.number("pids.max")).filter(|most| *most != u64::MAX);
    json!({ "current": files.number("pids.current"), "limit": limit.unwrap_or(0) })
}

/// Lines as `8:0 Read 4096`.
fn of_disks(text: &str) -> Vec<Value> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (device, operation, value) = (words.next()?, words.next()?, words.next()?);
        let (major, minor) = device.split_once(':')?;
        let number = |text: &str| text.parse::<u64>().ok();
        Some(json!({ "major": number(major)?, "minor": number(minor)?, "op": operation, "value": number(value)? }))
    };
    text.lines().filter_map(entry).collect()
}

/// Lines as `8:0 rbytes=4096 wbytes=0`.
fn of_disks_v2(text: &str, wanted: &[(&str, &str)]) -> Vec<Value> {
    let lines = text.lines().flat_map(|line| {
        let device = line.split(' ').next().unwrap_or_default();
        wanted.iter().filter_map(move |(key, operation)| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
            Some(format!("{device} {operation} {value}\n"))
        })
    });
    of_disks(&lines.collect::<String>())
}

fn of_huge_pages(files: &Files, usage: &str, most: &str, failures: &str) -> Map<String, Value> {
    let mut names = files.names();
    names.sort();
    let sizes = names.iter().filter_map(|name| name.strip_prefix("hugetlb.")?.strip_suffix(usage)?.strip_suffix('.'));
    let of = |size: &str| {
        let number = |name: &str| files.number(&format!("hugetlb.{size}.{name}"));
        json!({ "usage": number(usage), "max": number(most), "failcnt": number(failures) })
    };
    sizes.filter(|size| !size.ends_with(".rsvd")).map(|size| (size.to_owned(), of(size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_both_versions() {
        let expected = json!([
            {"major": 8, "minor": 0, "op": "Read", "value": 5},
            {"major": 8, "minor": 0, "op": "Write", "value": 7},
        ]);
        assert_eq!(json!(of_disks("8:0 Read 5\n8:0 Write 7\nTotal 12\n")), expected);
        let read = of_disks_v2("8:0 rbytes=5 wbytes=7 rios=1\n", &[("rbytes", "Read"), ("wbytes", "Write")]);
        assert_eq!(json!(read), expected);
    }
}

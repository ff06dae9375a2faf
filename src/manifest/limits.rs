//! Reads what a container may do and use: resources, capabilities, ulimits and kernel parameters.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ByteSize;
use crate::model::spec::{DeviceRate, DeviceWeight, ResourceLimits, Ulimit};

use super::fields;
use super::problem::did_you_mean;
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

/// The capabilities of Linux, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Limits stand in two places, Compose's new and its old; each limit may be given in one of them.
pub(super) fn limits(reader: &mut Reader, f: &Fields) -> ResourceLimits {
    let deploy = f.get("deploy").and_then(|node| reader.fields(node, &fields::DEPLOY));
    let resources = deploy.and_then(|f| f.get("resources")).and_then(|node| reader.fields(node, &fields::RESOURCES));
    let limits = resources.as_ref().and_then(|f| f.get("limits")).and_then(|node| reader.fields(node, &fields::LIMITS));
    let mut pick = |new: &str, old: &str| {
        let (new, old) = (limits.as_ref().and_then(|f| f.get(new)), f.get(old));
        if new.is_some() && old.is_some() {
            let at = f.place(old_name(old, f));
            reader.error_hint(at, "this limit is given in `deploy.resources.limits` too", "remove one of the two");
        }
        new.or(old)
    };
    let (memory, cpus, pids) = (pick("memory", "mem_limit"), pick("cpus", "cpus"), pick("pids", "pids_limit"));
    let pids = pids.and_then(|node| match reader.integer(node)? {
        -1 | 0 => Some(ResourceLimits::ANY_PIDS),
        number => {
            let pids = u32::try_from(number).ok();
            if pids.is_none() {
                reader.error(node.at, "the most processes are a number from 1 on, or -1 for no limit");
            }
            pids
        }
    });
    let reserved = resources.as_ref().and_then(|f| f.get("reservations"));
    let reserved = reserved.and_then(|node| reader.fields(node, &fields::RESERVATIONS)).and_then(|f| f.get("memory"));
    let blkio = f.get("blkio_config").and_then(|node| reader.fields(node, &fields::BLKIO));
    let disk = |name| blkio.as_ref().and_then(|f| f.get(name));
    let limits = ResourceLimits {
        memory: memory.and_then(|node| reader.parse::<ByteSize>(node)).filter(|size| size.0 > 0),
        cpus: cpus.and_then(|node| reader.parse(node)),
        pids,
        memory_reservation: f.get("mem_reservation").or(reserved).and_then(|node| reader.parse(node)),
        memory_swap: f.get("memswap_limit").and_then(|node| reader.parse(node)),
        oom_kill_disable: f.get("oom_kill_disable").and_then(|node| reader.boolean(node)).unwrap_or_default(),
        cpu_quota: f.get("cpu_quota").and_then(|node| number(reader, node)),
        cpu_period: f.get("cpu_period").and_then(|node| number(reader, node)),
        cpu_shares: f.get("cpu_shares").and_then(|node| number(reader, node)),
        cpuset_cpus: f.get("cpuset").and_then(|node| reader.parse(node)),
        cpuset_mems: f.get("cpuset_mems").and_then(|node| reader.parse(node)),
        blkio_weight: disk("weight").and_then(|node| {
            let weight = number(reader, node)?;
            // What is too large for the type is too large for the limit, which says so.
            Some(u16::try_from(weight).unwrap_or(u16::MAX))
        }),
        blkio_weight_device: disk("weight_device").map(|node| weights(reader, node)).unwrap_or_default(),
        device_read_bps: disk("device_read_bps").map(|node| rates(reader, node, true)).unwrap_or_default(),
        device_write_bps: disk("device_write_bps").map(|node| rates(reader, node, true)).unwrap_or_default(),
        device_read_iops: disk("device_read_iops").map(|node| rates(reader, node, false)).unwrap_or_default(),
        device_write_iops: disk("device_write_iops").map(|node| rates(reader, node, false)).unwrap_or_default(),
    };
    if let Err((which, why)) = limits.check() {
        let names: &[&str] = match which {
            "memory" => &["mem_limit", "deploy"],
            "memory_reservation" => &["mem_reservation", "deploy"],
            "memory_swap" => &["memswap_limit"],
            "cpus" => &["cpus", "deploy"],
            "blkio_weight" => &["blkio_config"],
            _ => &[which],
        };
        let at = names.iter().find(|name| f.get(name).is_some()).map_or(f.at, |name| f.place(name));
        reader.error(at, format!("the limit {which}: {why}"));
    }
    limits
}

/// A number from 0 on, where 0 is the same as nothing.
fn number(reader: &mut Reader, node: &Node) -> Option<u64> {
    let number = reader.integer(node)?;
    if number < 0 {
        reader.error(node.at, "it is a number from 0 on");
    }
    u64::try_from(number).ok().filter(|number| *number > 0)
}

/// What is said of single disks: a list of a path and a value each, which `parse` gets as `PATH:VALUE`.
fn at_disks<T, E: std::fmt::Display>(
    reader: &mut Reader,
    node: &Node,
    (table, value): (&'static fields::Table, &str),
    parse: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let mut found = Vec::new();
    for item in reader.list(node) {
        let Some(f) = reader.fields(item, table) else { continue };
        let path = f.get("path").and_then(|node| reader.text(node));
        let value = f.get(value).and_then(|node| reader.word(node));
        let (Some(path), Some(value)) = (path, value) else { continue };
        match parse(&format!("{path}:{value}")) {
            Ok(one) => found.push(one),
            Err(error) => reader.error(item.at, error.to_string()),
        }
    }
    found
}

fn weights(reader: &mut Reader, node: &Node) -> Vec<DeviceWeight> {
    at_disks(reader, node, (&fields::DEVICE_WEIGHT, "weight"), str::parse)
}

fn rates(reader: &mut Reader, node: &Node, bytes: bool) -> Vec<DeviceRate> {
    at_disks(reader, node, (&fields::DEVICE_RATE, "rate"), |text| DeviceRate::parse(text, bytes))
}

fn old_name<'a>(node: Option<&Node>, f: &Fields) -> &'a str {
    let same = |name: &str| f.get(name).zip(node).is_some_and(|(a, b)| std::ptr::eq(a, b));
    ["mem_limit", "cpus", "pids_limit"].into_iter().find(|name| same(name)).unwrap_or("deploy")
}

pub(super) fn capabilities(reader: &mut Reader, node: &Node) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in reader.list(node) {
        let Some(text) = reader.text(item) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name == "ALL" {
            found.insert("ALL".to_owned());
        } else if CAPABILITIES.contains(&name) {
            found.insert(format!("CAP_{name}"));
        } else {
            let hint = did_you_mean(name, CAPABILITIES).unwrap_or_else(|| "such as NET_ADMIN, or ALL".to_owned());
            reader.error_hint(item.at, format!("`{text}` is not a capability"), hint);
        }
    }
    found
}

pub(super) fn ulimits(reader: &mut Reader, node: &Node) -> BTreeMap<String, Ulimit> {
    let mut found = BTreeMap::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        if !ULIMITS.contains(&key.text.as_str()) {
            let hint = did_you_mean(&key.text, ULIMITS).unwrap_or_else(|| format!("they are {}", ULIMITS.join(", ")));
            reader.error_hint(key.at, format!("there is no limit `{}`", key.text), hint);
            continue;
        }
        let limit = match &value.value {
            Value::Map(_) => reader.fields(value, &fields::ULIMIT).and_then(|f| {
                let mut get = |name| f.get(name).and_then(|node| limit(reader, node));
                let (soft, hard) = (get("soft"), get("hard"));
                Some(Ulimit { soft: soft?, hard: hard? })
            }),
            _ => limit(reader, value).map(|both| Ulimit { soft: both, hard: both }),
        };
        let Some(limit) = limit else { continue };
        if limit.soft > limit.hard {
            reader.error(value.at, "the soft limit is above the hard one");
        }
        found.insert(key.text.clone(), limit);
    }
    found
}

fn limit(reader: &mut Reader, node: &Node) -> Option<u64> {
    match reader.integer(node)? {
        -1 => Some(u64::MAX),
        number => {
            let limit = u64::try_from(number).ok();
            if limit.is_none() {
                reader.error(node.at, "a limit is a number from 0 on, or -1 for none");
            }
            limit
        }
    }
}

pub(super) fn sysctls(reader: &mut Reader, node: &Node) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, (value, at)) in reader.pairs(node) {
        let ok =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/')) && !name.contains("..");
        match value {
            Some(value) if ok => {
                found.insert(name, value);
            }
            Some(_) => reader.error(at, format!("`{name}` is not a kernel parameter")),
            None => reader.error(at, format!("the kernel parameter `{name}` needs a value")),
        }
    }
    found
}

//! Reads what a container may do and use: resources, capabilities, ulimits and kernel parameters.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ByteSize;
use crate::model::spec::{ResourceLimits, Ulimit};

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
    let limits = resources.and_then(|f| f.get("limits")).and_then(|node| reader.fields(node, &fields::LIMITS));
    let mut pick = |new: &str, old: &str| {
        let (new, old) = (limits.as_ref().and_then(|f| f.get(new)), f.get(old));
        if new.is_some() && old.is_some() {
            let at = f.place(old_name(old, f));
            reader.error_hint(at, "this limit is given in `deploy.resources.limits` too", "remove one of the two");
        }
        new.or(old)
    };
    let (memory, cpus, pids) = (pick("memory", "mem_limit"), pick("cpus", "cpus"), pick("pids", "pids_limit"));
    ResourceLimits {
        memory: memory.and_then(|node| reader.parse::<ByteSize>(node)).filter(|size| size.0 > 0),
        cpus: cpus.and_then(|node| reader.parse(node)),
        pids: pids.and_then(|node| match reader.integer(node)? {
            -1 | 0 => Some(ResourceLimits::ANY_PIDS),
            number => {
                let pids = u32::try_from(number).ok();
                if pids.is_none() {
                    reader.error(node.at, "the most processes are a number from 1 on, or -1 for no limit");
                }
                pids
            }
        }),
    }
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

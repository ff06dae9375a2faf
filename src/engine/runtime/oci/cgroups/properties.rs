//! Resources as properties of a unit, for systemd: it writes what it knows of a unit again whenever it comes to think of it,
//! so that it has to know the limits. Its numbers are coarser than the files', which are written after it.

use std::collections::HashMap;
use std::fs;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::super::super::cgroups::weight_of_shares;
use super::super::super::systemd::Value;
use super::{CgroupError, devices, v2};
use crate::sys::devices::{DeviceKind, Rule};

/// What a systemd has to be asked in.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Dialect {
    /// Whether the controllers are in the unified hierarchy.
    pub(in super::super) unified: bool,
    pub(in super::super) version: u32,
}

type Properties = Vec<(String, Value)>;

/// No limit.
const INFINITY: u64 = u64::MAX;

/// The versions of systemd that brought a property.
const QUOTA_PERIOD: u32 = 242;
const PROCESSORS: u32 = 244;
const IDLE: u32 = 252;

/// The properties of these resources; of what is not named, none.
pub(in super::super) fn of(resources: &LinuxResources, dialect: Dialect) -> Result<Properties, CgroupError> {
    let mut to = Properties::new();
    if let Some(wanted) = resources.memory() {
        memory(&mut to, wanted, dialect)?;
    }
    if let Some(wanted) = resources.cpu() {
        cpu(&mut to, wanted, dialect)?;
    }
    if let Some(limit) = resources.pids().map(|p| p.limit()) {
        put(&mut to, "TasksMax", Value::U64(u64::try_from(limit).ok().filter(|l| *l > 0).unwrap_or(INFINITY)));
    }
    if let Some(wanted) = resources.block_io() {
        block_io(&mut to, wanted, dialect);
    }
    if let Some(files) = resources.unified().as_ref().filter(|_| dialect.unified) {
        unified(&mut to, files, dialect)?;
    }
    Ok(to)
}

/// What of device nodes may be used; without any rules, nothing is said.
pub(in super::super) fn of_devices(resources: &LinuxResources) -> Result<Properties, CgroupError> {
    let rules = devices::rules(resources.devices().as_deref().unwrap_or_default())?;
    if rules.is_empty() {
        return Ok(Properties::new());
    }
    let majors = fs::read_to_string("/proc/devices").map_err(CgroupError::file("read", "/proc/devices"))?;
    let (policy, allowed) = match allow_list(&rules, &majors) {
        Some(allowed) => ("strict", allowed),
        // What allows all but some is beyond systemd, and is left to the files and the program of the cgroup.
        None => ("auto", Vec::new()),
    };
    Ok(vec![
        ("DevicePolicy".to_owned(), Value::Text(policy.to_owned())),
        // An empty list takes away what there was; a later one of the same name is added to it.
        ("DeviceAllow".to_owned(), Value::Pairs(Vec::new())),
        ("DeviceAllow".to_owned(), Value::Pairs(allowed)),
    ])
}

fn put(to: &mut Properties, name: &str, value: Value) {
    to.push((name.to_owned(), value));
}

/// -1 is unlimited.
fn bytes(value: i64) -> Value {
    Value::U64(u64::try_from(value).unwrap_or(INFINITY))
}

fn memory(to: &mut Properties, wanted: &LinuxMemory, dialect: Dialect) -> Result<(), CgroupError> {
    if !dialect.unified {
        // Of v1 systemd knows no other limit of memory.
        wanted.limit().filter(|l| *l != 0).into_iter().for_each(|limit| put(to, "MemoryLimit", bytes(limit)));
        return Ok(());
    }
    let limit = wanted.limit().filter(|l| *l != 0);
    limit.into_iter().for_each(|limit| put(to, "MemoryMax", bytes(limit)));
    wanted.reservation().filter(|r| *r != 0).into_iter().for_each(|low| put(to, "MemoryLow", bytes(low)));
    if let Some(swap) = v2::swap(wanted)? {
        put(to, "MemorySwapMax", bytes(swap));
    }
    Ok(())
}

fn cpu(to: &mut Properties, wanted: &LinuxCpu, dialect: Dialect) -> Result<(), CgroupError> {
    match (wanted.shares().filter(|s| *s != 0), dialect.unified) {
        (Some(shares), true) => put(to, "CPUWeight", Value::U64(weight_of_shares(shares))),
        (Some(shares), false) => put(to, "CPUShares", Value::U64(shares)),
        (None, _) => {}
    }
    if wanted.idle() == Some(1) && dialect.unified && dialect.version >= IDLE {
        put(to, "CPUWeight", Value::U64(0));
    }
    let period = wanted.period().filter(|p| *p != 0);
    quota(to, wanted.quota(), period, dialect);
    for (name, list) in [("AllowedCPUs", wanted.cpus()), ("AllowedMemoryNodes", wanted.mems())] {
        if let Some(list) = list.as_ref().filter(|l| !l.is_empty() && dialect.unified && dialect.version >= PROCESSORS) {
            put(to, name, Value::Bytes(mask(list)?));
        }
    }
    Ok(())
}

/// The processor time in each second, in steps of ten milliseconds, which systemd rounds it to.
fn quota(to: &mut Properties, quota: Option<i64>, period: Option<u64>, dialect: Dialect) {
    const STEP: u64 = 10_000;
    if let Some(period) = period.filter(|_| dialect.version >= QUOTA_PERIOD) {
        put(to, "CPUQuotaPeriodUSec", Value::U64(period));
    }
    let Some(quota) = quota.filter(|q| *q != 0) else { return };
    let each_second = u64::try_from(quota).ok().filter(|q| *q > 0).map(|quota| {
        let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(100_000));
        u64::try_from(exact).unwrap_or(INFINITY - STEP).next_multiple_of(STEP)
    });
    put(to, "CPUQuotaPerSecUSec", Value::U64(each_second.unwrap_or(INFINITY)));
}

fn block_io(to: &mut Properties, wanted: &LinuxBlockIo, dialect: Dialect) {
    // Of disks by their numbers systemd knows nothing, only of their nodes, which may have any name.
    match (wanted.weight().filter(|w| *w != 0), dialect.unified) {
        (Some(weight), true) => put(to, "IOWeight", Value::U64(v2::weight_of_block_io(weight))),
        (Some(weight), false) => put(to, "BlockIOWeight", Value::U64(weight.into())),
        (None, _) => {}
    }
}

/// Those files of the unified hierarchy that have a property.
fn unified(to: &mut Properties, files: &HashMap<String, String>, dialect: Dialect) -> Result<(), CgroupError> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    for (file, text) in files {
        let text = text.trim();
        let wrong = || CgroupError::Unified { reason: format!("{text:?} is no value of {file}") };
        let number = |text: &str| match text {
            "max" => Ok(INFINITY),
            other => other.parse::<u64>().map_err(|_| wrong()),
        };
        match file.as_str() {
            "memory.min" => put(to, "MemoryMin", Value::U64(number(text)?)),
            "memory.low" => put(to, "MemoryLow", Value::U64(number(text)?)),
            "memory.high" => put(to, "MemoryHigh", Value::U64(number(text)?)),
            "memory.max" => put(to, "MemoryMax", Value::U64(number(text)?)),
            "memory.swap.max" => put(to, "MemorySwapMax", Value::U64(number(text)?)),
            "pids.max" => put(to, "TasksMax", Value::U64(number(text)?)),
            "cpu.weight" => put(to, "CPUWeight", Value::U64(number(text)?)),
            "cpu.max" => {
                let mut words = text.split_ascii_whitespace();
                let limit = match words.next().ok_or_else(wrong)? {
                    "max" => -1,
                    other => other.parse().map_err(|_| wrong())?,
                };
                let period = words.next().map(|w| w.parse().ok().filter(|p| *p > 0).ok_or_else(wrong)).transpose()?;
                quota(to, Some(limit), period, dialect);
            }
            "cpuset.cpus" if dialect.version >= PROCESSORS => put(to, "AllowedCPUs", Value::Bytes(mask(text)?)),
            "cpuset.mems" if dialect.version >= PROCESSORS => put(to, "AllowedMemoryNodes", Value::Bytes(mask(text)?)),
            _ => {}
        }
    }
    Ok(())
}

/// A bit for each number of a list such as `0-2,5`, the lowest first.
fn mask(list: &str) -> Result<Vec<u8>, CgroupError> {
    const MOST: usize = 8192;
    let wrong = || CgroupError::Unified { reason: format!("{list:?} is no list of numbers, such as 0-2,5") };
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|r| !r.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < MOST).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Ok(bits)
}

/// The rules as systemd has them: nothing but what is listed. `None` where that is not what they say. `majors` is
/// `/proc/devices`, which gives the names that stand for all devices of one driver.
fn allow_list(rules: &[Rule], majors: &str) -> Option<Vec<(String, String)>> {
    // What stands before a rule that refuses everything has no say.
    let is_end = |rule: &Rule| rule.kind.is_none() && rule.major.is_none() && rule.minor.is_none() && rule.access == Rule::ALL;
    let last = rules.iter().rposition(is_end).filter(|at| !rules[*at].allow)?;
    let mut listed = Vec::new();
    for rule in &rules[last + 1..] {
        if !rule.allow {
            return None;
        }
        let letters = [(Rule::READ, 'r'), (Rule::WRITE, 'w'), (Rule::MAKE, 'm')];
        let access: String = letters.into_iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect();
        let kinds = match rule.kind {
            Some(DeviceKind::Block) => [Some("block"), None],
            Some(DeviceKind::Character) => [Some("char"), None],
            None => [Some("block"), Some("char")],
        };
        for kind in kinds.into_iter().flatten() {
            let node = match (rule.major, rule.minor) {
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (None, None) => format!("{kind}-*"),
                // Without a driver there are no such devices.
                (Some(major), None) => match driver(majors, kind, major) {
                    Some(name) => format!("{kind}-{name}"),
                    None => continue,
                },
                (None, Some(_)) => return None,
            };
            listed.push((node, access.clone()));
        }
    }
    Some(listed)
}

/// The name of the driver with this number.
fn driver<'a>(majors: &'a str, kind: &str, major: u32) -> Option<&'a str> {
    let title = if kind == "char" { "Character devices:" } else { "Block devices:" };
    let lines = majors.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.trim().is_empty());
    lines.filter_map(|line| line.trim().split_once(' ')).find(|(number, _)| number.parse() == Ok(major)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: Dialect = Dialect { unified: true, version: 252 };
    const V1: Dialect = Dialect { unified: false, version: 239 };

    fn properties(json: serde_json::Value, dialect: Dialect) -> HashMap<String, Value> {
        of(&serde_json::from_value(json).unwrap(), dialect).unwrap().into_iter().collect()
    }

    #[test]
    fn limits_become_properties() {
        let all = serde_json::json!({
            "memory": { "limit": 1000, "reservation": 500, "swap": 3000 },
            "cpu": { "shares": 1024, "quota": 12_345, "period": 50_000, "cpus": "0-1,9", "mems": "0" },
            "pids": { "limit": 7 },
            "blockIO": { "weight": 1000 },
        });
        let found = properties(all.clone(), V2);
        let mut expected: HashMap<String, Value> = [
            ("MemoryMax", 1000),
            ("MemoryLow", 500),
            ("MemorySwapMax", 2000),
            ("CPUWeight", 100),
            ("CPUQuotaPeriodUSec", 50_000),
            ("CPUQuotaPerSecUSec", 250_000),
            ("TasksMax", 7),
            ("IOWeight", 10_000),
        ]
        .map(|(name, number)| (name.to_owned(), Value::U64(number)))
        .into();
        expected.insert("AllowedCPUs".to_owned(), Value::Bytes(vec![3, 2]));
        expected.insert("AllowedMemoryNodes".to_owned(), Value::Bytes(vec![1]));
        assert_eq!(found, expected);
        let old = properties(all, V1);
        for (name, number) in [
            ("MemoryLimit", 1000),
            ("CPUShares", 1024),
            ("CPUQuotaPerSecUSec", 250_000),
            ("TasksMax", 7),
            ("BlockIOWeight", 1000),
        ] {
            assert_eq!(old.get(name), Some(&Value::U64(number)), "{name}");
        }
        assert_eq!(old.len(), 5, "{old:?}");
    }

    #[test]
    fn no_limit_is_infinity() {
        let found = properties(
            serde_json::json!({ "memory": { "limit": -1, "swap": -1 }, "cpu": { "quota": -1 }, "pids": { "limit": -1 } }),
            V2,
        );
        assert_eq!(found.len(), 4);
        assert!(found.values().all(|value| *value == Value::U64(INFINITY)), "{found:?}");
        assert!(properties(serde_json::json!({}), V2).is_empty());
    }

    #[test]
    fn unified_files_that_have_a_property() {
        let files = |files| of(&serde_json::from_value(serde_json::json!({ "unified": files })).unwrap(), V2);
        let found: HashMap<_, _> = files(serde_json::json!({
            "memory.high": "5000", "cpu.max": "max 20000", "pids.max": "max", "io.max": "8:0 rbps=1", "cpuset.cpus": "1"
        }))
        .unwrap()
        .into_iter()
        .collect();
        assert_eq!(found["MemoryHigh"], Value::U64(5000));
        assert_eq!(found["CPUQuotaPerSecUSec"], Value::U64(INFINITY));
        assert_eq!(found["CPUQuotaPeriodUSec"], Value::U64(20_000));
        assert_eq!(found["AllowedCPUs"], Value::Bytes(vec![2]));
        assert_eq!(found.len(), 5);
        assert!(files(serde_json::json!({ "memory.high": "much" })).is_err());
        assert!(files(serde_json::json!({ "cpu.max": "" })).is_err());
        assert!(files(serde_json::json!({ "cpuset.cpus": "3-1" })).is_err());
    }

    #[test]
    fn devices_are_a_list_or_none() {
        let majors = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n  8 sd\n";
        let listed = |json: serde_json::Value| {
            let listed: Vec<_> = serde_json::from_value(json).unwrap();
            allow_list(&devices::rules(&listed).unwrap(), majors)
        };
        let found = listed(serde_json::json!([
            { "allow": true, "type": "c", "major": 1, "minor": 1, "access": "rwm" },
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "b", "major": 8, "access": "r" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" },
            { "allow": true, "type": "c", "major": 99, "access": "rw" },
        ]))
        .unwrap();
        let has = |node: &str, access: &str| found.contains(&(node.to_owned(), access.to_owned()));
        assert!(has("block-sd", "r") && has("/dev/char/10:229", "rw") && has("char-*", "m") && has("block-*", "m"));
        assert!(has("/dev/char/1:3", "rwm") && has("char-pts", "rwm") && !has("/dev/char/1:1", "rwm"));
        // Three of its own, two that make nodes, eight that every container has and the terminals.
        assert_eq!(found.len(), 2 + 2 + 9, "{found:?}");
        assert_eq!(listed(serde_json::json!([{ "allow": true, "access": "rwm" }])), None);
        let but_one = serde_json::json!([
            { "allow": false, "access": "rwm" },
            { "allow": false, "type": "c", "major": 1, "minor": 3, "access": "w" },
        ]);
        assert_eq!(listed(but_one), None);
    }
}

//! Which device nodes a cgroup may use: the rules of a bundle in their order, a later one above an earlier one.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::{Mode, OFlags};

use super::CgroupError;
use crate::sys::devices::{DeviceKind, Policy, Rule};

/// What every container may use, whatever its rules say, because the runtime makes these nodes: as other runtimes have it.
const ALWAYS: [(u32, Option<u32>); 9] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(1)), (5, Some(2)), (136, None)];

/// The rules with those of the nodes that every container has; none for none.
pub(super) fn rules(listed: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, CgroupError> {
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let mut rules: Vec<Rule> = listed.iter().map(rule).collect::<Result<_, _>>()?;
    rules.extend([DeviceKind::Block, DeviceKind::Character].map(|kind| Rule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: Rule::MAKE,
    }));
    rules.extend(ALWAYS.map(|(major, minor)| Rule {
        allow: true,
        kind: Some(DeviceKind::Character),
        major: Some(major),
        minor,
        access: Rule::ALL,
    }));
    Ok(rules)
}

fn rule(listed: &LinuxDeviceCgroup) -> Result<Rule, CgroupError> {
    let kind = match listed.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Character),
        Some(LinuxDeviceType::P) => return Err(CgroupError::DeviceRule { reason: "a pipe is no device".to_owned() }),
    };
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(CgroupError::DeviceRule { reason: format!("{n} is not the number of a device") }),
        },
    };
    let mut access = 0;
    for letter in listed.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => Rule::READ,
            'w' => Rule::WRITE,
            'm' => Rule::MAKE,
            other => return Err(CgroupError::DeviceRule { reason: format!("{other:?} is no access; use r, w and m") }),
        };
    }
    // A rule for all kinds is one for all numbers and accesses: that is what the kernel made of it.
    match kind {
        None => Ok(Rule { allow: listed.allow(), kind, major: None, minor: None, access: Rule::ALL }),
        Some(_) => {
            Ok(Rule { allow: listed.allow(), kind, major: number(listed.major())?, minor: number(listed.minor())?, access })
        }
    }
}

/// The files of v1, one rule a write.
pub(super) fn write(folder: &Path, rules: &[Rule]) -> Result<(), CgroupError> {
    for rule in rules {
        let path = folder.join(if rule.allow { "devices.allow" } else { "devices.deny" });
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let line = match rule.kind {
            None => "a".to_owned(),
            Some(kind) => {
                let letter = if kind == DeviceKind::Block { 'b' } else { 'c' };
                let access: String = [(Rule::READ, 'r'), (Rule::WRITE, 'w'), (Rule::MAKE, 'm')]
                    .iter()
                    .filter(|a| rule.access & a.0 != 0)
                    .map(|a| a.1)
                    .collect();
                format!("{letter} {}:{} {access}", number(rule.major), number(rule.minor))
            }
        };
        match fs::write(&path, &line) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(CgroupError::file("write", path)(e)),
            Err(source) => return Err(CgroupError::Limit { value: line, path, source }),
        }
    }
    Ok(())
}

/// The program of v2.
pub(super) fn load(folder: &Path, rules: &[Rule]) -> Result<(), CgroupError> {
    let failed = |source: io::Error| CgroupError::Devices { path: folder.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    // What no rule names is as it is without any: allowed.
    Policy { rules, otherwise: true }.enforce(cgroup.as_fd()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read() {
        let one = |json: &str| rule(&serde_json::from_str(json).unwrap());
        let all = one(r#"{"allow": false, "access": "rwm"}"#).unwrap();
        assert_eq!((all.allow, all.kind, all.access), (false, None, Rule::ALL));
        let fuse = one(r#"{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}"#).unwrap();
        assert_eq!((fuse.major, fuse.minor, fuse.access), (Some(10), Some(229), Rule::READ | Rule::WRITE));
        assert!(one(r#"{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "x"}"#).is_err());
        assert!(one(r#"{"allow": true, "type": "c", "major": -7}"#).is_err());
        assert!(rules(&[]).unwrap().is_empty());
    }
}

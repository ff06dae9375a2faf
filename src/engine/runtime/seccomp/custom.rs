//! A user's own profile in Docker's form: rules that hold for some capabilities, architectures and kernels only are
//! settled here, and what is left is a filter like any other.

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, LinuxSyscall,
};
use serde::Deserialize;

#[derive(Debug, thiserror::Error)]
pub(in crate::engine::runtime) enum ProfileError {
    #[error("it is not a profile: {0}")]
    Form(#[from] serde_json::Error),
    #[error("`architectures` and `archMap` say the same thing; leave out one of them")]
    Architectures,
    #[error("rule {number} names no system call")]
    Empty { number: usize },
    #[error("the kernel {text:?} in minKernel is not MAJOR.MINOR")]
    Kernel { text: String },
    #[error("rule {number}: {why}")]
    Argument { number: usize, why: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Mapped>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

/// The architectures of programs that run beside those of one of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapped {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    /// As Docker once had it.
    name: Option<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: LinuxSeccompOperator,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Vec<String>,
    caps: Vec<String>,
    min_kernel: Option<String>,
}

/// The filter of a profile, for a container with these capabilities on this host.
///
/// # Errors
/// When it is none.
pub(in crate::engine::runtime) fn read(text: &str, capabilities: &Capabilities) -> Result<LinuxSeccomp, ProfileError> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    settle(text, capabilities, version(&kernel).unwrap_or((u32::MAX, 0)))
}

fn settle(text: &str, capabilities: &Capabilities, kernel: (u32, u32)) -> Result<LinuxSeccomp, ProfileError> {
    let profile: Profile = serde_json::from_str(text)?;
    let architectures = architectures(profile.architectures, profile.arch_map)?;
    let mut syscalls = Vec::new();
    for (index, rule) in profile.syscalls.unwrap_or_default().into_iter().enumerate() {
        let number = index + 1;
        if !includes(&rule.includes, capabilities, kernel)? || excludes(&rule.excludes, capabilities, kernel)? {
            continue;
        }
        let names: Vec<String> = rule.names.into_iter().chain(rule.name).collect();
        if names.is_empty() {
            return Err(ProfileError::Empty { number });
        }
        let arguments: Vec<LinuxSeccompArg> = rule
            .args
            .unwrap_or_default()
            .into_iter()
            .map(|argument| {
                let Argument { index, value, value_two, op } = argument;
                let built = LinuxSeccompArgBuilder::default().index(index).value(value).value_two(value_two).op(op).build();
                built.map_err(|e| ProfileError::Argument { number, why: e.to_string() })
            })
            .collect::<Result<_, _>>()?;
        let mut syscall = LinuxSyscall::default();
        syscall.set_names(names).set_action(rule.action).set_errno_ret(rule.errno_ret);
        syscall.set_args((!arguments.is_empty()).then_some(arguments));
        syscalls.push(syscall);
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(profile.default_action)
        .set_default_errno_ret(profile.default_errno_ret)
        .set_architectures(architectures)
        .set_flags(None)
        .set_syscalls(Some(syscalls));
    Ok(seccomp)
}

/// Those whose calls are judged. A profile says it in one of two ways, and a map is settled by what this host is. What an
/// architecture is called that nobody knows here cannot be this host's.
fn architectures(listed: Option<Vec<String>>, map: Option<Vec<Mapped>>) -> Result<Option<Vec<Arch>>, ProfileError> {
    let (listed, map) = (listed.unwrap_or_default(), map.unwrap_or_default());
    if !listed.is_empty() && !map.is_empty() {
        return Err(ProfileError::Architectures);
    }
    let of_map = map.into_iter().filter(|entry| is_own(&entry.architecture));
    let of_map = of_map.flat_map(|entry| entry.sub_architectures.unwrap_or_default());
    let all: Vec<Arch> = listed.into_iter().chain(of_map).filter_map(|name| serde_json::from_value(name.into()).ok()).collect();
    Ok((!all.is_empty()).then_some(all))
}

/// All that is named must hold.
fn includes(condition: &Condition, capabilities: &Capabilities, kernel: (u32, u32)) -> Result<bool, ProfileError> {
    let arch = condition.arches.is_empty() || condition.arches.iter().any(|name| is_own(name));
    let caps = condition.caps.iter().all(|name| has(capabilities, name));
    let new_enough = match &condition.min_kernel {
        None => true,
        Some(text) => kernel >= version(text).ok_or_else(|| ProfileError::Kernel { text: text.clone() })?,
    };
    Ok(arch && caps && new_enough)
}

/// Any of what is named will do.
fn excludes(condition: &Condition, capabilities: &Capabilities, kernel: (u32, u32)) -> Result<bool, ProfileError> {
    let new_enough = match &condition.min_kernel {
        None => false,
        Some(text) => kernel >= version(text).ok_or_else(|| ProfileError::Kernel { text: text.clone() })?,
    };
    let arch = condition.arches.iter().any(|name| is_own(name));
    Ok(arch || condition.caps.iter().any(|name| has(capabilities, name)) || new_enough)
}

fn has(capabilities: &Capabilities, name: &str) -> bool {
    let plain = name.trim_start_matches("CAP_");
    plain.parse::<Capability>().is_ok_and(|capability| capabilities.contains(&capability))
}

fn is_own(arch: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => arch == "amd64" || arch == "x86_64" || arch == "SCMP_ARCH_X86_64",
        "aarch64" => arch == "arm64" || arch == "aarch64" || arch == "SCMP_ARCH_AARCH64",
        other => arch == other,
    }
}

/// `6.18.4-x` is 6.18.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {}},
            {"name": "personality", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["s390_runtime_instr"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}}
        ]
    }"#;

    fn names(capabilities: &[Capability], kernel: (u32, u32)) -> Vec<String> {
        let filter = settle(PROFILE, &capabilities.iter().copied().collect(), kernel).unwrap();
        filter.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn conditions_are_settled() {
        assert_eq!(names(&[], (6, 1)), ["read", "write", "personality", "clone", "ptrace"]);
        assert_eq!(names(&[Capability::SysAdmin], (4, 7)), ["read", "write", "personality", "mount"]);
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
    }

    #[test]
    fn architectures_of_this_host_are_judged() {
        let of = |text: &str| settle(text, &Capabilities::new(), (6, 1)).map(|filter| filter.architectures().clone());
        let mapped = of(PROFILE).unwrap();
        assert_eq!(mapped, cfg!(target_arch = "x86_64").then(|| vec![Arch::ScmpArchX86]));
        let listed = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_NEW"]}"#;
        assert_eq!(of(listed).unwrap(), Some(vec![Arch::ScmpArchX86]));
        let both = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#;
        assert!(matches!(of(both), Err(ProfileError::Architectures)));
        assert_eq!(of(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap(), None);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["{}", "[]", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}"#] {
            assert!(settle(bad, &Capabilities::new(), (6, 1)).is_err(), "{bad}");
        }
    }
}

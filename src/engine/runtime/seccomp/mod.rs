//! The system call filter: from the specification's rules to the program that the kernel runs at each call.
//!
//! Written here because a filter of `seccompiler` knows two outcomes, and the default profile needs three (allowed, refused,
//! absent). The program is a binary search over ranges of numbers; the kernel remembers what it always allows, so
//! the depth hardly matters.

mod compile;
mod custom;
mod filter;
mod names;
mod names32;
mod profile;
mod second;

use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg};

pub(super) use custom::read as custom;
pub use filter::Filter;
pub(super) use filter::of_default;
pub(super) use profile::{Sockets, default_for};

/// A finished filter; empty allows everything.
pub(super) type Program = Vec<crate::sys::seccomp::Instruction>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SeccompError {
    #[error("the action {action} is not supported; use allow, errno, kill, trap, trace or log")]
    Action { action: String },
    #[error("filter flags are not supported; remove {flag}")]
    Flag { flag: String },
    #[error("system call arguments are numbered 0 to 5, not {index}")]
    Argument { index: usize },
    #[error("the system call {name} is unknown here and is to be treated differently from the default")]
    Unknown { name: String },
    #[error("the filter is too large")]
    TooLarge,
    #[error("put the default profile together: {why}")]
    Assemble { why: String },
}

/// The architectures whose calls a filter judges; those of others end the program.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURES: [&str; 2] = ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];

/// The own architecture, and that of 32-bit programs beside it.
#[cfg(target_arch = "x86_64")]
const OWN: [Arch; 2] = [Arch::ScmpArchX86_64, Arch::ScmpArchX86];
#[cfg(target_arch = "aarch64")]
const OWN: [Arch; 2] = [Arch::ScmpArchAarch64, Arch::ScmpArchArm];

/// What a filter answers, in the kernel's numbers.
type Outcome = u32;

const ALLOW: Outcome = 0x7fff_0000;
const ERRNO: Outcome = 0x0005_0000;
const KILL_PROCESS: Outcome = 0x8000_0000;

/// The outcome of one system call for some arguments; all must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    arguments: Vec<LinuxSeccompArg>,
    outcome: Outcome,
}

pub(super) fn compile(seccomp: Option<&LinuxSeccomp>) -> Result<Program, SeccompError> {
    let Some(seccomp) = seccomp else { return Ok(Program::new()) };
    if let Some(flag) = seccomp.flags().iter().flatten().next() {
        return Err(SeccompError::Flag { flag: flag.to_string() });
    }
    if let Some(asking) = seccomp.syscalls().iter().flatten().find(|s| s.action() == LinuxSeccompAction::ScmpActNotify) {
        return Err(SeccompError::Action { action: asking.action().to_string() });
    }
    compile_filter(seccomp)
}

/// The program alone: whoever loads it sees to the flags, and to who is asked where an action is to ask.
pub(super) fn compile_filter(seccomp: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let default = outcome(seccomp.default_action(), seccomp.default_errno_ret())?;
    let own = rules(seccomp, default, names::number)?;
    let listed = |arch| seccomp.architectures().iter().flatten().any(|a| *a == arch);
    let narrow = listed(OWN[1]).then(|| rules(seccomp, default, names32::number)).transpose()?;
    #[cfg(target_arch = "x86_64")]
    let second = listed(Arch::ScmpArchX32).then(|| rules(seccomp, default, second::number)).transpose()?;
    #[cfg(not(target_arch = "x86_64"))]
    let second = None;
    compile::program(&compile::Tables { own, narrow, second }, default)
}

fn rules(seccomp: &LinuxSeccomp, default: Outcome, number: impl Fn(&str) -> Option<u32>) -> Result<compile::Rules, SeccompError> {
    let mut rules: compile::Rules = BTreeMap::new();
    for syscall in seccomp.syscalls().iter().flatten() {
        let outcome = outcome(syscall.action(), syscall.errno_ret())?;
        let arguments = syscall.args().clone().unwrap_or_default();
        if let Some(bad) = arguments.iter().find(|a| a.index() > 5) {
            return Err(SeccompError::Argument { index: bad.index() });
        }
        for name in syscall.names() {
            match number(name) {
                Some(number) => {
                    rules.entry(number).or_default().push(Rule { arguments: arguments.clone(), outcome });
                }
                // A profile lists the calls of all architectures and of kernels to come. Leaving out what is to be allowed
                // is safe; leaving out what is to be refused is not, unless it is what another architecture has.
                None if outcome == ALLOW || is_stricter(default, outcome) || is_known(name) => {}
                None => return Err(SeccompError::Unknown { name: name.clone() }),
            }
        }
    }
    Ok(rules)
}

/// Whether any of the architectures here has a call of this name.
fn is_known(name: &str) -> bool {
    names::number(name).or_else(|| names32::number(name)).is_some()
}

fn is_stricter(default: Outcome, outcome: Outcome) -> bool {
    // In the kernel's order the lower action wins, as a signed number.
    (default & 0xffff_0000).cast_signed() <= (outcome & 0xffff_0000).cast_signed()
}

fn outcome(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Outcome, SeccompError> {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    Ok(match action {
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActErrno => ERRNO | data,
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => 0,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActTrace => 0x7ff0_0000 | data,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        LinuxSeccompAction::ScmpActNotify => 0x7fc0_0000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_is_the_kernels_order() {
        assert!(is_stricter(ERRNO | 1, ALLOW) && is_stricter(ERRNO | 1, ERRNO | 38) && is_stricter(KILL_PROCESS, 0));
        assert!(!is_stricter(ALLOW, ERRNO));
    }

    #[test]
    fn unknown_names_may_be_left_out_only_when_that_is_safe() {
        let mut seccomp = default_for(&oci_spec::runtime::Capabilities::new(), Sockets::FourFamilies).unwrap();
        let mut rules = seccomp.syscalls().clone().unwrap();
        rules[0].set_names(vec!["call_of_the_future".into()]);
        seccomp.set_syscalls(Some(rules));
        assert!(compile(Some(&seccomp)).is_ok());
        seccomp.set_default_action(LinuxSeccompAction::ScmpActAllow);
        let mut rules = seccomp.syscalls().clone().unwrap();
        rules[0].set_action(LinuxSeccompAction::ScmpActErrno);
        seccomp.set_syscalls(Some(rules));
        assert_eq!(compile(Some(&seccomp)), Err(SeccompError::Unknown { name: "call_of_the_future".into() }));
    }
}

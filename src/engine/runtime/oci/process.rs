//! What a process gets on its last stretch to the program, alike for a container's first process and those that join it:
//! limits, scheduling, labels, capabilities, user and system call filter.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    LinuxSeccomp, LinuxSeccompFilterFlag, MemoryPolicyFlagType, MemoryPolicyModeType, PosixRlimit, PosixRlimitType, Process,
    Scheduler,
};
use rustix::io::Errno;
use rustix::process::Rlimit;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::failure::{At, Failure, Stage};
use super::super::users::{self, Identity};
use super::super::{capabilities, enter, seccomp};
use crate::sys::{self, scheduling};

/// The system call filter, ready to be loaded.
#[derive(Debug)]
pub(super) struct Filter {
    program: seccomp::Program,
    flags: u64,
    /// Some calls are judged by somebody else.
    pub(super) asks: bool,
}

impl Filter {
    pub(super) fn compile(wanted: Option<&LinuxSeccomp>) -> Result<Option<Self>, seccomp::SeccompError> {
        use oci_spec::runtime::LinuxSeccompAction::ScmpActNotify;
        let Some(wanted) = wanted else { return Ok(None) };
        let mut flags = 0;
        for flag in wanted.flags().iter().flatten() {
            flags |= match flag {
                // Of threads this process has one, so that all have the same filter anyway.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            };
        }
        let asks = wanted.syscalls().iter().flatten().any(|rule| rule.action() == ScmpActNotify);
        Ok(Some(Self { program: seccomp::compile_filter(wanted)?, flags, asks }))
    }

    /// Returns whom to ask, where some calls are to be asked about.
    pub(super) fn load(&self) -> Result<Option<OwnedFd>, Failure> {
        let flags = self.flags | if self.asks { sys::seccomp::NEW_LISTENER } else { 0 };
        sys::seccomp::load_with(&self.program, flags).at(Stage::SetSeccomp, "")
    }
}

/// Descriptors of the host's `/proc` that are needed when the container's is in its place.
#[derive(Debug, Default)]
pub(super) struct Labels(Vec<(File, String)>);

impl Labels {
    pub(super) fn open(process: &Process) -> Result<Self, Failure> {
        let mut opened = Vec::new();
        if let Some(profile) = process.apparmor_profile().as_ref().filter(|p| !p.is_empty()) {
            // Older kernels have one file for whichever module there is.
            let file = open_attribute("apparmor/exec").or_else(|_| open_attribute("exec"));
            opened.push((file.at(Stage::SetLabel, profile)?, format!("exec {profile}")));
        }
        if let Some(label) = process.selinux_label().as_ref().filter(|l| !l.is_empty()) {
            opened.push((open_attribute("exec").at(Stage::SetLabel, label)?, label.clone()));
        }
        Ok(Self(opened))
    }

    fn set(mut self) -> Result<(), Failure> {
        self.0.iter_mut().try_for_each(|(file, label)| file.write_all(label.as_bytes()).at(Stage::SetLabel, label.clone()))
    }
}

fn open_attribute(name: &str) -> std::io::Result<File> {
    File::options().write(true).open(format!("/proc/thread-self/attr/{name}"))
}

/// Settings that need privileges, and that the kernel keeps over the change of user.
///
/// Returns what could not be had, for a warning.
pub(super) fn prepare(process: &Process, in_user_namespace: bool, new_keyring: bool) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    // A root that is none on the host may not raise a limit: there it is done from outside.
    if !in_user_namespace {
        for limit in process.rlimits().iter().flatten() {
            warnings.extend(set_limit(None, limit)?);
        }
    }
    if let Some(wanted) = process.scheduler() {
        set_scheduler(wanted)?;
    }
    if let Some(wanted) = process.io_priority() {
        let class = match wanted.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u32::try_from(wanted.priority()).ok().filter(|p| *p < 8);
        let level = level.ok_or_else(|| Failure::new(Stage::SetScheduling, "ioPriority.priority: 0 to 7", Errno::INVAL))?;
        scheduling::set_io_priority(class, level).at(Stage::SetScheduling, "ioPriority")?;
    }
    if new_keyring {
        match sys::process::new_session_keyring() {
            Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {}
            other => other.at(Stage::SetKeyring, "")?,
        }
    }
    Ok(warnings)
}

/// Engines ask for limits that are usual, and on a host whose root may not raise limits even those are refused: there the
/// process has as much as can be had. What no root may set stays an error. `None` is the calling process, and another one has
/// its limits still.
pub(super) fn set_limit(of: Option<rustix::process::Pid>, limit: &PosixRlimit) -> Result<Option<String>, Failure> {
    let resource = enter::resource(limit.typ());
    let set = |wanted| rustix::process::prlimit(of, resource, wanted).at(Stage::SetLimit, limit.typ().to_string());
    let value = |n: u64| (n != u64::MAX).then_some(n);
    let refused = match set(Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) }) {
        Err(failure) if failure.errno == libc::EPERM => failure,
        other => return other.map(|_| None),
    };
    let own = rustix::thread::capabilities(None).at(Stage::SetCapabilities, "read")?.effective;
    let most = match limit.typ() {
        PosixRlimitType::RlimitNofile => {
            std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|n| n.trim().parse().ok()).unwrap_or(1 << 20)
        }
        _ => u64::MAX,
    };
    if own.contains(CapabilitySet::SYS_RESOURCE) || limit.hard() > most {
        return Err(refused);
    }
    let maximum = rustix::process::getrlimit(resource).maximum;
    let at_most = |wanted: u64| maximum.map_or(Some(wanted), |m| Some(wanted.min(m))).filter(|n| *n != u64::MAX);
    set(Rlimit { current: at_most(limit.soft()), maximum: at_most(limit.hard()) })?;
    let words = maximum.map_or_else(|| "unlimited".to_owned(), |m| m.to_string());
    Ok(Some(format!("{} is {words} and not {}: this host's root may not raise it", limit.typ(), limit.hard())))
}

fn set_scheduler(wanted: &Scheduler) -> Result<(), Failure> {
    let about = |what: &str| format!("scheduler.{what}");
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
        }
    });
    let priority = u32::try_from(wanted.priority().unwrap_or(0)).at_invalid(&about("priority"))?;
    let mut attributes = scheduling::Scheduling::default();
    attributes.policy = policy;
    attributes.flags = flags;
    attributes.nice = wanted.nice().unwrap_or(0);
    attributes.priority = priority;
    attributes.runtime = wanted.runtime().unwrap_or(0);
    attributes.deadline = wanted.deadline().unwrap_or(0);
    attributes.period = wanted.period().unwrap_or(0);
    scheduling::set_scheduling(&attributes).at(Stage::SetScheduling, about("policy"))
}

/// `.at_invalid(subject)` on conversions.
trait AtInvalid<T> {
    fn at_invalid(self, subject: &str) -> Result<T, Failure>;
}

impl<T, E> AtInvalid<T> for Result<T, E> {
    fn at_invalid(self, subject: &str) -> Result<T, Failure> {
        self.map_err(|_| Failure::new(Stage::SetScheduling, subject, Errno::INVAL))
    }
}

/// Processors or nodes as `0-2,5`.
pub(super) fn numbers(list: &str) -> Result<Vec<usize>, Failure> {
    let mut all = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().at_invalid(list)?, last.trim().parse().at_invalid(list)?);
        if last < first || last > 8191 {
            return Err(Failure::new(Stage::SetScheduling, list, Errno::INVAL));
        }
        all.extend(first..=last);
    }
    if all.is_empty() { Err(Failure::new(Stage::SetScheduling, list, Errno::INVAL)) } else { Ok(all) }
}

/// Returns the processors as a mask in hexadecimal, as the kernel writes it.
pub(super) fn set_affinity(list: Option<&String>) -> Result<Option<String>, Failure> {
    let Some(list) = list.filter(|l| !l.is_empty()) else { return Ok(None) };
    let chosen = numbers(list)?;
    scheduling::set_affinity(&chosen).at(Stage::SetScheduling, format!("processors {list}"))?;
    let digits = chosen.iter().max().map_or(0, |most| most / 4);
    let digit = |place: usize| chosen.iter().filter(|n| **n / 4 == place).fold(0u32, |all, n| all | 1 << (n % 4));
    Ok(Some(format!("0x{}", (0..=digits).rev().map(|place| format!("{:x}", digit(place))).collect::<String>())))
}

pub(super) fn set_memory_policy(wanted: &LinuxMemoryPolicy) -> Result<(), Failure> {
    let mode = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    });
    let nodes = wanted.nodes().as_ref().filter(|n| !n.is_empty()).map(|n| numbers(n)).transpose()?;
    scheduling::set_memory_policy(mode | flags, nodes.as_deref()).at(Stage::SetScheduling, "memoryPolicy")
}

pub(super) fn set_personality(wanted: &LinuxPersonality) -> Result<(), Failure> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        return Err(Failure::new(Stage::SetPersonality, format!("flag {flag}: none is known"), Errno::INVAL));
    }
    let domain = match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0x0000,
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    };
    scheduling::set_personality(domain).at(Stage::SetPersonality, "")
}

/// A capability that was asked for and that this process does not have to give.
pub(super) fn missing_capabilities(process: &Process) -> Result<Option<String>, Failure> {
    let own = rustix::thread::capabilities(None).at(Stage::SetCapabilities, "read")?.permitted;
    let Some(wanted) = process.capabilities() else { return Ok(None) };
    let mut all = CapabilitySet::empty();
    for set in [wanted.bounding(), wanted.permitted(), wanted.effective(), wanted.inheritable(), wanted.ambient()] {
        all |= capabilities::to_set(set.as_ref())?;
    }
    let lacking = all - own;
    Ok((!lacking.is_empty()).then(|| format!("these capabilities are not to be had here: {lacking:?}")))
}

/// Exactly the five sets, as far as this process has them.
struct Sets {
    basic: CapabilitySets,
    ambient: CapabilitySet,
}

impl Sets {
    fn of(process: &Process) -> Result<Self, Failure> {
        let own = rustix::thread::capabilities(None).at(Stage::SetCapabilities, "read")?.permitted;
        let wanted = process.capabilities().as_ref();
        let set = |of: Option<&Option<oci_spec::runtime::Capabilities>>| capabilities::to_set(of.and_then(Option::as_ref));
        let permitted = set(wanted.map(|w| w.permitted()))? & own;
        let inheritable = set(wanted.map(|w| w.inheritable()))? & own;
        let effective = set(wanted.map(|w| w.effective()))? & permitted;
        // The kernel has in it only what is both permitted and inheritable.
        let ambient = set(wanted.map(|w| w.ambient()))? & permitted & inheritable;
        Ok(Self { basic: CapabilitySets { effective, permitted, inheritable }, ambient })
    }

    fn set(&self) -> Result<(), Failure> {
        rustix::thread::set_capabilities(None, self.basic).at(Stage::SetCapabilities, "")?;
        for index in 0..64 {
            let one = capabilities::bit(index);
            if self.ambient.contains(one) {
                rustix::thread::configure_capability_in_ambient_set(one, true).at(Stage::SetCapabilities, "ambient")?;
            }
        }
        Ok(())
    }
}

/// Gives up the capabilities that the process is not to have, and loads the filter if that must be done now: because the
/// right to is about to be lost, or because somebody is to be asked from now on. Returns a filter that is better loaded last.
pub(super) fn confine(
    process: &Process,
    filter: Option<Filter>,
    listening: impl FnOnce(OwnedFd) -> Result<(), Failure>,
) -> Result<Option<Filter>, Failure> {
    let sets = Sets::of(process)?;
    rustix::thread::clear_ambient_capability_set().at(Stage::SetCapabilities, "ambient")?;
    let renounces = process.no_new_privileges().unwrap_or(false);
    if renounces {
        rustix::thread::set_no_new_privs(true).at(Stage::SetNoNewPrivileges, "")?;
    }
    let later = renounces || sets.basic.effective.contains(CapabilitySet::SYS_ADMIN);
    match filter {
        Some(filter) if filter.asks || !later => {
            // The change of user has taken away the use of what is still permitted.
            let mut own = rustix::thread::capabilities(None).at(Stage::SetCapabilities, "read")?;
            own.effective = own.permitted;
            rustix::thread::set_capabilities(None, own).at(Stage::SetCapabilities, "")?;
            let listener = filter.load()?;
            sets.set()?;
            listener.map_or(Ok(()), listening)?;
            Ok(None)
        }
        other => {
            sets.set()?;
            Ok(other)
        }
    }
}

/// Everything that a program's execution needs, worked out before the last privileges are gone.
#[derive(Debug)]
pub(super) struct Program {
    command: String,
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Looks for the program under the current root, from the working directory.
    pub(super) fn find(process: &Process, identity: &Identity, activated: u32) -> Result<Self, Failure> {
        let argv = process.args().as_deref().unwrap_or_default();
        let mut env = process.env().clone().unwrap_or_default();
        if !env.iter().any(|line| line.starts_with("HOME=")) {
            env.push(format!("HOME={}", identity.home));
        }
        if activated > 0 {
            env.push(format!("LISTEN_FDS={activated}"));
            env.push("LISTEN_PID=1".to_owned());
        }
        let candidates = enter::candidates(argv, &env)?;
        enter::refuse_own_program(&candidates)?;
        let command = argv.first().cloned().unwrap_or_default();
        let mut worst = Errno::NOENT;
        let found = candidates.iter().any(|candidate| match rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK) {
            Ok(()) => true,
            Err(e) => {
                if !matches!(e, Errno::NOENT | Errno::NOTDIR) {
                    worst = e;
                }
                false
            }
        });
        if !found {
            return Err(Failure::new(Stage::Execute, command, worst));
        }
        Ok(Self { candidates, argv: enter::c_strings(argv)?, env: enter::c_strings(&env)?, command })
    }

    pub(super) fn execute(&self) -> Failure {
        enter::execute(&self.command, &self.candidates, &self.argv, &self.env)
    }
}

/// Becomes the user. All capabilities are still there, to be given up by [`confine`].
pub(super) fn become_user(process: &Process, identity: &Identity, labels: Labels) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(process.user().umask().unwrap_or(0o022)));
    capabilities::limit_bounding(process.capabilities().as_ref())?;
    enter::become_user(identity)?;
    enter::enter_working_dir(&process.cwd().to_string_lossy())?;
    labels.set()
}

pub(super) fn identity(process: &Process) -> Identity {
    users::of_spec(process.user())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(numbers("0-2,5").unwrap(), [0, 1, 2, 5]);
        assert_eq!(numbers("7").unwrap(), [7]);
        for bad in ["", "a", "3-1", "0-99999", "-1"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
    }
}

//! What of a specification this runtime does not do. It is refused before anything is started, never left out in silence.

use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Process, Spec};

use super::error::RuntimeError;
use super::launch::Network;

/// # Errors
/// The first part of the specification that would not be honoured.
pub(super) fn check(spec: &Spec, network: Network) -> Result<(), RuntimeError> {
    let process = spec.process().as_ref().ok_or(RuntimeError::NoProcess)?;
    let linux = spec.linux().as_ref();
    let first = [
        (spec.hooks().is_some(), "hooks"),
        (spec.vm().is_some() || spec.windows().is_some() || spec.solaris().is_some(), "another platform's part"),
    ]
    .into_iter()
    .chain(of_process(process))
    .chain(linux.into_iter().flat_map(of_linux))
    .find_map(|(present, part)| present.then_some(part));
    if let Some(part) = first {
        return Err(RuntimeError::Unsupported { part: part.to_owned() });
    }
    check_namespaces(linux, network)
}

fn of_process(process: &Process) -> impl Iterator<Item = (bool, &'static str)> {
    [
        (process.apparmor_profile().as_ref().is_some_and(|p| !p.is_empty()), "process.apparmorProfile"),
        (process.selinux_label().as_ref().is_some_and(|l| !l.is_empty()), "process.selinuxLabel"),
        (process.io_priority().is_some(), "process.ioPriority"),
        (process.scheduler().is_some(), "process.scheduler"),
        (process.exec_cpu_affinity().is_some(), "process.execCPUAffinity"),
        (process.command_line().is_some(), "process.commandLine"),
    ]
    .into_iter()
}

fn of_linux(linux: &Linux) -> impl Iterator<Item = (bool, &'static str)> {
    let propagation = linux.rootfs_propagation().as_deref().is_some_and(|p| !matches!(p, "" | "private" | "rprivate"));
    [
        (linux.net_devices().as_ref().is_some_and(|d| !d.is_empty()), "linux.netDevices"),
        (linux.resources().as_ref().is_some_and(has_limits), "linux.resources (limits are given beside the specification)"),
        (linux.cgroups_path().is_some(), "linux.cgroupsPath (the cgroup is given beside the specification)"),
        (linux.intel_rdt().is_some(), "linux.intelRdt"),
        (linux.mount_label().as_ref().is_some_and(|l| !l.is_empty()), "linux.mountLabel"),
        (linux.memory_policy().is_some(), "linux.memoryPolicy"),
        (linux.personality().is_some(), "linux.personality"),
        (linux.time_offsets().is_some(), "linux.timeOffsets"),
        (propagation, "linux.rootfsPropagation other than private"),
    ]
    .into_iter()
}

/// Rules for devices are all that a specification says of resources here.
fn has_limits(resources: &LinuxResources) -> bool {
    resources.memory().is_some()
        || resources.cpu().is_some()
        || resources.pids().is_some()
        || resources.block_io().is_some()
        || resources.hugepage_limits().is_some()
        || resources.network().is_some()
        || resources.rdma().is_some()
        || resources.unified().is_some()
}

/// A container has a mount namespace of its own; of the others, each may be new, the caller's or another container's.
fn check_namespaces(linux: Option<&Linux>, network: Network) -> Result<(), RuntimeError> {
    use LinuxNamespaceType as Type;
    let listed = linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
    let has = |kind: Type| listed.iter().any(|n| n.typ() == kind);
    let unsupported = |part: String| Err(RuntimeError::Unsupported { part });
    let mapped = linux.is_some_and(|l| {
        let any = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|m| !m.is_empty());
        any(l.uid_mappings()) || any(l.gid_mappings())
    });
    for (kind, expected) in
        [(Type::Mount, true), (Type::Network, network != Network::Host), (Type::User, mapped), (Type::Time, false)]
    {
        if has(kind) != expected {
            let not = if expected { "no " } else { "a " };
            return unsupported(format!("linux.namespaces with {not}{kind} namespace"));
        }
    }
    // The network's is handed over by descriptor.
    match listed.iter().find(|n| n.path().is_some() && !matches!(n.typ(), Type::Pid | Type::Ipc | Type::Uts)) {
        Some(joined) => unsupported(format!("linux.namespaces: path of the {} namespace", joined.typ())),
        None => Ok(()),
    }
}

//! Which namespaces a specification asks for, and where each comes from.

use std::path::Path;

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

/// Where a namespace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space<'a> {
    New,
    /// The caller's.
    Caller,
    /// The one at this path.
    At(&'a Path),
}

/// Where `kind` comes from.
pub fn of(spec: &Spec, kind: LinuxNamespaceType) -> Space<'_> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    match listed.iter().find(|namespace| namespace.typ() == kind) {
        None => Space::Caller,
        Some(namespace) => namespace.path().as_deref().map_or(Space::New, Space::At),
    }
}

/// Those that are made together with the process. The cgroup namespace is missing here: its root is to be the container's
/// cgroup, so the process makes it when it is there; and the network's comes in its own way.
pub(super) fn made_by_clone(spec: &Spec) -> CloneFlags {
    [
        (LinuxNamespaceType::Pid, CloneFlags::CLONE_NEWPID),
        (LinuxNamespaceType::Uts, CloneFlags::CLONE_NEWUTS),
        (LinuxNamespaceType::Ipc, CloneFlags::CLONE_NEWIPC),
    ]
    .into_iter()
    .filter(|(kind, _)| of(spec, *kind) == Space::New)
    .fold(CloneFlags::CLONE_NEWNS, |all, (_, flag)| all | flag)
}

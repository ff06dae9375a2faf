//! A closer look at containers that run, for those who keep them as they were made: into their mounts, their cgroups, and what of
//! their network is in them. What a container may change by itself is its own, and nobody's fault.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, openat, statx};

use super::containers::{ContainersError, Record};
use super::monitor::Status;
use super::{EngineError, Parts, hooks};
use crate::files::Beneath;
use crate::model::spec::{ContainerSpec, Mount};
use crate::observed::{ContainerState, Fault, Repair};
use crate::sys;
use crate::sys::resolve::open_by;

/// Whether what a container sees of its networks is looked at: because it cannot change that by itself.
pub(super) fn is_seen_inside(record: &Record) -> bool {
    !may(&record.spec, "NET_ADMIN")
}

/// Whether there is something to look at in a container whose limits and configs are known to be well.
pub(super) fn has_more(spec: &ContainerSpec) -> bool {
    let shares = spec.network_mode.container().or(spec.pid.container()).or(spec.ipc.container()).is_some();
    shares || !spec.post_start.is_empty() || has_own_mounts(spec)
}

/// Whether there are mounts to look at, which it cannot change by itself.
fn has_own_mounts(spec: &ContainerSpec) -> bool {
    !spec.mounts.is_empty() && !may(spec, "SYS_ADMIN")
}

/// The faults of a container, if it runs; those of its limits and configs where they are not spared.
pub(super) fn faults(parts: &Parts, record: &Record, status: &Status, spared: bool) -> Result<Vec<Fault>, EngineError> {
    let ContainerState::Running { pid, .. } = status.state else { return Ok(Vec::new()) };
    let found = of_parts(parts, record, pid, spared);
    if matches!(&found, Ok(faults) if faults.is_empty()) {
        return found;
    }
    // What was seen of one that has ended meanwhile, or of another process with its number, says nothing.
    if sys::process_start_ticks(pid).is_ok_and(|ticks| ticks == status.started_ticks) { found } else { Ok(Vec::new()) }
}

fn of_parts(parts: &Parts, record: &Record, pid: i32, spared: bool) -> Result<Vec<Fault>, EngineError> {
    let mut faults = Vec::new();
    if !spared {
        match parts.containers.faults(record) {
            // It goes at this moment.
            Err(ContainersError::NotFound { .. }) => {}
            other => faults = other?,
        }
    }
    if has_own_mounts(&record.spec) {
        faults.extend(mounts(parts, record, pid));
    }
    faults.extend(namespaces(parts, &record.spec, pid)?);
    faults.extend(hooks::fault(parts, record)?);
    Ok(faults)
}

/// The namespaces that a container shares with another one which runs are that one's, and not those of an earlier run of it.
fn namespaces(parts: &Parts, spec: &ContainerSpec, pid: i32) -> Result<Vec<Fault>, EngineError> {
    let shared = [
        ("network_mode", "net", spec.network_mode.container()),
        ("pid", "pid", spec.pid.container()),
        ("ipc", "ipc", spec.ipc.container()),
    ];
    let mut faults = Vec::new();
    for (field, kind, other) in shared {
        let Some(other) = other else { continue };
        let state = match parts.containers.find(other) {
            Ok(id) => parts.containers.state(&id)?,
            // It is made anew, and whoever does that knows who shares with it.
            Err(_) => continue,
        };
        let ContainerState::Running { pid: theirs, .. } = state else { continue };
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        let (own, theirs) = (namespace(pid), namespace(theirs));
        if own.is_some() && theirs.is_some() && own != theirs {
            let what = format!("its {kind} namespace is no longer that of {other}");
            faults.push(Fault { field: field.to_owned(), what, repair: Repair::Restart });
        }
    }
    Ok(faults)
}

/// Whether a container may do itself what this capability is for.
fn may(spec: &ContainerSpec, capability: &str) -> bool {
    let named = |name: &String| {
        let name = name.to_ascii_uppercase();
        name == "ALL" || name.strip_prefix("CAP_").unwrap_or(&name) == capability
    };
    spec.privileged || spec.cap_add.iter().any(named)
}

fn mounts(parts: &Parts, record: &Record, pid: i32) -> Vec<Fault> {
    let fault = |what| Fault { field: "mounts".to_owned(), what, repair: Repair::Restart };
    let root = openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Ok(root) = root else { return Vec::new() };
    let mut faults = Vec::new();
    for mount in &record.spec.mounts {
        let target = mount.target();
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let there = open_by(&root, target, OFlags::PATH, resolve)
            .and_then(|fd| statx(&fd, "", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS));
        let Ok(there) = there else {
            faults.push(fault(format!("nothing is mounted at {target} any more")));
            continue;
        };
        let is_known = there.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        if is_known && !there.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            faults.push(fault(format!("nothing is mounted at {target} any more")));
            continue;
        }
        // Only where another file in its place matters: a path of the host may be exchanged as its owner likes.
        let source = match mount {
            Mount::Volume { source, subpath, .. } => match (parts.volumes.get(source).ok().flatten(), subpath) {
                (None, _) => None,
                (Some(volume), None) => Some(volume.path),
                (Some(volume), Some(inside)) => {
                    if let Some(here) = part_of(&volume.path, inside)
                        && (here.stx_dev_major, here.stx_dev_minor, here.stx_ino)
                            != (there.stx_dev_major, there.stx_dev_minor, there.stx_ino)
                    {
                        faults.push(fault(format!("what is mounted at {target} is no longer {inside} of the volume {source}")));
                    }
                    None
                }
            },
            Mount::Bind { source, watched: Some(_), .. } => Some(source.clone()),
            _ => None,
        };
        if let Some(source) = source
            && is_other(&source, &there)
        {
            faults.push(fault(format!("what is mounted at {target} is no longer what is at {}", source.display())));
        }
    }
    faults
}

/// What is at a path within a volume, by links of that volume at most.
fn part_of(volume: &Path, inside: &str) -> Option<rustix::fs::Statx> {
    let found = Beneath::open(volume).ok()?.resolve(Path::new(inside), OFlags::PATH).ok()?;
    statx(&found, "", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS).ok()
}

/// Whether there is something at the path, and it is not this.
fn is_other(source: &Path, there: &rustix::fs::Statx) -> bool {
    let device = rustix::fs::makedev(there.stx_dev_major, there.stx_dev_minor);
    std::fs::metadata(source).is_ok_and(|here| (here.dev(), here.ino()) != (device, there.stx_ino))
}

//! What a start needs of other containers and of the host's devices: namespaces to join, files about the network, nodes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::containers::Record;
use super::monitor::{Join, Space};
use super::runtime::spec::{HostDevice, HostMount};
use super::{EngineError, Parts};
use crate::files::FileError;
use crate::model::spec::{ContainerSpec, Device, DeviceAccess, IpcMode};
use crate::observed::ContainerState;
use crate::sys;

/// The namespaces that a monitor is to look up at each start of its container.
pub(super) fn joins(parts: &Parts, record: &Record) -> Result<Vec<Join>, EngineError> {
    let spec = &record.spec;
    let mut joins = Vec::new();
    for (space, other) in [(Space::Pid, spec.pid.container()), (Space::Ipc, spec.ipc.container())] {
        let Some(other) = other else { continue };
        let other = parts.containers.get(&parts.containers.find(other)?)?;
        if other.id == record.id {
            return Err(EngineError::SharesWithItself { name: record.name.clone() });
        }
        if space == Space::Ipc && matches!(other.spec.ipc, IpcMode::Private | IpcMode::None) {
            return Err(EngineError::NotShareable { name: other.name });
        }
        joins.push(Join { of: other.id, name: other.name.to_string(), space });
    }
    Ok(joins)
}

/// The network of another container.
pub(super) struct SharedNetwork {
    pub(super) netns: OwnedFd,
    /// That one's files about hosts and name servers, for the container that shares them.
    pub(super) files: Vec<HostMount>,
    pub(super) hostname: String,
}

/// Opens the network namespace of the container called `other`, which must run.
pub(super) fn network(parts: &Parts, record: &Record, other: &str) -> Result<SharedNetwork, EngineError> {
    let other = parts.containers.get(&parts.containers.find(other)?)?;
    if other.id == record.id {
        return Err(EngineError::SharesWithItself { name: record.name.clone() });
    }
    let gone = || EngineError::SharedNotRunning { name: other.name.clone() };
    let status = parts.containers.status(&other.id)?;
    let ContainerState::Running { pid, .. } = status.state else { return Err(gone()) };
    let netns = sys::netns::of_process(pid).map_err(|_| gone())?;
    // Only now does the number surely mean the process whose namespace has been opened.
    if sys::process_start_ticks(pid).ok() != Some(status.started_ticks) {
        return Err(gone());
    }
    let folder = parts.instance.container_run_dir(&other.id);
    let files = ["hosts", "hostname", "resolv.conf"]
        .into_iter()
        .map(|name| (folder.join(name), format!("/etc/{name}")))
        // A container with files of its own in their places has none of the engine's.
        .filter(|(source, _)| source.is_file())
        .map(|(source, target)| HostMount::of_engine(source, target))
        .collect();
    Ok(SharedNetwork { netns, files, hostname: super::start::hostname(&other) })
}

/// The device nodes of the host that a container has.
pub(super) fn devices(spec: &ContainerSpec) -> Result<Vec<HostDevice>, EngineError> {
    let mut found = Vec::new();
    if spec.privileged {
        below(Path::new("/dev"), Path::new("/dev"), DeviceAccess::ALL, &mut found)?;
    }
    for Device { source, target, access } in &spec.devices {
        let source = Path::new(source);
        let meta = fs::metadata(source).map_err(|e| FileError::new("find the device", source, e))?;
        if meta.is_dir() {
            let before = found.len();
            below(source, Path::new(target), *access, &mut found)?;
            if found.len() == before {
                return Err(EngineError::NoDevice { path: source.to_owned() });
            }
            continue;
        }
        match node(&meta, PathBuf::from(target), *access) {
            Some(device) => {
                // What is named wins over what all have.
                found.retain(|other| other.path != device.path);
                found.push(device);
            }
            None => return Err(EngineError::NoDevice { path: source.to_owned() }),
        }
    }
    Ok(found)
}

/// What of `/dev` a container has of its own, or is no device.
const OWN: [&str; 6] = ["pts", "shm", "mqueue", "console", "ptmx", "fd"];

/// All devices below a folder, but what every container has of its own.
fn below(folder: &Path, target: &Path, access: DeviceAccess, found: &mut Vec<HostDevice>) -> Result<(), EngineError> {
    let failed = |e| FileError::new("list", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let own = folder == Path::new("/dev") && OWN.iter().any(|own| name.as_os_str() == *own);
        // One that goes at this moment, as those of sticks do, is not there.
        let Ok(meta) = entry.metadata() else { continue };
        if own {
            continue;
        }
        if meta.is_dir() {
            below(&entry.path(), &target.join(&name), access, found)?;
        } else if let Some(device) = node(&meta, target.join(&name), access) {
            found.push(device);
        }
    }
    Ok(())
}

fn node(meta: &fs::Metadata, path: PathBuf, access: DeviceAccess) -> Option<HostDevice> {
    let kind = meta.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let (mode, uid, gid) = (meta.mode() & 0o777, meta.uid(), meta.gid());
    Some(HostDevice { path, block: kind.is_block_device(), major, minor, mode, uid, gid, access })
}

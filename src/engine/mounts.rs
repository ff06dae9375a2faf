//! What a container really mounts: its own mounts, those of other containers, and the volumes that its image says it has.
//! Volumes that nobody named get their names here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use rustix::fs::OFlags;

use super::containers::Record;
use super::runtime::spec::HostMount;
use super::{EngineError, Parts};
use crate::files::{self, Beneath};
use crate::model::spec::{ContainerSpec, Mount, VolumeSpec, VolumesFrom};
use crate::model::{Digest, Name};

/// The label of a volume that a container has without a name for it: whose it is.
pub(super) const OF: &str = "setpoint.anonymous";

/// Whose a container's own volumes are. A stack's container that is made anew gets what the old one had.
fn holder(record: &Record) -> String {
    match &record.owner {
        Some(owner) => format!("{}/{}", owner.stack, owner.resource),
        None => record.id.to_string(),
    }
}

/// The name of a container's own volume at `target`: the same each time.
fn own_volume(record: &Record, target: &str) -> Result<Name, EngineError> {
    let digest = Digest::of(format!("{} {}", holder(record), target.trim_end_matches('/')).as_bytes()).to_string();
    let text = digest.rsplit(':').next().unwrap_or_default();
    text.parse().map_err(|_| EngineError::Interrupted)
}

/// All mounts, each with its source, in the order of mounting.
pub(super) fn effective(parts: &Parts, record: &Record, image: &ImageConfiguration) -> Result<Vec<Mount>, EngineError> {
    effective_of(parts, record, image, &mut BTreeSet::new())
}

fn effective_of(
    parts: &Parts,
    record: &Record,
    image: &ImageConfiguration,
    seen: &mut BTreeSet<String>,
) -> Result<Vec<Mount>, EngineError> {
    seen.insert(record.id.to_string());
    let mut all = record.spec.mounts.clone();
    // Of others, what they were fixed to when this one was made is among its own already.
    if record.owner.is_some() {
        for from in &record.spec.volumes_from {
            inherit(parts, from, &mut all, seen)?;
        }
    }
    let of_image = image.config().as_ref().and_then(|config| config.volumes().clone()).unwrap_or_default();
    for target in of_image {
        if !covers(&all, &target) && target.starts_with('/') && !target.trim_end_matches('/').is_empty() {
            all.push(Mount::Anonymous { target, read_only: false, nocopy: false });
        }
    }
    for mount in &mut all {
        if let Mount::Anonymous { target, read_only, nocopy } = mount {
            let source = own_volume(record, target)?;
            let (target, read_only, nocopy) = (target.clone(), *read_only, *nocopy);
            *mount = Mount::Volume { source, target, read_only, nocopy, options: Vec::new(), subpath: None };
        }
    }
    all.sort_by_key(|mount| mount.target().trim_end_matches('/').matches('/').count());
    Ok(all)
}

fn covers(mounts: &[Mount], target: &str) -> bool {
    mounts.iter().any(|mount| mount.target().trim_end_matches('/') == target.trim_end_matches('/'))
}

/// Adds what another container has of volumes and folders of the host. Its own mounts win.
fn inherit(parts: &Parts, from: &VolumesFrom, all: &mut Vec<Mount>, seen: &mut BTreeSet<String>) -> Result<(), EngineError> {
    let other = parts.containers.get(&parts.containers.find(&from.container)?)?;
    if seen.contains(other.id.as_str()) {
        return Err(EngineError::VolumesInCircle { name: other.name });
    }
    let config = parts.images.rootfs(other.image_digest)?.config;
    for mut mount in effective_of(parts, &other, &config, seen)? {
        if covers(all, mount.target()) {
            continue;
        }
        match &mut mount {
            Mount::Volume { read_only, .. } | Mount::Bind { read_only, .. } => *read_only |= from.read_only,
            Mount::Anonymous { .. } | Mount::Tmpfs { .. } | Mount::Config { .. } => continue,
        }
        all.push(mount);
    }
    seen.remove(other.id.as_str());
    Ok(())
}

/// Puts what other containers mount now among a new container's own mounts.
pub(super) fn fix(parts: &Parts, spec: &mut ContainerSpec) -> Result<(), EngineError> {
    let mut all = std::mem::take(&mut spec.mounts);
    for from in &spec.volumes_from {
        inherit(parts, from, &mut all, &mut BTreeSet::new())?;
    }
    all.sort_by_key(|mount| mount.target().trim_end_matches('/').matches('/').count());
    spec.mounts = all;
    Ok(())
}

/// The named volumes that a container mounts.
pub(super) fn volumes_of(spec: &ContainerSpec) -> impl Iterator<Item = &Name> {
    spec.mounts.iter().filter_map(|mount| match mount {
        Mount::Volume { source, .. } => Some(source),
        Mount::Anonymous { .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } | Mount::Config { .. } => None,
    })
}

/// The volumes that a container has without a name for them.
pub(super) fn own_volumes(parts: &Parts, record: &Record) -> Result<Vec<Name>, EngineError> {
    let holder = holder(record);
    let own = |volume: &crate::observed::Volume| volume.spec.labels.get(OF) == Some(&holder);
    Ok(parts.volumes.list()?.into_iter().filter(own).map(|volume| volume.name).collect())
}

/// Removes these volumes, but those that somebody else mounts.
pub(super) fn remove_unused(parts: &Parts, volumes: Vec<Name>) -> Result<(), EngineError> {
    for name in volumes {
        if user_of(parts, &name)?.is_none() {
            parts.volumes.remove(&name)?;
        }
    }
    Ok(())
}

/// A container that mounts a volume, in whatever way.
pub(super) fn user_of(parts: &Parts, name: &Name) -> Result<Option<Name>, EngineError> {
    let records = parts.containers.list()?;
    let label = parts.volumes.get(name)?.and_then(|volume| volume.spec.labels.get(OF).cloned());
    let uses = |record: &Record| {
        volumes_of(&record.spec).any(|volume| volume == name) || label.as_ref().is_some_and(|label| *label == holder(record))
    };
    Ok(records.into_iter().find(|record| uses(record)).map(|record| record.name.clone()))
}

/// Everything but configs, which the containers' part keeps itself, as paths of the host. Volumes that are missing are
/// made, and those that are used for the first time get the image's content.
pub(super) async fn prepare(
    parts: &Parts,
    record: &Record,
    mounts: &[Mount],
    layers: &[PathBuf],
) -> Result<Vec<HostMount>, EngineError> {
    let mut made = Vec::new();
    for mount in mounts {
        let (base, options) = match mount {
            Mount::Volume { source, target, read_only, nocopy, options, subpath } => {
                // What the image has at the target belongs into no part of it.
                let path = volume(parts, record, source, target, *nocopy || subpath.is_some(), layers).await?;
                let (target, read_only) = (target.clone(), *read_only);
                let base = match subpath {
                    None => HostMount::Bind { source: path, target, read_only },
                    Some(inside) => {
                        if let Err(reason) = Beneath::open(&path)?.resolve(Path::new(inside), OFlags::PATH) {
                            return Err(EngineError::NoSubpath { volume: source.clone(), subpath: inside.clone(), reason });
                        }
                        HostMount::Part { root: path, inside: inside.clone(), target, read_only }
                    }
                };
                (base, options.as_slice())
            }
            Mount::Bind { source, target, read_only, create_host_path, options, watched: _ } => {
                if !source.exists() {
                    if !create_host_path {
                        return Err(EngineError::NoBindSource { path: source.clone() });
                    }
                    files::create_dirs(source, 0o755)?;
                }
                let bind = HostMount::Bind { source: source.clone(), target: target.clone(), read_only: *read_only };
                (bind, options.as_slice())
            }
            Mount::Tmpfs { target, size, mode, options } => {
                let tmpfs = HostMount::Tmpfs { target: target.clone(), size: size.map(|size| size.0), mode: *mode };
                (tmpfs, options.as_slice())
            }
            Mount::Anonymous { .. } | Mount::Config { .. } => continue,
        };
        made.push(match options {
            [] => base,
            options => HostMount::Special { base: Box::new(base), options: options.to_vec() },
        });
    }
    Ok(made)
}

/// The folder of a volume.
async fn volume(
    parts: &Parts,
    record: &Record,
    source: &Name,
    target: &str,
    nocopy: bool,
    layers: &[PathBuf],
) -> Result<PathBuf, EngineError> {
    let there = parts.volumes.get(source)?;
    let volume = match there {
        Some(volume) if volume.present => volume,
        // A `run -v name:/path` makes the volume that it names.
        _ => {
            let mut spec = VolumeSpec::default();
            if *source == own_volume(record, target)? {
                spec.labels.insert(OF.to_owned(), holder(record));
            }
            parts.volumes.create(source, None, &spec)?
        }
    };
    if !nocopy && parts.volumes.needs_populating(source)? {
        let (volumes, name) = (parts.volumes.clone(), source.clone());
        let (layers, target) = (layers.to_vec(), target.to_owned());
        tokio::task::spawn_blocking(move || volumes.populate(&name, &layers, &target))
            .await
            .map_err(|_| EngineError::Interrupted)??;
    }
    Ok(volume.path)
}

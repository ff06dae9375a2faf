//! Places for the mounts of a command, where the image has none: in a layer of their own between the image and what the command
//! changes, so that they are no part of what it changes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::engine::runtime::{shows_file, view};

/// A mount's place, and whether it is a folder.
pub(super) type Target = (PathBuf, bool);

/// The places that a container's mounts need in its image: not those that are in another mount.
pub(super) fn targets(spec: &Spec) -> Vec<Target> {
    let mounts = spec.mounts().iter().flatten();
    let mut found: Vec<Target> = Vec::new();
    for mount in mounts {
        let target = mount.destination().clone();
        if found.iter().any(|(other, folder)| *folder && target.starts_with(other)) {
            continue;
        }
        let is_bind = mount.typ().as_deref() == Some("bind");
        let is_file = is_bind && mount.source().as_ref().is_some_and(|source| !source.is_dir());
        found.push((target, !is_file && !shows_file(mount)));
    }
    found
}

/// Makes the places that are missing in the tree of `layers`, the topmost first. The folder with them, which is to be laid over these;
/// `None` when nothing is missing. It is in `scratch`. Blocks the thread.
pub(super) fn make(layers: &[PathBuf], targets: &[Target], scratch: &Path) -> io::Result<Option<PathBuf>> {
    let root = view::detached(layers, None)?;
    let mut missing = Vec::new();
    for (path, is_folder) in targets {
        if !view::exists(&root, path)? {
            missing.push((path, *is_folder));
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    let (upper, work) = (scratch.join("stubs"), scratch.join("stubs-work"));
    for folder in [&upper, &work] {
        std::fs::create_dir(folder)?;
    }
    let changed = view::detached(layers, Some((&upper, &work)))?;
    for (path, is_folder) in missing {
        match is_folder {
            true => drop(view::ensure_folder(&changed, path)?),
            false => drop(view::ensure_file(&changed, path)?),
        }
    }
    drop(changed);
    std::fs::remove_dir_all(&work)?;
    as_before(&root, &upper)?;
    Ok(Some(upper))
}

/// The folders that the image has are as old as there, and the root has the mode that it has there.
fn as_before(root: &OwnedFd, upper: &Path) -> io::Result<()> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let here = upper.join(&path);
        if !std::fs::symlink_metadata(&here)?.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&here)? {
            waiting.push(path.join(entry?.file_name()));
        }
        // Below what was made anew there is nothing to compare with.
        let Ok(before) = std::fs::symlink_metadata(format!("/proc/self/fd/{}/{}", root.as_raw_fd(), path.display())) else {
            continue;
        };
        let time = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &here, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        if path.as_os_str().is_empty() {
            std::os::unix::fs::chown(&here, Some(before.uid()), Some(before.gid()))?;
            std::fs::set_permissions(&here, std::os::unix::fs::PermissionsExt::from_mode(before.mode() & 0o7777))?;
        }
    }
    Ok(())
}

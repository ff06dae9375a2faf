//! The root file system of a container: mounted over its own place, and then made `/`.

use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount_change, mount_move, open_tree, unmount};

use super::super::failure::{At, Failure, Stage};
use super::super::mounts::attach;
use super::super::root::Root;
use super::mounts::{CLONE, has_own};
use super::options;
use crate::sys::mounts::{Change, change};

/// The folder, got hold of while that was possible.
pub(super) fn open_place(path: &std::path::Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::MountRoot, path.display().to_string())
}

/// Mounts the folder over itself, so that it is the root of a mount.
pub(super) fn mount(place: &OwnedFd, spec: &Spec) -> Result<Root, Failure> {
    if spec.linux().as_ref().is_some_and(|l| l.namespaces().iter().flatten().any(|n| is_new_mount(n.typ(), n.path().is_none()))) {
        // Nothing of what is mounted from here on shall reach the host, and what the host unmounts shall be free.
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).at(Stage::IsolateMounts, "/")?;
    }
    let tree = open_tree(place, "", CLONE | OpenTreeFlags::AT_RECURSIVE).at(Stage::MountRoot, "")?;
    // A copy of a shared mount is its peer: only what asks for that stays one.
    let wanted = wanted_propagation(spec)?;
    let early = match wanted {
        Some((libc::MS_SHARED, _)) => None,
        Some((libc::MS_SLAVE, _)) => Some(libc::MS_SLAVE),
        _ => Some(libc::MS_PRIVATE),
    };
    if let Some(propagation) = early {
        change(&tree, Change { propagation, ..Change::default() }, true).at(Stage::SetPropagation, "the root")?;
    }
    attach(&tree, place).at(Stage::MountRoot, "")?;
    Ok(Root::of(tree))
}

fn is_new_mount(kind: LinuxNamespaceType, new: bool) -> bool {
    kind == LinuxNamespaceType::Mount && new
}

fn wanted_propagation(spec: &Spec) -> Result<Option<(u64, bool)>, Failure> {
    match spec.linux().as_ref().and_then(|l| l.rootfs_propagation().as_deref()).filter(|w| !w.is_empty()) {
        None => Ok(None),
        Some(word) => match options::propagation(word) {
            Some(found) => Ok(Some(found)),
            None => Err(Failure::new(Stage::ReadSpec, format!("linux.rootfsPropagation {word:?}"), Errno::INVAL)),
        },
    }
}

/// The new root becomes `/`. With a mount namespace of the container's own the host's mounts are gone.
pub(super) fn enter(root: &Root, spec: &Spec, no_pivot: bool) -> Result<(), Failure> {
    rustix::process::fchdir(root.fd()).at(Stage::PivotRoot, "enter")?;
    if !has_own(spec, LinuxNamespaceType::Mount) {
        return rustix::process::chroot(".").and_then(|()| rustix::process::chdir("/")).at(Stage::PivotRoot, "chroot");
    }
    if no_pivot {
        mount_move(".", "/").at(Stage::PivotRoot, "move")?;
        rustix::process::chroot(".").and_then(|()| rustix::process::chdir("/")).at(Stage::PivotRoot, "chroot")?;
    } else {
        // The old root ends up on top of the new one, at the same place, from where it is taken away.
        nix::unistd::pivot_root(".", ".").at(Stage::PivotRoot, "pivot")?;
        mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).at(Stage::PivotRoot, "isolate")?;
        unmount(".", UnmountFlags::DETACH).at(Stage::PivotRoot, "detach the host's")?;
        rustix::process::chdir("/").at(Stage::PivotRoot, "/")?;
    }
    match wanted_propagation(spec)? {
        Some((propagation, deep)) => {
            let root =
                rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Stage::SetPropagation, "/")?;
            change(&root, Change { propagation, ..Change::default() }, deep).at(Stage::SetPropagation, "/")
        }
        None => Ok(()),
    }
}

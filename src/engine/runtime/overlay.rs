//! The root file system, mounted in the mount namespace of the process that becomes the container, and nowhere else.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount as mount_old, move_mount, open_tree};

use super::failure::{At, Failure, Stage};
use super::launch::RootFs;
use super::mounts;
use super::own_users::Users;
use super::root::Root;
use crate::sys;

/// Mounts the root file system over a folder of the host, in this namespace only. With users of its own the owners of all files
/// are the container's, and on the disk they stay as if it had none: so a layer can be shared, and one made of the upper folder.
pub(super) fn mount(root: &RootFs, users: Option<&(Users, OwnedFd)>) -> Result<Root, Failure> {
    let space = users.map(|(_, space)| space);
    let place = match root {
        RootFs::Overlay { lower, upper, work, volatile } => {
            let further = if *volatile { forget_former(work)? } else { "" };
            mount_overlay(lower.iter().map(|p| p.as_path()), upper, work, further, space)?;
            upper
        }
        RootFs::Folder(folder) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let name = folder.to_string_lossy();
            let tree = open_tree(CWD, folder, flags).at(Stage::MountRoot, name.clone())?;
            if let Some(space) = space {
                mounts::map_owners(&tree, space, true).at(Stage::MapUsers, name.clone())?;
            }
            move_mount(&tree, "", CWD, folder, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Stage::MountRoot, name)?;
            folder
        }
    };
    Root::open_at(place).at(Stage::MountRoot, place.to_string_lossy())
}

/// The layers are named by descriptor, from within `/proc/self/fd`: so 127 of them fit into the one page that the kernel
/// takes, no character of a path needs escaping, and the container's own mount table does not tell paths of the host.
fn mount_overlay<'a>(
    lower: impl Iterator<Item = &'a Path>,
    upper: &Path,
    work: &Path,
    further: &str,
    space: Option<&OwnedFd>,
) -> Result<(), Failure> {
    let layers: Vec<OwnedFd> = lower.map(|layer| open_layer(layer, space)).collect::<Result<_, _>>()?;
    // Both have to be on one mount, which lasts as long as the descriptor that made it.
    let mapped = match (space, upper.parent()) {
        (None, _) => None,
        (Some(_), Some(parent)) if work.parent() == Some(parent) => Some(open_layer(parent, space)?),
        (Some(_), _) => return Err(Failure::new(Stage::MountRoot, "its own folders are not in one", rustix::io::Errno::INVAL)),
    };
    let (upper_fd, work_fd) = match &mapped {
        Some(parent) => (open_beneath(parent, upper)?, open_beneath(parent, work)?),
        None => (open_folder(upper)?, open_folder(work)?),
    };
    let names: Vec<String> = layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
    let (upper_fd, work_fd) = (upper_fd.as_raw_fd(), work_fd.as_raw_fd());
    let options = format!("lowerdir={},upperdir={upper_fd},workdir={work_fd},{}{further}", names.join(":"), options());
    let options = CString::new(options).map_err(std::io::Error::from).at(Stage::MountRoot, "")?;
    rustix::process::chdir("/proc/self/fd").at(Stage::MountRoot, "/proc/self/fd")?;
    // The mount point is the upper folder: it exists, and nobody in this namespace needs what it hides.
    mount_old("overlay", upper, "overlay", MountFlags::empty(), options.as_c_str())
        .at(Stage::MountRoot, format!("overlay of {} layers", layers.len()))
}

/// The option by which nothing is written out at the end. The kernel notes it in the work folder and refuses the next mount, because
/// after a crash of the host the upper folder may be torn. After one there is no next mount of such a container, so the
/// note is taken away. Source: the kernel's overlayfs.rst, "Volatile mount".
fn forget_former(work: &Path) -> Result<&'static str, Failure> {
    let note = work.join("work/incompat/volatile");
    match std::fs::remove_dir_all(&note) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).at(Stage::MountRoot, note.to_string_lossy()),
        _ => Ok(",volatile"),
    }
}

/// What keeps the upper folder a plain difference, from which a layer can be made: no redirects, no metadata-only copies. In a user
/// namespace (kernel 5.11) there are none anyway, and what an overlay notes of its layers are attributes that everybody can
/// set, because the others are the host's root's alone. Source: the kernel's overlayfs.rst, "userxattr".
pub(super) fn options() -> &'static str {
    if sys::userns::is_inside() { "index=off,userxattr" } else { "index=off,redirect_dir=off,metacopy=off" }
}

/// A folder, with the owners of its files as these users see them.
fn open_layer(path: &Path, space: Option<&OwnedFd>) -> Result<OwnedFd, Failure> {
    let Some(space) = space else { return open_folder(path) };
    let about = || path.to_string_lossy();
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
    let tree = tree.at(Stage::MountRoot, about())?;
    mounts::map_owners(&tree, space, false).at(Stage::MapUsers, about())?;
    Ok(tree)
}

fn open_beneath(parent: &OwnedFd, path: &Path) -> Result<OwnedFd, Failure> {
    let name = path.file_name().unwrap_or_default();
    rustix::fs::openat(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::MountRoot, path.to_string_lossy())
}

/// Opened in this mount namespace, because a mount of another one is refused as a layer.
fn open_folder(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::MountRoot, path.to_string_lossy())
}

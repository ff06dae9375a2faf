//! Layers as one tree, for whoever reads it without a container: mounted read-only where only the calling thread sees it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::overlay;
use super::root::{Kind, Root, file_type};

/// The tree of `layers`, the topmost first, mounted at the folder `mount_point`. The thread that calls this is to end
/// soon: its mount namespace, and the mount with it, lives as long as it does.
pub fn merged(layers: &[PathBuf], mount_point: &Path) -> io::Result<OwnedFd> {
    // One folder is a tree as it is, and overlayfs does not take less than two.
    if let [only] = layers {
        return open(only);
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    // By descriptor, because all paths together must fit into a page, and must have no colon.
    let opened: Vec<OwnedFd> = layers.iter().map(|layer| open(layer)).collect::<io::Result<_>>()?;
    let paths: Vec<String> = opened.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let options = format!("lowerdir={},{}", paths.join(":"), overlay::options());
    mount(Some("overlay"), mount_point, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))?;
    open(mount_point)
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A container's whole tree, to be changed too unless it is `read_only`, mounted at the folder `mount_point`. The container must
/// not run. What is said of threads above holds here.
pub fn writable(layers: &[PathBuf], upper: &Path, work: &Path, mount_point: &Path, read_only: bool) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let opened: Vec<OwnedFd> = layers.iter().map(|layer| open(layer)).collect::<io::Result<_>>()?;
    let (upper, work) = (open(upper)?, open(work)?);
    let shown = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    // The same options as for the container: the upper folder stays a plain difference.
    let options = format!(
        "lowerdir={},upperdir={},workdir={},{}",
        opened.iter().map(shown).collect::<Vec<_>>().join(":"),
        shown(&upper),
        shown(&work),
        overlay::options(),
    );
    let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    mount(Some("overlay"), mount_point, Some("overlay"), flags, Some(options.as_str()))?;
    open(mount_point)
}

/// Layers as one tree that is mounted nowhere, the topmost first: with `changes`, an upper and a work folder of which nothing need
/// outlive the host, one that can be written to. The mount lives as long as the descriptor, its root. Blocks, and starts
/// a thread.
pub fn detached(layers: &[PathBuf], changes: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    if let ([only], None) = (layers, changes) {
        return open(only);
    }
    // In a mount namespace that only this thread has, and that ends with it.
    std::thread::scope(|scope| {
        let work = || {
            let top = layers.first().map(PathBuf::as_path).ok_or(io::ErrorKind::InvalidInput)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            let opened: Vec<OwnedFd> = layers.iter().map(|layer| open(layer)).collect::<io::Result<_>>()?;
            let shown = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
            let lower = opened.iter().map(shown).collect::<Vec<_>>().join(":");
            let (place, changed, options) = match changes {
                None => (top, None, String::new()),
                Some((upper, work)) => {
                    let changed = (open(upper)?, open(work)?);
                    let options = format!("upperdir={},workdir={},volatile,", shown(&changed.0), shown(&changed.1));
                    (upper, Some(changed), options)
                }
            };
            let options = format!("lowerdir={lower},{options}{}", overlay::options());
            let flags = if changed.is_some() { MsFlags::empty() } else { MsFlags::MS_RDONLY };
            // Over a folder that is there anyway: in this namespace nobody needs what the mount hides.
            mount(Some("overlay"), place, Some("overlay"), flags, Some(options.as_str()))?;
            Ok(open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
        };
        std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn_scoped(scope, work)?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether there is anything at `path` in a tree, links followed as in a container.
pub fn exists(root: &OwnedFd, path: &Path) -> io::Result<bool> {
    match Root::of(root.try_clone()?).open(path) {
        Ok(_) => Ok(true),
        // A link that leads nowhere is made to lead somewhere.
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether there is a folder at `path` in a tree.
pub fn find(root: &OwnedFd, path: &Path) -> io::Result<bool> {
    match Root::of(root.try_clone()?).open(path) {
        Ok(found) if file_type(&found)? == FileType::Directory => Ok(true),
        Ok(_) => Err(Errno::NOTDIR.into()),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Makes a folder and those before it that are missing; all of them belong to `owner`, user and group.
pub fn make_folder(root: &OwnedFd, path: &Path, owner: (u32, u32)) -> io::Result<()> {
    let mut reached = PathBuf::from("/");
    for part in path.components().filter(|part| matches!(part, std::path::Component::Normal(_))) {
        reached.push(part);
        if !exists(root, &reached)? {
            let folder = ensure_folder(root, &reached)?;
            let through = format!("/proc/self/fd/{}", folder.as_raw_fd());
            std::os::unix::fs::chown(through, Some(owner.0), Some(owner.1))?;
        }
    }
    // What is there and is no folder is an error now.
    ensure_folder(root, path).map(drop)
}

/// The folder at `path` in a tree, made with those before it where it is missing. Links are followed as in a container.
pub fn ensure_folder(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    Ok(Root::of(root.try_clone()?).ensure(path, Kind::Folder)?)
}

/// The same for a file, which is empty if it was missing.
pub fn ensure_file(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    Ok(Root::of(root.try_clone()?).ensure(path, Kind::File)?)
}

/// Mounts a path of the host over what is open at `place`, which the calling thread alone sees.
pub fn bind(source: &Path, place: &OwnedFd, read_only: bool) -> io::Result<()> {
    let target = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    mount(Some(source), &target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    if read_only {
        // By the mount's own path: the descriptor still means what lies below.
        let path = std::fs::read_link(&target)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &path, None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

//! Layers as one tree, for whoever reads it without a container: mounted read-only where only the calling thread sees it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};

use super::overlay;

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

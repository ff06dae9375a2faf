//! Layers as one tree, for whoever reads it without a container: mounted read-only where only the calling thread sees it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};

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
    let options = format!("lowerdir={},index=off,redirect_dir=off,metacopy=off", paths.join(":"));
    mount(Some("overlay"), mount_point, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))?;
    open(mount_point)
}

fn open(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

//! A volume's first use: what the image has at the volume's target becomes the volume's content.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Result, VolumeError, copy};
use crate::engine::runtime::view;
use crate::files::{self, FileError};
use crate::model::Name;

const MARKER: &str = "populated";
/// The copy, until it is whole.
const COPY: &str = "copy";
/// Where the image is mounted for the time of the copy, in a mount namespace that nobody else sees.
const MOUNT: &str = "image";

pub(super) fn is_needed(folder: &Path) -> Result<bool> {
    if folder.join(MARKER).exists() {
        return Ok(false);
    }
    let data = folder.join("data");
    match fs::read_dir(&data) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(FileError::new("list", data, e).into()),
    }
}

/// Removes what an interrupted copy left, unless it is under way.
pub(super) fn clean(folder: &Path) -> Result<()> {
    if let Some(_lock) = files::Lock::try_take(&folder.join("lock"))? {
        files::remove_all(&folder.join(COPY))?;
        files::remove_all(&folder.join(MOUNT))?;
    }
    Ok(())
}

/// The caller holds the volume's lock.
pub(super) fn fill(name: &Name, folder: &Path, layers: &[PathBuf], target: &str) -> Result<()> {
    let (copy, data) = (folder.join(COPY), folder.join("data"));
    files::remove_all(&copy)?;
    if copy_from_image(name, folder, layers, target)? {
        // The content first, then the name that makes it the volume's: a power cut in between leaves an empty volume.
        let synced = File::open(&copy).map_err(|e| FileError::new("open", &copy, e))?;
        rustix::fs::syncfs(&synced).map_err(|e| FileError::new("sync", &copy, e))?;
        // Over an empty folder, or the kernel refuses.
        fs::rename(&copy, &data).map_err(|e| FileError::new("rename to", &data, e))?;
    }
    files::publish_durably(&folder.join(MARKER), b"", 0o600)?;
    Ok(())
}

/// Copies what the image has at `target`. `false` when that is no folder.
fn copy_from_image(name: &Name, folder: &Path, layers: &[PathBuf], target: &str) -> Result<bool> {
    let fail = |step| move |source: io::Error| VolumeError::Image { step, name: name.clone(), source };
    if layers.is_empty() {
        return Ok(false);
    }
    let mount_point = folder.join(MOUNT);
    files::create_dirs(&mount_point, 0o700)?;
    let copied = std::thread::scope(|scope| {
        let work = || {
            let root = view::merged(layers, &mount_point).map_err(fail("mount the layers"))?;
            let Some(source) = beneath(&root, target).map_err(fail("find the target"))? else { return Ok(false) };
            copy::tree(&source, &folder.join(COPY))
                .map(|()| true)
                .map_err(|source| VolumeError::Copy { name: name.clone(), source })
        };
        // The thread ends with its mount namespace, and the mount with that.
        let thread = std::thread::Builder::new().name("volume".to_owned()).spawn_scoped(scope, work);
        thread.map_err(fail("start a thread"))?.join().map_err(|_| VolumeError::Panicked { name: name.clone() })?
    })?;
    files::remove_all(&mount_point)?;
    Ok(copied)
}

/// The folder at `target` in `root`, with every link resolved as in a container. `None` when there is none.
fn beneath(root: &OwnedFd, target: &str) -> io::Result<Option<OwnedFd>> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match crate::sys::resolve::open_by(root, target, OFlags::PATH | OFlags::DIRECTORY, resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

//! What a container has changed of its image's files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::runtime::view;
use super::transfer::mount_points;
use super::{Engine, EngineError};
use crate::files::{self, FileError};
use crate::model::ContainerId;

/// One path that is not as the image has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    Changed,
    Added,
    Deleted,
}

/// More folders within each other than this are a trap.
const DEEPEST: usize = 1000;

impl Engine {
    /// All that a container has added, changed and deleted, in the order of paths. Folders that something has changed in are
    /// changed too.
    pub async fn diff(&self, id: &ContainerId) -> Result<Vec<Difference>, EngineError> {
        let record = self.0.containers.get(id)?;
        let folder = self.0.instance.container_dir(id);
        let layers = self.0.images.rootfs(record.image_digest)?.layers;
        let looking = Looking { upper: folder.join("upper"), hidden: mount_points(&record.spec), found: Vec::new() };
        let mount_point = folder.join(".diff");
        let work = move || {
            files::create_dirs(&mount_point, 0o700)?;
            // A thread of its own, because a mount namespace lives as long as its thread.
            let thread = std::thread::Builder::new().name("diff".to_owned()).spawn(move || {
                let image = view::merged(&layers, &mount_point).map_err(|e| FileError::new("mount at", &mount_point, e))?;
                looking.all(&image)
            });
            let thread = thread.map_err(|e| FileError::new("start a thread for", &folder, e))?;
            thread.join().map_err(|_| EngineError::Interrupted)?
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }
}

struct Looking {
    upper: PathBuf,
    /// Where the engine mounts something, which is no change that the container made.
    hidden: BTreeSet<PathBuf>,
    found: Vec<Difference>,
}

impl Looking {
    fn all(mut self, image: &OwnedFd) -> Result<Vec<Difference>, EngineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let upper = openat(CWD, &self.upper, flags, Mode::empty()).map_err(|e| FileError::new("open", &self.upper, e))?;
        let image = openat(image, ".", flags, Mode::empty()).map_err(|e| FileError::new("open", &self.upper, e))?;
        self.folder(Path::new(""), &upper, Some(&image), 0)?;
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.found)
    }

    fn tell(&mut self, kind: DifferenceKind, path: &Path) {
        self.found.push(Difference { kind, path: format!("/{}", path.display()) });
    }

    /// What the upper folder has, against what the image has at the same place. Whether anything is told of it.
    fn folder(&mut self, path: &Path, upper: &OwnedFd, image: Option<&OwnedFd>, depth: usize) -> Result<bool, EngineError> {
        if depth > DEEPEST {
            return Err(FileError::new("look into", self.upper.join(path), Errno::LOOP).into());
        }
        let mut any = false;
        let here = names(upper).map_err(|e| FileError::new("read folder", self.upper.join(path), e))?;
        for name in &here {
            let inner = path.join(name);
            let failed = |e: Errno| FileError::new("look at", self.upper.join(&inner), e);
            let stat = statat(upper, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            let before = image.map(|image| stat_of(image, name)).transpose().map_err(failed)?.flatten();
            if is_whiteout(&stat) {
                if before.is_some() {
                    self.tell(DifferenceKind::Deleted, &inner);
                    any = true;
                }
                continue;
            }
            let was_folder = before.as_ref().is_some_and(is_folder);
            if !is_folder(&stat) {
                if !self.hidden.contains(&inner) {
                    self.tell(if before.is_some() { DifferenceKind::Changed } else { DifferenceKind::Added }, &inner);
                    any = true;
                }
                continue;
            }
            let (told_before, place) = (self.found.len(), self.found.len());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let upper_inner = openat(upper, name, flags, Mode::empty()).map_err(failed)?;
            let image_inner = match image.filter(|_| was_folder) {
                Some(image) => Some(openat(image, name, flags, Mode::empty()).map_err(failed)?),
                None => None,
            };
            if is_opaque(&upper_inner) {
                // Made anew: what the image has in it and this has not is gone.
                if let Some(image) = &image_inner {
                    let now = names(&upper_inner).map_err(failed)?;
                    for gone in names(image).map_err(failed)?.iter().filter(|name| !now.contains(*name)) {
                        self.tell(DifferenceKind::Deleted, &inner.join(gone));
                    }
                }
            }
            self.folder(&inner, &upper_inner, image_inner.as_ref(), depth + 1)?;
            let changed_within = self.found.len() > told_before;
            // A folder is copied up for what is mounted in it, too.
            let for_a_mount = self.hidden.iter().any(|mount| mount.starts_with(&inner));
            let differs = !before.as_ref().is_some_and(|before| same_folder(before, &stat));
            if changed_within || (differs && !for_a_mount) {
                let kind = if before.is_some() { DifferenceKind::Changed } else { DifferenceKind::Added };
                self.found.insert(place, Difference { kind, path: format!("/{}", inner.display()) });
                any = true;
            }
        }
        Ok(any)
    }
}

fn names(folder: &OwnedFd) -> Result<BTreeSet<std::ffi::OsString>, Errno> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(folder.as_fd())? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn stat_of(folder: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Source: the kernel's overlayfs.rst, "whiteouts and opaque directories".
fn is_opaque(folder: &OwnedFd) -> bool {
    let mut value = [0; 1];
    fgetxattr(folder, super::images::opaque(), &mut value[..]).is_ok_and(|length| length == 1 && value == *b"y")
}

/// Whether a folder was only copied up, and is what it was.
fn same_folder(before: &Stat, now: &Stat) -> bool {
    is_folder(before)
        && (before.st_mode, before.st_uid, before.st_gid) == (now.st_mode, now.st_uid, now.st_gid)
        && (before.st_mtime, before.st_mtime_nsec) == (now.st_mtime, now.st_mtime_nsec)
}

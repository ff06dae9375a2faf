//! Paths inside the container's root file system, by descriptor: whatever symlinks an image contains, no path leads out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::sys;

/// What is to be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
}

/// The root folder of the container, before or after it is `/`.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Root {
    /// `path` must be the root of a mount.
    pub(super) fn open_at(path: &Path) -> Result<Self, Errno> {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self)
    }

    /// A mount that is attached.
    pub(super) fn of(mount: OwnedFd) -> Self {
        Self(mount)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn make_read_only(&self) -> io::Result<()> {
        sys::mounts::set_attributes(&self.0, MountAttrFlags::MOUNT_ATTR_RDONLY, false)
    }

    /// What is at `path`, with symlinks followed as the container would follow them.
    pub(super) fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH, ResolveFlags::IN_ROOT)
    }

    /// What is at `path`, which must not go through any symlink.
    pub(super) fn open_plain(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    /// What is at `path`; a missing last component is made as `kind` says, missing folders before it as folders.
    pub(super) fn ensure(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let found = match self.open(path) {
            Err(Errno::NOENT) => self.make(path, kind)?,
            other => other?,
        };
        let is_folder = file_type(&found)? == FileType::Directory;
        match kind {
            Kind::Folder if !is_folder => Err(Errno::NOTDIR),
            Kind::File if is_folder => Err(Errno::ISDIR),
            _ => Ok(found),
        }
    }

    /// Like [`Root::ensure`] for a folder where the kernel's own file systems go: an image that has a symlink there is refused.
    pub(super) fn ensure_plain_folder(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_plain(path, flags) {
            Err(Errno::NOENT) => {
                self.make(path, Kind::Folder)?;
                self.open_plain(path, flags)
            }
            other => other,
        }
    }

    /// Walks one component at a time, following links by hand, because a link may point to what is to be made.
    fn make(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        const MOST_LINKS: usize = 40;
        let mut links = 0;
        let mut pending: VecDeque<OsString> = components(path).collect();
        let mut reached = PathBuf::from("/");
        while let Some(name) = pending.pop_front() {
            if name.as_bytes() == b".." {
                reached.pop();
                continue;
            }
            let folder = self.resolve(&reached, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::IN_ROOT)?;
            match step(&folder, &name) {
                Ok(found) if file_type(&found)? == FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        reached = PathBuf::from("/");
                    }
                    for part in components(target).collect::<Vec<_>>().into_iter().rev() {
                        pending.push_front(part);
                    }
                }
                Ok(_) => reached.push(&name),
                Err(Errno::NOENT) => {
                    if pending.is_empty() && kind == Kind::File {
                        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                        rustix::fs::openat(&folder, &name, flags, Mode::from_raw_mode(0o644))?;
                    } else {
                        rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o755))?;
                    }
                    reached.push(&name);
                }
                Err(e) => return Err(e),
            }
        }
        self.open(&reached)
    }

    fn resolve(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        sys::resolve::open_by(&self.0, path, flags, resolve)
    }
}

fn step(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn components(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

pub(super) fn file_type(fd: impl AsFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

/// Whether this is a file of the kernel's own about processes, whatever stands in a path of that name.
pub(super) fn on_proc(fd: impl AsFd) -> Result<bool, Errno> {
    const PROC: u64 = 0x9fa0;
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 == PROC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let base = inside.path();
        std::fs::create_dir(base.join("sub")).unwrap();
        symlink(outside.path(), base.join("absolute")).unwrap();
        symlink("../../../../..", base.join("sub/up")).unwrap();
        symlink("/run/made/by/link", base.join("dangling")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let root = Root::open_at(base).unwrap();

        root.ensure(Path::new("/absolute/file"), Kind::File).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(base.join(outside.path().strip_prefix("/").unwrap()).join("file").is_file());

        root.ensure(Path::new("/sub/up/../../new/folder"), Kind::Folder).unwrap();
        assert!(base.join("new/folder").is_dir());

        root.ensure(Path::new("/dangling"), Kind::File).unwrap();
        assert!(base.join("run/made/by/link").is_file());

        assert_eq!(root.ensure(Path::new("/loop"), Kind::File).unwrap_err(), Errno::LOOP);
        assert_eq!(root.ensure(Path::new("/dangling"), Kind::Folder).unwrap_err(), Errno::NOTDIR);
        assert_eq!(root.ensure(Path::new("/sub"), Kind::File).unwrap_err(), Errno::ISDIR);
        assert!(root.ensure_plain_folder(Path::new("/absolute")).is_err());
        assert!(root.ensure_plain_folder(Path::new("/proc")).is_ok());
    }
}

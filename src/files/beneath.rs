//! Paths beneath a root that somebody else filled: opened by descriptor with `openat2`, so that neither `..` nor a
//! symbolic link, however it is raced, leads out. Knows nothing of archives or images.
//!
//! Guarantees: whatever path and whatever content, nothing outside the root is opened, made, changed or removed. An
//! absolute symbolic link is taken from the root, as a container would take it.
//! Source: openat2(2), `RESOLVE_IN_ROOT`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, chmodat, chownat, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::FileError;
use crate::sys::resolve::open_by;

/// A relative path of ordinary components only: no `..`, no `.`, no NUL. Empty is the root itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inside(PathBuf);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path:?} is not a path inside the folder: {why}")]
pub struct Escapes {
    path: String,
    why: &'static str,
}

impl Inside {
    /// Drops leading slashes and `.`; refuses `..`, because what it means depends on links that may change.
    pub fn new(path: &[u8]) -> Result<Self, Escapes> {
        let refuse = |why| Escapes { path: String::from_utf8_lossy(path).chars().take(200).collect(), why };
        if path.contains(&0) {
            return Err(refuse("it contains a NUL byte"));
        }
        let mut clean = PathBuf::new();
        for component in Path::new(OsStr::from_bytes(path)).components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(refuse("it contains `..`")),
            }
        }
        Ok(Self(clean))
    }

    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&OsStr> {
        self.0.file_name()
    }

    /// Its folder; the root's is the root.
    pub fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new(""))
    }
}

/// How many folders are kept open. Entries of an archive come folder by folder, so few are enough.
const OPEN_FOLDERS: usize = 64;

/// A folder beneath which paths are resolved.
#[derive(Debug)]
pub struct Beneath {
    root: Arc<OwnedFd>,
    path: PathBuf,
    folders: HashMap<PathBuf, Arc<OwnedFd>>,
}

impl Beneath {
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let root = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| FileError::new("open folder", path, e))?;
        Ok(Self { root: Arc::new(root), path: path.to_owned(), folders: HashMap::new() })
    }

    /// Beneath a folder that is open already; `path` is what it is called in messages.
    pub fn over(root: OwnedFd, path: PathBuf) -> Self {
        Self { root: Arc::new(root), path, folders: HashMap::new() }
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The path for people to read in an error.
    pub fn show(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// An error about a path beneath the root.
    pub fn error(&self, action: &'static str, path: &Path, source: Errno) -> FileError {
        FileError::new(action, self.show(path), source)
    }

    /// Opens what is there, following links within the root unless `flags` say otherwise.
    pub fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        open_by(&self.root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// The folder at `path`, open as a place (`O_PATH`).
    pub fn folder(&mut self, path: &Path) -> Result<Arc<OwnedFd>, FileError> {
        if let Some(fd) = self.known(path) {
            return Ok(fd);
        }
        let fd = self.resolve(path, OFlags::PATH | OFlags::DIRECTORY).map_err(|e| self.error("open folder", path, e))?;
        Ok(self.keep(path, fd))
    }

    /// Like [`folder`](Self::folder), and makes what of it is missing, mode 0755.
    pub fn make_folder(&mut self, path: &Path) -> Result<Arc<OwnedFd>, FileError> {
        self.make_folder_as(path, &mut |_| Ok(()))
    }

    /// The same; `describe` gets each folder that is made.
    pub fn make_folder_as(
        &mut self,
        path: &Path,
        describe: &mut dyn FnMut(&OwnedFd) -> Result<(), Errno>,
    ) -> Result<Arc<OwnedFd>, FileError> {
        if let Some(fd) = self.known(path) {
            return Ok(fd);
        }
        let fd = match self.resolve(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
                    return Err(self.error("open folder", path, Errno::NOENT));
                };
                let parent = self.make_folder_as(parent, describe)?;
                let mut attempt = || {
                    mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    // The folder may have handed down its group, and the process's umask has taken its part of the mode.
                    let (owner, group) = (geteuid(), getegid());
                    chownat(&parent, name, Some(owner), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
                    chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = openat(&parent, name, flags, Mode::empty())?;
                    describe(&made)?;
                    Ok::<_, Errno>(made)
                };
                // "File exists" is a link that leads nowhere: there is no right place to go on.
                attempt().map_err(|e| self.error("create folder", path, e))?
            }
            Err(e) => return Err(self.error("open folder", path, e)),
        };
        Ok(self.keep(path, fd))
    }

    /// Forgets the folders kept open. Needed when something has been replaced that may have been on the way to them.
    pub fn forget(&mut self) {
        self.folders.clear();
    }

    fn known(&self, path: &Path) -> Option<Arc<OwnedFd>> {
        if path.as_os_str().is_empty() { Some(self.root.clone()) } else { self.folders.get(path).cloned() }
    }

    fn keep(&mut self, path: &Path, fd: OwnedFd) -> Arc<OwnedFd> {
        if self.folders.len() >= OPEN_FOLDERS {
            self.folders.clear();
        }
        let fd = Arc::new(fd);
        self.folders.insert(path.to_owned(), fd.clone());
        fd
    }
}

/// Removes what has this name in `folder`, with all in it, following nothing. What is not there is removed already.
pub fn remove_at(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(folder, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    for name in names {
        remove_at(inner.as_fd(), &name)?;
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn cleans_or_refuses_names() {
        for (text, clean) in [("", ""), ("./", ""), ("/etc/passwd", "etc/passwd"), ("a//b/./c/", "a/b/c"), ("...", "...")] {
            assert_eq!(Inside::new(text.as_bytes()).unwrap().as_path(), Path::new(clean));
        }
        for bad in ["..", "a/..", "../a", "/../a", "a/../../b", "a\0b"] {
            assert!(Inside::new(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir(outer.path().join("secret")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../../../../secret", root.join("out")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("/proc/self/root", root.join("proc")).unwrap();
        let mut beneath = Beneath::open(&root).unwrap();
        beneath.make_folder(Path::new("absolute/new/deep")).unwrap();
        assert!(root.join("etc/new/deep").is_dir());
        assert!(beneath.folder(Path::new("out")).unwrap_err().is_missing());
        assert!(beneath.make_folder(Path::new("out/x")).is_err());
        assert!(beneath.make_folder(Path::new("dangling/x")).is_err());
        assert!(beneath.make_folder(Path::new("proc/x")).is_err());
        assert_eq!(fs::read_dir(outer.path().join("secret")).unwrap().count(), 0);
    }

    #[test]
    fn removes_without_following() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::write(outer.path().join("keep"), "x").unwrap();
        symlink("../../keep", root.join("a/link")).unwrap();
        symlink(outer.path(), root.join("a/b/up")).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        remove_at(beneath.root(), OsStr::new("a")).unwrap();
        remove_at(beneath.root(), OsStr::new("a")).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        assert!(outer.path().join("keep").exists());
    }
}

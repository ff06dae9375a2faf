//! A tree that COPY and ADD read: a build context, a stage or an image. Knows which of its files a `.dockerignore` leaves out,
//! and nothing of what is copied.
//!
//! Guarantees: nothing outside the root is looked at, whatever links are in the tree and whoever exchanges folders for links
//! meanwhile. Every name is opened by itself and without following it; where a link leads is worked out here, from the root.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::FilesError;
use crate::engine::build::ignore::Ignore;
use crate::files::FileError;
use crate::sys::resolve::open_by;

/// More folders within each other than this are a trap: each one is held open while what is in it is copied.
pub(super) const DEEPEST: usize = 250;
/// As many as the kernel follows.
pub(super) const MOST_LINKS: usize = 40;
/// What a file of rules may have, in bytes.
const MAX_RULES: u64 = 4 << 20;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tree {
    /// `None`: there are no files at all.
    root: Option<Arc<OwnedFd>>,
    name: Arc<str>,
    ignore: Arc<Ignore>,
    /// The name of the file that they are from.
    rules: Option<Arc<str>>,
    keeps_owners: bool,
    lasts: bool,
}

impl Tree {
    /// A folder of the host, such as a build context: its files belong to root in the image. `name` is what messages call it.
    pub fn open(folder: &Path, name: &str) -> Result<Self, FilesError> {
        let root = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| FileError::new("open folder", folder, e))?;
        Ok(Self { lasts: true, ..Self::over(Some(root), name) })
    }

    /// The root of a stage or of an image, perhaps mounted nowhere: owners are kept.
    pub fn of_root(root: OwnedFd, name: &str) -> Self {
        Self { keeps_owners: true, ..Self::over(Some(root), name) }
    }

    /// No files.
    pub fn nothing(name: &str) -> Self {
        Self::over(None, name)
    }

    fn over(root: Option<OwnedFd>, name: &str) -> Self {
        let root = root.map(Arc::new);
        Self { root, name: name.into(), ignore: Arc::default(), rules: None, keeps_owners: false, lasts: false }
    }

    /// It was made for this build and goes with it, so it is not worth remembering what its files have.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { lasts: false, ..self }
    }

    /// Without what the tree's own rules leave out: those of `<dockerfile>.dockerignore` if it is there, else of `.dockerignore`.
    /// `dockerfile` is the path of the Dockerfile in this tree, if it is in it.
    pub fn ignoring(self, dockerfile: Option<&str>) -> Result<Self, FilesError> {
        let names = dockerfile.map(|dockerfile| format!("{dockerfile}.dockerignore")).into_iter();
        for file in names.chain([".dockerignore".to_owned()]) {
            if let Some(rules) = self.read(&file, MAX_RULES)? {
                return self.with_rules(&file, &rules);
            }
        }
        Ok(self)
    }

    /// Without what these rules leave out, which are from a file of this name.
    pub fn with_rules(self, file: &str, rules: &[u8]) -> Result<Self, FilesError> {
        let ignore = Ignore::parse(rules).map_err(|source| FilesError::Rules { file: file.to_owned(), source })?;
        Ok(Self { ignore: Arc::new(ignore), rules: Some(file.into()), ..self })
    }

    /// The folder at a path in the tree as a tree of its own; rules do not go along.
    pub fn below(&self, path: &str) -> Result<Self, FilesError> {
        let place = self.find(path, true)?;
        let place =
            place.ok_or_else(|| FilesError::Missing { word: path.to_owned(), tree: self.name().to_owned(), near: None })?;
        if place.meta.kind() != FileType::Directory {
            return Err(FilesError::NoFolder { path: path.to_owned(), tree: self.name().to_owned() });
        }
        let name = format!("{path:?} of {}", self.name);
        Ok(Self { root: Some(place.fd), name: name.into(), ignore: Arc::default(), rules: None, ..self.clone() })
    }

    /// The content of a file, whatever the rules say; `None` when there is none. Links are followed in the tree.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
        let Some(place) = self.find(path, true)? else { return Ok(None) };
        if place.meta.kind() != FileType::RegularFile {
            return Err(self.error("read", &place.path, Errno::ISDIR));
        }
        let too_long = |size| FilesError::TooLong { path: path.to_owned(), tree: self.name().to_owned(), size, limit };
        if place.meta.size > limit {
            return Err(too_long(place.meta.size));
        }
        // The very file that has been looked at, whatever has its name by now.
        let opened = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*place.fd)));
        let mut content = Vec::new();
        opened
            .and_then(|file| file.take(limit + 1).read_to_end(&mut content))
            .map_err(|e| FileError::new("read", self.shown(&place.path), e))?;
        if content.len() as u64 > limit { Err(too_long(content.len() as u64)) } else { Ok(Some(content)) }
    }

    /// A file, to be read from where one likes; `None` when there is none, or something else. Links are followed in the tree.
    pub fn open_file(&self, path: &str) -> Result<Option<Opened>, FilesError> {
        let Some(place) = self.find(path, true)? else { return Ok(None) };
        if place.meta.kind() != FileType::RegularFile {
            return Ok(None);
        }
        let file = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*place.fd)));
        let file = file.map_err(|e| FileError::new("open", self.shown(&place.path), e))?;
        Ok(Some(Opened { file, size: place.meta.size }))
    }

    /// The names in a folder, sorted; none where it is no folder. Links are followed in the tree.
    pub fn names_at(&self, path: &str) -> Result<Vec<String>, FilesError> {
        match self.find(path, true)? {
            Some(place) if place.meta.kind() == FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let folder =
                    openat(&place.fd, ".", flags, Mode::empty()).map_err(|e| self.error("open folder", &place.path, e))?;
                let names = self.names(folder, &place.path)?;
                Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether files keep their owners when they are copied, and devices are copied at all.
    pub const fn keeps_owners(&self) -> bool {
        self.keeps_owners
    }

    /// Whether the same files are looked at again by later builds.
    pub(super) const fn lasts(&self) -> bool {
        self.lasts
    }

    pub(super) fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// What the file of rules is called.
    pub(super) fn rules(&self) -> &str {
        self.rules.as_deref().unwrap_or(".dockerignore")
    }

    /// An error about a path in the tree.
    pub(super) fn error(&self, action: &'static str, path: &Path, source: Errno) -> FilesError {
        FileError::new(action, self.shown(path), source).into()
    }

    pub(super) fn exchanged(&self, path: &Path) -> FilesError {
        FilesError::Exchanged { path: text(path).into_owned(), tree: self.name().to_owned() }
    }

    fn shown(&self, path: &Path) -> PathBuf {
        PathBuf::from(format!("{} of {}", if path.as_os_str().is_empty() { ".".into() } else { text(path) }, self.name))
    }

    /// What is at a path. Links on the way are followed in the tree, and the last one where that is asked.
    pub(super) fn find(&self, path: &str, follow: bool) -> Result<Option<Place>, FilesError> {
        let Some(root) = &self.root else { return Ok(None) };
        let mut stack: Vec<(OsString, Arc<OwnedFd>)> = Vec::new();
        let mut left: VecDeque<OsString> = parts(path.as_bytes()).map(OsStr::to_owned).collect();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = || stack.iter().map(|(name, _)| name).chain([&name]).collect::<PathBuf>();
            let folder = stack.last().map_or(root, |(_, fd)| fd);
            let opened = openat(folder, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
            let (fd, stat) = match opened.and_then(|fd| Ok((fstat(&fd)?, fd))) {
                Ok((stat, fd)) => (Arc::new(fd), stat),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL) => return Ok(None),
                Err(e) => return Err(self.error("open", &here(), e)),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if follow || !left.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(FilesError::Links { path: path.to_owned(), tree: self.name().to_owned(), limit: MOST_LINKS });
                    }
                    let target = readlinkat(&fd, "", Vec::new()).map_err(|e| self.error("read link", &here(), e))?;
                    let target = target.into_bytes();
                    if target.starts_with(b"/") {
                        stack.clear();
                    }
                    parts(&target).rev().for_each(|part| left.push_front(part.to_owned()));
                }
                FileType::Directory => {
                    stack.push((name, fd));
                    if stack.len() > DEEPEST {
                        return Err(self.deep(&stack.iter().map(|(name, _)| name).collect::<PathBuf>()));
                    }
                }
                _ if left.is_empty() => return Ok(Some(Place { path: here(), fd, meta: Meta::of(&stat) })),
                _ => return Ok(None),
            }
        }
        let path: PathBuf = stack.iter().map(|(name, _)| name).collect();
        let fd = stack.pop().map_or_else(|| root.clone(), |(_, fd)| fd);
        let stat = fstat(&fd).map_err(|e| self.error("look at", &path, e))?;
        Ok(Some(Place { path, fd, meta: Meta::of(&stat) }))
    }

    pub(super) fn deep(&self, path: &Path) -> FilesError {
        let path = text(path).chars().take(200).collect();
        FilesError::Deep { path, tree: self.name().to_owned(), limit: DEEPEST }
    }

    /// The folder at a path that had no links on the way when it was found. One that is there now is an error.
    pub(super) fn folder(&self, path: &Path) -> Result<OwnedFd, FilesError> {
        let root = self.root.as_ref().ok_or_else(|| self.exchanged(path))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let whole = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match open_by(root, whole, OFlags::PATH | OFlags::DIRECTORY, resolve) {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => Err(self.exchanged(path)),
            other => other.map_err(|e| self.error("open folder", path, e)),
        }
    }

    /// The names in a folder, sorted. `path` is for messages.
    pub(super) fn names(&self, folder: impl AsFd, path: &Path) -> Result<Vec<OsString>, FilesError> {
        let failed = |e| self.error("read folder", path, e);
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// A file of a tree.
#[derive(Debug)]
pub struct Opened {
    pub file: File,
    /// In bytes, when it was looked at.
    pub size: u64,
}

/// Something in a tree.
pub(super) struct Place {
    /// From the root, without links on the way.
    pub(super) path: PathBuf,
    /// Open as a place (`O_PATH`).
    pub(super) fd: Arc<OwnedFd>,
    pub(super) meta: Meta,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    /// Kind and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Whether it has more than one name.
    pub linked: bool,
    /// Of a device.
    pub number: u64,
    /// Seconds and nanoseconds since 1970.
    pub modified: (i64, u32),
    pub changed: (i64, u32),
}

impl Meta {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            linked: stat.st_nlink > 1,
            number: stat.st_rdev,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u32),
        }
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether it is the same file, whatever has become of it.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.device, self.inode, self.kind()) == (other.device, other.inode, other.kind())
    }

    /// Whether nothing has become of its content and attributes. Another name for it changes its `changed` time too.
    pub(super) fn unchanged(&self, other: &Self) -> bool {
        self.is(other) && (self.size, self.modified, self.changed) == (other.size, other.modified, other.changed)
    }
}

/// The parts of a path but for empty ones and `.`.
fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(OsStr::from_bytes)
}

/// A path as patterns see it, and as people read it.
pub(super) fn text(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

//! What is in a folder's tree, in the order of an archive: sorted by name, each folder before what is in it. Knows nothing of
//! archives.
//!
//! Guarantee: nothing outside the root is looked at, whoever exchanges folders for links meanwhile. Every name is looked at from
//! its folder's descriptor, and without following it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, fgetxattr, flistxattr, fstat, lgetxattr, llistxattr, open, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::facts::{Facts, Fresh};
use super::write::{Form, TreeError};
use super::{marks, pax};
use crate::files::FileError;

/// A file of at most so many bytes is read where it is found.
const SMALL: u64 = 64 << 10;

/// Something that was found.
pub(super) struct Found {
    /// For messages, and for who has the tree for himself.
    pub(super) path: PathBuf,
    /// Relative to the root, folders with a slash at the end; the root itself is `./`.
    pub(super) name: Vec<u8>,
    pub(super) facts: Facts,
    /// The target, of a symbolic link.
    pub(super) link: OsString,
    /// All of its extended attributes, sorted by name. Only where files were to be read.
    pub(super) attributes: Vec<pax::Attribute>,
    pub(super) content: Content,
    pub(super) is_empty_folder: bool,
}

/// What is in a file.
#[derive(Default)]
pub(super) enum Content {
    /// Nothing, or it was not to be read.
    #[default]
    None,
    Read(Vec<u8>),
    Open(File),
}

impl Found {
    /// Whether nothing of the layers below shows through this folder.
    pub(super) fn is_opaque(&self) -> bool {
        self.attributes.iter().any(|(name, value)| name == marks::opaque().as_bytes() && value == b"y")
    }

    /// Bytes that it takes until it is written.
    pub(super) const fn weight(&self) -> usize {
        match &self.content {
            Content::Read(bytes) => bytes.len() + 512,
            Content::None | Content::Open(_) => 512,
        }
    }
}

/// What is still to be visited.
struct Waiting {
    folder: Rc<OwnedFd>,
    path: PathBuf,
    name: Vec<u8>,
    kind: FileType,
}

/// Visits the root and everything beneath it. `reads`: with attributes and what is in the files.
pub(super) fn walk(
    root: &Path,
    form: Form<'_>,
    reads: bool,
    visit: &mut dyn FnMut(Found) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    let changes = matches!(form, Form::Export);
    let fresh = if let Form::Sealed { fresh, .. } = form { Some(fresh) } else { None };
    // What is gone by now, or something else, was changed by whoever may change it.
    let gone = |e: &FileError| {
        changes
            && [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NXIO]
                .iter()
                .any(|gone| e.source.raw_os_error() == Some(gone.raw_os_error()))
    };
    let fd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let fd = fd.map_err(|e| FileError::new("read", root, e))?;
    let (found, children) = folder(fd, root.to_owned(), b"./".to_vec(), reads)?;
    visit(found)?;
    // A stack of what is still to be visited, the next one last: a deep tree must not overflow the thread's own.
    let mut waiting = children;
    while let Some(next) = waiting.pop() {
        let looked = match next.kind {
            FileType::Directory => enter(next, reads),
            FileType::RegularFile if reads => file(next, fresh).map(|found| (found, Vec::new())),
            _ => other(&next, reads).map(|found| (found, Vec::new())),
        };
        match looked {
            Err(error) if gone(&error) => {}
            Err(error) => return Err(error.into()),
            Ok((found, children)) => {
                waiting.extend(children);
                visit(found)?;
            }
        }
    }
    Ok(())
}

fn enter(next: Waiting, reads: bool) -> Result<(Found, Vec<Waiting>), FileError> {
    let Waiting { folder: parent, path, mut name, .. } = next;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = path.file_name().unwrap_or_default();
    let fd = openat(&*parent, own, flags, Mode::empty()).map_err(|e| FileError::new("read folder", &path, e))?;
    name.push(b'/');
    folder(fd, path, name, reads)
}

/// A folder, and what is in it, in reverse order.
fn folder(fd: OwnedFd, path: PathBuf, name: Vec<u8>, reads: bool) -> Result<(Found, Vec<Waiting>), FileError> {
    let fail = |e: Errno| FileError::new("read folder", &path, e);
    let fd = Rc::new(fd);
    let mut children = Vec::new();
    let prefix = if name == b"./" { b"".as_slice() } else { &name };
    for entry in Dir::read_from(&*fd).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let own = entry.file_name().to_bytes();
        if own != b"." && own != b".." {
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                // Not every file system says it here.
                match statat(&*fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(e) => return Err(fail(e)),
                }
            }
            let path = path.join(OsStr::from_bytes(own));
            children.push(Waiting { folder: fd.clone(), path, name: [prefix, own].concat(), kind });
        }
    }
    children.sort_unstable_by(|a, b| b.name.cmp(&a.name));
    let facts = Facts::of(&fstat(&*fd).map_err(fail)?);
    let attributes = if reads { attributes(&path, &Of::Open(fd.as_fd()))? } else { Vec::new() };
    let is_empty_folder = children.is_empty();
    let found = Found { path, name, facts, link: OsString::new(), attributes, content: Content::None, is_empty_folder };
    Ok((found, children))
}

/// A file, opened once for all that is to be known of it.
fn file(next: Waiting, fresh: Option<&Fresh>) -> Result<Found, FileError> {
    if let Some((facts, content)) = fresh.and_then(|fresh| fresh.get(&next.name)) {
        let Waiting { path, name, .. } = next;
        let content = Content::Read(content.to_vec());
        return Ok(Found { path, name, facts, link: OsString::new(), attributes: Vec::new(), content, is_empty_folder: false });
    }
    // What somebody has put there meanwhile must not keep anybody waiting, nor do anything because it is opened.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let own = next.path.file_name().unwrap_or_default();
    // To be read is no event in a file's life, and to note it costs as much as the reading. Only the owner may leave it out.
    let opened = match openat(&*next.folder, own, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(&*next.folder, own, flags, Mode::empty()),
        other => other,
    };
    let mut file = File::from(opened.map_err(|e| FileError::new("open", &next.path, e))?);
    let facts = Facts::of(&fstat(&file).map_err(|e| FileError::new("read", &next.path, e))?);
    if !facts.kind.is_file() {
        return other(&next, true);
    }
    let attributes = attributes(&next.path, &Of::Open(file.as_fd()))?;
    let content = match facts.size {
        0 => Content::None,
        // Of several names, only the first one is written with what is in the file.
        size if size <= SMALL => {
            let mut bytes = vec![0; size as usize];
            let length = fill(&mut file, &mut bytes).map_err(|e| FileError::new("read", &next.path, e))?;
            bytes.truncate(length);
            Content::Read(bytes)
        }
        _ => Content::Open(file),
    };
    let Waiting { path, name, .. } = next;
    Ok(Found { path, name, facts, link: OsString::new(), attributes, content, is_empty_folder: false })
}

/// Reads until `buffer` is full or the file ends. No reading is made only to learn that it ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// What is not opened: a link, a device, a pipe, a socket; or a file of which only that is asked which `stat` knows.
fn other(next: &Waiting, reads: bool) -> Result<Found, FileError> {
    let own = next.path.file_name().unwrap_or_default();
    // From the folder's descriptor; only the last name is looked up, and none is followed.
    let place = Path::new("/proc/self/fd").join(next.folder.as_raw_fd().to_string()).join(own);
    let stat = statat(&*next.folder, own, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| FileError::new("read", &next.path, e))?;
    let facts = Facts::of(&stat);
    if facts.kind.is_dir() {
        // It was none when its folder was read, and is none of what was found there.
        return Err(FileError::new("read", &next.path, io::Error::from(Errno::NOENT)));
    }
    let link = if facts.kind.is_symlink() {
        let target = readlinkat(&*next.folder, own, Vec::new());
        OsStr::from_bytes(target.map_err(|e| FileError::new("read link", &next.path, e))?.as_bytes()).to_owned()
    } else {
        OsString::new()
    };
    let attributes = if reads { attributes(&next.path, &Of::Place(&place))? } else { Vec::new() };
    let (path, name) = (next.path.clone(), next.name.clone());
    Ok(Found { path, name, facts, link, attributes, content: Content::None, is_empty_folder: false })
}

/// Of what attributes are read.
enum Of<'a> {
    Open(BorrowedFd<'a>),
    /// A path whose last name is not followed.
    Place(&'a Path),
}

impl Of<'_> {
    fn names(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Place(path) => llistxattr(*path, buffer),
        }
    }

    fn value(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => fgetxattr(fd, name, buffer),
            Self::Place(path) => lgetxattr(*path, name, buffer),
        }
    }
}

/// Extended attributes, sorted by name.
fn attributes(shown: &Path, of: &Of<'_>) -> Result<Vec<pax::Attribute>, FileError> {
    read_attributes(of).map_err(|e| FileError::new("read the extended attributes of", shown, e))
}

fn read_attributes(of: &Of<'_>) -> Result<Vec<pax::Attribute>, Errno> {
    // Most files have none or few; the kernel knows no more than 64 KiB of names or of a value.
    let mut few = [0u8; 512];
    let mut many = Vec::new();
    let names: &[u8] = match of.names(&mut few) {
        Ok(length) => &few[..length],
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            many.resize(64 << 10, 0);
            let length = of.names(&mut many)?;
            &many[..length]
        }
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0u8; 64 << 10];
        let length = of.value(name, &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

/// Extended attributes of what is at a path, sorted by name, without those that do not matter. The last name is not followed.
pub(in crate::engine::images) fn attributes_of(
    path: &Path,
    ignored: impl Fn(&[u8]) -> bool,
) -> Result<Vec<pax::Attribute>, FileError> {
    let mut found = attributes(path, &Of::Place(path))?;
    found.retain(|(name, _)| !ignored(name));
    Ok(found)
}

//! What is at a path, as a tar.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, FsWord, Mode, OFlags, Stat, fstat, fstatfs, openat, readlinkat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::{Shift, TreeError, attributes, open};
use crate::files::Beneath;

/// More folders within each other than this are a trap.
const DEEPEST: usize = 1000;

/// What went into the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of files.
    pub bytes: u64,
}

/// Writes what is at `path` beneath `root`, with all in it, as a tar in which it is called `name`: `.` makes its content the
/// content of the archive. Links are entries, but the last one of `path` where `follow` says so. Sockets are left out, and so
/// is what the kernel makes up: of its file systems there are only the folders that they are mounted at.
pub fn pack(
    root: &Beneath,
    path: &Path,
    name: &OsStr,
    follow: bool,
    shift: Option<Shift>,
    output: impl Write,
) -> Result<Packed, TreeError> {
    let (fd, stat) = open(root, path, follow).map_err(|e| root.error("open", path, e))?;
    let of_kernel = is_kernels(&fd).map_err(|e| root.error("look at", path, e))?;
    if of_kernel && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(TreeError::OfKernel { path: path.display().to_string() });
    }
    let root_stat = fstat(root.root()).map_err(|e| root.error("look at", Path::new(""), e))?;
    let mut tape = Tape {
        root,
        root_place: (root_stat.st_dev, root_stat.st_ino),
        tar: Builder::new(output),
        links: HashMap::new(),
        shift,
        packed: Packed::default(),
    };
    let place = Place { inside: path.to_owned(), named: PathBuf::from(name) };
    tape.entry(&place, &fd, &stat, 0)?;
    tape.tar.finish().map_err(TreeError::Output)?;
    let packed = tape.packed;
    tape.tar.into_inner().and_then(|mut output| output.flush()).map_err(TreeError::Output)?;
    Ok(packed)
}

/// Where something is: beneath the root, for messages, and in the archive.
struct Place {
    inside: PathBuf,
    named: PathBuf,
}

struct Tape<'a, W: Write> {
    root: &'a Beneath,
    /// Device and number of the root itself.
    root_place: (u64, u64),
    tar: Builder<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    shift: Option<Shift>,
    packed: Packed,
}

impl<W: Write> Tape<'_, W> {
    fn entry(&mut self, place: &Place, fd: &OwnedFd, stat: &Stat, depth: usize) -> Result<(), TreeError> {
        let mut header = self.header(stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                let mut named = place.named.clone().into_os_string();
                named.push("/");
                self.attributes(place, fd)?;
                self.plain(&mut header, Path::new(&named))?;
                self.content(place, fd, stat, depth)
            }
            FileType::RegularFile => self.file(header, place, fd, stat),
            FileType::Symlink => {
                let target = readlinkat(fd, "", Vec::new()).map_err(|e| self.root.error("read link", &place.inside, e))?;
                header.set_entry_type(EntryType::Symlink);
                self.tar.append_link(&mut header, &place.named, OsStr::from_bytes(target.to_bytes())).map_err(TreeError::Output)
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                header.set_entry_type(if kind == FileType::BlockDevice { EntryType::Block } else { EntryType::Char });
                let numbers = header
                    .set_device_major(rustix::fs::major(stat.st_rdev))
                    .and_then(|()| header.set_device_minor(rustix::fs::minor(stat.st_rdev)));
                numbers.map_err(TreeError::Output)?;
                self.plain(&mut header, &place.named)
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.plain(&mut header, &place.named)
            }
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn header(&self, stat: &Stat) -> Header {
        let (uid, gid) = self.shift.map_or((stat.st_uid, stat.st_gid), |shift| shift.inside(stat.st_uid, stat.st_gid));
        let mut header = Header::new_gnu();
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        header
    }

    /// Those of the entry that follows.
    fn attributes(&mut self, place: &Place, fd: &OwnedFd) -> Result<(), TreeError> {
        let found = attributes::read(fd, self.shift).map_err(|e| self.root.error("read attributes of", &place.inside, e))?;
        if found.is_empty() {
            return Ok(());
        }
        let records = found.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records).map_err(TreeError::Output)
    }

    fn plain(&mut self, header: &mut Header, named: &Path) -> Result<(), TreeError> {
        self.tar.append_data(header, named, io::empty()).map_err(TreeError::Output)
    }

    fn content(&mut self, place: &Place, fd: &OwnedFd, stat: &Stat, depth: usize) -> Result<(), TreeError> {
        let failed = |e: Errno| self.root.error("read folder", &place.inside, e);
        if depth >= DEEPEST {
            return Err(TreeError::Deep { path: place.inside.display().to_string(), limit: DEEPEST });
        }
        let here = openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let is_root = (stat.st_dev, stat.st_ino) == self.root_place;
        let mut names = Vec::new();
        for entry in Dir::read_from(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        for name in names {
            let place = Place { inside: place.inside.join(&name), named: place.named.join(&name) };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (inner, inner_stat) = match openat(&here, &name, flags, Mode::empty()).and_then(|fd| Ok((fstat(&fd)?, fd))) {
                Ok((stat, fd)) => (fd, stat),
                // It went meanwhile.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(self.root.error("open", &place.inside, e).into()),
            };
            let is_folder = FileType::from_raw_mode(inner_stat.st_mode) == FileType::Directory;
            if inner_stat.st_dev != stat.st_dev {
                let of_kernel = is_kernels(&inner).map_err(|e| self.root.error("look at", &place.inside, e))?;
                if of_kernel || (is_root && name == "dev") {
                    if is_folder {
                        let mut header = self.header(&inner_stat);
                        header.set_entry_type(EntryType::Directory);
                        let mut named = place.named.into_os_string();
                        named.push("/");
                        self.plain(&mut header, Path::new(&named))?;
                    }
                    continue;
                }
            }
            self.entry(&place, &inner, &inner_stat, depth + 1)?;
        }
        Ok(())
    }

    fn file(&mut self, mut header: Header, place: &Place, fd: &OwnedFd, stat: &Stat) -> Result<(), TreeError> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                header.set_entry_type(EntryType::Link);
                return self.tar.append_link(&mut header, &place.named, first).map_err(TreeError::Output);
            }
            self.links.insert((stat.st_dev, stat.st_ino), place.named.clone());
        }
        // The very file that has been looked at, whatever has its name by now.
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let file = File::open(path).map_err(|e| super::FileError::new("open", self.root.show(&place.inside), e))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.attributes(place, fd)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        // One that shrinks meanwhile ends in zeros, and of one that grows there is its beginning: its size is told already.
        let content = file.take(size).chain(io::repeat(0)).take(size);
        self.tar.append_data(&mut header, &place.named, content).map_err(TreeError::Output)?;
        self.packed.bytes += size;
        Ok(())
    }
}

/// Whether what is in this file system is made up by the kernel.
fn is_kernels(fd: &OwnedFd) -> Result<bool, Errno> {
    /// Source: statfs(2) and `linux/magic.h`: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf.
    const MAGIC: [FsWord; 10] =
        [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x1980_0202, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0xcafe_4a11];
    Ok(MAGIC.contains(&fstatfs(fd)?.f_type))
}

//! Copies a tree with everything that can be said of a file: owner, mode, times, extended attributes, hard links, devices.
//!
//! Assumptions: nobody changes the source meanwhile (it is a read-only mount), and the destination is in a folder that
//! nobody else reaches. So paths mean what they meant a moment ago, and no link is ever followed.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chmod, chownat, lgetxattr, linkat, llistxattr, lsetxattr,
    mknodat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct CopyError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Makes `destination`, which must not exist, a copy of the folder `source`.
pub(super) fn tree(source: &OwnedFd, destination: &Path) -> Result<(), CopyError> {
    // The dot makes it the folder rather than the link that /proc shows.
    let base = PathBuf::from(format!("/proc/self/fd/{}/.", source.as_raw_fd()));
    let mut links = HashMap::new();
    // A stack of our own: how deep a tree is must not decide over the thread's stack. Folders get their metadata when
    // they are complete, because what is put into them changes their times.
    let mut todo = vec![Step::Copy(PathBuf::new())];
    while let Some(step) = todo.pop() {
        match step {
            Step::Finish(relative, meta) => describe(&at(&base, &relative), &at(destination, &relative), &meta)?,
            Step::Copy(relative) => {
                let (from, to) = (at(&base, &relative), at(destination, &relative));
                let meta = fs::symlink_metadata(&from).map_err(failed("look at", &from))?;
                if meta.is_dir() {
                    fs::create_dir(&to).map_err(failed("create folder", &to))?;
                    todo.push(Step::Finish(relative.clone(), meta));
                    for entry in fs::read_dir(&from).map_err(failed("list", &from))? {
                        let entry = entry.map_err(failed("list", &from))?;
                        todo.push(Step::Copy(relative.join(entry.file_name())));
                    }
                } else {
                    one(&from, &to, &meta, &mut links)?;
                }
            }
        }
    }
    Ok(())
}

enum Step {
    Copy(PathBuf),
    Finish(PathBuf, Metadata),
}

/// `Path::join` of an empty path would add a slash.
fn at(base: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { base.to_owned() } else { base.join(relative) }
}

fn one(from: &Path, to: &Path, meta: &Metadata, links: &mut HashMap<(u64, u64), PathBuf>) -> Result<(), CopyError> {
    if meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            return linkat(CWD, first, CWD, to, AtFlags::empty()).map_err(|e| failed("link", to)(e.into()));
        }
        links.insert((meta.dev(), meta.ino()), to.to_owned());
    }
    let kind = meta.file_type();
    if kind.is_file() {
        let mut source = File::open(from).map_err(failed("open", from))?;
        let mut destination = File::create_new(to).map_err(failed("create", to))?;
        io::copy(&mut source, &mut destination).map_err(failed("copy to", to))?;
    } else if kind.is_symlink() {
        let target = fs::read_link(from).map_err(failed("read link", from))?;
        symlinkat(&target, CWD, to).map_err(|e| failed("create link", to)(e.into()))?;
    } else {
        let kind = if kind.is_fifo() {
            FileType::Fifo
        } else if kind.is_socket() {
            FileType::Socket
        } else if kind.is_block_device() {
            FileType::BlockDevice
        } else {
            FileType::CharacterDevice
        };
        // A layer on its own may hold overlayfs's sign for a deleted file, which is nothing to copy.
        if kind == FileType::CharacterDevice && meta.rdev() == 0 {
            return Ok(());
        }
        let device = meta.rdev();
        mknodat(CWD, to, kind, Mode::RUSR | Mode::WUSR, device).map_err(|e| failed("create node", to)(e.into()))?;
    }
    describe(from, to, meta)
}

/// Owner first, since a change of it takes set-id bits and capabilities away; times last.
fn describe(from: &Path, to: &Path, meta: &Metadata) -> Result<(), CopyError> {
    let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the owner of", to)(e.into()))?;
    if !meta.file_type().is_symlink() {
        chmod(to, Mode::from_raw_mode(meta.mode() & 0o7777)).map_err(|e| failed("set the mode of", to)(e.into()))?;
    }
    attributes(from, to)?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("set the times of", to)(e.into()))
}

fn attributes(from: &Path, to: &Path) -> Result<(), CopyError> {
    // The kernel's limits for the list and for one value.
    let mut names = vec![0; 64 * 1024];
    let length = match llistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(failed("list attributes of", from)(e.into())),
    };
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        // Overlayfs's own notes mean nothing outside of it.
        if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
            continue;
        }
        let Ok(name) = CString::new(name) else { continue };
        let mut value = vec![0; 64 * 1024];
        let length = lgetxattr(from, &name, &mut value).map_err(|e| failed("read an attribute of", from)(e.into()))?;
        match lsetxattr(to, &name, &value[..length], XattrFlags::empty()) {
            // Security labels of another host's policy, for instance: the file system decides what it can hold.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(failed("set an attribute of", to)(e.into())),
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError + use<> {
    let path = path.to_owned();
    move |source| CopyError { action, path, source }
}

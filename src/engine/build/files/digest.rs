//! The digest of what is copied: names, kinds, permissions, owners where they are kept, targets of links, attributes and
//! contents. Not times: a checkout of the same files has the same digest.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::known::FileDigests;
use super::select::{Item, Selection};
use super::tree::Meta;
use super::{FilesError, xattrs};
use crate::model::Digest;

/// Files are handed to threads so many at a time: neighbours are in the same folder.
const AT_ONCE: usize = 16;
/// More threads than this read no faster.
const MOST_THREADS: usize = 4;

impl Selection {
    /// The digest. Files that `known` remembers are not read, and what is read is remembered; saving it is the caller's.
    pub fn digest(&self, known: &FileDigests) -> Result<Digest, FilesError> {
        let contents = self.contents(known)?;
        let mut firsts: HashMap<(u64, u64), usize> = HashMap::new();
        let mut folder = None;
        let mut hash = Sha256::new();
        // A later version that says it otherwise must not meet what this one has said.
        hash.update(b"setpoint files 1\0");
        hash.update([u8::from(self.tree.keeps_owners()), u8::from(self.holds_folder)]);
        for (index, item) in self.items.iter().enumerate() {
            field(&mut hash, item.place.as_os_str().as_bytes());
            let kind = item.meta.kind();
            // Permissions of a link say nothing.
            let mode = if kind == FileType::Symlink { item.meta.mode & !0o7777 } else { item.meta.mode };
            hash.update(mode.to_le_bytes());
            if self.tree.keeps_owners() {
                hash.update(item.meta.uid.to_le_bytes());
                hash.update(item.meta.gid.to_le_bytes());
            }
            match kind {
                FileType::RegularFile => {
                    let place = (item.meta.device, item.meta.inode);
                    let first = if item.meta.linked { *firsts.entry(place).or_insert(index) } else { index };
                    if first == index {
                        hash.update(b"=");
                        hash.update(contents[index].ok_or(FilesError::Worker)?);
                    } else {
                        hash.update(b"&");
                        field(&mut hash, self.items[first].place.as_os_str().as_bytes());
                    }
                }
                FileType::Symlink => {
                    let open = match folder.take() {
                        Some((known, open)) if known == item.folder => open,
                        _ => self.tree.folder(&self.folders[item.folder as usize])?,
                    };
                    field(&mut hash, self.target_of(item, &open)?.as_bytes());
                    folder = Some((item.folder, open));
                }
                FileType::CharacterDevice | FileType::BlockDevice => hash.update(item.meta.number.to_le_bytes()),
                _ => attributes(&mut hash, &item.xattrs),
            }
        }
        Ok(Digest::from_bytes(hash.finalize().into()))
    }

    /// Where a link leads.
    pub(super) fn target_of(&self, item: &Item, folder: &std::os::fd::OwnedFd) -> Result<std::ffi::CString, FilesError> {
        match readlinkat(folder, &item.name, Vec::new()) {
            Err(Errno::INVAL | Errno::NOENT) => Err(self.tree.exchanged(&self.path(item))),
            other => other.map_err(|e| self.tree.error("read link", &self.path(item), e)),
        }
    }

    /// Of each file the digest of its content and its attributes. Of one with several names, the first has it.
    fn contents(&self, known: &FileDigests) -> Result<Vec<Option<[u8; 32]>>, FilesError> {
        let mut contents = vec![None; self.items.len()];
        let mut firsts = std::collections::HashSet::new();
        let mut unknown = Vec::new();
        for (index, item) in self.items.iter().enumerate().filter(|(_, item)| item.is_file()) {
            if item.meta.linked && !firsts.insert((item.meta.device, item.meta.inode)) {
                continue;
            }
            contents[index] = if self.tree.lasts() { known.get(&item.meta) } else { None };
            if contents[index].is_none() {
                unknown.push(index);
            }
        }
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let threads = threads.min(unknown.len() / (2 * AT_ONCE)).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done = Mutex::new((Vec::with_capacity(unknown.len()), None));
        let work = || {
            let mut reader = Reader { selection: self, folder: None, buffer: vec![0; 128 << 10] };
            while !failed.load(Ordering::Relaxed) {
                let start = next.fetch_add(AT_ONCE, Ordering::Relaxed);
                let Some(mine) = unknown.get(start..unknown.len().min(start + AT_ONCE)).filter(|mine| !mine.is_empty()) else {
                    break;
                };
                let read = mine.iter().map(|index| Ok((*index, reader.read(&self.items[*index], known)?)));
                let read = read.collect::<Result<Vec<_>, FilesError>>();
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match read {
                    Ok(read) => done.0.extend(read),
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        done.1.get_or_insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let (read, error) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = error {
            return Err(error);
        }
        for (index, digest) in read {
            contents[index] = Some(digest);
        }
        Ok(contents)
    }
}

/// One thread's means.
struct Reader<'a> {
    selection: &'a Selection,
    /// The last folder.
    folder: Option<(u32, std::os::fd::OwnedFd)>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, item: &Item, known: &FileDigests) -> Result<[u8; 32], FilesError> {
        let tree = &self.selection.tree;
        let path = || self.selection.path(item);
        let folder = match self.folder.take() {
            Some((known, folder)) if known == item.folder => folder,
            _ => tree.folder(&self.selection.folders[item.folder as usize])?,
        };
        let (mut file, before) = open(self.selection, item, &folder)?;
        self.folder = Some((item.folder, folder));
        let look = |file: &File| fstat(file).map(|stat| Meta::of(&stat)).map_err(|e| tree.error("look at", &path(), e));
        let (mut hash, mut read, mut after) = (Sha256::new(), 0, None);
        loop {
            // Where all is read that there was, another look costs less than a reading that brings nothing.
            if read == before.size && read > 0 && after.is_none() {
                let now = look(&file)?;
                let unchanged = now.unchanged(&before);
                after = Some(now);
                if unchanged {
                    break;
                }
            }
            match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(length) => {
                    hash.update(&self.buffer[..length]);
                    read += length as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(tree.error("read", &path(), Errno::from_io_error(&e).unwrap_or(Errno::IO))),
            }
        }
        let after = after.map_or_else(|| look(&file), Ok)?;
        let mut digest: [u8; 32] = hash.finalize().into();
        let noted = xattrs::of_file(&file).map_err(|e| tree.error("read attributes of", &path(), e))?;
        if !noted.is_empty() {
            let mut whole = Sha256::new();
            attributes(&mut whole, &noted);
            whole.update(digest);
            digest = whole.finalize().into();
        }
        if tree.lasts() && after.unchanged(&before) {
            known.put(&after, digest);
        }
        Ok(digest)
    }
}

/// Opens the very file that was selected.
pub(super) fn open(selection: &Selection, item: &Item, folder: &std::os::fd::OwnedFd) -> Result<(File, Meta), FilesError> {
    // A pipe that somebody has put there meanwhile must not keep anybody waiting.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // That a file was read for an image is not worth noting. Only its owner may leave it out.
    let opened = match openat(folder, &item.name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(folder, &item.name, flags, Mode::empty()),
        other => other,
    };
    match opened.and_then(|fd| Ok((fstat(&fd)?, fd))) {
        Ok((stat, fd)) => {
            let meta = Meta::of(&stat);
            if meta.is(&item.meta) { Ok((File::from(fd), meta)) } else { Err(selection.tree.exchanged(&selection.path(item))) }
        }
        Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => Err(selection.tree.exchanged(&selection.path(item))),
        Err(e) => Err(selection.tree.error("open", &selection.path(item), e)),
    }
}

/// With its length, so that what follows is never taken for a part of it.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn attributes(hash: &mut Sha256, attributes: &[xattrs::Attribute]) {
    hash.update((attributes.len() as u64).to_le_bytes());
    for (name, value) in attributes {
        field(hash, name.as_bytes());
        field(hash, value);
    }
}

//! The upper folder of an overlay becomes a layer where it is: it is read once, for its digest and its skeleton, and nothing of
//! it is copied. Knows nothing of what was done in the overlay.
//!
//! Guarantee: the folder is afterwards what unpacking its tar would have made, so that it can be checked and mended like any
//! other layer.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, lremovexattr, makedev, mknodat, utimensat};
use sha2::{Digest as _, Sha256};

use super::facts::{Facts, Fresh};
use super::found::Found;
use super::skeleton::{Recorder, SkeletonError};
use super::write::{Form, Output, TreeError, write_tree};
use super::{Layer, marks};
use crate::files::FileError;
use crate::model::Digest;

/// Makes a layer of `root`. `epoch`: nothing in it is to be newer, in seconds since 1970. What is `fresh` is not read.
pub(in crate::engine::images) fn seal(
    root: &Path,
    recorder: Recorder,
    epoch: Option<i64>,
    fresh: &Fresh,
) -> Result<Layer, TreeError> {
    let mut sink = Sink { hash: Sha256::new(), recorder, in_file: 0, count: 0, size: 0, dependent: false, failure: None };
    match write_tree(root, Form::Sealed { epoch, fresh }, &mut sink) {
        Err(TreeError::Write(error)) => return Err(sink.failure.map_or(TreeError::Write(error), TreeError::File)),
        written => written?,
    }
    let newest = newest_of_root(root, epoch)?;
    sink.recorder.finish().map_err(|error| match error {
        SkeletonError::File(error) => TreeError::File(error),
        other => TreeError::Write(io::Error::other(other)),
    })?;
    Ok(Layer {
        diff_id: Digest::from_bytes(sink.hash.finalize().into()),
        tar_size: sink.count,
        size: sink.size,
        newest,
        dependent: sink.dependent,
    })
}

/// Takes from an entry what a layer does not have, and looks at it again where that changed something. False: it is gone.
pub(super) fn settle(found: &mut Found, epoch: Option<i64>) -> Result<bool, TreeError> {
    let path = &found.path;
    let kind = found.facts.kind;
    if kind.is_socket() {
        // No archive can hold one.
        beside(path, |path| fs::remove_file(path).map_err(|e| FileError::new("remove", path, e)))?;
        return Ok(false);
    }
    if kind.is_char_device() && found.facts.number == 0 {
        // Those of the kernel are one file with many names.
        beside(path, |path| {
            fs::remove_file(path).map_err(|e| FileError::new("remove", path, e))?;
            let made = mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
            made.map_err(|e| FileError::new("make", path, e))
        })?;
        return Ok(true);
    }
    let mut changed = forget_overlay(found)?;
    if let Some(epoch) = epoch.filter(|epoch| found.facts.modified > (*epoch, 0)) {
        set_time(path, epoch, 0)?;
        changed = true;
    }
    if changed {
        let stat = rustix::fs::lstat(path).map_err(|e| FileError::new("read", path, e))?;
        found.facts = Facts::of(&stat);
    }
    Ok(true)
}

/// Does something to an entry of a folder, whose time stays what it was.
fn beside(path: &Path, change: impl FnOnce(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let before = fs::symlink_metadata(folder).map_err(|e| FileError::new("read", folder, e))?;
    change(path)?;
    set_time(folder, before.mtime(), before.mtime_nsec())
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> Result<(), FileError> {
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: keep, last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds } };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| FileError::new("set the time of", path, e))
}

/// What the overlay noted for itself is for that overlay only, and what a layer below noted for that layer; that a folder hides
/// what is below is for all.
fn forget_overlay(found: &Found) -> Result<bool, FileError> {
    let mut changed = false;
    for (name, _) in &found.attributes {
        let is_note = name.starts_with(marks::of_overlay()) && name != marks::opaque().as_bytes();
        // What the layer below takes from those below it comes along with a copy, and this layer says all of its entries itself.
        if is_note || name.starts_with(marks::prefix()) {
            let removed = lremovexattr(&found.path, name.as_slice());
            removed.map_err(|e| FileError::new("remove an extended attribute of", &found.path, e))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// When the root was changed last; every change of what is directly in it shows there. Deeper ones are as new as the build.
fn newest_of_root(root: &Path, epoch: Option<i64>) -> Result<i64, TreeError> {
    let meta = fs::metadata(root).map_err(|e| FileError::new("read", root, e))?;
    let newest = epoch.map_or(meta.mtime(), |epoch| meta.mtime().min(epoch));
    // Its own time is none of the content's.
    set_time(root, 0, 0)?;
    Ok(newest)
}

/// Hashes the tar, and records what of it is in no file.
struct Sink {
    hash: Sha256,
    recorder: Recorder,
    /// Bytes still to come that are in a file.
    in_file: u64,
    count: u64,
    /// Bytes of files.
    size: u64,
    dependent: bool,
    failure: Option<FileError>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.count += bytes.len() as u64;
        let in_file = usize::try_from(self.in_file).unwrap_or(usize::MAX).min(bytes.len());
        self.in_file -= in_file as u64;
        if let Err(error) = self.recorder.raw(&bytes[in_file..]) {
            self.failure = Some(error);
            return Err(io::Error::other("record what is written"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Sink {
    fn content(&mut self, path: &Path, length: u64) -> Result<(), FileError> {
        self.recorder.piece(path, 0, length)?;
        self.in_file = length;
        self.size += length;
        Ok(())
    }

    fn hides(&mut self) {
        self.dependent = true;
    }
}

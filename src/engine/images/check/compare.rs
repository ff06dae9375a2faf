//! Two trees, compared by everything that is said of their entries. Contents are compared where that is asked for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::engine::images::layer::{self, attributes_of};
use crate::files::FileError;

/// Differences that are told; the first ones tell enough.
const TOLD: usize = 10;

/// What of two trees is compared besides names, kinds and metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    pub(super) contents: bool,
    /// What a layer's folder notes of what it takes from below.
    pub(super) marks: bool,
}

/// How `found` differs from `expected`.
pub(super) fn trees(expected: &Path, found: &Path, compared: Compared) -> Result<Vec<String>, FileError> {
    let mut told = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let (one, two) = (at(expected, &path), at(found, &path));
        let shown = || if path.as_os_str().is_empty() { "its root".to_owned() } else { path.display().to_string() };
        let (wanted, there) = (metadata(&one)?, metadata(&two)?);
        let what = match (&wanted, &there) {
            (Some(_), None) => Some("is missing"),
            (None, _) => Some("does not belong there"),
            (Some(wanted), Some(there)) => match differ(&one, wanted, &two, there, compared.marks)? {
                None if compared.contents && wanted.is_file() && !same_content(&one, &two)? => Some("has another content"),
                what => what,
            },
        };
        if let Some(what) = what {
            told.push(format!("{} {what}", shown()));
            if told.len() == TOLD {
                told.push("and more".to_owned());
                return Ok(told);
            }
        }
        if let (Some(wanted), Some(there)) = (wanted, there)
            && wanted.is_dir()
            && there.is_dir()
        {
            let names: BTreeSet<OsString> = names(&one)?.into_iter().chain(names(&two)?).collect();
            waiting.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
    }
    Ok(told)
}

/// What differs in what is said of two entries.
pub(super) fn differ(
    one: &Path,
    wanted: &Metadata,
    two: &Path,
    there: &Metadata,
    marks: bool,
) -> Result<Option<&'static str>, FileError> {
    let kind = |meta: &Metadata| meta.mode() & 0o170_000;
    if kind(wanted) != kind(there) {
        return Ok(Some("is of another kind"));
    }
    if wanted.is_symlink() && link(one)? != link(two)? {
        return Ok(Some("leads to another place"));
    }
    let facts = [
        (wanted.is_file() && wanted.len() != there.len(), "has another size"),
        (!wanted.is_symlink() && wanted.mode() != there.mode(), "has another mode"),
        ((wanted.uid(), wanted.gid()) != (there.uid(), there.gid()), "has another owner"),
        ((wanted.mtime(), wanted.mtime_nsec()) != (there.mtime(), there.mtime_nsec()), "has another time of change"),
        (wanted.rdev() != there.rdev(), "is another device"),
        (!wanted.is_dir() && wanted.nlink() != there.nlink(), "has other hard links"),
    ];
    if let Some((_, what)) = facts.iter().find(|(differs, _)| *differs) {
        // A whiteout has no time, and a folder that no entry speaks of has that at which it was made.
        let whiteout = wanted.file_type().is_char_device() && wanted.rdev() == 0;
        let timeless = whiteout || wanted.is_dir() && is_recent(wanted);
        if !(timeless && *what == "has another time of change") {
            return Ok(Some(what));
        }
    }
    // Labels of this host's security module, and what overlayfs notes of a layer in use.
    let ignored = |name: &[u8]| {
        name.starts_with(b"security.selinux")
            || (name.starts_with(layer::of_overlay()) && name != layer::opaque().as_bytes() && !name.starts_with(layer::marks()))
            || (!marks && name.starts_with(layer::marks()))
    };
    if attributes_of(one, ignored)? != attributes_of(two, ignored)? {
        return Ok(Some("has other extended attributes"));
    }
    Ok(None)
}

/// Whether a time is of this check: of the last day.
fn is_recent(meta: &Metadata) -> bool {
    meta.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age.as_secs() < 86_400))
}

/// Whether two files have the same content.
pub(super) fn same_content(one: &Path, two: &Path) -> Result<bool, FileError> {
    let open = |path: &Path| File::open(path).map_err(|e| FileError::new("open", path, e));
    let (mut first, mut second) = (open(one)?, open(two)?);
    let (mut a, mut b) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let n = fill(&mut first, &mut a).map_err(|e| FileError::new("read", one, e))?;
        let m = fill(&mut second, &mut b).map_err(|e| FileError::new("read", two, e))?;
        if a[..n] != b[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

pub(super) fn at(base: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { base.to_owned() } else { base.join(path) }
}

pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::new("look at", path, e)),
    }
}

pub(super) fn names(folder: &Path) -> Result<Vec<OsString>, FileError> {
    let fail = |e| FileError::new("read folder", folder, e);
    fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.file_name())).collect()
}

fn link(path: &Path) -> Result<PathBuf, FileError> {
    fs::read_link(path).map_err(|e| FileError::new("read link", path, e))
}

//! Layers' folders seen as overlayfs shows them, without mounting anything. Knows nothing of images.
//!
//! Assumption: nobody writes in the folders meanwhile. No symbolic link leads out of them: each is followed here, from the
//! layers' own root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::marks;
use crate::files::FileError;

const MOST_LINKS: usize = 40;

/// Layers, the top one first.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged(pub(super) Vec<PathBuf>);

/// Something that is seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The layer that it is from; of a folder, the topmost one.
    pub(super) layer: usize,
    /// Without symbolic links on the way.
    pub(super) path: PathBuf,
    pub(super) meta: Metadata,
    /// Of a folder, how many layers it is made of.
    pub(super) depth: usize,
}

/// A folder on the way: its path, and the layers that it is made of.
type Level = (PathBuf, Vec<usize>);

impl Merged {
    /// What is at `path`, where links are followed on the way but not at its end.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Seen>, FileError> {
        self.look(path, false)
    }

    /// The same, and a link at its end is followed too.
    pub(super) fn follow(&self, path: &Path) -> Result<Option<Seen>, FileError> {
        self.look(path, true)
    }

    fn look(&self, path: &Path, follow: bool) -> Result<Option<Seen>, FileError> {
        let mut all = Vec::new();
        for (layer, folder) in self.0.iter().enumerate() {
            all.push(layer);
            if marks::is_opaque(folder).map_err(|e| FileError::new("look at", folder, e))? {
                break;
            }
        }
        let Some(top) = self.0.first() else { return Ok(None) };
        let mut levels: Vec<Level> = vec![(PathBuf::new(), all.clone())];
        let mut waiting: VecDeque<OsString> = components(path);
        let mut links = 0;
        let meta = fs::symlink_metadata(top).map_err(|e| FileError::new("look at", top, e))?;
        let mut seen = Seen { layer: 0, path: PathBuf::new(), meta, depth: all.len() };
        while let Some(name) = waiting.pop_front() {
            if name.as_bytes() == b".." {
                if levels.len() > 1 {
                    levels.pop();
                }
                continue;
            }
            let Some((folder, layers)) = levels.last() else { return Ok(None) };
            let Some((found, below)) = self.step(folder, layers, &name)? else { return Ok(None) };
            if found.meta.is_symlink() && (follow || !waiting.is_empty()) {
                links += 1;
                if links > MOST_LINKS {
                    return Ok(None);
                }
                let place = self.place(&found);
                let target = fs::read_link(&place).map_err(|e| FileError::new("read link", place, e))?;
                if target.is_absolute() {
                    levels.truncate(1);
                }
                components(&target).into_iter().rev().for_each(|part| waiting.push_front(part));
                continue;
            }
            if found.meta.is_dir() {
                levels.push((found.path.clone(), below));
            } else if !waiting.is_empty() {
                return Ok(None);
            }
            seen = found;
        }
        // The path may have ended by climbing.
        match levels.last() {
            Some((folder, layers)) if seen.meta.is_dir() && seen.path != *folder => self.folder(folder, layers).map(Some),
            _ => Ok(Some(seen)),
        }
    }

    /// Where on the host it is.
    pub(super) fn place(&self, seen: &Seen) -> PathBuf {
        at(&self.0[seen.layer], &seen.path)
    }

    /// All that is seen of the file, by other names of its layer too.
    pub(super) fn names(&self, seen: &Seen) -> Result<Vec<PathBuf>, FileError> {
        let mut names = vec![seen.path.clone()];
        if seen.meta.nlink() > 1 {
            walk(&self.0[seen.layer], &mut |path, meta| {
                if meta.ino() == seen.meta.ino() && path != seen.path && self.shows(seen.layer, path, meta)? {
                    names.push(path.to_owned());
                }
                Ok(())
            })?;
        }
        names.sort();
        Ok(names)
    }

    /// Whether what `layer` has at `path` is what is seen there.
    pub(super) fn shows(&self, layer: usize, path: &Path, meta: &Metadata) -> Result<bool, FileError> {
        let found = self.find(path)?;
        Ok(found.is_some_and(|found| found.layer == layer && found.path == path && found.meta.ino() == meta.ino()))
    }

    fn folder(&self, path: &Path, layers: &[usize]) -> Result<Seen, FileError> {
        let layer = layers.first().copied().unwrap_or_default();
        let place = at(&self.0[layer], path);
        let meta = fs::symlink_metadata(&place).map_err(|e| FileError::new("look at", place, e))?;
        Ok(Seen { layer, path: path.to_owned(), meta, depth: layers.len() })
    }

    /// What has this name in a folder and, if that is a folder too, which layers it is made of.
    fn step(&self, folder: &Path, layers: &[usize], name: &OsStr) -> Result<Option<(Seen, Vec<usize>)>, FileError> {
        let path = folder.join(name);
        let mut found: Option<(Seen, Vec<usize>)> = None;
        for &layer in layers {
            let place = self.0[layer].join(&path);
            let meta = match fs::symlink_metadata(&place) {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(FileError::new("look at", place, e)),
            };
            if !meta.is_dir() {
                // It ends the search, whether it is something or says that there is nothing.
                if found.is_none() && !is_whiteout(&meta) {
                    found = Some((Seen { layer, path, meta, depth: 0 }, Vec::new()));
                }
                break;
            }
            let opaque = marks::is_opaque(&place).map_err(|e| FileError::new("look at", &place, e))?;
            match &mut found {
                Some((seen, below)) => {
                    seen.depth += 1;
                    below.push(layer);
                }
                None => found = Some((Seen { layer, path: path.clone(), meta, depth: 1 }, vec![layer])),
            }
            if opaque {
                break;
            }
        }
        Ok(found)
    }
}

pub(super) fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// Visits everything beneath `root`, each folder before what is in it.
pub(super) fn walk(root: &Path, visit: &mut dyn FnMut(&Path, &Metadata) -> Result<(), FileError>) -> Result<(), FileError> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let place = at(root, &folder);
        let fail = |e| FileError::new("read folder", &place, e);
        for entry in fs::read_dir(&place).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let meta = entry.metadata().map_err(|e| FileError::new("look at", entry.path(), e))?;
            let path = folder.join(entry.file_name());
            visit(&path, &meta)?;
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

/// Without the slash that joining nothing would add.
pub(super) fn at(base: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { base.to_owned() } else { base.join(path) }
}

fn components(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

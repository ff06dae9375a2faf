//! What a layer cannot say by itself: hard links to files of the layers below, folders that take from below what is said of
//! them, and whiteouts of nothing, which overlayfs would show in a folder that only one layer has. All of it becomes a small
//! folder, the layer's *completion*, that is laid right over the layer. Knows nothing of images or of the store.
//!
//! Guarantees: the layer's own folder and those below are only read; the same layers give the same completion.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::likeness::{self, set_time};
use super::merged::{Merged, Seen, at, is_whiteout, walk};
use super::{Limits, attributes_of, marks};
use crate::files::FileError;
use crate::files::archive::lossy;

#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("refused: {name:?} is a hard link to {target:?}, which neither the layer nor those below it have")]
    Missing { name: String, target: String },
    #[error("refused: {name:?} is a hard link to {target:?}, which is a folder")]
    Folder { name: String, target: String },
    #[error("refused: the files that hard links of a layer bring from below have more than {limit} bytes")]
    TooMuch { limit: u64 },
}

/// A file below that gets more names.
struct Linked {
    source: Seen,
    names: BTreeSet<PathBuf>,
}

/// Makes the completion of `layer` in the empty folder `root`, and gives the bytes of its files; `None` when it needs none.
/// One that is not `dependent` has a root at most of which nothing is said. `below` are the layers under it with their
/// completions, the top one first.
pub(in crate::engine::images) fn complete(
    layer: &Path,
    dependent: bool,
    below: &[PathBuf],
    root: &Path,
    limits: &Limits,
) -> Result<Option<u64>, CompleteError> {
    let with = Merged(std::iter::once(layer.to_owned()).chain(below.iter().cloned()).collect());
    let plan = Plan::new(with, Merged(below.to_owned()), dependent)?;
    if plan.links.is_empty() && plan.folders.is_empty() {
        return Ok(None);
    }
    plan.make(root, limits).map(Some)
}

struct Plan {
    /// The layer and all below.
    with: Merged,
    below: Merged,
    links: Vec<Linked>,
    folders: BTreeSet<PathBuf>,
}

impl Plan {
    fn new(with: Merged, below: Merged, dependent: bool) -> Result<Self, CompleteError> {
        let mut plan = Self { with, below, links: Vec::new(), folders: BTreeSet::new() };
        let layer = plan.layer().to_owned();
        // Names and target by the number of the file that stands for them.
        let mut placeholders: BTreeMap<u64, (PathBuf, BTreeSet<PathBuf>)> = BTreeMap::new();
        if plan.takes_from_below(Path::new(""))? {
            plan.folders.insert(PathBuf::new());
        }
        if !dependent {
            return Ok(plan);
        }
        walk(&layer, &mut |path, meta| {
            let place = layer.join(path);
            let fail = |e| FileError::new("look at", &place, e);
            if is_whiteout(meta) {
                let folder = path.parent().unwrap_or(Path::new(""));
                // The root is never alone: there is always a container's own layer.
                let alone = !folder.as_os_str().is_empty() && plan.with.find(folder)?.is_some_and(|seen| seen.depth == 1);
                plan.folders.extend(alone.then(|| folder.to_owned()));
            } else if meta.is_dir() && plan.takes_from_below(path)? {
                plan.folders.insert(path.to_owned());
            } else if meta.is_file()
                && let Some(target) = marks::link(&place).map_err(fail)?
            {
                placeholders.entry(meta.ino()).or_insert((target, BTreeSet::new())).1.insert(path.to_owned());
            }
            Ok(())
        })?;
        let mut sources: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for (target, names) in placeholders.into_values() {
            let source = plan.target(&target, &names)?;
            let known = *sources.entry((source.layer, source.meta.ino())).or_insert(plan.links.len());
            if known == plan.links.len() {
                // Its names below become names of the same file, but for those that the layer hides.
                let mut all = BTreeSet::new();
                for name in plan.below.names(&source)? {
                    if plan.with.shows(source.layer + 1, &name, &source.meta)? {
                        all.insert(name);
                    }
                }
                plan.links.push(Linked { source, names: all });
            }
            plan.links[known].names.extend(names);
        }
        Ok(plan)
    }

    fn layer(&self) -> &Path {
        self.with.0.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Whether nothing is said of the layer's folder, and something else below than what it has got.
    fn takes_from_below(&self, path: &Path) -> Result<bool, FileError> {
        let place = at(self.layer(), path);
        if !marks::is_implied(&place).map_err(|e| FileError::new("look at", &place, e))? {
            return Ok(false);
        }
        // What is below does not show there.
        for ancestor in path.ancestors().skip(1) {
            let folder = at(self.layer(), ancestor);
            if marks::is_opaque(&folder).map_err(|e| FileError::new("look at", &folder, e))? {
                return Ok(false);
            }
        }
        let Some(found) = self.below.find(path)?.filter(|found| found.meta.is_dir() && found.path == path) else {
            return Ok(false);
        };
        let meta = fs::symlink_metadata(&place).map_err(|e| FileError::new("look at", &place, e))?;
        let said = |meta: &fs::Metadata| (meta.mode(), meta.uid(), meta.gid());
        Ok(said(&meta) != said(&found.meta)
            || attributes_of(&self.below.place(&found), is_own)? != attributes_of(&place, is_own)?)
    }

    /// What a link leads to. What the layer itself has there came later than the link, or the link would have found it; so
    /// only the way there may be the layer's.
    fn target(&self, target: &Path, names: &BTreeSet<PathBuf>) -> Result<Seen, CompleteError> {
        let mut found = self.below.find(target)?;
        if let (None, Some(folder), Some(name)) = (&found, target.parent(), target.file_name())
            && let Some(folder) = self.with.follow(folder)?
        {
            found = self.below.find(&folder.path.join(name))?;
        }
        let told = |path: &Path| lossy(path.as_os_str().as_encoded_bytes());
        let name = names.first().map_or_else(String::new, |name| told(name));
        match found {
            Some(found) if found.meta.is_dir() => Err(CompleteError::Folder { name, target: told(target) }),
            Some(found) => Ok(found),
            None => Err(CompleteError::Missing { name, target: told(target) }),
        }
    }

    fn make(&self, root: &Path, limits: &Limits) -> Result<u64, CompleteError> {
        let sizes = self.links.iter().map(|linked| if linked.source.meta.is_file() { linked.source.meta.len() } else { 0 });
        let size = sizes.fold(0, u64::saturating_add);
        if size > limits.bytes {
            return Err(CompleteError::TooMuch { limit: limits.bytes });
        }
        // Their times are set at the end: what is made in a folder changes its time.
        let mut made = BTreeMap::new();
        self.folder(Path::new(""), root, &mut made)?;
        for path in &self.folders {
            self.folder(path, root, &mut made)?;
        }
        for Linked { source, names } in &self.links {
            let mut first: Option<PathBuf> = None;
            for name in names {
                self.folder(name.parent().unwrap_or(Path::new("")), root, &mut made)?;
                let place = root.join(name);
                match &first {
                    None => {
                        likeness::copy(&self.below.place(source), &source.meta, &place, is_own)?;
                        first = Some(place);
                    }
                    Some(first) => fs::hard_link(first, &place).map_err(|e| FileError::new("link", &place, e))?,
                }
            }
        }
        for (path, meta) in &made {
            set_time(meta, &at(root, path))?;
        }
        Ok(size)
    }

    /// Makes a folder, and those that it is in, as it is to be seen.
    fn folder(&self, path: &Path, root: &Path, made: &mut BTreeMap<PathBuf, fs::Metadata>) -> Result<(), CompleteError> {
        if made.contains_key(path) {
            return Ok(());
        }
        let place = at(root, path);
        if let Some(parent) = path.parent() {
            self.folder(parent, root, made)?;
            fs::DirBuilder::new().mode(0o700).create(&place).map_err(|e| FileError::new("create folder", &place, e))?;
        }
        let own = at(self.layer(), path);
        let of_below = fs::symlink_metadata(&own).is_err() || self.takes_from_below(path)?;
        let seen = if of_below { self.below.find(path)? } else { self.with.find(path)? };
        // The root of the lowest layer; all other folders here are seen.
        let (from, meta) = match seen {
            Some(seen) if of_below => (self.below.place(&seen), seen.meta),
            Some(seen) => (self.with.place(&seen), seen.meta),
            None => return Err(FileError::new("find", own, rustix::io::Errno::NOENT).into()),
        };
        likeness::describe(&from, &meta, &place, is_own)?;
        made.insert(path.to_owned(), meta);
        Ok(())
    }
}

/// Attributes that say something of the one folder that has them, and not of what it shows.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(marks::of_overlay()) || name.starts_with(marks::prefix())
}

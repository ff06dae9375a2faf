//! What the sources of one COPY or ADD mean: a list of files, each with its place below the destination. Reads names and what
//! is known of files, and no contents.
//! Source: Dockerfile reference, "COPY"; BuildKit's copy of files for what the reference leaves open: a source that is a link is
//! followed, links below it are not, and `--exclude` is about what wildcards and folders bring, not about files that are named.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::tree::{DEEPEST, Meta, Place, Tree, text};
use super::xattrs::{self, Attribute};
use super::{Doubt, FilesError};
use crate::engine::build::glob::clean;
use crate::engine::build::ignore::{Ignore, Verdict};
use crate::engine::build::wildcard::Wildcard;
use crate::model::did_you_mean;

/// What is selected.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// The sources, once their variables are replaced.
    pub sources: &'a [String],
    pub exclude: &'a Ignore,
    /// `--parents`: the folders on the way to a source are kept.
    pub parents: bool,
}

/// What is copied.
#[derive(Debug)]
pub struct Selection {
    pub(super) tree: Tree,
    /// Where the items are, by [`Item::folder`]: paths in the tree, without links on the way.
    pub(super) folders: Vec<PathBuf>,
    /// In the order of their places, a folder before what is in it. Every folder on the way to an item is one too.
    pub(super) items: Vec<Item>,
    /// Where there must be a folder that all goes to.
    pub(super) several: Option<Several>,
    /// Whether the destination is a folder in any case, because a folder's content goes there.
    pub(super) holds_folder: bool,
    pub(super) doubts: Vec<Doubt>,
    /// Paths in the tree that are in folders which are selected, and are not: the topmost of what is left out.
    pub(super) left_out: Vec<PathBuf>,
    /// The folder whose content is selected, where one source means one.
    pub(super) base: Option<PathBuf>,
}

/// More than one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Several {
    pub(super) count: usize,
    /// They are written one by one, and not only meant by a pattern.
    pub(super) written: bool,
}

/// One file, folder, link or device.
#[derive(Debug)]
pub(super) struct Item {
    /// The index of the folder it is in.
    pub(super) folder: u32,
    /// Of a folder the index of itself.
    pub(super) inside: u32,
    pub(super) name: OsString,
    /// Below the destination.
    pub(super) place: PathBuf,
    pub(super) meta: Meta,
    /// Of a folder. Those of files are read with their content.
    pub(super) xattrs: Vec<Attribute>,
    /// Whether a source means this very file, and not a folder that it is in.
    pub(super) top: bool,
}

/// One thing that is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected<'a> {
    /// In the tree.
    pub path: PathBuf,
    /// Below the destination. A single file may get the destination's own name.
    pub place: &'a Path,
    pub kind: FileType,
    /// A file that somebody may execute.
    pub is_program: bool,
}

impl Selection {
    /// What `what` means in `tree`.
    ///
    /// # Errors
    /// A source that is not there or left out by `.dockerignore`; wildcards where nothing at all is found.
    pub fn of(tree: &Tree, what: &Select<'_>) -> Result<Self, FilesError> {
        let mut search = Search::new(tree, what);
        for word in what.sources {
            search.word(word)?;
        }
        if search.found == 0 && !what.sources.is_empty() {
            return Err(search.nothing(what)?);
        }
        let Search { mut items, folders, found, holds_folder, doubts, left_out, base, .. } = search;
        items.sort_by(|a, b| a.place.cmp(&b.place));
        // Of two with the same place the later one is what stays, as if it had been copied over the first.
        let mut kept: Vec<Item> = Vec::with_capacity(items.len());
        for item in items {
            match kept.last_mut().filter(|last| last.place == item.place) {
                Some(last) if last.is_folder() != item.is_folder() => {
                    return Err(FilesError::Clash { path: text(&item.place).into_owned() });
                }
                Some(last) => *last = item,
                None => kept.push(item),
            }
        }
        // With --parents the destination is the root of what is kept.
        let holds_folder = holds_folder || (what.parents && found > 0);
        let files = kept.iter().filter(|item| item.top && !item.is_folder()).count();
        let several = what.sources.len() > 1 || (found > 1 && files > 0 && !what.parents);
        let count = found.max(what.sources.len());
        let several = several.then_some(Several { count, written: what.sources.len() > 1 });
        Ok(Self { tree: tree.clone(), folders, items: kept, several, holds_folder, doubts, left_out, base })
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn items(&self) -> impl Iterator<Item = Selected<'_>> {
        self.items.iter().map(|item| Selected {
            path: self.path(item),
            place: &item.place,
            kind: item.meta.kind(),
            is_program: item.is_file() && item.meta.mode & 0o111 != 0,
        })
    }

    /// Bytes of files.
    pub fn size(&self) -> u64 {
        self.items.iter().filter(|item| item.meta.kind() == FileType::RegularFile).map(|item| item.meta.size).sum()
    }

    /// Whether it is one file that a source means by itself, which can get another name.
    pub fn is_single_file(&self) -> bool {
        matches!(self.items.as_slice(), [item] if !self.holds_folder && item.meta.kind() == FileType::RegularFile)
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Where an item is in the tree.
    pub(super) fn path(&self, item: &Item) -> PathBuf {
        self.folders[item.folder as usize].join(&item.name)
    }
}

impl Item {
    pub(super) fn is_folder(&self) -> bool {
        self.meta.kind() == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.meta.kind() == FileType::RegularFile
    }
}

struct Search<'a> {
    tree: &'a Tree,
    exclude: &'a Ignore,
    parents: bool,
    folders: Vec<PathBuf>,
    known: HashMap<PathBuf, u32>,
    items: Vec<Item>,
    found: usize,
    holds_folder: bool,
    doubts: Vec<Doubt>,
    left_out: Vec<PathBuf>,
    base: Option<PathBuf>,
}

/// A folder whose content is walked through.
struct Walk<'a> {
    /// In the tree.
    real: &'a Path,
    place: &'a Path,
    ignored: &'a Verdict,
    /// The path that patterns of `--exclude` are about.
    relative: &'a str,
    excluded: &'a Verdict,
    depth: usize,
}

impl<'a> Search<'a> {
    fn new(tree: &'a Tree, what: &Select<'a>) -> Self {
        Self {
            tree,
            exclude: what.exclude,
            parents: what.parents,
            folders: Vec::new(),
            known: HashMap::new(),
            items: Vec::new(),
            found: 0,
            holds_folder: false,
            doubts: Vec::new(),
            left_out: Vec::new(),
            base: None,
        }
    }

    fn word(&mut self, word: &str) -> Result<(), FilesError> {
        let wildcard = Wildcard::parse(word, self.parents).map_err(FilesError::Pattern)?;
        if !wildcard.has_wildcards() {
            let Some(place) = self.tree.find(wildcard.folder(), true)? else {
                return Err(self.missing(word, wildcard.folder())?);
            };
            if !self.take(wildcard.folder(), place, &wildcard, None)? {
                let (tree, rules) = (self.tree.name().to_owned(), self.tree.rules().to_owned());
                return Err(FilesError::Ignored { word: word.to_owned(), tree, rules });
            }
            self.found += 1;
            return Ok(());
        }
        for found in self.matches(word, &wildcard)? {
            let path = if wildcard.folder().is_empty() { found.clone() } else { format!("{}/{found}", wildcard.folder()) };
            let place = match self.tree.find(&path, true)? {
                Some(place) => Some(place),
                // A link that leads nowhere is copied as it is.
                None => self.tree.find(&path, false)?,
            };
            if let Some(place) = place
                && self.take(&path, place, &wildcard, Some(&found))?
            {
                self.found += 1;
            }
        }
        Ok(())
    }

    /// What matches below a wildcard's folder, but for what is below another match.
    fn matches(&self, word: &str, wildcard: &Wildcard) -> Result<Vec<String>, FilesError> {
        let mut found = Vec::new();
        let Some(base) = self.tree.find(wildcard.folder(), true)?.filter(|base| base.meta.kind() == FileType::Directory) else {
            return Ok(found);
        };
        let names = |path: &str| path.split('/').filter(|name| !name.is_empty()).count();
        // Without `**` a pattern has as many names as what it fits.
        let any_depth = self.parents && word.contains("**");
        let levels =
            if any_depth { DEEPEST } else { names(&clean(&format!("/{word}"))).saturating_sub(names(wildcard.folder())) };
        let verdict = verdict(self.tree.ignore(), &text(&base.path));
        self.look_through(&base.fd, &base.path, "", &verdict, levels, wildcard, &mut found)?;
        Ok(found)
    }

    #[expect(clippy::too_many_arguments, reason = "a walk that carries where it is")]
    fn look_through(
        &self,
        folder: &OwnedFd,
        real: &Path,
        relative: &str,
        verdict: &Verdict,
        levels: usize,
        wildcard: &Wildcard,
        found: &mut Vec<String>,
    ) -> Result<(), FilesError> {
        let here = self.open_folder(folder.as_fd(), OsStr::new("."), real)?;
        for name in self.tree.names(&here, real)? {
            // Names that are no UTF-8 cannot be meant by a pattern; they come with the folder they are in.
            let Some(plain) = name.to_str() else { continue };
            let path = if relative.is_empty() { plain.to_owned() } else { format!("{relative}/{plain}") };
            if wildcard.matches(&path) {
                found.push(path);
                continue;
            }
            if levels <= 1 {
                continue;
            }
            let real = real.join(&name);
            let inner = self.tree.ignore().look(&text(&real), verdict);
            if inner.ignored && !self.tree.ignore().may_keep_below(&text(&real)) {
                continue;
            }
            match statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    let folder = self.open_folder(here.as_fd(), &name, &real)?;
                    self.look_through(&folder, &real, &path, &inner, levels - 1, wildcard, found)?;
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => return Err(self.tree.error("look at", &real, e)),
            }
        }
        Ok(())
    }

    /// Adds what a source means. `matched` is the path that its wildcards fitted. False when all of it is left out.
    fn take(&mut self, path: &str, place: Place, wildcard: &Wildcard, matched: Option<&str>) -> Result<bool, FilesError> {
        let ignore = self.tree.ignore();
        let real = text(&place.path).into_owned();
        let ignored = verdict(ignore, &real);
        // A link that is left out leads nowhere.
        if path != real && ignore.ignores(path) {
            return Ok(false);
        }
        let is_folder = place.meta.kind() == FileType::Directory;
        if ignored.ignored && !(is_folder && ignore.may_keep_below(&real)) {
            return Ok(false);
        }
        let kept = if self.parents { wildcard.kept(path) } else { "" };
        let subject = if self.parents { Some(kept) } else { matched };
        if subject.is_some_and(|subject| !subject.is_empty() && self.exclude.ignores(subject)) && !is_folder {
            return Ok(true);
        }
        let before = self.items.len();
        if !kept.is_empty() {
            self.parents_of(path, kept)?;
        }
        let target = if self.parents { PathBuf::from(kept) } else { PathBuf::new() };
        if !is_folder {
            let name = path.rsplit('/').next().unwrap_or(path);
            let target = if self.parents { target } else { PathBuf::from(name) };
            self.add(&place.path, target, place.meta, Vec::new(), true);
            return Ok(true);
        }
        let folder = self.open_folder(place.fd.as_fd(), OsStr::new("."), &place.path)?;
        let (relative, excluded) = match subject.filter(|_| self.parents) {
            Some(kept) => (kept, verdict(self.exclude, kept)),
            None => ("", Verdict::default()),
        };
        // A folder that a wildcard fitted is left out as a whole.
        if matched.is_some_and(|matched| !self.parents && self.exclude.ignores(matched)) {
            return Ok(true);
        }
        if !kept.is_empty() {
            let xattrs = xattrs::of_file(&folder).map_err(|e| self.tree.error("read attributes of", &place.path, e))?;
            self.add(&place.path, target.clone(), place.meta, xattrs, true);
        }
        let own = self.items.len();
        let walk = Walk {
            real: &place.path,
            place: &target,
            ignored: &ignored,
            relative,
            excluded: &excluded,
            depth: depth(&place.path),
        };
        self.base = Some(place.path.clone());
        self.content(&folder, &walk)?;
        if (ignored.ignored || excluded.ignored) && self.items.len() == own {
            self.items.truncate(before);
            return Ok(!ignored.ignored);
        }
        self.holds_folder = true;
        Ok(true)
    }

    /// With `--parents`: the folders on the way to what is kept of a path.
    fn parents_of(&mut self, path: &str, kept: &str) -> Result<(), FilesError> {
        let dropped = &path[..path.len() - kept.len()];
        for (at, _) in kept.match_indices('/') {
            let on_the_way = format!("{dropped}{}", &kept[..at]);
            let place = self.tree.find(&on_the_way, true)?;
            let place = place.filter(|place| place.meta.kind() == FileType::Directory);
            let place = place.ok_or_else(|| self.tree.exchanged(Path::new(&on_the_way)))?;
            let folder = self.open_folder(place.fd.as_fd(), OsStr::new("."), &place.path)?;
            let xattrs = xattrs::of_file(&folder).map_err(|e| self.tree.error("read attributes of", &place.path, e))?;
            self.add(&place.path, PathBuf::from(&kept[..at]), place.meta, xattrs, false);
        }
        Ok(())
    }

    /// Adds what is in a folder.
    fn content(&mut self, folder: &OwnedFd, walk: &Walk<'_>) -> Result<(), FilesError> {
        if walk.depth >= DEEPEST {
            return Err(self.tree.deep(walk.real));
        }
        let (ignore, exclude) = (self.tree.ignore(), self.exclude);
        let inside = self.index(walk.real);
        for name in self.tree.names(folder, walk.real)? {
            let real = walk.real.join(&name);
            let stat = match statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It went meanwhile.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(self.tree.error("look at", &real, e)),
            };
            let mut meta = Meta::of(&stat);
            let is_folder = meta.kind() == FileType::Directory;
            let ignored = if ignore.is_empty() { Verdict::default() } else { ignore.look(&text(&real), walk.ignored) };
            let (relative, excluded) = if exclude.is_empty() {
                (String::new(), Verdict::default())
            } else {
                let name = name.to_string_lossy();
                let relative = if walk.relative.is_empty() { name.into_owned() } else { format!("{}/{name}", walk.relative) };
                let excluded = exclude.look(&relative, walk.excluded);
                (relative, excluded)
            };
            let left_out = ignored.ignored || excluded.ignored;
            if left_out
                && !(is_folder
                    && (!ignored.ignored || ignore.may_keep_below(&text(&real)))
                    && (!excluded.ignored || exclude.may_keep_below(&relative)))
            {
                self.left_out.push(real);
                continue;
            }
            let place = walk.place.join(&name);
            if !is_folder {
                self.add_at(inside, name, &real, place, meta, Vec::new(), false);
                continue;
            }
            let inner = self.open_folder(folder.as_fd(), &name, &real)?;
            meta = Meta::of(&fstat(&inner).map_err(|e| self.tree.error("look at", &real, e))?);
            let xattrs = xattrs::of_file(&inner).map_err(|e| self.tree.error("read attributes of", &real, e))?;
            let before = self.items.len();
            self.add_at(inside, name, &real, place.clone(), meta, xattrs, false);
            let below = Walk {
                real: &real,
                place: &place,
                ignored: &ignored,
                relative: &relative,
                excluded: &excluded,
                depth: walk.depth + 1,
            };
            self.content(&inner, &below)?;
            // It is there only for something in it that is kept.
            if left_out && self.items.len() == before + 1 {
                self.items.truncate(before);
                self.left_out.push(real);
            }
        }
        Ok(())
    }

    fn add(&mut self, real: &Path, place: PathBuf, meta: Meta, xattrs: Vec<Attribute>, top: bool) {
        let folder = self.index(real.parent().unwrap_or(Path::new("")));
        let name = real.file_name().unwrap_or(OsStr::new(".")).to_owned();
        self.add_at(folder, name, real, place, meta, xattrs, top);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one item")]
    fn add_at(
        &mut self,
        folder: u32,
        name: OsString,
        real: &Path,
        place: PathBuf,
        meta: Meta,
        xattrs: Vec<Attribute>,
        top: bool,
    ) {
        let not_copied = match meta.kind() {
            FileType::Socket | FileType::Unknown => Some("a socket"),
            FileType::Fifo if !self.tree.keeps_owners() => Some("a named pipe"),
            FileType::CharacterDevice | FileType::BlockDevice if !self.tree.keeps_owners() => Some("a device"),
            _ => None,
        };
        if let Some(what) = not_copied {
            self.doubts.push(Doubt::NotCopied { path: text(real).into_owned(), what });
            self.left_out.push(real.to_owned());
            return;
        }
        let inside = if meta.kind() == FileType::Directory { self.index(real) } else { 0 };
        self.items.push(Item { folder, inside, name, place, meta, xattrs, top });
    }

    fn index(&mut self, folder: &Path) -> u32 {
        if let Some(index) = self.known.get(folder) {
            return *index;
        }
        let index = u32::try_from(self.folders.len()).unwrap_or(u32::MAX);
        self.folders.push(folder.to_owned());
        self.known.insert(folder.to_owned(), index);
        index
    }

    fn open_folder(&self, at: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(at, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => Err(self.tree.exchanged(path)),
            other => other.map_err(|e| self.tree.error("open folder", path, e)),
        }
    }

    /// Why a path is not there, with what may have been meant.
    fn missing(&self, word: &str, path: &str) -> Result<FilesError, FilesError> {
        let (tree, word) = (self.tree.name().to_owned(), word.to_owned());
        let mut near = None;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            if self.tree.find(&path[..end], true)?.is_some() {
                continue;
            }
            let (folder, name) = path[..end].rsplit_once('/').unwrap_or(("", &path[..end]));
            if let Some(place) = self.tree.find(folder, true)?.filter(|place| place.meta.kind() == FileType::Directory) {
                let here = self.open_folder(place.fd.as_fd(), OsStr::new("."), &place.path)?;
                let names = self.tree.names(&here, &place.path)?;
                let full = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                let names: Vec<String> = names.iter().filter_map(|name| name.to_str()).map(full).collect();
                near = did_you_mean(&full(name), names.iter().map(String::as_str));
            }
            break;
        }
        Ok(FilesError::Missing { word, tree, near })
    }

    /// Why no wildcard fits anything.
    fn nothing(&self, what: &Select<'_>) -> Result<FilesError, FilesError> {
        let mut left_out = false;
        for word in what.sources {
            let wildcard = Wildcard::parse(word, self.parents).map_err(FilesError::Pattern)?;
            left_out |= !self.matches(word, &wildcard)?.is_empty();
        }
        let rules = left_out.then(|| self.tree.rules().to_owned());
        Ok(FilesError::NoMatch { words: what.sources.to_vec(), tree: self.tree.name().to_owned(), rules })
    }
}

/// What the rules say of a path, and of what is below it.
fn verdict(rules: &Ignore, path: &str) -> Verdict {
    if rules.is_empty() || path.is_empty() {
        return Verdict::default();
    }
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    ends.fold(Verdict::default(), |folder, end| rules.look(&path[..end], &folder))
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

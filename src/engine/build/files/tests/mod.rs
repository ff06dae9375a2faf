//! Real trees on the real file system.

mod adds;
mod attacks;
mod copies;
mod digests;
mod gits;
mod overlays;
mod receives;
mod selections;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tempfile::TempDir;

use super::*;
use crate::engine::build::ignore::Ignore;

/// A folder with these in it: `a/` is a folder, `a -> b` a link, all else a file of that content.
fn folder(entries: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fill(root.path(), entries);
    root
}

fn fill(root: &Path, entries: &[(&str, &str)]) {
    for (name, content) in entries {
        let (name, link) = name.split_once(" -> ").map_or((*name, None), |(name, link)| (name, Some(link)));
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match link {
            Some(link) => symlink(link, path).unwrap(),
            None if name.ends_with('/') => fs::create_dir_all(path).unwrap(),
            None => fs::write(path, content).unwrap(),
        }
    }
}

fn context(root: &TempDir) -> Tree {
    Tree::open(root.path(), "the context").unwrap()
}

fn stage(root: &TempDir) -> Tree {
    Tree::of_root(open(root.path()), "the stage")
}

fn open(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn select(tree: &Tree, sources: &[&str]) -> Result<Selection, FilesError> {
    select_but(tree, sources, &[], false)
}

fn select_but(tree: &Tree, sources: &[&str], exclude: &[&str], parents: bool) -> Result<Selection, FilesError> {
    let sources: Vec<String> = sources.iter().map(|source| (*source).to_owned()).collect();
    let exclude = Ignore::of_patterns(exclude.iter().copied()).unwrap();
    Selection::of(tree, &Select { sources: &sources, exclude: &exclude, parents })
}

/// `to/` is a folder.
fn order(destination: &str) -> CopyOrder {
    CopyOrder { destination: destination.to_owned(), to_folder: destination.ends_with('/'), owner: None, mode: None, epoch: None }
}

fn put(tree: &Tree, sources: &[&str], target: &Path, order: &CopyOrder) -> Result<Copied, FilesError> {
    copy(&select(tree, sources)?, open(target).as_fd(), order)
}

/// All paths below a folder, sorted; folders end in `/`, links show where they lead, and files what is in them.
fn listing(root: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                found.push(format!("{name}/"));
                walk(root, &path, found);
            } else if meta.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else {
                found.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

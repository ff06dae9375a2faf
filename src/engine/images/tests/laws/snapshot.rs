//! All that is said of a tree, to compare one on the disk with another one or with what it ought to be.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr, makedev};

use super::generate::{Entry, Kind};
use crate::model::Digest;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::images::tests) struct Facts {
    pub(in crate::engine::images::tests) kind: char,
    pub(in crate::engine::images::tests) mode: u32,
    pub(in crate::engine::images::tests) owner: (u32, u32),
    /// `None`: whatever it is.
    pub(in crate::engine::images::tests) mtime: Option<(i64, u32)>,
    pub(in crate::engine::images::tests) size: u64,
    pub(in crate::engine::images::tests) content: Option<Digest>,
    pub(in crate::engine::images::tests) link: String,
    pub(in crate::engine::images::tests) device: u64,
    pub(in crate::engine::images::tests) xattrs: BTreeMap<String, Vec<u8>>,
    /// Of anything but a folder: the first name of the same file.
    pub(in crate::engine::images::tests) same_as: Option<String>,
}

impl Facts {
    /// What an entry says, but for hard links.
    pub(super) fn of(entry: &Entry) -> Self {
        let (kind, device) = match entry.kind {
            Kind::File | Kind::Hardlink => ('f', 0),
            Kind::Folder => ('d', 0),
            Kind::Symlink => ('l', 0),
            Kind::Char => ('c', makedev(entry.device.0, entry.device.1)),
            Kind::Block => ('b', makedev(entry.device.0, entry.device.1)),
            Kind::Fifo => ('p', 0),
        };
        Self {
            kind,
            mode: if kind == 'l' { 0o777 } else { entry.mode },
            owner: (entry.uid, entry.gid),
            mtime: Some(entry.mtime),
            size: if kind == 'f' { entry.size as u64 } else { 0 },
            content: (kind == 'f').then(|| Digest::of(&entry.content())),
            link: entry.link.clone(),
            device,
            xattrs: entry.xattrs.iter().cloned().collect(),
            same_as: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::engine::images::tests) struct Snapshot(pub(in crate::engine::images::tests) BTreeMap<String, Facts>);

impl Snapshot {
    /// Reads a tree. Whatever cannot be looked at, though it is listed, fails.
    pub(in crate::engine::images::tests) fn read(root: &Path) -> Self {
        let mut all = BTreeMap::new();
        let mut waiting = vec![String::new()];
        while let Some(path) = waiting.pop() {
            let place = if path.is_empty() { root.to_owned() } else { root.join(&path) };
            let meta = std::fs::symlink_metadata(&place).unwrap_or_else(|e| panic!("{path:?} is listed, but: {e}"));
            if meta.is_dir() {
                for entry in std::fs::read_dir(&place).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    waiting.push(if path.is_empty() { name } else { format!("{path}/{name}") });
                }
            }
            all.insert(path, (meta.ino(), facts(&place, &meta)));
        }
        let mut first_names = BTreeMap::new();
        let with_names = all.into_iter().map(|(path, (inode, mut facts))| {
            if facts.kind != 'd' {
                facts.same_as = Some(first_names.entry(inode).or_insert_with(|| path.clone()).clone());
            }
            (path, facts)
        });
        Self(with_names.collect())
    }

    /// How what was found differs; empty when it does not.
    pub(in crate::engine::images::tests) fn differences(&self, found: &Self) -> Vec<String> {
        let mut told = Vec::new();
        for path in self.0.keys().chain(found.0.keys().filter(|path| !self.0.contains_key(*path))) {
            match (self.0.get(path), found.0.get(path)) {
                (Some(wanted), Some(there)) => {
                    let mut there = there.clone();
                    if wanted.mtime.is_none() {
                        there.mtime = None;
                    }
                    if *wanted != there {
                        told.push(format!("{path:?}:\n  wanted {wanted:?}\n  found  {there:?}"));
                    }
                }
                (wanted, there) => told.push(format!("{path:?}:\n  wanted {wanted:?}\n  found  {there:?}")),
            }
        }
        told
    }
}

fn facts(place: &Path, meta: &std::fs::Metadata) -> Facts {
    let kind = match meta.mode() & 0o170_000 {
        0o040_000 => 'd',
        0o100_000 => 'f',
        0o120_000 => 'l',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        other => panic!("{} is of the kind {other:o}", place.display()),
    };
    Facts {
        kind,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: Some((meta.mtime(), meta.mtime_nsec() as u32)),
        size: if kind == 'f' { meta.len() } else { 0 },
        content: (kind == 'f').then(|| Digest::of(&std::fs::read(place).unwrap())),
        link: if kind == 'l' {
            std::fs::read_link(place).unwrap().into_os_string().into_string().unwrap()
        } else {
            String::new()
        },
        device: if matches!(kind, 'c' | 'b') { meta.rdev() } else { 0 },
        xattrs: xattrs(place),
        same_as: None,
    }
}

fn xattrs(place: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 4096];
    let length = llistxattr(place, names.as_mut_slice()).unwrap();
    names.truncate(length);
    let names = names.split(|b| *b == 0).map(|name| String::from_utf8(name.to_vec()).unwrap());
    let told =
        names.filter(|name| !name.is_empty() && !name.starts_with("trusted.overlay.") && !name.starts_with("trusted.setpoint."));
    let value = |name: &String| {
        let mut value = vec![0; 4096];
        let length = lgetxattr(place, name.as_str(), value.as_mut_slice()).unwrap();
        value.truncate(length);
        value
    };
    told.map(|name| (name.clone(), value(&name))).collect()
}

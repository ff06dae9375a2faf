//! Layers one on the other in memory: entry by entry, as if they were extracted in one place. Nothing is shared with what it
//! is compared with.

use std::collections::{BTreeMap, BTreeSet};

use super::generate::{Entry, Habit, Kind};
use super::snapshot::{Facts, Snapshot};

#[derive(Clone, Debug)]
struct Place {
    node: usize,
    /// The layer that put it there.
    layer: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Facts>,
    places: BTreeMap<String, Place>,
    layer: usize,
    /// Folders that entries of this layer speak of, and those that only have entries in them.
    spoken_of: BTreeSet<String>,
    touched: BTreeSet<String>,
}

fn implied() -> Facts {
    Facts { kind: 'd', mode: 0o755, ..Facts::default() }
}

fn parents(path: &str) -> Vec<String> {
    let mut all: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
    if !path.is_empty() {
        all.insert(0, String::new());
    }
    all
}

fn is_under(path: &str, folder: &str) -> bool {
    if folder.is_empty() { !path.is_empty() } else { path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')) }
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut tree = Self::default();
        tree.put("", implied());
        tree
    }

    pub(super) fn begin(&mut self) {
        self.layer += 1;
        self.spoken_of.clear();
        self.touched.clear();
        self.touched.insert(String::new());
    }

    /// A folder's time is what the layer says; where it says nothing but changes what is in it, anything.
    pub(super) fn end(&mut self) {
        for path in self.touched.difference(&self.spoken_of) {
            if let Some(place) = self.places.get(path) {
                self.nodes[place.node].mtime = None;
            }
        }
    }

    /// All but the root.
    pub(super) fn paths(&self) -> Vec<String> {
        self.places.keys().filter(|path| !path.is_empty()).cloned().collect()
    }

    fn facts(&self, path: &str) -> Option<&Facts> {
        self.places.get(path).map(|place| &self.nodes[place.node])
    }

    fn is_own(&self, path: &str) -> bool {
        self.places.get(path).is_some_and(|place| place.layer == self.layer)
    }

    /// Whether an honest program could write this entry here.
    pub(super) fn allows(&self, entry: &Entry, habit: Habit) -> bool {
        let (folder, name) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
        // Where a part of the way is something else, a layer below must be meant.
        let in_the_way =
            parents(&entry.name).iter().any(|path| self.is_own(path) && self.facts(path).is_some_and(|facts| facts.kind != 'd'));
        if in_the_way || entry.name.len() > 800 {
            return false;
        }
        if name == ".wh..wh..opq" {
            return self.layer > 1 || !folder.is_empty();
        }
        if name.starts_with(".wh.") {
            return true;
        }
        if habit == Habit::Plain {
            // GNU tar has ways of its own with what an earlier entry has made, but for a file in the place of a file.
            let again = match self.facts(&entry.name) {
                Some(_) if entry.name.is_empty() => self.spoken_of.contains(""),
                Some(there) => there.kind != 'f' || entry.kind != Kind::File,
                None => false,
            };
            // It lets folders that nobody speaks of take the group of the one that they are in.
            let hands_down = entry.kind == Kind::Folder && entry.mode & 0o2000 != 0;
            if again || hands_down {
                return false;
            }
        }
        if entry.kind == Kind::Hardlink {
            let target =
                self.facts(&entry.link).is_some_and(|facts| facts.kind != 'd' && (habit != Habit::Plain || facts.kind != 'l'));
            return target && !is_under(&entry.link, &entry.name) && !is_under(&entry.name, &entry.link);
        }
        true
    }

    pub(super) fn apply(&mut self, entry: &Entry) {
        let (folder, name) = entry.name.rsplit_once('/').unwrap_or(("", &entry.name));
        // Looked up first, as when it is made in one place: the way there may replace it.
        let target = (entry.kind == Kind::Hardlink).then(|| self.places[&entry.link].node);
        for parent in parents(&entry.name) {
            if self.facts(&parent).is_none_or(|facts| facts.kind != 'd') {
                self.remove(&parent);
                self.put(&parent, implied());
            }
            self.touched.insert(parent);
        }
        if name == ".wh..wh..opq" {
            return self.hide_in(folder);
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") };
            return self.hide(&hidden);
        }
        if let Some(node) = target {
            self.remove(&entry.name);
            self.places.insert(entry.name.clone(), Place { node, layer: self.layer });
            return;
        }
        let mut facts = Facts::of(entry);
        match self.facts(&entry.name) {
            Some(there) if entry.kind == Kind::Folder && there.kind == 'd' => {
                if self.spoken_of.contains(&entry.name) {
                    let older = there.xattrs.clone().into_iter();
                    facts.xattrs = older.chain(std::mem::take(&mut facts.xattrs)).collect();
                }
            }
            _ => self.remove(&entry.name),
        }
        if entry.kind == Kind::Folder {
            self.spoken_of.insert(entry.name.clone());
        }
        self.put(&entry.name, facts);
    }

    fn put(&mut self, path: &str, facts: Facts) {
        self.nodes.push(facts);
        self.places.insert(path.to_owned(), Place { node: self.nodes.len() - 1, layer: self.layer });
    }

    fn remove(&mut self, path: &str) {
        self.places.retain(|there, _| there != path && !is_under(there, path));
        self.spoken_of.retain(|there| there != path && !is_under(there, path));
    }

    /// A whiteout hides what the layers below have, and nothing of its own layer.
    fn hide(&mut self, path: &str) {
        self.hide_one(path);
        self.hide_in(path);
    }

    fn hide_in(&mut self, folder: &str) {
        let below: Vec<String> = self.places.keys().filter(|path| is_under(path, folder)).cloned().collect();
        below.iter().for_each(|path| self.hide_one(path));
    }

    fn hide_one(&mut self, path: &str) {
        if !self.places.contains_key(path) || self.is_own(path) {
            return;
        }
        // A folder that the layer has something in, be it a whiteout, stays, and is a new one.
        let needed = self.touched.contains(path);
        self.places.remove(path);
        if needed {
            self.put(path, implied());
        }
    }

    /// What is to be seen.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut first_names = BTreeMap::new();
        let mut snapshot = Snapshot::default();
        for (path, place) in &self.places {
            let mut facts = self.nodes[place.node].clone();
            if facts.kind != 'd' {
                facts.same_as = Some(first_names.entry(place.node).or_insert_with(|| path.clone()).clone());
            }
            snapshot.0.insert(path.clone(), facts);
        }
        snapshot
    }
}

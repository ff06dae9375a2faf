//! Generates layers that an honest program could write, with few names, so that they meet often.

use super::Random;
use super::reference::Tree;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::images::tests) enum Kind {
    File,
    Folder,
    Symlink,
    Hardlink,
    Char,
    Block,
    Fifo,
}

/// One entry of a layer's tar.
#[derive(Clone, Debug)]
pub(in crate::engine::images::tests) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) link: String,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<(String, Vec<u8>)>,
    /// Pieces of the content with their places; the rest are holes.
    pub(super) pieces: Vec<(usize, Vec<u8>)>,
    pub(super) size: usize,
    pub(super) sparse: bool,
}

impl Entry {
    fn new(name: String, kind: Kind, random: &mut Random) -> Self {
        let mtime = random.pick(&[(0, 0), (1, 1), (1_700_000_000, 0), (1_234_567_890, 123_456_789), (5_000_000_000, 5), (-7, 0)]);
        Self {
            name,
            kind,
            mode: random.pick(&[0o644, 0o755, 0o600, 0, 0o7777, 0o4755, 0o2711, 0o1777]),
            uid: random.pick(&[0, 0, 1000, 65_534, 2_097_151, 2_097_152, 4_000_000_000]),
            gid: random.pick(&[0, 0, 5, 65_534, 3_000_000]),
            mtime,
            link: String::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pieces: Vec::new(),
            size: 0,
            sparse: false,
        }
    }

    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.size];
        for (offset, bytes) in &self.pieces {
            content[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

/// What the layers of a case may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// What GNU tar understands too: no whiteouts, nothing of another kind in the place of something.
    Plain,
    /// All that a layer may have.
    Layers,
}

fn name(random: &mut Random) -> String {
    let longs = ["long".repeat(14), "l".repeat(101), "L".repeat(199)];
    if random.once_in(12) {
        return random.pick(&longs);
    }
    random.pick(&["a", "b", "c", "d", "etc", "n\u{fc}", "x y", "new\nline", "-dash", "back\\slash"]).to_owned()
}

fn path(random: &mut Random) -> String {
    let depth = random.pick(&[1, 1, 2, 2, 3]);
    (0..depth).map(|_| name(random)).collect::<Vec<_>>().join("/")
}

/// A layer for what is there already, which `tree` has afterwards.
pub(super) fn layer(random: &mut Random, tree: &mut Tree, habit: Habit) -> Vec<Entry> {
    tree.begin();
    let mut entries = Vec::new();
    let wanted = 1 + random.below(14);
    let mut tries = 0;
    while entries.len() < wanted && tries < 200 {
        tries += 1;
        let entry = entry(random, tree, habit);
        if tree.allows(&entry, habit) {
            tree.apply(&entry);
            entries.push(entry);
        }
    }
    tree.end();
    entries
}

fn entry(random: &mut Random, tree: &Tree, habit: Habit) -> Entry {
    let there = tree.paths();
    let mut place = if !there.is_empty() && random.once_in(3) { random.pick(&there) } else { path(random) };
    if habit == Habit::Layers && random.once_in(5) {
        return whiteout(random, &place);
    }
    let kinds = [
        Kind::File,
        Kind::File,
        Kind::File,
        Kind::Folder,
        Kind::Folder,
        Kind::Symlink,
        Kind::Hardlink,
        Kind::Hardlink,
        Kind::Char,
        Kind::Block,
        Kind::Fifo,
    ];
    let kind = random.pick(&kinds);
    if kind == Kind::Folder && random.once_in(12) {
        place = String::new();
    }
    let mut entry = Entry::new(place, kind, random);
    match kind {
        Kind::File => content(random, &mut entry),
        Kind::Symlink => entry.link = random.pick(&["a", "/etc/passwd", "../../..", "nowhere/at all", "b/c"]).to_owned(),
        Kind::Hardlink => {
            let other = path(random);
            entry.link = random.pick(&[there, vec![other]].concat());
        }
        Kind::Char => entry.device = random.pick(&[(1, 3), (5, 1), (10, 229), (4, 300)]),
        Kind::Block => entry.device = random.pick(&[(7, 0), (8, 17), (259, 65_536)]),
        Kind::Folder | Kind::Fifo => {}
    }
    if kind == Kind::Symlink && random.once_in(8) {
        entry.link = "t".repeat(150);
    }
    attributes(random, &mut entry);
    entry
}

fn content(random: &mut Random, entry: &mut Entry) {
    let byte = random.next() as u8;
    if random.once_in(5) {
        entry.sparse = true;
        let count = random.pick(&[0, 1, 3, 4, 5, 30]);
        entry.pieces =
            (0..count).map(|i| (i * 8192 + 512 * random.below(4), vec![byte | 1; 512 * (1 + random.below(5))])).collect();
        entry.size = count * 8192 + random.pick(&[0, 1, 70_000]);
    } else {
        entry.size = random.pick(&[0, 1, 511, 512, 513, 5000, 70_000]);
        entry.pieces = vec![(0, vec![byte; entry.size])];
    }
}

fn attributes(random: &mut Random, entry: &mut Entry) {
    let capability = vec![1, 0, 0, 2, 0, 4, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let all: &[(&str, Vec<u8>)] = match entry.kind {
        Kind::Hardlink => return,
        Kind::File => &[("user.a", b"x\ny=\0z".to_vec()), ("user.b", vec![b'v'; 300]), ("security.capability", capability)],
        Kind::Folder => &[("user.a", b"of a folder".to_vec()), ("user.b", vec![0])],
        Kind::Symlink | Kind::Char | Kind::Block | Kind::Fifo => &[("trusted.t", b"t".to_vec())],
    };
    for (name, value) in all {
        if random.once_in(5) {
            entry.xattrs.push(((*name).to_owned(), value.clone()));
        }
    }
}

/// Something below is not to be seen any more.
fn whiteout(random: &mut Random, place: &str) -> Entry {
    let (folder, name) = place.rsplit_once('/').map_or(("", place), |(folder, name)| (folder, name));
    let slash = if folder.is_empty() { "" } else { "/" };
    let name = if random.once_in(4) { format!("{folder}{slash}.wh..wh..opq") } else { format!("{folder}{slash}.wh.{name}") };
    Entry::new(name, Kind::File, random)
}

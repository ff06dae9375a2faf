//! What the contents of files were when they were last read, so that a file that has not changed is not read again; and the
//! digests of what never changes, such as a folder of a stage that is known by its layers. One file for an instance; to lose it
//! costs time and nothing else.
//!
//! A file is known by device, number, size and both times. Whoever changes a file changes the last of these, unless it is done
//! within one tick of the clock: so files that were changed just before they were read are not remembered, as Git does it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use super::FilesError;
use super::tree::Meta;
use crate::files;
use crate::model::Digest;

/// The first bytes of the file; the last of them is the version.
const MAGIC: &[u8; 8] = b"spfiles\x02";
/// Bytes of one record: what a file is known by, its digest, and the day when it was last asked for.
const RECORD: usize = 8 * 3 + 12 * 2 + 32 + 4;
/// Bytes of a question, its answer, and the day when it was last asked.
const ANSWER: usize = 32 * 2 + 4;
/// Bytes of the checksum at the end.
const CHECKSUM: usize = 32;
/// Files that are remembered at most, and answers: about 18 MB.
const MOST: usize = 200_000;
const MOST_ANSWERS: usize = 10_000;
/// How much older than its reading the last change of a file must be, in seconds.
const CLEARLY_OLDER: i64 = 2;

/// The table. Used from several threads.
#[derive(Debug)]
pub struct FileDigests {
    path: Option<PathBuf>,
    most: usize,
    today: u32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Key, Known>,
    answers: HashMap<[u8; 32], Known>,
    /// Whether it differs from what the file has.
    changed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    digest: [u8; 32],
    /// Days since 1970.
    asked: u32,
}

impl FileDigests {
    /// What is remembered in the file at `path`. One that is missing, damaged or of another version is an empty one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let (known, answers) = files::read_if_there(path)?.and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Ok(Self { path: Some(path.to_owned()), ..Self::with(known, answers) })
    }

    /// Remembers nothing beyond its own life.
    pub fn in_memory() -> Self {
        Self::with(HashMap::new(), HashMap::new())
    }

    fn with(known: HashMap<Key, Known>, answers: HashMap<[u8; 32], Known>) -> Self {
        let today = u32::try_from(now().div_euclid(86_400)).unwrap_or(0);
        Self { path: None, most: MOST, today, table: Mutex::new(Table { known, answers, changed: false }) }
    }

    /// Writes it where it came from, if there is anything new. What others have written meanwhile is lost.
    pub fn save(&self) -> Result<(), FilesError> {
        let mut table = self.lock();
        let Some(path) = self.path.as_ref().filter(|_| table.changed) else { return Ok(()) };
        forget(&mut table.known, self.most);
        forget(&mut table.answers, MOST_ANSWERS);
        if let Some(folder) = path.parent() {
            files::create_dirs(folder, 0o700)?;
        }
        files::publish(path, &written(&table), 0o600)?;
        table.changed = false;
        Ok(())
    }

    /// The digest of a file's content and attributes, if it is remembered.
    pub(super) fn get(&self, meta: &Meta) -> Option<[u8; 32]> {
        let mut table = self.lock();
        let Table { known, changed, .. } = &mut *table;
        let known = known.get_mut(&Key::of(meta))?;
        if known.asked != self.today {
            known.asked = self.today;
            *changed = true;
        }
        Some(known.digest)
    }

    /// Remembers the digest of a file that was `meta` before and after it was read; unless it is too young for that.
    pub(super) fn put(&self, meta: &Meta, digest: [u8; 32]) {
        if meta.changed.0 > now() - CLEARLY_OLDER - 1 {
            return;
        }
        let mut table = self.lock();
        table.known.insert(Key::of(meta), Known { digest, asked: self.today });
        table.changed = true;
    }

    /// The answer to a question whose answer never changes, if it is remembered. Who asks makes the question of all that the
    /// answer depends on.
    pub fn answer(&self, question: &Digest) -> Option<Digest> {
        let mut table = self.lock();
        let Table { answers, changed, .. } = &mut *table;
        let known = answers.get_mut(question.bytes())?;
        if known.asked != self.today {
            known.asked = self.today;
            *changed = true;
        }
        Some(Digest::from_bytes(known.digest))
    }

    pub fn remember(&self, question: &Digest, answer: &Digest) {
        let mut table = self.lock();
        table.answers.insert(*question.bytes(), Known { digest: *answer.bytes(), asked: self.today });
        table.changed = true;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().known.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    const fn of(meta: &Meta) -> Self {
        Self { device: meta.device, inode: meta.inode, size: meta.size, modified: meta.modified, changed: meta.changed }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

/// Drops what was not asked for the longest.
fn forget<K: Copy + Eq + std::hash::Hash>(table: &mut HashMap<K, Known>, most: usize) {
    if table.len() <= most {
        return;
    }
    let mut by_day: Vec<(u32, K)> = table.iter().map(|(key, known)| (known.asked, *key)).collect();
    by_day.sort_unstable_by_key(|(asked, _)| *asked);
    for (_, key) in &by_day[..by_day.len() - most] {
        table.remove(key);
    }
}

fn written(table: &Table) -> Vec<u8> {
    let length = MAGIC.len() + 8 + table.known.len() * RECORD + table.answers.len() * ANSWER + CHECKSUM;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(MAGIC);
    bytes.extend((table.known.len() as u64).to_le_bytes());
    for (key, known) in &table.known {
        for number in [key.device, key.inode, key.size] {
            bytes.extend(number.to_le_bytes());
        }
        for (seconds, nanoseconds) in [key.modified, key.changed] {
            bytes.extend(seconds.to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
        }
        bytes.extend(known.digest);
        bytes.extend(known.asked.to_le_bytes());
    }
    for (question, known) in &table.answers {
        bytes.extend(question);
        bytes.extend(known.digest);
        bytes.extend(known.asked.to_le_bytes());
    }
    let checksum: [u8; CHECKSUM] = Sha256::digest(&bytes).into();
    bytes.extend(checksum);
    bytes
}

type Tables = (HashMap<Key, Known>, HashMap<[u8; 32], Known>);

/// `None`: it is damaged.
fn parse(bytes: &[u8]) -> Option<Tables> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    let mut records = body.strip_prefix(MAGIC)?;
    if <[u8; CHECKSUM]>::from(Sha256::digest(body)) != *checksum {
        return None;
    }
    let files = usize::try_from(long(&mut records)?).ok()?;
    let files = records.split_off(..files.checked_mul(RECORD)?)?;
    let (files, (answers, rest)) = (files.as_chunks::<RECORD>().0, records.as_chunks::<ANSWER>());
    if !rest.is_empty() {
        return None;
    }
    let files = files.iter().map(|record| one(record)).collect::<Option<_>>()?;
    Some((files, answers.iter().map(|record| answer(record)).collect::<Option<_>>()?))
}

fn answer(mut record: &[u8]) -> Option<([u8; 32], Known)> {
    let (question, digest) = (digest(&mut record)?, digest(&mut record)?);
    Some((question, Known { digest, asked: short(&mut record)? }))
}

fn one(mut record: &[u8]) -> Option<(Key, Known)> {
    let (device, inode, size) = (long(&mut record)?, long(&mut record)?, long(&mut record)?);
    let modified = (long(&mut record)?.cast_signed(), short(&mut record)?);
    let changed = (long(&mut record)?.cast_signed(), short(&mut record)?);
    let digest = digest(&mut record)?;
    Some((Key { device, inode, size, modified, changed }, Known { digest, asked: short(&mut record)? }))
}

fn digest(bytes: &mut &[u8]) -> Option<[u8; 32]> {
    bytes.split_off(..32)?.first_chunk().copied()
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    bytes.split_off(..8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn short(bytes: &mut &[u8]) -> Option<u32> {
    bytes.split_off(..4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(inode: u64, changed: i64) -> Meta {
        Meta {
            device: 1,
            inode,
            size: 3,
            blocks: 8,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            linked: false,
            number: 0,
            modified: (5, 6),
            changed: (changed, 7),
        }
    }

    #[test]
    fn what_is_remembered_comes_back_and_what_is_damaged_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build/digests");
        let digests = FileDigests::open(&path).unwrap();
        digests.put(&meta(1, 100), [1; 32]);
        digests.put(&meta(2, 100), [2; 32]);
        // One that was changed just now, and one that comes from the future.
        digests.put(&meta(3, now()), [3; 32]);
        digests.put(&meta(4, now() + 1000), [4; 32]);
        let (question, answer) = (Digest::of(b"question"), Digest::of(b"answer"));
        assert_eq!(digests.answer(&question), None);
        digests.remember(&question, &answer);
        digests.save().unwrap();
        let again = FileDigests::open(&path).unwrap();
        assert_eq!((again.get(&meta(1, 100)), again.get(&meta(2, 100))), (Some([1; 32]), Some([2; 32])));
        assert_eq!((again.get(&meta(1, 101)), again.len()), (None, 2));
        assert_eq!((again.answer(&question), again.answer(&answer)), (Some(answer), None));
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&whole[..0], &whole[..whole.len() - 1], &whole[1..], &[whole.as_slice(), b"x"].concat()] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(FileDigests::open(&path).unwrap().len(), 0);
        }
        for at in [0, 7, 20, 90, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(FileDigests::open(&path).unwrap().len(), 0, "{at}");
        }
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("digests");
        let digests = FileDigests { most: 10, ..FileDigests::open(&path).unwrap() };
        for inode in 0..25 {
            digests.put(&meta(inode, 100), [0; 32]);
        }
        for known in digests.lock().known.iter_mut().filter(|(key, _)| key.inode >= 5) {
            known.1.asked = 3;
        }
        digests.save().unwrap();
        let kept = FileDigests::open(&path).unwrap();
        assert_eq!(kept.len(), 10);
        assert!((0..5).all(|inode| kept.get(&meta(inode, 100)).is_some()));
    }
}

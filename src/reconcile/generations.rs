//! The generations of stacks: what was applied, which images that meant, and by which contents of configs and secrets. The last ones
//! are kept, and can be brought back. Rows only; knows nothing of how one is made real.
//!
//! Guarantee: what a kept generation is made of is named in the same transaction that makes its row, so whoever collects asks
//! [`images_of_generations`] and [`contents_of_generations`] and takes nothing away that is needed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::record::{RecordError, moment_of, now_text};
use super::report::GenerationInfo;
use crate::engine::state::Db;
use crate::manifest::Desired;
use crate::model::{Digest, ImageRef, Name};
use crate::plan::Resource;

/// How many generations of a stack are kept.
pub const KEPT: u64 = 10;

/// Digests of images by their references.
pub type Images = BTreeMap<ImageRef, Digest>;

/// One that is kept.
#[derive(Clone, Debug)]
pub struct Generation {
    pub number: u64,
    pub desired: Arc<Desired>,
    /// What the references of its images meant, as far as that is known.
    pub images: Images,
    pub applied: OffsetDateTime,
    /// `applying`, `applied`, `failed`, `paused` or `quarantined`.
    pub outcome: String,
    pub source: Option<String>,
    pub brings_back: Option<u64>,
}

impl Generation {
    pub fn is_applied(&self) -> bool {
        self.outcome == APPLIED
    }

    pub fn info(&self) -> GenerationInfo {
        let contents = Contents::of(&self.desired);
        GenerationInfo {
            generation: self.number,
            applied: self.applied,
            outcome: self.outcome.clone(),
            source: self.source.clone(),
            brings_back: self.brings_back,
            images: self.images.clone(),
            configs: contents.configs,
            secrets: contents.secrets,
            changes: Vec::new(),
        }
    }
}

/// The outcome of a generation as long as nothing else is known.
pub const APPLYING: &str = "applying";
/// The outcome of a generation all of whose steps succeeded.
pub const APPLIED: &str = "applied";

/// The outcome of a generation that has failed and was left where it was.
pub const PAUSED: &str = "paused";
/// The outcome of a generation that has failed and in whose place an earlier one is back.
pub const QUARANTINED: &str = "quarantined";

/// Digests of the contents that a stack has, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    configs: BTreeMap<Name, Digest>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<Name, Digest>,
}

impl Contents {
    fn of(desired: &Desired) -> Self {
        Self {
            configs: desired.configs.iter().map(|(name, config)| (name.clone(), config.digest())).collect(),
            secrets: desired.secrets.iter().map(|(name, secret)| (name.clone(), secret.digest())).collect(),
        }
    }

    fn digests(self) -> impl Iterator<Item = Digest> {
        self.configs.into_values().chain(self.secrets.into_values())
    }
}

/// What a stack's manifests say, with digests in place of contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    desired: Desired,
    contents: Contents,
}

impl Outline {
    pub fn of(desired: &Desired) -> Self {
        Self { desired: without_contents(desired).into_owned(), contents: Contents::of(desired) }
    }
}

fn without_contents(desired: &Desired) -> Cow<'_, Desired> {
    if desired.configs.is_empty() && desired.secrets.is_empty() {
        return Cow::Borrowed(desired);
    }
    let mut bare = desired.clone();
    bare.configs.values_mut().for_each(|config| config.content.clear());
    bare.secrets.values_mut().for_each(|secret| secret.content.clear());
    Cow::Owned(bare)
}

/// That a stack is kept as a generation says, whatever its source says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The generation that was brought back.
    pub of: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// What the source said then, or last where it could not be read; `None` where there was none. Anything else ends the hold.
    pub source: Option<Outline>,
    /// The digest of the source's files then, as far as it is known: who reads the same files with other variables ends no hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// Where nobody asked for it: what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setback: Option<Setback>,
}

/// A generation that has failed, and is not tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    pub generation: u64,
    pub resource: Resource,
    pub why: String,
    /// Nothing was brought back: what it had not come to stays as it was.
    pub paused: bool,
}

/// What becomes of a stack's hold when it is applied.
#[derive(Clone, Copy, Debug)]
pub enum HoldChange<'a> {
    Stays,
    Ends,
    Begins(&'a Hold),
}

/// What is about to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    pub desired: &'a Desired,
    /// What its references mean, where that is known before.
    pub images: &'a Images,
    pub source: Option<&'a str>,
    pub brings_back: Option<u64>,
    pub hold: HoldChange<'a>,
}

const COLUMNS: &str = "number, desired, images, contents, applied, outcome, source, brings_back";

/// A row as it is in the database.
struct Raw {
    number: i64,
    desired: String,
    images: String,
    contents: Option<String>,
    applied: String,
    outcome: String,
    source: Option<String>,
    brings_back: Option<i64>,
}

impl Raw {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get(0)?,
            desired: row.get(1)?,
            images: row.get(2)?,
            contents: row.get(3)?,
            applied: row.get(4)?,
            outcome: row.get(5)?,
            source: row.get(6)?,
            brings_back: row.get(7)?,
        })
    }

    /// With the contents that its configs and secrets had.
    fn read(self, t: &Transaction<'_>) -> rusqlite::Result<Result<Generation, serde_json::Error>> {
        let parsed = (|| {
            let desired: Desired = serde_json::from_str(&self.desired)?;
            let images: Images = serde_json::from_str(&self.images)?;
            let contents: Option<Contents> = self.contents.as_deref().map(serde_json::from_str).transpose()?;
            Ok((desired, images, contents))
        })();
        let (mut desired, images, contents) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return Ok(Err(error)),
        };
        for (name, digest) in contents.iter().flat_map(|contents| &contents.configs) {
            if let Some(config) = desired.configs.get_mut(name) {
                config.content = content(t, digest)?;
            }
        }
        for (name, digest) in contents.iter().flat_map(|contents| &contents.secrets) {
            if let Some(secret) = desired.secrets.get_mut(name) {
                secret.content = content(t, digest)?;
            }
        }
        Ok(Ok(Generation {
            number: self.number.unsigned_abs(),
            desired: Arc::new(desired),
            images,
            applied: moment_of(&self.applied),
            outcome: self.outcome,
            source: self.source,
            brings_back: self.brings_back.map(i64::unsigned_abs),
        }))
    }
}

/// The newest generation of a stack, or the newest that came to this end.
fn newest_row(t: &Transaction<'_>, stack: &str, outcome: Option<&str>) -> rusqlite::Result<Option<Raw>> {
    let query = format!(
        "SELECT {COLUMNS} FROM generations WHERE stack = ?1 AND outcome = ifnull(?2, outcome) ORDER BY number DESC LIMIT 1"
    );
    t.prepare_cached(&query)?.query_row(params![stack, outcome], Raw::of).optional()
}

fn content(t: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<Vec<u8>> {
    t.prepare_cached("SELECT content FROM configs WHERE digest = ?1")?.query_row([digest.to_string()], |row| row.get(0))
}

/// The generations of a stack that are kept, newest first.
pub fn all(db: &Db, stack: &Name) -> Result<Vec<Generation>, RecordError> {
    let read = db.read(|t| {
        let mut query = t.prepare_cached(&format!("SELECT {COLUMNS} FROM generations WHERE stack = ?1 ORDER BY number DESC"))?;
        let rows = query.query_map([stack.as_str()], Raw::of)?.collect::<rusqlite::Result<Vec<_>>>()?;
        rows.into_iter().map(|row| row.read(t)).collect::<rusqlite::Result<Vec<_>>>()
    })?;
    let decode = |source| RecordError::Decode { stack: stack.clone(), source };
    read.into_iter().map(|one| one.map_err(decode)).collect()
}

/// A stack's newest generation.
pub fn newest(db: &Db, stack: &Name) -> Result<Option<Generation>, RecordError> {
    let read = db.read(|t| newest_row(t, stack.as_str(), None)?.map(|row| row.read(t)).transpose())?;
    read.transpose().map_err(|source| RecordError::Decode { stack: stack.clone(), source })
}

/// The newest that was applied to its end.
pub fn last_applied(db: &Db, stack: &Name) -> Result<Option<Generation>, RecordError> {
    let read = db.read(|t| newest_row(t, stack.as_str(), Some(APPLIED))?.map(|row| row.read(t)).transpose())?;
    read.transpose().map_err(|source| RecordError::Decode { stack: stack.clone(), source })
}

/// When the way to `newest` began: with itself, or with the first of those right before it that were broken off.
pub fn on_the_way_since(db: &Db, newest: &Generation) -> Result<OffsetDateTime, RecordError> {
    let since = db.read(|t| {
        let mut query = t.prepare_cached(
            "SELECT applied FROM generations WHERE stack = ?1 AND number < ?2 AND outcome = ?3 AND number > (
                 SELECT coalesce(max(number), 0) FROM generations WHERE stack = ?1 AND number < ?2 AND outcome <> ?3
             ) ORDER BY number LIMIT 1",
        )?;
        let number = newest.number.cast_signed();
        query.query_row(params![newest.desired.stack.as_str(), number, APPLYING], |row| row.get::<_, String>(0)).optional()
    })?;
    Ok(since.map_or(newest.applied, |since| moment_of(&since)))
}

/// What the newest generations of stacks say, as it was read last: each look asks for it, and reading it takes long. What a
/// generation says never changes, and its number and time are those of no other.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<HashMap<Name, Known>>);

/// The number, when it was applied, as the database has it, and what it says.
type Known = (i64, String, Arc<Desired>);

impl Remembered {
    /// As [`newest`]. What it says is the very same value as the last time as long as it is the same generation.
    pub fn newest(&self, db: &Db, stack: &Name) -> Result<Option<Generation>, RecordError> {
        // What a thread that panicked has left is whole: it is only ever exchanged.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stack).cloned();
        if let Some((number, applied, desired)) = known {
            let rest = db.read(|t| {
                let mut query = t.prepare_cached(
                    "SELECT images, outcome, source, brings_back FROM generations WHERE stack = ?1 AND number = ?2 AND applied = ?3
                     AND number = (SELECT max(number) FROM generations WHERE stack = ?1)",
                )?;
                let row = query.query_row(params![stack.as_str(), number, applied], |row| {
                    Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<i64>>(3)?))
                });
                row.optional()
            })?;
            if let Some((images, outcome, source, brings_back)) = rest {
                let images = serde_json::from_str(&images);
                return Ok(Some(Generation {
                    number: number.unsigned_abs(),
                    desired,
                    images: images.map_err(|source| RecordError::Decode { stack: stack.clone(), source })?,
                    applied: moment_of(&applied),
                    outcome,
                    source,
                    brings_back: brings_back.map(i64::unsigned_abs),
                }));
            }
        }
        let (newest, applied) = db.read(|t| {
            let row = newest_row(t, stack.as_str(), None)?;
            let applied = row.as_ref().map(|row| row.applied.clone());
            Ok((row.map(|row| row.read(t)).transpose()?, applied))
        })?;
        let newest = newest.transpose().map_err(|source| RecordError::Decode { stack: stack.clone(), source })?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_ref().zip(applied) {
            Some((newest, applied)) => {
                all.insert(stack.clone(), (newest.number.cast_signed(), applied, Arc::clone(&newest.desired)));
            }
            None => {
                all.remove(stack);
            }
        }
        Ok(newest)
    }
}

/// Records that something is being applied. It is a new generation when it, or what its references mean, differs from the newest one,
/// whose number is returned.
pub fn begin(db: &Db, beginning: Beginning<'_>) -> Result<u64, RecordError> {
    let Beginning { desired, images, source, brings_back, hold } = beginning;
    let stack = desired.stack.as_str();
    let encode = |source| RecordError::Encode { stack: desired.stack.clone(), source };
    let text = serde_json::to_string(&*without_contents(desired)).map_err(encode)?;
    let contents = serde_json::to_string(&Contents::of(desired)).map_err(encode)?;
    let encoded = serde_json::to_string(images).map_err(encode)?;
    let hold = match hold {
        HoldChange::Stays => None,
        HoldChange::Ends => Some(None),
        HoldChange::Begins(hold) => Some(Some(serde_json::to_string(hold).map_err(encode)?)),
    };
    let number = db.write(|t| {
        t.execute(
            "INSERT INTO stacks (name, generation, conditions) VALUES (?1, 0, '[]') ON CONFLICT (name) DO NOTHING",
            [stack],
        )?;
        if let Some(hold) = &hold {
            t.execute("UPDATE stacks SET hold = ?2 WHERE name = ?1 AND hold IS NOT ?2", params![stack, hold])?;
        }
        let number = match newest_row(t, stack, None)? {
            Some(row) => {
                let (number, known) = (row.number, row.images.clone());
                // Another setpoint may have written the same in another way.
                let same = (row.desired == text && row.contents.as_ref() == Some(&contents))
                    || row.read(t)?.is_ok_and(|last| *last.desired == *desired);
                // What cannot be read agrees with nothing.
                if same && serde_json::from_str(&known).is_ok_and(|known| agree(&known, images)) {
                    return Ok(number);
                }
                number + 1
            }
            None => 1,
        };
        let mut keep = t.prepare_cached("INSERT OR IGNORE INTO configs (digest, content) VALUES (?1, ?2)")?;
        for config in desired.configs.values() {
            keep.execute(params![config.digest().to_string(), config.content])?;
        }
        for secret in desired.secrets.values() {
            keep.execute(params![secret.digest().to_string(), secret.content])?;
        }
        t.execute(
            "INSERT INTO generations (stack, number, desired, contents, applied, outcome, images, source, brings_back)
             VALUES (?1, ?2, ?3, ?4, ?5, ?9, ?6, ?7, ?8)",
            params![stack, number, text, contents, now_text(), encoded, source, brings_back.map(u64::cast_signed), APPLYING],
        )?;
        t.execute("UPDATE stacks SET generation = ?2 WHERE name = ?1", params![stack, number])?;
        t.execute("DELETE FROM generations WHERE stack = ?1 AND number <= ?2", params![stack, number - KEPT.cast_signed()])?;
        Ok(number)
    })?;
    Ok(number.unsigned_abs())
}

impl Beginning<'_> {
    /// Whether there is nothing to be recorded, because it is `newest` again.
    pub fn is(&self, newest: &Generation) -> bool {
        matches!(self.hold, HoldChange::Stays) && *newest.desired == *self.desired && agree(&newest.images, self.images)
    }
}

/// Whether no reference means another image than it did.
fn agree(known: &Images, images: &Images) -> bool {
    images.iter().all(|(reference, digest)| known.get(reference).is_none_or(|known| known == digest))
}

/// Records how applying a generation ended, and which images it is made of. The conditions speak of it from now on.
pub fn finish(db: &Db, stack: &Name, generation: u64, outcome: &str, images: &Images) -> Result<(), RecordError> {
    let images = serde_json::to_string(images).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    let number = generation.cast_signed();
    db.write(|t| {
        // Most looks change nothing: they cost no write.
        t.execute(
            "UPDATE generations SET outcome = ?3, images = ?4
             WHERE stack = ?1 AND number = ?2 AND (outcome, images) <> (?3, ?4)",
            params![stack.as_str(), number, outcome, images],
        )?;
        t.execute("UPDATE stacks SET observed = ?2 WHERE name = ?1 AND observed <> ?2", params![stack.as_str(), number])
    })?;
    Ok(())
}

/// What a stack is held to, if it is.
pub fn hold(db: &Db, stack: &Name) -> Result<Option<Hold>, RecordError> {
    let text = db.read(|t| {
        let mut query = t.prepare_cached("SELECT hold FROM stacks WHERE name = ?1")?;
        Ok(query.query_row([stack.as_str()], |row| row.get::<_, Option<String>>(0)).optional()?.flatten())
    })?;
    let hold = text.map(|text| serde_json::from_str(&text)).transpose();
    hold.map_err(|source| RecordError::Decode { stack: stack.clone(), source })
}

/// Holds a stack, from now on.
pub fn set_hold(db: &Db, stack: &Name, hold: &Hold) -> Result<(), RecordError> {
    let text = serde_json::to_string(hold).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    db.write(|t| t.execute("UPDATE stacks SET hold = ?2 WHERE name = ?1", params![stack.as_str(), text]))?;
    Ok(())
}

/// The images that the kept generations of all stacks are made of.
pub fn images_of_generations(t: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>> {
    let mut all = BTreeSet::new();
    for images in column::<Images>(t, "SELECT images FROM generations")? {
        all.extend(images.into_values());
    }
    Ok(all)
}

/// The contents of configs and secrets that the kept generations of all stacks have.
pub fn contents_of_generations(t: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>> {
    let all = column::<Contents>(t, "SELECT contents FROM generations WHERE contents IS NOT NULL")?;
    Ok(all.into_iter().flat_map(Contents::digests).collect())
}

fn column<T: for<'a> Deserialize<'a>>(t: &Transaction<'_>, query: &str) -> rusqlite::Result<Vec<T>> {
    let mut query = t.prepare_cached(query)?;
    let texts = query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    // What cannot be read may be what must stay.
    let unread = |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
    texts.iter().map(|text| serde_json::from_str(text).map_err(unread)).collect()
}

#[cfg(test)]
mod tests;

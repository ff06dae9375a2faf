//! What is remembered of stacks: their generations, their conditions, and the journal of steps. Rows only; knows nothing
//! of plans being right or wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Transaction, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::report::Condition;
use crate::engine::state::{Db, StateError};
use crate::manifest::Desired;
use crate::model::{Digest, ImageRef, Name};
use crate::plan::Step;

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("what is recorded of stack {stack} cannot be read: {source}")]
    Decode { stack: Name, source: serde_json::Error },
    #[error("stack {stack} cannot be recorded: {source}")]
    Encode { stack: Name, source: serde_json::Error },
}

/// One stack as it was recorded last.
#[derive(Clone, Debug)]
pub struct StackRecord {
    pub name: Name,
    pub source: Option<PathBuf>,
    /// 0 before the first apply.
    pub generation: u64,
    pub conditions: Vec<Condition>,
}

/// How many generations of a stack are kept.
const KEPT: u64 = 10;

pub fn stacks(db: &Db) -> Result<Vec<StackRecord>, RecordError> {
    let rows = db.read(|t| {
        let mut query = t.prepare_cached("SELECT name, source, generation, conditions FROM stacks ORDER BY name")?;
        let rows = query.query_map([], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, Option<String>>(1)?, r.get::<_, i64>(2)?, r.get::<_, String>(3)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    // Names were validated when they were written; a row that says otherwise was not written by setpoint.
    rows.into_iter()
        .filter_map(|(name, source, generation, conditions)| Some((name.parse::<Name>().ok()?, source, generation, conditions)))
        .map(|(name, source, generation, conditions)| {
            let conditions =
                serde_json::from_str(&conditions).map_err(|source| RecordError::Decode { stack: name.clone(), source })?;
            Ok(StackRecord { name, source: source.map(PathBuf::from), generation: generation.unsigned_abs(), conditions })
        })
        .collect()
}

pub fn stack(db: &Db, name: &Name) -> Result<Option<StackRecord>, RecordError> {
    Ok(stacks(db)?.into_iter().find(|record| record.name == *name))
}

/// The desired state of a stack's newest generation.
pub fn newest(db: &Db, name: &Name) -> Result<Option<(u64, Desired)>, RecordError> {
    let row = db.read(|t| {
        t.prepare_cached("SELECT number, desired FROM generations WHERE stack = ?1 ORDER BY number DESC LIMIT 1")?
            .query_row([name.as_str()], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?)))
            .optional()
    })?;
    row.map(|(number, text)| match serde_json::from_str(&text) {
        Ok(desired) => Ok((number.unsigned_abs(), desired)),
        Err(source) => Err(RecordError::Decode { stack: name.clone(), source }),
    })
    .transpose()
}

/// Digests of images by their references.
pub type Images = BTreeMap<ImageRef, Digest>;

/// Records that `desired` is being applied, with what its references mean where that is known before. It is a new generation
/// when either differs from the newest one, whose number is returned.
pub fn begin(db: &Db, desired: &Desired, images: &Images) -> Result<u64, RecordError> {
    let stack = desired.stack.as_str();
    let text = serde_json::to_string(desired).map_err(|source| RecordError::Encode { stack: desired.stack.clone(), source })?;
    let encoded = encode(&desired.stack, images)?;
    let number = db.write(|t| {
        t.execute(
            "INSERT INTO stacks (name, generation, conditions) VALUES (?1, 0, '[]') ON CONFLICT (name) DO NOTHING",
            [stack],
        )?;
        let newest = t
            .prepare_cached("SELECT number, desired, images FROM generations WHERE stack = ?1 ORDER BY number DESC LIMIT 1")?
            .query_row([stack], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?)))
            .optional()?;
        let number = match newest {
            Some((number, same, known)) if same == text && agree(&known, images) => return Ok(number),
            Some((number, ..)) => number + 1,
            None => 1,
        };
        t.execute(
            "INSERT INTO generations (stack, number, desired, applied, outcome, images)
             VALUES (?1, ?2, ?3, ?4, 'applying', ?5)",
            params![stack, number, text, now_text(), encoded],
        )?;
        t.execute("UPDATE stacks SET generation = ?2 WHERE name = ?1", params![stack, number])?;
        t.execute(
            "DELETE FROM generations WHERE stack = ?1 AND number <= ?2",
            params![stack, number - i64::try_from(KEPT).unwrap_or(i64::MAX)],
        )?;
        Ok(number)
    })?;
    Ok(number.unsigned_abs())
}

fn encode(stack: &Name, images: &Images) -> Result<String, RecordError> {
    serde_json::to_string(images).map_err(|source| RecordError::Encode { stack: stack.clone(), source })
}

/// Whether no reference means another image than it did. What cannot be read agrees with nothing.
fn agree(known: &str, images: &Images) -> bool {
    let Ok(known) = serde_json::from_str::<Images>(known) else { return false };
    images.iter().all(|(reference, digest)| known.get(reference).is_none_or(|known| known == digest))
}

/// The images that the kept generations of all stacks are made of.
pub fn images_of_generations(t: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>> {
    let mut query = t.prepare_cached("SELECT images FROM generations")?;
    let texts = query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut all = BTreeSet::new();
    for text in texts {
        // What cannot be read may be what must stay.
        let unread = |error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error));
        let images: Images = serde_json::from_str(&text).map_err(unread)?;
        all.extend(images.into_values());
    }
    Ok(all)
}

/// Records how applying a generation ended (`applied`, or what failed), and which images it is made of.
pub fn finish(db: &Db, stack: &Name, generation: u64, outcome: &str, images: &Images) -> Result<(), RecordError> {
    let images = encode(stack, images)?;
    db.write(|t| {
        // Most looks change nothing: they cost no write.
        t.execute(
            "UPDATE generations SET outcome = ?3, images = ?4
             WHERE stack = ?1 AND number = ?2 AND (outcome, images) <> (?3, ?4)",
            params![stack.as_str(), generation.cast_signed(), outcome, images],
        )?;
        t.execute("DELETE FROM journal WHERE stack = ?1 AND id < (SELECT max(id) FROM journal) - 1000", [stack.as_str()])
    })?;
    Ok(())
}

/// Notes where a stack's manifests are watched; creates the stack's row.
pub fn set_source(db: &Db, stack: &Name, source: &Path) -> Result<(), RecordError> {
    let source = source.to_string_lossy();
    db.write(|t| {
        t.execute(
            "INSERT INTO stacks (name, source, generation, conditions) VALUES (?1, ?2, 0, '[]')
             ON CONFLICT (name) DO UPDATE SET source = excluded.source",
            params![stack.as_str(), source],
        )
    })?;
    Ok(())
}

/// Sets conditions by kind; one whose status and reason stay keeps the time of its last transition.
pub fn set_conditions(db: &Db, stack: &Name, changes: Vec<Condition>) -> Result<(), RecordError> {
    let Some(record) = self::stack(db, stack)? else { return Ok(()) };
    let mut conditions = record.conditions.clone();
    for mut change in changes {
        match conditions.iter_mut().find(|c| c.kind == change.kind) {
            None => conditions.push(change),
            Some(old) => {
                if old.status == change.status && old.reason == change.reason {
                    change.since = old.since;
                }
                *old = change;
            }
        }
    }
    // Most looks change nothing: they cost no write.
    if conditions == record.conditions {
        return Ok(());
    }
    let text = serde_json::to_string(&conditions).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    db.write(|t| t.execute("UPDATE stacks SET conditions = ?2 WHERE name = ?1", params![stack.as_str(), text]))?;
    Ok(())
}

/// Forgets a stack and its generations.
pub fn forget(db: &Db, stack: &Name) -> Result<(), RecordError> {
    db.write(|t| {
        t.execute("DELETE FROM stacks WHERE name = ?1", [stack.as_str()])?;
        t.execute("DELETE FROM journal WHERE stack = ?1", [stack.as_str()])
    })?;
    Ok(())
}

/// Writes down that a step begins; the number is for [`step_ended`].
pub fn step_begins(db: &Db, stack: &Name, step: &Step) -> Result<i64, RecordError> {
    let cause = serde_json::to_string(&step.causes).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    Ok(db.write(|t| {
        t.prepare_cached("INSERT INTO journal (stack, action, resource, cause, started) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![stack.as_str(), step.action.verb(), format!("{}", step.resource), cause, now_text()])?;
        Ok(t.last_insert_rowid())
    })?)
}

pub fn step_ended(db: &Db, id: i64, error: Option<&str>) -> Result<(), RecordError> {
    db.write(|t| {
        t.prepare_cached("UPDATE journal SET finished = ?2, error = ?3 WHERE id = ?1")?.execute(params![id, now_text(), error])
    })?;
    Ok(())
}

fn now_text() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_new_only_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let name: Name = "shop".parse().unwrap();
        let mut desired = Desired::empty(name.clone());
        let none = Images::new();
        assert_eq!(begin(&db, &desired, &none).unwrap(), 1);
        assert_eq!(begin(&db, &desired, &none).unwrap(), 1);
        let volume = crate::manifest::Placed {
            engine_name: "shop-data".parse().unwrap(),
            external: false,
            spec: crate::model::spec::VolumeSpec::default(),
        };
        desired.volumes.insert("data".parse().unwrap(), volume);
        assert_eq!(begin(&db, &desired, &none).unwrap(), 2);
        assert_eq!(newest(&db, &name).unwrap().unwrap(), (2, desired));
        assert_eq!(stack(&db, &name).unwrap().unwrap().generation, 2);
        forget(&db, &name).unwrap();
        assert!(newest(&db, &name).unwrap().is_none());
    }

    #[test]
    fn a_moved_tag_is_a_new_generation_and_the_images_of_all_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let desired = Desired::empty("shop".parse().unwrap());
        let of = |digest: &[u8]| Images::from([("nginx:1".parse().unwrap(), Digest::of(digest))]);
        assert_eq!(begin(&db, &desired, &Images::new()).unwrap(), 1);
        finish(&db, &desired.stack, 1, "applied", &of(b"one")).unwrap();
        assert_eq!(begin(&db, &desired, &of(b"one")).unwrap(), 1, "it is known now what was not before");
        assert_eq!(begin(&db, &desired, &Images::new()).unwrap(), 1, "nothing says otherwise");
        assert_eq!(begin(&db, &desired, &of(b"two")).unwrap(), 2);
        finish(&db, &desired.stack, 2, "applied", &of(b"two")).unwrap();
        assert_eq!(db.read(images_of_generations).unwrap(), BTreeSet::from([Digest::of(b"one"), Digest::of(b"two")]));
        forget(&db, &desired.stack).unwrap();
        assert!(db.read(images_of_generations).unwrap().is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_kept_generation_is_made_of_is_not_collected() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let instance = crate::model::Instance::new(folder.path().join("s"), folder.path().join("r"), None);
        let engine = crate::engine::Engine::open(instance).await.unwrap();
        let reference: ImageRef = "localhost/app:1".parse().unwrap();
        let import = async |content: &str| {
            let source = folder.path().join("root");
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join("edition"), content).unwrap();
            let source = crate::engine::images::ImportSource::Path(source);
            engine.import(source, &reference, Default::default(), None, std::sync::Arc::new(|_| {})).await.unwrap()
        };
        let desired = Desired::empty("shop".parse().unwrap());
        let mut all = BTreeSet::new();
        for (number, content) in [(1, "first"), (2, "second")] {
            let images = Images::from([(reference.clone(), import(content).await)]);
            all.extend(images.values().copied());
            assert_eq!(begin(engine.db(), &desired, &images).unwrap(), number);
            finish(engine.db(), &desired.stack, number, "applied", &images).unwrap();
        }
        let here = || engine.images().unwrap().into_iter().map(|image| image.digest).collect::<BTreeSet<_>>();
        engine.collect(images_of_generations).await.unwrap();
        assert_eq!(here(), all, "the first has no name any more, and is kept");
        forget(engine.db(), &desired.stack).unwrap();
        engine.collect(images_of_generations).await.unwrap();
        assert_eq!(here().len(), 1);
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let name: Name = "shop".parse().unwrap();
        begin(&db, &Desired::empty(name.clone()), &Images::new()).unwrap();
        let at = |seconds, status| Condition {
            kind: "Ready".into(),
            status,
            reason: "Applied".into(),
            message: String::new(),
            since: OffsetDateTime::from_unix_timestamp(seconds).unwrap(),
        };
        for (seconds, status, expected) in [(1, true, 1), (2, true, 1), (3, false, 3)] {
            set_conditions(&db, &name, vec![at(seconds, status)]).unwrap();
            let record = stack(&db, &name).unwrap().unwrap();
            assert_eq!(record.conditions[0].since.unix_timestamp(), expected);
        }
    }
}

//! What is remembered of stacks: where they come from, and their conditions. Rows only; knows nothing of plans being right or wrong.

use std::path::{Path, PathBuf};

use rusqlite::params;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::report::Condition;
use crate::engine::state::{Db, StateError};
use crate::model::Name;

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
    /// The generation that the conditions speak of.
    pub observed: u64,
    pub conditions: Vec<Condition>,
}

pub fn stacks(db: &Db) -> Result<Vec<StackRecord>, RecordError> {
    let rows = db.read(|t| {
        let mut query = t.prepare_cached("SELECT name, source, generation, conditions, observed FROM stacks ORDER BY name")?;
        let rows = query.query_map([], |r| {
            let numbers = (r.get::<_, i64>(2)?, r.get::<_, i64>(4)?);
            Ok((r.get::<_, String>(0)?, r.get::<_, Option<String>>(1)?, numbers, r.get::<_, String>(3)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    // Names were validated when they were written; a row that says otherwise was not written by setpoint.
    rows.into_iter()
        .filter_map(|(name, source, numbers, conditions)| Some((name.parse::<Name>().ok()?, source, numbers, conditions)))
        .map(|(name, source, (generation, observed), conditions)| {
            let conditions =
                serde_json::from_str(&conditions).map_err(|source| RecordError::Decode { stack: name.clone(), source })?;
            let (generation, observed) = (generation.unsigned_abs(), observed.unsigned_abs());
            Ok(StackRecord { name, source: source.map(PathBuf::from), generation, observed, conditions })
        })
        .collect()
}

pub fn stack(db: &Db, name: &Name) -> Result<Option<StackRecord>, RecordError> {
    Ok(stacks(db)?.into_iter().find(|record| record.name == *name))
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

/// Forgets a stack and its generations. What was done to it is told until it is old.
pub fn forget(db: &Db, stack: &Name) -> Result<(), RecordError> {
    db.write(|t| t.execute("DELETE FROM stacks WHERE name = ?1", [stack.as_str()]))?;
    Ok(())
}

pub(super) fn now_text() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}

/// A time that was written by [`now_text`].
pub(super) fn moment_of(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let name: Name = "shop".parse().unwrap();
        set_source(&db, &name, Path::new("/etc/shop")).unwrap();
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

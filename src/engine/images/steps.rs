//! The rows of steps of builds: which layer a step came to. Knows nothing of what a step is.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::drafts::StepUsage;
use super::rows::parsed;
use crate::model::Digest;

/// The layer that a step came to, and when it was made, in seconds since 1970.
pub(super) fn find(t: &Transaction<'_>, key: &Digest) -> rusqlite::Result<Option<(Digest, i64)>> {
    let mut query = t.prepare_cached("SELECT diff_id, created FROM build_steps WHERE key = ?1")?;
    query.query_row([key.to_string()], |row| Ok((parsed(row, 0)?, row.get(1)?))).optional()
}

/// Records what a step came to; what it came to before is forgotten. `created` is when its layer was made, which may be long ago
/// where that came from a cache elsewhere, and `now` when it was needed.
pub(super) fn insert(
    t: &Transaction<'_>,
    key: &Digest,
    diff_id: &Digest,
    about: &str,
    created: i64,
    now: i64,
) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT INTO build_steps (key, diff_id, about, created, used, uses) VALUES (?1, ?2, ?3, ?4, ?5, 0)
         ON CONFLICT (key) DO UPDATE SET diff_id = excluded.diff_id, created = excluded.created, used = excluded.used",
    )?
    .execute(params![key.to_string(), diff_id.to_string(), about, created, now])?;
    Ok(())
}

/// A step was needed again.
pub(super) fn touch(t: &Transaction<'_>, key: &Digest, now: i64) -> rusqlite::Result<()> {
    let mut query = t.prepare_cached("UPDATE build_steps SET used = ?2, uses = uses + 1 WHERE key = ?1")?;
    query.execute(params![key.to_string(), now])?;
    Ok(())
}

/// All steps, that which was needed last at the end.
pub(super) fn all(t: &Transaction<'_>) -> rusqlite::Result<Vec<StepUsage>> {
    let mut query = t.prepare_cached(
        "SELECT key, build_steps.diff_id, about, created, used, uses, size,
                EXISTS (SELECT 1 FROM image_layers WHERE image_layers.diff_id = build_steps.diff_id)
         FROM build_steps JOIN layers ON layers.diff_id = build_steps.diff_id ORDER BY used, created, key",
    )?;
    let read = |row: &Row<'_>| {
        Ok(StepUsage {
            key: parsed(row, 0)?,
            diff_id: parsed(row, 1)?,
            about: row.get(2)?,
            created: row.get(3)?,
            used: row.get(4)?,
            uses: row.get::<_, i64>(5)?.cast_unsigned(),
            size: row.get::<_, i64>(6)?.cast_unsigned(),
            shared: row.get(7)?,
        })
    };
    query.query_map([], read)?.collect()
}

pub(super) fn remove(t: &Transaction<'_>, key: &Digest) -> rusqlite::Result<()> {
    t.prepare_cached("DELETE FROM build_steps WHERE key = ?1")?.execute([key.to_string()])?;
    Ok(())
}

//! The journal of steps: what was begun, what came of it, why, and for which generation. Rows only, of all stacks; the oldest go.

use rusqlite::params;
use time::OffsetDateTime;

use super::record::{RecordError, moment_of, now_text};
use super::report::StepEvent;
use crate::engine::state::Db;
use crate::model::Name;
use crate::plan::Step;

/// How many steps of all stacks are remembered.
const STEPS: u64 = 5000;

/// Which steps.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub stack: Option<Name>,
    /// `kind/name`.
    pub resource: Option<String>,
    /// Those that began then or later.
    pub since: Option<OffsetDateTime>,
    /// Those that began then or before.
    pub until: Option<OffsetDateTime>,
    /// Those that were written after this one.
    pub after: Option<i64>,
}

/// Writes down that a step begins; the number is for [`ended`].
pub fn begins(db: &Db, stack: &Name, generation: Option<u64>, step: &Step) -> Result<i64, RecordError> {
    let cause = serde_json::to_string(&step.causes).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    let (action, resource, generation) = (step.action.verb(), step.resource.to_string(), generation.map(u64::cast_signed));
    Ok(db.write(|t| {
        t.prepare_cached(
            "INSERT INTO journal (stack, generation, action, resource, cause, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![stack.as_str(), generation, action, resource, cause, now_text()])?;
        Ok(t.last_insert_rowid())
    })?)
}

pub fn ended(db: &Db, id: i64, error: Option<&str>) -> Result<(), RecordError> {
    db.write(|t| {
        t.prepare_cached("UPDATE journal SET finished = ?2, error = ?3 WHERE id = ?1")?.execute(params![id, now_text(), error])
    })?;
    Ok(())
}

/// Forgets the oldest steps.
pub fn trim(db: &Db) -> Result<(), RecordError> {
    db.write(|t| {
        t.prepare_cached("DELETE FROM journal WHERE id <= (SELECT max(id) FROM journal) - ?1")?.execute([STEPS.cast_signed()])
    })?;
    Ok(())
}

/// The number of the last step that was written; 0 when there is none.
pub fn last(db: &Db) -> Result<i64, RecordError> {
    Ok(db.read(|t| t.prepare_cached("SELECT coalesce(max(id), 0) FROM journal")?.query_row([], |row| row.get(0)))?)
}

/// Steps in the order in which they began.
pub fn read(db: &Db, filter: &Filter) -> Result<Vec<StepEvent>, RecordError> {
    let rows = db.read(|t| {
        let mut query = t.prepare_cached(
            "SELECT id, stack, generation, action, resource, cause, started, finished, error FROM journal
             WHERE id > ?1 AND (?2 IS NULL OR stack = ?2) AND (?3 IS NULL OR resource = ?3) ORDER BY id",
        )?;
        let stack = filter.stack.as_ref().map(Name::as_str);
        let rows = query.query_map(params![filter.after.unwrap_or(0), stack, filter.resource], |row| {
            let texts = [row.get::<_, String>(1)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
            let further = [row.get::<_, Option<String>>(7)?, row.get(8)?];
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(2)?, texts, further))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    let mut all = Vec::with_capacity(rows.len());
    for (id, generation, [stack, action, resource, cause, started], [finished, error]) in rows {
        // Names were validated when they were written; a row that says otherwise was not written by setpoint.
        let Ok(stack) = stack.parse::<Name>() else { continue };
        let started = moment_of(&started);
        if filter.since.is_some_and(|since| started < since) || filter.until.is_some_and(|until| started > until) {
            continue;
        }
        let causes = serde_json::from_str(&cause).map_err(|source| RecordError::Decode { stack: stack.clone(), source })?;
        let finished = finished.as_deref().map(moment_of);
        let generation = generation.map(i64::unsigned_abs);
        all.push(StepEvent { id, stack, generation, action, resource, causes, started, finished, error });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Cause, Kind, Resource};

    #[test]
    fn steps_are_read_as_they_were_written_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let (shop, other): (Name, Name) = ("shop".parse().unwrap(), "other".parse().unwrap());
        let step = |name: &str| Step {
            action: Action::Create,
            resource: Resource { kind: Kind::Container, name: name.parse().unwrap() },
            target: name.to_owned(),
            container: None,
            causes: vec![Cause::Changed { field: "spec.image".into(), old: Some("a".into()), new: None }],
            needs: Default::default(),
            spared_if: None,
            after: Default::default(),
            aside: None,
            stake: None,
        };
        assert_eq!(last(&db).unwrap(), 0);
        let first = begins(&db, &shop, Some(3), &step("web")).unwrap();
        ended(&db, first, Some("no")).unwrap();
        let second = begins(&db, &other, None, &step("db")).unwrap();
        let all = read(&db, &Filter::default()).unwrap();
        assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [first, second]);
        assert_eq!((all[0].generation, all[0].error.as_deref(), &all[0].causes), (Some(3), Some("no"), &step("web").causes));
        assert!(all[0].finished.is_some() && all[1].finished.is_none());
        let only = |filter: Filter| read(&db, &filter).unwrap().iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(only(Filter { stack: Some(other), ..Filter::default() }), [second]);
        assert_eq!(only(Filter { resource: Some("container/web".into()), ..Filter::default() }), [first]);
        assert_eq!(only(Filter { after: Some(first), ..Filter::default() }), [second]);
        let later = OffsetDateTime::now_utc() + time::Duration::hours(1);
        assert!(only(Filter { since: Some(later), ..Filter::default() }).is_empty());
        assert_eq!(only(Filter { until: Some(later), ..Filter::default() }), [first, second]);
        for _ in 0..STEPS - 1 {
            db.write(|t| {
                t.execute("INSERT INTO journal (stack, action, resource, cause, started) VALUES ('shop', 'a', 'r', '[]', '')", [])
            })
            .unwrap();
        }
        trim(&db).unwrap();
        assert_eq!(only(Filter { resource: Some("container/web".into()), ..Filter::default() }), [] as [i64; 0]);
        assert_eq!(read(&db, &Filter::default()).unwrap().len() as u64, STEPS);
    }
}

//! What is remembered of a stack's images beside what the store has: what registries answered and when, what images were
//! made of, and what was pushed. Rows only.

use std::collections::BTreeMap;

use rusqlite::params;
use time::OffsetDateTime;

use super::record::RecordError;
use crate::engine::state::Db;
use crate::model::{Digest, ImageRef, Name};
use crate::observed::{Course, Known, Made, Origin, Resolved};

/// The last time that a registry was asked what a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Digest over all that was asked.
    pub question: Digest,
    /// The last answer to this question, and when it came.
    pub answer: Option<(Resolved, OffsetDateTime)>,
    pub tried: OffsetDateTime,
}

pub fn lookups(db: &Db, stack: &Name) -> Result<BTreeMap<ImageRef, Lookup>, RecordError> {
    let rows = db.read(|t| {
        let mut query =
            t.prepare_cached("SELECT reference, question, resolved, asked, tried FROM image_lookups WHERE stack = ?1")?;
        let rows = query.query_map([stack.as_str()], |r| {
            let (reference, question) = (r.get::<_, String>(0)?, r.get::<_, String>(1)?);
            Ok((reference, question, r.get::<_, Option<String>>(2)?, r.get::<_, Option<i64>>(3)?, r.get::<_, i64>(4)?))
        })?;
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    let mut all = BTreeMap::new();
    for (reference, question, resolved, asked, tried) in rows {
        // What cannot be read was not written by setpoint: then the registry is asked again.
        let (Ok(reference), Ok(question)) = (reference.parse(), question.parse()) else { continue };
        let resolved: Option<Resolved> = resolved
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|source| RecordError::Decode { stack: stack.clone(), source })?;
        all.insert(reference, Lookup { question, answer: resolved.zip(asked.map(moment)), tried: moment(tried) });
    }
    Ok(all)
}

fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Records what was asked. The stack must have been recorded.
pub fn record_lookups(db: &Db, stack: &Name, lookups: &BTreeMap<ImageRef, Lookup>) -> Result<(), RecordError> {
    if lookups.is_empty() {
        return Ok(());
    }
    let encoded = lookups.iter().map(|(reference, lookup)| {
        let resolved = lookup.answer.as_ref().map(|(resolved, _)| serde_json::to_string(resolved)).transpose();
        resolved.map(|resolved| (reference, lookup, resolved))
    });
    let rows = encoded.collect::<Result<Vec<_>, _>>().map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    db.write(|t| {
        for (reference, lookup, resolved) in rows {
            t.prepare_cached(
                "INSERT OR REPLACE INTO image_lookups (stack, reference, question, resolved, asked, tried)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                stack.as_str(),
                reference.to_string(),
                lookup.question.to_string(),
                resolved,
                lookup.answer.as_ref().map(|(_, asked)| asked.unix_timestamp()),
                lookup.tried.unix_timestamp(),
            ])?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Where images came from and where they went, for the planner; answers of registries are left to whoever asks.
pub fn known(db: &Db, stack: &Name) -> Result<Known, RecordError> {
    let (origins, pushed) = db.read(|t| {
        let mut query = t.prepare_cached("SELECT reference, origin, digest, made FROM image_origins WHERE stack = ?1")?;
        let origins = query.query_map([stack.as_str()], |r| {
            Ok(([r.get::<_, String>(0)?, r.get(1)?, r.get(2)?], r.get::<_, Option<String>>(3)?))
        })?;
        let origins = origins.collect::<Result<Vec<_>, _>>()?;
        let mut query = t.prepare_cached("SELECT target, digest FROM image_pushes WHERE stack = ?1")?;
        let pushed = query.query_map([stack.as_str()], |r| Ok([r.get::<_, String>(0)?, r.get(1)?]))?;
        Ok((origins, pushed.collect::<Result<Vec<_>, _>>()?))
    })?;
    let origin = |[reference, origin, digest]: [String; 3]| {
        Some((reference.parse().ok()?, Origin { origin: origin.parse().ok()?, digest: digest.parse().ok()? }))
    };
    // What an older setpoint has written may be of another form, and is only for telling.
    let made = |([reference, ..], made): &([String; 3], Option<String>)| {
        Some((reference.parse().ok()?, serde_json::from_str(made.as_deref()?).ok()?))
    };
    let push = |[target, digest]: [String; 2]| Some((target.parse().ok()?, digest.parse().ok()?));
    Ok(Known {
        answers: BTreeMap::new(),
        course: Course::default(),
        made: origins.iter().filter_map(made).collect(),
        origins: origins.into_iter().filter_map(|(row, _)| origin(row)).collect(),
        pushed: pushed.into_iter().filter_map(push).collect(),
    })
}

/// Records what an image was made of.
pub fn record_origin(db: &Db, stack: &Name, reference: &ImageRef, origin: Origin) -> Result<(), RecordError> {
    record(db, stack, reference, origin, None)
}

/// Records what an image was built of.
pub fn record_build(db: &Db, stack: &Name, reference: &ImageRef, origin: Origin, made: &Made) -> Result<(), RecordError> {
    let made = serde_json::to_string(made).map_err(|source| RecordError::Encode { stack: stack.clone(), source })?;
    record(db, stack, reference, origin, Some(made))
}

fn record(db: &Db, stack: &Name, reference: &ImageRef, origin: Origin, made: Option<String>) -> Result<(), RecordError> {
    let Origin { origin, digest } = origin;
    let row = params![stack.as_str(), reference.to_string(), origin.to_string(), digest.to_string(), made];
    db.write(|t| {
        t.prepare_cached(
            "INSERT OR REPLACE INTO image_origins (stack, reference, origin, digest, made) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(row)
    })?;
    Ok(())
}

/// Records what was pushed.
pub fn record_push(db: &Db, stack: &Name, target: &ImageRef, digest: Digest) -> Result<(), RecordError> {
    db.write(|t| {
        t.prepare_cached("INSERT OR REPLACE INTO image_pushes (stack, target, digest) VALUES (?1, ?2, ?3)")?.execute(params![
            stack.as_str(),
            target.to_string(),
            digest.to_string()
        ])
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_known_until_the_stack_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let stack: Name = "shop".parse().unwrap();
        super::super::record::set_source(&db, &stack, std::path::Path::new("/x")).unwrap();
        let reference: ImageRef = "nginx:1".parse().unwrap();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let resolved = Resolved { pinned: reference.pinned(Some("1"), one), digest: two, bytes: 3 };
        let at = moment(1_000_000);
        for answer in [None, Some((resolved, at))] {
            let lookup = Lookup { question: one, answer, tried: at };
            let all = BTreeMap::from([(reference.clone(), lookup)]);
            record_lookups(&db, &stack, &all).unwrap();
            assert_eq!(lookups(&db, &stack).unwrap(), all);
        }
        record_origin(&db, &stack, &reference, Origin { origin: one, digest: two }).unwrap();
        record_push(&db, &stack, &reference, one).unwrap();
        let found = known(&db, &stack).unwrap();
        assert_eq!(found.origins[&reference], Origin { origin: one, digest: two });
        assert_eq!(found.pushed[&reference], one);
        super::super::record::forget(&db, &stack).unwrap();
        assert_eq!(known(&db, &stack).unwrap(), Known::default());
        assert!(lookups(&db, &stack).unwrap().is_empty());
    }
}

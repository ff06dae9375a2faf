//! Records as they were read last. Whoever keeps the host looks at all of them again and again, and understanding a row takes
//! many times as long as seeing that it is the same, and that takes long when compared to seeing that no row has changed at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;

use super::records::{RawRecord, SELECT};
use super::{ContainersError, Record};
use crate::engine::state::{Db, Stamp};

#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Rows by their ids, and what they were made into.
    rows: HashMap<String, (RawRecord, Arc<Record>)>,
    /// All, and when.
    all: Option<(Stamp, Vec<Arc<Record>>)>,
}

/// What a row is: the same as before, or to be understood.
enum Row {
    Known(Arc<Record>),
    New(RawRecord),
}

impl Remembered {
    /// All containers, in the order of their creation. One whose row is as it was is the very same value as the last time.
    pub(super) fn list(&self, db: &Db) -> Result<Vec<Arc<Record>>, ContainersError> {
        // What a thread that panicked has left is whole: it is only ever exchanged.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let look = |t: &Transaction<'_>| {
            let stamp = Stamp::of(t)?;
            if known.all.as_ref().is_some_and(|(before, _)| *before == stamp) {
                return Ok((stamp, None));
            }
            let mut query = t.prepare_cached(&format!("{SELECT} WHERE phase = 'ready' ORDER BY created, id"))?;
            let mut rows = query.query([])?;
            let mut found = Vec::with_capacity(known.rows.len());
            while let Some(row) = rows.next()? {
                let id = row.get_ref(0)?.as_str()?;
                found.push(match known.rows.get(id) {
                    Some((raw, record)) if raw.is(row)? => Row::Known(Arc::clone(record)),
                    _ => Row::New(RawRecord::read(row)?),
                });
            }
            Ok((stamp, Some(found)))
        };
        let (stamp, rows) = db.read(look)?;
        let Some(rows) = rows else {
            return Ok(known.all.as_ref().map(|(_, all)| all.clone()).unwrap_or_default());
        };
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            all.push(match row {
                Row::Known(record) => record,
                Row::New(raw) => {
                    let record = Arc::new(raw.parse()?);
                    known.rows.insert(raw.id.clone(), (raw, Arc::clone(&record)));
                    record
                }
            });
        }
        if known.rows.len() > all.len() {
            let there: std::collections::HashSet<&str> = all.iter().map(|record| record.id.as_str()).collect();
            known.rows.retain(|id, _| there.contains(id.as_str()));
        }
        known.all = Some((stamp, all.clone()));
        Ok(all)
    }
}

//! Records as they were read last. Whoever keeps the host looks at all of them again and again, and understanding a row takes
//! many times as long as seeing that it is the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;

use super::records::{RawRecord, SELECT};
use super::{ContainersError, Record};
use crate::engine::state::Db;

/// Rows by their ids, and what they were made into.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<String, (RawRecord, Arc<Record>)>>);

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
            let mut query = t.prepare_cached(&format!("{SELECT} WHERE phase = 'ready' ORDER BY created, id"))?;
            let mut rows = query.query([])?;
            let mut found = Vec::with_capacity(known.len());
            while let Some(row) = rows.next()? {
                let id = row.get_ref(0)?.as_str()?;
                found.push(match known.get(id) {
                    Some((raw, record)) if raw.is(row)? => Row::Known(Arc::clone(record)),
                    _ => Row::New(RawRecord::read(row)?),
                });
            }
            Ok(found)
        };
        let mut all = Vec::new();
        for row in db.read(look)? {
            all.push(match row {
                Row::Known(record) => record,
                Row::New(raw) => {
                    let record = Arc::new(raw.parse()?);
                    known.insert(raw.id.clone(), (raw, Arc::clone(&record)));
                    record
                }
            });
        }
        if known.len() > all.len() {
            let there: std::collections::HashSet<&str> = all.iter().map(|record| record.id.as_str()).collect();
            known.retain(|id, _| there.contains(id.as_str()));
        }
        Ok(all)
    }
}

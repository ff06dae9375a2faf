//! Finding the container that a user means.

use rusqlite::Transaction;

use super::{Containers, ContainersError};
use crate::model::ContainerId;

impl Containers {
    /// The container whose name or id this is, or else whose id begins with it, or else whose stack's manifests call it so.
    pub fn find(&self, text: &str) -> Result<ContainerId, ContainersError> {
        let candidates = self.db.read(|t| {
            let exact = matches(t, "name = ?1 OR id = ?1", text)?;
            if !exact.is_empty() {
                return Ok(exact);
            }
            let hexadecimal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let prefix = if hexadecimal { matches(t, "substr(id, 1, length(?1)) = ?1", text)? } else { Vec::new() };
            if prefix.is_empty() { matches(t, "resource = ?1", text) } else { Ok(prefix) }
        })?;
        match candidates.as_slice() {
            [] => Err(ContainersError::NotFound { text: text.to_owned() }),
            [(id, _)] => id.parse().map_err(|e: crate::model::id::InvalidId| ContainersError::Record {
                id: id.clone(),
                field: "id",
                why: e.to_string(),
            }),
            several => Err(ContainersError::Ambiguous {
                text: text.to_owned(),
                candidates: several.iter().map(|(_, name)| name.clone()).collect(),
            }),
        }
    }
}

/// Id and name of the containers that fulfil a condition.
fn matches(t: &Transaction<'_>, condition: &str, text: &str) -> rusqlite::Result<Vec<(String, String)>> {
    t.prepare_cached(&format!("SELECT id, name FROM containers WHERE phase = 'ready' AND ({condition}) ORDER BY name"))?
        .query_map([text], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

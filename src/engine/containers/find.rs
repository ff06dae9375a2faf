//! Finding the container that a user means.

use rusqlite::{OptionalExtension, Transaction};

use super::{Containers, ContainersError};
use crate::model::{ContainerId, Owner};

/// Of two of which one takes the place of the other, the one that has it now: [`crate::model::Name::is_aside`].
const IN_PLACE: &str = "name NOT LIKE '%.swap'";

impl Containers {
    /// The container whose name or id this is, or else whose id begins with it, or else whose stack's manifests call it so,
    /// with or without the stack before it: `STACK/NAME`.
    pub fn find(&self, text: &str) -> Result<ContainerId, ContainersError> {
        // `STACK/NAME` says whose it is.
        if let Some(owner) = text
            .split_once('/')
            .and_then(|(stack, name)| Some(Owner { stack: stack.parse().ok()?, resource: name.parse().ok()? }))
        {
            return self.find_owned(&owner)?.ok_or_else(|| ContainersError::NotFound { text: text.to_owned() });
        }
        let candidates = self.db.read(|t| {
            let exact = matches(t, "name = ?1 OR id = ?1", text)?;
            if !exact.is_empty() {
                return Ok(exact);
            }
            let hexadecimal = !text.is_empty() && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let prefix = if hexadecimal { matches(t, "substr(id, 1, length(?1)) = ?1", text)? } else { Vec::new() };
            if prefix.is_empty() { matches(t, &format!("resource = ?1 AND {IN_PLACE}"), text) } else { Ok(prefix) }
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

    /// The container that is a stack's resource now; `None` while there is none.
    pub fn find_owned(&self, owner: &Owner) -> Result<Option<ContainerId>, ContainersError> {
        let condition = format!(
            "SELECT id FROM containers WHERE phase = 'ready' AND stack = ?1 AND resource = ?2 ORDER BY {IN_PLACE} DESC, created DESC"
        );
        let id = self.db.read(|t| {
            let keys = [owner.stack.as_str(), owner.resource.as_str()];
            t.prepare_cached(&condition)?.query_row(keys, |row| row.get::<_, String>(0)).optional()
        })?;
        id.map(|id| {
            let invalid = |e: crate::model::id::InvalidId| e.to_string();
            id.parse().map_err(|e| ContainersError::Record { id: id.clone(), field: "id", why: invalid(e) })
        })
        .transpose()
    }
}

/// Id and name of the containers that fulfil a condition.
fn matches(t: &Transaction<'_>, condition: &str, text: &str) -> rusqlite::Result<Vec<(String, String)>> {
    t.prepare_cached(&format!("SELECT id, name FROM containers WHERE phase = 'ready' AND ({condition}) ORDER BY name"))?
        .query_map([text], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

//! The rows of containers, and what they are made into.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Containers, ContainersError, NewContainer};
use crate::engine::monitor::Status;
use crate::files;
use crate::model::spec::{ContainerSpec, ResourceLimits};
use crate::model::{ContainerId, Digest, Name, Owner, RestartPolicy};
use crate::sys;

/// A container as it was created.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: ContainerId,
    pub name: Name,
    pub owner: Option<Owner>,
    pub spec: Arc<ContainerSpec>,
    pub image_digest: Digest,
    pub created: OffsetDateTime,
    pub auto_remove: bool,
}

/// How far a row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Creating,
    Ready,
    Removing,
}

impl Phase {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Removing => "removing",
        }
    }
}

/// The images that containers are made of, those too that are half-made.
pub fn images_in_use(t: &Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>> {
    let mut query = t.prepare_cached("SELECT DISTINCT image_digest FROM containers")?;
    let digests = query.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    // What is no digest is no image either.
    Ok(digests.iter().filter_map(|digest| digest.parse().ok()).collect())
}

/// What gives `new` its name and its specification, and `old` the name that it is to have, when it is run in a transaction.
pub fn exchange_names(
    new: &Record,
    old: Option<&Record>,
) -> Result<impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + use<>, ContainersError> {
    let spec = serde_json::to_string(&new.spec).map_err(|e| invalid(new.id.as_str(), "spec", &e))?;
    let named = |record: &Record| [record.id.to_string(), record.name.to_string()];
    let (new, old) = (named(new), old.map(named));
    Ok(move |t: &Transaction<'_>| {
        // No name is that of two, not even for a moment.
        if let Some([id, _]) = &old {
            t.execute("UPDATE containers SET name = ?1 WHERE id = ?1", [id])?;
        }
        t.execute("UPDATE containers SET name = ?2, spec = ?3 WHERE id = ?1", params![new[0], new[1], spec])?;
        if let Some(old) = &old {
            t.execute("UPDATE containers SET name = ?2 WHERE id = ?1", params![old[0], old[1]])?;
        }
        Ok(())
    })
}

impl Containers {
    /// Makes a container's record and its folders. It is not started.
    pub async fn create(&self, new: NewContainer) -> Result<ContainerId, ContainersError> {
        let id = ContainerId::from_random(sys::random_bytes().map_err(ContainersError::Random)?);
        let held = self.hold(&id).await?;
        let spec = serde_json::to_string(&new.spec).map_err(|e| invalid(id.as_str(), "spec", &e))?;
        let created = OffsetDateTime::now_utc().format(&Rfc3339).map_err(|e| invalid(id.as_str(), "created", &e))?;
        let (stack, resource) = new.owner.as_ref().map(|o| (o.stack.as_str(), o.resource.as_str())).unzip();
        let row = |t: &Transaction<'_>| {
            let by: Option<(String, String)> = t
                .query_row("SELECT id, phase FROM containers WHERE name = ?1", [new.name.as_str()], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            if by.is_none() {
                t.prepare_cached(
                    "INSERT INTO containers (id, name, stack, resource, spec, image_digest, created, auto_remove, phase)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    id.as_str(),
                    new.name.as_str(),
                    stack,
                    resource,
                    spec,
                    new.image_digest.to_string(),
                    created,
                    new.auto_remove,
                    Phase::Creating.as_str(),
                ])?;
            }
            Ok(by)
        };
        let failed = loop {
            match self.db.write(row) {
                Ok(None) => match self
                    .make_folders(&id)
                    .and_then(|()| Ok(files::failpoint("folders made")?))
                    .and_then(|()| self.set_phase(&id, Phase::Ready))
                {
                    Ok(()) => return Ok(id),
                    Err(e) => break e,
                },
                Ok(Some((by, phase))) => match parse(&by, "id", &by) {
                    Ok(by) if phase == Phase::Ready.as_str() => break ContainersError::NameTaken { name: new.name, by },
                    Ok(half_made) => match self.finish(&half_made).await {
                        Ok(()) => {}
                        Err(e) => break e,
                    },
                    Err(e) => break e,
                },
                Err(e) => break e.into(),
            }
        };
        // The first failure is what matters; what stays behind is swept by the next recovery.
        drop(self.erase(held).await);
        Err(failed)
    }

    /// Waits for whoever creates or removes a container; when nobody does any more, it was left half-made, and goes.
    async fn finish(&self, id: &ContainerId) -> Result<(), ContainersError> {
        let held = self.hold(id).await?;
        match self.phase(id)? {
            Some(phase) if phase != Phase::Ready.as_str() => self.erase(held).await,
            _ => Ok(()),
        }
    }

    /// All containers, in the order of their creation. One whose record has not changed is the very same value as the last time.
    pub fn list(&self) -> Result<Vec<Arc<Record>>, ContainersError> {
        let all = self.remembered.list(&self.db)?;
        self.statuses.tidy(all.len());
        Ok(all)
    }

    /// The same, each with its status.
    pub fn with_statuses(&self) -> Result<Vec<(Arc<Record>, Status)>, ContainersError> {
        self.list()?.into_iter().map(|record| Ok((Arc::clone(&record), self.status(&record.id)?))).collect()
    }

    pub fn get(&self, id: &ContainerId) -> Result<Record, ContainersError> {
        let row = self.db.read(|t| {
            t.prepare_cached(&format!("{SELECT} WHERE id = ?1 AND phase = 'ready'"))?
                .query_row([id.as_str()], RawRecord::read)
                .optional()
        })?;
        row.ok_or_else(|| ContainersError::NotFound { text: id.to_string() })?.parse()
    }

    /// What messages call a container: its name, or its short id when it has no record.
    pub(super) fn called(&self, id: &ContainerId) -> String {
        let name = self.db.read(|t| {
            t.query_row("SELECT name FROM containers WHERE id = ?1", [id.as_str()], |row| row.get::<_, String>(0)).optional()
        });
        name.ok().flatten().unwrap_or_else(|| id.short().to_owned())
    }

    /// Changes what a record says of restarts and limits.
    pub(super) fn change_spec(
        &self,
        id: &ContainerId,
        restart: Option<RestartPolicy>,
        limits: Option<ResourceLimits>,
    ) -> Result<(), ContainersError> {
        let mut spec = Arc::unwrap_or_clone(self.get(id)?.spec);
        spec.restart = restart.unwrap_or(spec.restart);
        if let Some(limits) = limits {
            spec.limits = limits;
        }
        self.write_spec(id, &spec)
    }

    pub(super) fn write_spec(&self, id: &ContainerId, spec: &ContainerSpec) -> Result<(), ContainersError> {
        let text = serde_json::to_string(spec).map_err(|e| invalid(id.as_str(), "spec", &e))?;
        self.db.write(|t| t.execute("UPDATE containers SET spec = ?2 WHERE id = ?1", params![id.as_str(), text]))?;
        Ok(())
    }

    /// Gives a container that the caller holds another name.
    pub fn rename(&self, held: &super::Held, name: &Name) -> Result<(), ContainersError> {
        let id = held.id();
        let taken = self.db.write(|t| {
            let by: Option<String> = t
                .query_row("SELECT id FROM containers WHERE name = ?1 AND id != ?2", [name.as_str(), id.as_str()], |row| {
                    row.get(0)
                })
                .optional()?;
            if by.is_none() {
                t.execute("UPDATE containers SET name = ?2 WHERE id = ?1", [id.as_str(), name.as_str()])?;
            }
            Ok(by)
        })?;
        match taken {
            Some(by) => Err(ContainersError::NameTaken { name: name.clone(), by: parse(&by, "id", &by)? }),
            None => Ok(()),
        }
    }

    /// Gives a container to a stack, with the specification that it has there.
    pub fn adopt(&self, held: &super::Held, owner: &Owner, spec: &ContainerSpec) -> Result<(), ContainersError> {
        let id = held.id();
        let spec = serde_json::to_string(spec).map_err(|e| invalid(id.as_str(), "spec", &e))?;
        let (stack, resource) = (owner.stack.as_str(), owner.resource.as_str());
        let taken = self.db.write(|t| {
            let by: Option<String> = t
                .query_row(
                    "SELECT id FROM containers WHERE stack = ?1 AND resource = ?2 AND id != ?3",
                    [stack, resource, id.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            if by.is_none() {
                t.execute(
                    "UPDATE containers SET stack = ?2, resource = ?3, spec = ?4 WHERE id = ?1",
                    params![id.as_str(), stack, resource, spec],
                )?;
            }
            Ok(by)
        })?;
        match taken {
            Some(by) => Err(ContainersError::NameTaken { name: owner.resource.clone(), by: parse(&by, "id", &by)? }),
            None => Ok(()),
        }
    }

    /// The writable layer, its work folder and the logs. Whatever is there already is left as it is.
    pub(super) fn make_folders(&self, id: &ContainerId) -> Result<(), ContainersError> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.instance.container_dir(id);
        for name in ["work", crate::engine::monitor::LOGS] {
            files::create_dirs(&folder.join(name), 0o700)?;
        }
        let upper = folder.join("upper");
        if !upper.exists() {
            files::create_dirs(&upper, 0o755)?;
            // It becomes the container's `/`, which must not depend on the umask of whoever created it.
            std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))
                .map_err(|e| files::FileError::new("set the mode of", &upper, e))?;
        }
        Ok(())
    }

    pub(super) fn set_phase(&self, id: &ContainerId, phase: Phase) -> Result<(), ContainersError> {
        self.db.write(|t| t.execute("UPDATE containers SET phase = ?2 WHERE id = ?1", [id.as_str(), phase.as_str()]))?;
        Ok(())
    }

    pub(super) fn delete_row(&self, id: &ContainerId) -> Result<(), ContainersError> {
        self.db.write(|t| t.execute("DELETE FROM containers WHERE id = ?1", [id.as_str()]))?;
        Ok(())
    }

    /// Every row's id and phase, half-made ones too.
    pub(super) fn phases(&self) -> Result<Arc<BTreeMap<ContainerId, Phase>>, ContainersError> {
        let unread = |column, error: ContainersError| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        };
        let read = |t: &Transaction<'_>| {
            let mut query = t.prepare_cached("SELECT id, phase FROM containers")?;
            let rows = query.query_map([], |row| {
                let (id, text): (String, String) = (row.get(0)?, row.get(1)?);
                let phase = [Phase::Creating, Phase::Ready, Phase::Removing].into_iter().find(|phase| phase.as_str() == text);
                let phase = phase.ok_or_else(|| unread(1, invalid(&id, "phase", &text)))?;
                Ok((parse(&id, "id", &id).map_err(|error| unread(0, error))?, phase))
            })?;
            rows.collect()
        };
        Ok(self.phases.get(&self.db, read)?)
    }

    /// The phase of one row.
    pub(super) fn phase(&self, id: &ContainerId) -> Result<Option<String>, ContainersError> {
        let query = |t: &Transaction<'_>| {
            t.query_row("SELECT phase FROM containers WHERE id = ?1", [id.as_str()], |row| row.get(0)).optional()
        };
        Ok(self.db.read(query)?)
    }
}

pub(super) const SELECT: &str = "SELECT id, name, stack, resource, spec, image_digest, created, auto_remove FROM containers";

/// A row as the database has it.
#[derive(Debug)]
pub(super) struct RawRecord {
    pub(super) id: String,
    name: String,
    stack: Option<String>,
    resource: Option<String>,
    spec: String,
    image_digest: String,
    created: String,
    auto_remove: bool,
}

impl RawRecord {
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            stack: row.get(2)?,
            resource: row.get(3)?,
            spec: row.get(4)?,
            image_digest: row.get(5)?,
            created: row.get(6)?,
            auto_remove: row.get(7)?,
        })
    }

    /// Whether this is what `row` says.
    pub(super) fn is(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str_or_null()?);
        Ok(text(0)? == Some(&self.id)
            && text(1)? == Some(&self.name)
            && text(2)? == self.stack.as_deref()
            && text(3)? == self.resource.as_deref()
            && text(4)? == Some(&self.spec)
            && text(5)? == Some(&self.image_digest)
            && text(6)? == Some(&self.created)
            && row.get::<_, bool>(7)? == self.auto_remove)
    }

    pub(super) fn parse(&self) -> Result<Record, ContainersError> {
        let id = &self.id;
        let owner = match (&self.stack, &self.resource) {
            (Some(stack), Some(resource)) => {
                Some(Owner { stack: parse(id, "stack", stack)?, resource: parse(id, "resource", resource)? })
            }
            _ => None,
        };
        Ok(Record {
            id: parse(id, "id", id)?,
            name: parse(id, "name", &self.name)?,
            owner,
            spec: serde_json::from_str(&self.spec).map_err(|e| invalid(id, "spec", &e))?,
            image_digest: parse(id, "image digest", &self.image_digest)?,
            created: OffsetDateTime::parse(&self.created, &Rfc3339).map_err(|e| invalid(id, "created", &e))?,
            auto_remove: self.auto_remove,
        })
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(id: &str, field: &'static str, text: &str) -> Result<T, ContainersError> {
    text.parse().map_err(|e: T::Err| invalid(id, field, &e))
}

pub(super) fn invalid(id: &str, field: &'static str, why: &dyn std::fmt::Display) -> ContainersError {
    ContainersError::Record { id: id.to_owned(), field, why: why.to_string() }
}

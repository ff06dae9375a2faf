//! Named volumes: folders of data that outlive containers. A volume is deleted only when somebody asks for exactly that;
//! data without a record is adopted, never wiped. Knows nothing of who uses a volume.
//!
//! Each has a folder `<state>/volumes/<name>` with `data`, which containers see, and the marker `populated` once the
//! first use has happened.

mod copy;
mod populate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, params};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::state::{Db, StateError};
use crate::files::{self, FileError, Lock};
use crate::model::spec::VolumeSpec;
use crate::model::{Instance, Name, Owner};
use crate::observed;

pub use self::copy::CopyError;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("volume {name} exists and belongs to {}", owner.as_deref().unwrap_or("no stack"))]
    NotYours { name: Name, owner: Option<String> },
    #[error("volume {name} does not exist")]
    Unknown { name: Name },
    #[error("{step} to fill volume {name} from its image: {source}")]
    Image { step: &'static str, name: Name, source: std::io::Error },
    #[error("fill volume {name} from its image: {source}")]
    Copy { name: Name, source: CopyError },
    #[error("fill volume {name} from its image: the thread panicked")]
    Panicked { name: Name },
}

type Result<T, E = VolumeError> = std::result::Result<T, E>;

/// What a volume that is being deleted is called meanwhile. No volume's name begins with a dot.
const DOOMED: &str = ".removing-";

/// The volumes of an instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
    db: Arc<Db>,
}

impl Volumes {
    pub fn open(instance: &Instance, db: Arc<Db>) -> Result<Self> {
        let root = instance.state_dir().join("volumes");
        files::create_dirs(&root, 0o700)?;
        Ok(Self { root, db })
    }

    /// Makes a volume, or completes the one that is there: its folder when it is missing, and its labels when they
    /// differ. Data that is in the folder already stays.
    ///
    /// # Errors
    /// When it belongs to another stack, or to none and a stack asks for it.
    pub fn create(&self, name: &Name, owner: Option<&Owner>, spec: &VolumeSpec) -> Result<observed::Volume> {
        let _lock = self.lock()?;
        let there = self.find(name)?;
        if let Some(there) = &there
            && there.owner.as_ref() != owner
        {
            let owner = there.owner.as_ref().map(|o| format!("stack {}", o.stack));
            return Err(VolumeError::NotYours { name: name.clone(), owner });
        }
        files::create_dirs(&self.folder(name), 0o700)?;
        // Any user of a container may have to reach what is in it; the folders above keep everybody else out.
        files::create_dirs(&self.path(name), 0o755)?;
        match there {
            Some(there) if there.spec == *spec => Ok(observed::Volume { present: true, ..there }),
            Some(there) => {
                self.db
                    .write(|t| t.execute("UPDATE volumes SET spec = ?2 WHERE name = ?1", params![name.as_str(), json(spec)?]))?;
                Ok(observed::Volume { present: true, spec: spec.clone(), ..there })
            }
            None => {
                let created = OffsetDateTime::now_utc();
                self.db.write(|t| {
                    let stack = owner.map(|o| o.stack.as_str());
                    let resource = owner.map(|o| o.resource.as_str());
                    t.execute(
                        "INSERT INTO volumes (name, stack, resource, spec, created) VALUES (?1, ?2, ?3, ?4, ?5)",
                        params![name.as_str(), stack, resource, json(spec)?, text(created)?],
                    )
                })?;
                Ok(observed::Volume {
                    name: name.clone(),
                    owner: owner.cloned(),
                    spec: spec.clone(),
                    path: self.path(name),
                    present: true,
                    created,
                })
            }
        }
    }

    pub fn list(&self) -> Result<Vec<observed::Volume>> {
        let rows = self.db.read(|t| {
            t.prepare_cached("SELECT name, stack, resource, spec, created FROM volumes ORDER BY name")?
                .query_map([], |row| self.volume(row))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows)
    }

    pub fn get(&self, name: &Name) -> Result<Option<observed::Volume>> {
        self.find(name)
    }

    /// The folder that containers see, whether it is there or not.
    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder(name).join("data")
    }

    /// Deletes a volume with its data. One that is not there is deleted already. Whoever calls makes sure that no
    /// container uses it.
    pub fn remove(&self, name: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let doomed = self.root.join(format!("{DOOMED}{name}"));
        files::remove_all(&doomed)?;
        // Set aside in one step, so that a crash leaves the whole volume or none, and no old data under a new record.
        match std::fs::rename(self.folder(name), &doomed) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::new("rename", self.folder(name), e).into());
            }
            _ => {}
        }
        self.db.write(|t| t.execute("DELETE FROM volumes WHERE name = ?1", [name.as_str()]))?;
        Ok(files::remove_all(&doomed)?)
    }

    /// Finishes deletions that were interrupted, and removes copies that were.
    pub fn recover(&self) -> Result<()> {
        let _lock = self.lock()?;
        let fail = |e| FileError::new("list", &self.root, e);
        for entry in std::fs::read_dir(&self.root).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else { continue };
            if let Some(name) = file_name.strip_prefix(DOOMED) {
                // With a folder of that name there is a new volume of that name, which stays.
                if !self.root.join(name).exists() {
                    self.db.write(|t| t.execute("DELETE FROM volumes WHERE name = ?1", [name]))?;
                }
                files::remove_all(&entry.path())?;
            } else if file_name.parse::<Name>().is_ok() {
                populate::clean(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether the next use is the first, of a volume with nothing in it: it then gets what the image has at the
    /// volume's target.
    pub fn needs_populating(&self, name: &Name) -> Result<bool> {
        populate::is_needed(&self.folder(name))
    }

    /// Fills a volume that [needs it](Self::needs_populating) with what an image has at `target`, all metadata included.
    /// `layers` are the image's layer folders, the top one first. Blocks the thread.
    ///
    /// Guarantees: the volume's data is the whole copy or empty, also after a power cut; of several callers one copies,
    /// and the others wait for it.
    pub fn populate(&self, name: &Name, layers: &[PathBuf], target: &str) -> Result<()> {
        let folder = self.folder(name);
        if !folder.is_dir() {
            return Err(VolumeError::Unknown { name: name.clone() });
        }
        let _lock = Lock::wait(&folder.join("lock"))?;
        if populate::is_needed(&folder)? { populate::fill(name, &folder, layers, target) } else { Ok(()) }
    }

    fn folder(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn lock(&self) -> Result<Lock> {
        Ok(Lock::wait(&self.root.join(".lock"))?)
    }

    fn find(&self, name: &Name) -> Result<Option<observed::Volume>> {
        Ok(self.db.read(|t| {
            t.prepare_cached("SELECT name, stack, resource, spec, created FROM volumes WHERE name = ?1")?
                .query_row([name.as_str()], |row| self.volume(row))
                .optional()
        })?)
    }

    fn volume(&self, row: &Row<'_>) -> rusqlite::Result<observed::Volume> {
        fn parsed<T, E>(column: usize, result: std::result::Result<T, E>) -> rusqlite::Result<T>
        where
            E: std::error::Error + Send + Sync + 'static,
        {
            result.map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
        }
        let name: Name = parsed(0, row.get::<_, String>(0)?.parse())?;
        let owner = match (row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?) {
            (Some(stack), Some(resource)) => {
                Some(Owner { stack: parsed(1, stack.parse())?, resource: parsed(2, resource.parse())? })
            }
            _ => None,
        };
        let path = self.path(&name);
        Ok(observed::Volume {
            owner,
            spec: parsed(3, serde_json::from_str(&row.get::<_, String>(3)?))?,
            present: is_dir(&path),
            path,
            created: parsed(4, OffsetDateTime::parse(&row.get::<_, String>(4)?, &Rfc3339))?,
            name,
        })
    }
}

fn is_dir(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

fn json(spec: &VolumeSpec) -> rusqlite::Result<String> {
    serde_json::to_string(spec).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn text(time: OffsetDateTime) -> rusqlite::Result<String> {
    time.format(&Rfc3339).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

#[cfg(test)]
mod tests;

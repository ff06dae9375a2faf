//! The life of a container, from its record to its removal: records, the verbs on them, and what finishes or undoes what
//! was left half-made. Knows neither images nor networks: layers, mounts and a network namespace are handed in.
//!
//! Guarantees: a container that has a row in phase `ready` has its folders; what is removed is gone with every file, cgroup
//! and process; each verb may be repeated. Whoever creates, starts or removes holds the container's lock meanwhile.

mod alter;
mod closely;
mod configs;
mod error;
mod exec;
mod exec_role;
mod find;
mod freeze;
mod hold;
mod logs;
mod place;
mod recording;
mod records;
mod recover;
mod remembered;
mod remove;
mod start;
mod user_ranges;
mod verbs;
mod work_role;
mod workshop;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::monitor;
use crate::engine::state::{Db, Reading};
use crate::model::spec::ContainerSpec;
use crate::model::{ContainerId, Digest, Instance, Name, Owner};
use crate::sys;

pub use alter::Beside;
pub use closely::ToldOf;
pub use error::ContainersError;
pub use exec::{ExecSpec, is_passing};
pub use exec_role::{ROLE as EXEC_ROLE, main as exec_main, resize as resize_exec};
pub use freeze::Frozen;
pub use hold::Held;
pub use records::{Record, exchange_names, images_in_use};
pub use recover::Recovered;
pub use start::{Further, StartWith};
pub use work_role::{ROLE as WORK_ROLE, main as work_main};
pub use workshop::Workshop;

/// All containers of one instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Containers {
    instance: Instance,
    db: Arc<Db>,
    /// What plays the roles of monitor and exec.
    program: Program,
    remembered: Arc<remembered::Remembered>,
    statuses: Arc<monitor::Statuses>,
    phases: Arc<Reading<BTreeMap<ContainerId, records::Phase>>>,
}

#[derive(Clone, Debug)]
enum Program {
    /// This process's own, sealed. Not its path: an upgrade may have put another program there.
    Own,
    File(PathBuf),
}

impl Program {
    fn path(&self) -> io::Result<PathBuf> {
        match self {
            Self::Own => sys::own_program::path(),
            Self::File(path) => Ok(path.clone()),
        }
    }
}

/// What a container is created from.
#[derive(Clone, Debug)]
pub struct NewContainer {
    pub name: Name,
    pub owner: Option<Owner>,
    pub spec: ContainerSpec,
    /// The digest of the image's manifest.
    pub image_digest: Digest,
    /// It is removed when it has finally exited.
    pub auto_remove: bool,
}

impl Containers {
    pub fn new(instance: Instance, db: Arc<Db>) -> Self {
        Self { instance, db, program: Program::Own, remembered: Arc::default(), statuses: Arc::default(), phases: Arc::default() }
    }

    /// Spawns another file than that of this process for its roles: for processes that are not this program.
    #[must_use]
    pub fn with_program(self, program: PathBuf) -> Self {
        Self { program: Program::File(program), ..self }
    }
}

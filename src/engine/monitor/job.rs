//! All that a monitor is told: written by the one who starts it, read once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::joins::Join;
use super::logs::Recording;
use super::status;
use crate::engine::runtime::Launch;
use crate::files::{self, Lock};
use crate::model::spec::Healthcheck;
use crate::model::{ContainerId, Instance, RestartPolicy, Signal, Span};

#[derive(Debug, Serialize, Deserialize)]
pub struct Job {
    pub v: u32,
    pub id: ContainerId,
    /// What the monitor that these orders are for is told as an argument, too. One whose starter was killed may come to
    /// read them late: after they were withdrawn, or after others were written for another monitor.
    pub ticket: String,
    pub launch: Launch,
    /// Namespaces that are another container's, looked up at each start.
    pub joins: Vec<Join>,
    pub restart: RestartPolicy,
    /// `None` when its health is not checked.
    pub healthcheck: Option<Healthcheck>,
    pub stop_signal: Signal,
    pub stop_grace: Span,
    pub(crate) recording: Recording,
    /// It is removed when it has finally exited.
    pub auto_remove: bool,
    /// Its standard input stays open for whoever attaches.
    #[serde(default)]
    pub stdin_open: bool,
    /// It ends when somebody who is attached ends theirs.
    #[serde(default)]
    pub stdin_once: bool,
    /// Somebody comes at once to have all of its output: nothing is read before, or the first of it would be missed.
    pub awaits_attach: bool,
    /// The roots of the instance.
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    pub socket: PathBuf,
}

/// The version of the form of a job. A job is only ever read by the program that wrote it.
pub(crate) const VERSION: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("the monitor's orders in {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: serde_json::Error },
    #[error("write the monitor's orders: {0}")]
    Write(serde_json::Error),
    #[error("the monitor's orders in {} have form {found}, and this setpoint knows form {VERSION}", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("the orders in {} are for another monitor: the start that this one belongs to was given up", path.display())]
    Superseded { path: PathBuf },
}

impl Job {
    pub fn instance(&self) -> Instance {
        Instance::new(self.state_dir.clone(), self.run_dir.clone(), Some(self.socket.clone()))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), JobError> {
        let text = serde_json::to_vec(self).map_err(JobError::Write)?;
        // The environment of a container may hold secrets: nobody else reads this.
        Ok(files::publish(&folder.join(status::JOB), &text, 0o600)?)
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, JobError> {
        let path = folder.join(status::JOB);
        let text = files::read(&path)?;
        let job: Self = serde_json::from_slice(&text).map_err(|source| JobError::Read { path: path.clone(), source })?;
        if job.v == VERSION { Ok(job) } else { Err(JobError::Version { path, found: job.v }) }
    }

    /// Like [`Self::read`], for the monitor that holds `ticket`.
    pub(crate) fn read_own(folder: &Path, ticket: &str) -> Result<Self, JobError> {
        let job = Self::read(folder)?;
        if job.ticket == ticket { Ok(job) } else { Err(JobError::Superseded { path: folder.join(status::JOB) }) }
    }

    /// Takes the orders back from a monitor that has not come to read them. False when there is a monitor that has.
    pub(crate) fn withdraw(folder: &Path) -> Result<bool, JobError> {
        if !folder.is_dir() {
            return Ok(true);
        }
        // Its own lock: whoever reads orders holds it. Unseen, because the daemon is woken by the end of one who held it.
        let Some(_lock) = Lock::try_take_unseen(&folder.join(status::LOCK))? else { return Ok(false) };
        files::remove_all(&folder.join(status::JOB))?;
        Ok(true)
    }
}

//! What the keeper has in the run-time folder: a lock that says that it lives, and a record of where the namespaces are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::RootlessError;
use crate::files::{self, Lock};
use crate::sys;

/// The keeper's own folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(run_dir: &Path) -> Self {
        Self(run_dir.join("rootless"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Held by the keeper as long as it lives.
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Held by who starts one.
    pub(super) fn starting(&self) -> PathBuf {
        self.0.join("starting.lock")
    }

    pub(super) fn record(&self) -> PathBuf {
        self.0.join("keeper.json")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("slirp.sock")
    }

    pub(super) fn ports(&self) -> PathBuf {
        self.0.join("ports.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.0.join("keeper.log")
    }
}

/// A process, by its number and when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) started: u64,
}

impl Process {
    pub(super) fn identify(pid: i32) -> std::io::Result<Self> {
        Ok(Self { pid, started: sys::process_start_ticks(pid)? })
    }

    pub(super) fn lives(self) -> bool {
        sys::process_start_ticks(self.pid).is_ok_and(|started| started == self.started)
    }
}

/// The namespaces, by what `/proc/PID/ns` calls them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) user: String,
    pub(super) mnt: String,
    pub(super) net: String,
}

impl Names {
    pub(super) fn of(pid: i32) -> std::io::Result<Self> {
        let name = |kind: &str| {
            Ok::<_, std::io::Error>(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.to_string_lossy().into_owned())
        };
        Ok(Self { user: name("user")?, mnt: name("mnt")?, net: name("net")? })
    }
}

/// Who keeps the namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) keeper: Process,
    /// The process that is in the namespaces and does nothing there.
    pub(super) pin: Process,
    pub(super) names: Names,
}

impl Record {
    /// Whoever wrote it may be gone.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, RootlessError> {
        let path = folder.record();
        let Some(text) = files::read_if_there(&path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|source| RootlessError::Format { path, source })
    }

    /// That of a keeper that lives.
    pub(super) fn of_living(folder: &Folder) -> Result<Option<Self>, RootlessError> {
        if !Lock::is_held(&folder.lock())? {
            return Ok(None);
        }
        Ok(Self::read(folder)?.filter(|record| record.keeper.lives() && record.pin.lives()))
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), RootlessError> {
        let path = folder.record();
        let text = serde_json::to_vec(self).map_err(|source| RootlessError::Format { path: path.clone(), source })?;
        Ok(files::publish(&path, &text, 0o600)?)
    }
}

//! What is remembered of a container between two calls: a folder of its own below the root, with the record, the
//! specification as it was at the creation, and the socket at which its process waits to be started.
//!
//! # Guarantees
//! A record is whole or absent. The name is claimed by making the folder, which succeeds for one caller only.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::cgroups::Cgroup;
use super::error::OciError;
use super::waiting;
use crate::files::{self, FileError, Lock};
use crate::sys;

/// The specification's words for how a container stands, and `paused`, which all runtimes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// What is written at the creation and never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// The container's process, and when it was started: with both it is told from a later one with the same number.
    pub(super) pid: i32,
    pub(super) started_ticks: u64,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) cgroup: PathBuf,
    /// The scope that systemd has made it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    pub(super) created: String,
    pub(super) annotations: HashMap<String, String>,
    /// Whether the root file system was mounted where others see it, and has to be taken away at the end.
    pub(super) mounts_on_host: bool,
}

/// What `state` prints, and what hooks read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub oci_version: String,
    pub id: String,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    pub created: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

/// A container's folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    id: String,
}

const RECORD: &str = "state.json";
const SPEC: &str = "config.json";
const LOCK: &str = "lock";

impl Folder {
    pub(super) fn of(root: &Path, id: &str) -> Result<Self, OciError> {
        let plain = id.len() <= 1024
            && !matches!(id, "" | "." | "..")
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-' | b'.'));
        if plain { Ok(Self { path: root.join(id), id: id.to_owned() }) } else { Err(OciError::Id { id: id.to_owned() }) }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Claims the name. The lock says that the creation is under way.
    pub(super) fn claim(&self) -> Result<Lock, OciError> {
        use std::os::unix::fs::DirBuilderExt;
        let root = self.path.parent().unwrap_or(Path::new("/"));
        files::create_dirs(root, 0o711)?;
        let exists = || OciError::Exists { id: self.id.clone() };
        match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => self.lock(),
            // A folder without a record that nobody holds was left by a creation that was killed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let lock = Lock::try_take(&self.path.join(LOCK))?.ok_or_else(exists)?;
                if self.path.join(RECORD).exists() { Err(exists()) } else { Ok(lock) }
            }
            Err(e) => Err(FileError::new("create", &self.path, e).into()),
        }
    }

    /// Whoever changes the container holds it.
    fn lock(&self) -> Result<Lock, OciError> {
        Ok(Lock::wait(&self.path.join(LOCK))?)
    }

    /// An existing container's lock.
    pub(super) fn lock_existing(&self) -> Result<Lock, OciError> {
        if self.path.exists() { self.lock() } else { Err(OciError::NoContainer { id: self.id.clone() }) }
    }

    pub(super) fn write_spec(&self, text: &[u8]) -> Result<(), OciError> {
        self.publish(SPEC, text)
    }

    pub(super) fn spec(&self) -> Result<Spec, OciError> {
        let path = self.path.join(SPEC);
        let text = files::read(&path)?;
        serde_json::from_slice(&text).map_err(|source| OciError::Config { path, source })
    }

    pub(super) fn write(&self, record: &Record) -> Result<(), OciError> {
        let path = self.path.join(RECORD);
        let text = serde_json::to_vec(record).map_err(|source| OciError::Config { path, source })?;
        self.publish(RECORD, &text)
    }

    pub(super) fn read(&self) -> Result<Record, OciError> {
        let path = self.path.join(RECORD);
        match files::read_if_there(&path)? {
            Some(text) => serde_json::from_slice(&text).map_err(|source| OciError::Config { path, source }),
            None => Err(OciError::NoContainer { id: self.id.clone() }),
        }
    }

    /// Written whole, then published. What is in memory does not outlive a crash of the host anyway, and of a disk it is
    /// made sure that it does.
    fn publish(&self, name: &str, text: &[u8]) -> Result<(), OciError> {
        const TMPFS: rustix::fs::FsWord = 0x0102_1994;
        let path = self.path.join(name);
        let in_memory = rustix::fs::statfs(&self.path).map_err(|e| FileError::new("look at", &self.path, e))?.f_type == TMPFS;
        if in_memory {
            files::publish(&path, text, 0o600)?
        } else {
            files::publish_durably(&path, text, 0o600)?
        }
        Ok(())
    }

    /// The last thing of a container. The record goes first: without one there is no container, only a folder.
    pub(super) fn remove(&self) -> Result<(), OciError> {
        for step in [fs::remove_file(self.path.join(RECORD)), fs::remove_dir_all(&self.path)] {
            match step {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError::new("remove", &self.path, e).into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The process, if it is the recorded one and runs. One that is only not waited for yet has stopped.
pub(super) fn process(record: &Record) -> Option<std::os::fd::OwnedFd> {
    let pidfd = pidfd_open(rustix::process::Pid::from_raw(record.pid)?, PidfdFlags::empty()).ok()?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", record.pid)).ok()?;
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    let alive = !matches!(state, None | Some('Z' | 'X' | 'x'));
    (alive && sys::process_start_ticks(record.pid).ok()? == record.started_ticks).then_some(pidfd)
}

/// How the container stands now, asked of the kernel.
pub(super) fn status(folder: &Folder, record: &Record) -> Result<Status, OciError> {
    Ok(if process(record).is_none() {
        Status::Stopped
    } else if Cgroup::at(&record.cgroup)?.is_frozen()? {
        Status::Paused
    } else if waiting::is_waiting(folder.path())? {
        Status::Created
    } else {
        Status::Running
    })
}

impl State {
    pub(super) fn of(record: &Record, status: Status) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.clone(),
            status,
            pid: (status != Status::Stopped).then_some(record.pid),
            bundle: record.bundle.clone(),
            rootfs: record.rootfs.clone(),
            created: record.created.clone(),
            annotations: record.annotations.clone(),
        }
    }
}

//! Namespaces that a container shares with another one. The other's first process, and its namespaces with it, changes
//! whenever it starts again, so they are looked up each time.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::status;
use crate::model::{ContainerId, Instance};
use crate::observed::ContainerState;
use crate::sys;

/// One namespace of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub of: ContainerId,
    /// What messages call that one.
    pub name: String,
    pub space: Space,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    Pid,
    /// With its `/dev/shm`.
    Ipc,
}

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("container {name}, whose {what} this one shares, is not running: start it first")]
    NotRunning { name: String, what: &'static str },
    #[error("the {what} of container {name} cannot be joined: {source}")]
    Open { name: String, what: &'static str, source: std::io::Error },
    #[error(transparent)]
    Status(#[from] status::StatusError),
}

impl Space {
    const fn what(self) -> &'static str {
        match self {
            Self::Pid => "processes",
            Self::Ipc => "shared memory",
        }
    }
}

/// What is held until the container has started.
#[derive(Debug, Default)]
pub(super) struct Joined {
    held: Vec<File>,
    /// The mount namespace whose `/dev/shm` is to be had too.
    pub(super) shm_of: Option<PathBuf>,
}

/// Opens the namespaces, and puts their paths into the specification.
pub(super) fn resolve(joins: &[Join], instance: &Instance, spec: &mut Spec) -> Result<Joined, JoinError> {
    let mut joined = Joined::default();
    for join in joins {
        match join.space {
            Space::Pid => {
                let path = joined.open(join, instance, "pid")?;
                set_path(spec, LinuxNamespaceType::Pid, path);
            }
            Space::Ipc => {
                let path = joined.open(join, instance, "ipc")?;
                set_path(spec, LinuxNamespaceType::Ipc, path);
                joined.shm_of = Some(joined.open(join, instance, "mnt")?);
            }
        }
    }
    Ok(joined)
}

impl Joined {
    /// The path under which this process, and whoever it clones, finds the namespace.
    fn open(&mut self, join: &Join, instance: &Instance, kind: &str) -> Result<PathBuf, JoinError> {
        let what = join.space.what();
        let not_running = || JoinError::NotRunning { name: join.name.clone(), what };
        let status = status::read_status(instance, &join.of)?;
        let ContainerState::Running { pid, .. } = status.state else { return Err(not_running()) };
        let file = File::open(format!("/proc/{pid}/ns/{kind}")).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => not_running(),
            _ => JoinError::Open { name: join.name.clone(), what, source },
        })?;
        // Only now does the number surely mean the process whose namespace has been opened.
        match sys::process_start_ticks(pid) {
            Ok(ticks) if ticks == status.started_ticks => {}
            _ => return Err(not_running()),
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        self.held.push(file);
        Ok(path)
    }
}

fn set_path(spec: &mut Spec, kind: LinuxNamespaceType, path: PathBuf) {
    let Some(mut linux) = spec.linux().clone() else { return };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in namespaces.iter_mut().filter(|namespace| namespace.typ() == kind) {
        namespace.set_path(Some(path.clone()));
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
}

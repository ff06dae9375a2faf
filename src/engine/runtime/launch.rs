//! What is handed to the runtime, and what it hands back: plain values.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::cgroups::CgroupPath;
use super::seccomp::Filter;
use crate::model::ContainerId;
use crate::model::spec::ResourceLimits;

/// All that it takes to start a container's first process, again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub id: ContainerId,
    pub spec: Spec,
    /// What it may call. The specification has no rules for that beside it.
    pub filter: Filter,
    pub root: RootFs,
    /// `user[:group]`, each by name or number, looked up in the container's own `/etc/passwd` and `/etc/group`.
    /// `None` leaves what the specification says.
    pub user: Option<String>,
    /// Groups of the user beside those, by name or number.
    pub groups: Vec<String>,
    pub cgroup: CgroupPath,
    pub limits: ResourceLimits,
    pub network: Network,
    /// A small init is the first process, and the program its child.
    pub init: bool,
    /// The mount namespace of another container, whose `/dev/shm` this one has too.
    pub shm_of: Option<PathBuf>,
}

/// Where the root file system comes from. It is mounted in the container's mount namespace only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootFs {
    Overlay {
        /// The topmost first.
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        /// What is written need not outlive the host: nothing waits until it is on the disk, the end of the container neither.
        #[serde(default)]
        volatile: bool,
    },
    Folder(PathBuf),
}

/// Where the network namespace comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A new one with nothing but a loopback link that is up.
    New,
    /// The caller's.
    Host,
    /// The one whose descriptor is passed at the start.
    Given,
}

/// A process's standard streams. On a terminal all three are descriptors of the same one.
#[derive(Debug)]
pub struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A process that runs its program, and that nobody has waited for yet. It is a child of the caller.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// When it was started, in clock ticks since the boot: with the pid, its identity.
    pub started_ticks: u64,
    /// Of a container's first process: keeps the container's mounts until it is dropped. Without it the process itself
    /// takes them down as it ends, and the kernel then writes out the whole file system below the overlay, for
    /// milliseconds or seconds, before anybody is told of the end. So: wait, tell, and then drop this, but before the
    /// same root is started again or removed. Dropping it may block.
    pub mounts: Option<OwnedFd>,
}

/// A further process in a running container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The container's first process, and when it was started: another process with the same number is not joined.
    pub pid: i32,
    pub started_ticks: u64,
    /// The container's: its capabilities, system call filter and limits are those of the new process too.
    pub spec: Spec,
    pub filter: Filter,
    pub argv: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
    pub user: Option<String>,
    /// As in [`Launch`].
    pub groups: Vec<String>,
    pub cwd: String,
    pub cgroup: CgroupPath,
    /// The standard streams are a terminal, which is to be the controlling one.
    pub tty: bool,
}

//! A workshop: commands of a build, each in a container that nobody sees. It has the lock, the cgroup and the leases of a
//! container and no row, so that a recovery leaves it alone while its maker lives, and removes all of it afterwards.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::{Containers, ContainersError, Held, work_role};
use crate::engine::runtime::cgroups::{self, Cgroup};
use crate::engine::runtime::{CgroupPath, Launch};
use crate::files;
use crate::model::ContainerId;
use crate::model::spec::{CgroupParent, ResourceLimits};
use crate::sys;

/// A place for commands, one at a time. [`Containers::close`] gives back what it holds; of one that is dropped, a recovery
/// does.
#[derive(Debug)]
pub struct Workshop {
    held: Held,
    cgroup: CgroupPath,
    folder: PathBuf,
}

impl Workshop {
    pub fn id(&self) -> &ContainerId {
        self.held.id()
    }

    pub fn cgroup(&self) -> &CgroupPath {
        &self.cgroup
    }

    /// For files that are mounted into its containers.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }
}

/// What the role is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) launch: Launch,
    /// Where the network namespace can be opened.
    pub(super) netns: Option<PathBuf>,
}

impl Containers {
    /// Makes a workshop, whose cgroup is below `parent`, which is no slice.
    pub async fn workshop(&self, parent: Option<&CgroupParent>) -> Result<Workshop, ContainersError> {
        let id = ContainerId::from_random(sys::random_bytes().map_err(ContainersError::Random)?);
        let held = self.hold(&id).await?;
        let folder = self.instance.container_run_dir(&id);
        files::create_dirs(&folder, 0o700)?;
        if let Some(parent) = parent {
            // For whoever clears it away, should this process not.
            files::publish(&self.parent_file(&id), parent.to_string().as_bytes(), 0o600)?;
        }
        let cgroup = self.cgroup_below(&id, parent)?;
        Ok(Workshop { held, cgroup, folder })
    }

    /// The limits of a workshop's commands: those that are asked for, and the default ones.
    pub fn workshop_limits(&self, workshop: &Workshop, limits: ResourceLimits) -> Result<ResourceLimits, ContainersError> {
        Ok(Cgroup::at(&workshop.cgroup)?.with_defaults(limits)?)
    }

    /// Runs the command of `launch`. Its output is that of the child, which ends with the command's code; it ends the command
    /// when its standard input ends. A start that fails is told on standard error, with code 125, 126 or 127.
    pub fn work(&self, workshop: &Workshop, launch: Launch, netns: Option<BorrowedFd<'_>>) -> Result<Child, ContainersError> {
        // The child opens it at its very beginning, and whoever waits for the child keeps it open.
        let netns = netns.map(|fd| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd())));
        // By a file, because arguments and environments are open to all on the host.
        let text = serde_json::to_vec(&Order { launch, netns }).map_err(ContainersError::Order)?;
        let order = workshop.folder.join("order.json");
        files::publish(&order, &text, 0o600)?;
        let mut command = Command::new(self.program.path().map_err(ContainersError::Spawn)?);
        command.arg0("setpoint").arg(work_role::ROLE).arg(&order).env_clear().kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|e| {
            drop(files::remove_all(&order));
            ContainersError::Spawn(e)
        })
    }

    /// Gives back what a workshop holds of the kernel and of the disk.
    pub async fn close(&self, workshop: Workshop) -> Result<(), ContainersError> {
        self.erase(workshop.held).await
    }

    /// Ends what a command of a workshop left, as one that was given up does.
    pub async fn sweep_workshop(&self, workshop: &Workshop) -> Result<(), ContainersError> {
        if cgroups::is_absent() {
            return Ok(());
        }
        self.clear(&workshop.held).await
    }
}

//! What can go wrong with a container.

use std::io;

use crate::engine::monitor::{ClientError, JobError, StatusError};
use crate::engine::runtime::cgroups::CgroupError;
use crate::engine::runtime::spec::SpecError;
use crate::engine::state::StateError;
use crate::files::FileError;
use crate::model::{ContainerId, Digest, Name};

#[derive(Debug, thiserror::Error)]
pub enum ContainersError {
    #[error(transparent)]
    Database(#[from] StateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("the name {name} is taken by container {}", by.short())]
    NameTaken { name: Name, by: ContainerId },
    #[error("no container {text:?}")]
    NotFound { text: String },
    #[error("{text:?} is the beginning of several containers' ids or several stacks' resource: {}", candidates.join(", "))]
    Ambiguous { text: String, candidates: Vec<String> },
    #[error("container {name} is running already")]
    AlreadyRunning { name: String },
    #[error("container {name} is not running")]
    NotRunning { name: String },
    #[error("container {name} is paused")]
    Paused { name: String },
    #[error("container {name}: {why}")]
    Pause { name: String, why: String },
    #[error("container {name} is running: stop it before it is removed")]
    StillRunning { name: String },
    #[error("container {name} was never started")]
    NeverStarted { name: String },
    #[error("container {name} was killed together with its monitor, so how it ended is not known")]
    Lost { name: String },
    #[error("container {name} is being changed by another command")]
    Busy { name: String },
    #[error("container {name}: {why}")]
    Start { name: String, code: i32, why: String },
    #[error("container {name}: its monitor died during the start{}{said}", if said.is_empty() { "" } else { ": " })]
    MonitorDied { name: String, said: String },
    #[error("container {name}: its monitor did not say within {seconds} s how the start went")]
    StartSilent { name: String, seconds: u64 },
    #[error("container {name}: {source}")]
    Monitor { name: String, source: ClientError },
    #[error("container {name}: {source}")]
    Spec { name: String, source: SpecError },
    #[error("container {name}: the content {digest} of the config for {target} is not in the database")]
    NoConfig { name: String, digest: Digest, target: String },
    #[error("no ids are given to setpoint in {path}, of which a container could have users of its own")]
    NoUsersGiven { path: &'static str },
    #[error(
        "container {name}: the containers of an ordinary user have ids of their own already, and none beside these; leave out the users of its own"
    )]
    UsersWithin { name: String },
    #[error("container {name}: no {size} ids in a row are left for users of its own, of those in /etc/subuid and /etc/subgid")]
    NoUsersLeft { name: String, size: u32 },
    #[error("a process was not started: {0}")]
    Spawn(io::Error),
    #[error("the container's processes: {0}")]
    Processes(io::Error),
    #[error("write the order of a process: {0}")]
    Order(serde_json::Error),
    #[error("no id could be made: {0}")]
    Random(io::Error),
    #[error("the record of container {id} has an invalid {field}: {why}")]
    Record { id: String, field: &'static str, why: String },
}

impl ContainersError {
    /// What a command line that runs a command exits with, where the start has said it: as Docker has it, 125 for a failure
    /// before the command, 126 and 127 for a command that cannot be executed or is not there.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Start { code, .. } => Some(*code),
            _ => None,
        }
    }
}

//! What can go wrong in the engine, as one type for whoever uses it: what kind it is, what hint helps, what a command
//! line exits with.

use std::path::PathBuf;

use crate::engine::containers::ContainersError;
use crate::engine::images::{CacheError, ImagesError, RegistryError, Trouble};
use crate::engine::monitor::logs::LogError;
use crate::engine::networks::NetworkError;
use crate::engine::state::StateError;
use crate::engine::volumes::VolumeError;
use crate::files::FileError;
use crate::files::tree::TreeError;
use crate::model::spec::{LogDriver, UsersMode};
use crate::model::{Digest, ImageRef, Name, Platform};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Build(#[from] crate::engine::build::BuildError),
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Networks(#[from] NetworkError),
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    #[error(transparent)]
    Containers(#[from] ContainersError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("image {reference} is not on this host")]
    NoSuchImage { reference: String },
    #[error("image {reference} on this host is for {found}, not for {wanted}")]
    OtherPlatform { reference: String, found: Box<Platform>, wanted: Box<Platform> },
    #[error("container {name} is running")]
    Running { name: Name },
    #[error("container {name} cannot become that while it runs")]
    TakesRestart { name: Name },
    #[error("image {reference} is used by container {by}")]
    ImageInUse { reference: String, by: Name },
    #[error("image {digest} belongs to a generation that a stack can go back to")]
    ImageKept { digest: Digest },
    #[error("{text:?} matches more than one image")]
    AmbiguousImage { text: String },
    #[error("volume {name} is used by container {by}")]
    VolumeInUse { name: Name, by: Name },
    #[error("bind mount: {} is not on this host", path.display())]
    NoBindSource { path: PathBuf },
    #[error("volume {volume}: {subpath} is not there, or a link leads it elsewhere: {reason}")]
    NoSubpath { volume: Name, subpath: String, reason: rustix::io::Errno },
    #[error("{} on this host is no device, nor a folder with any", path.display())]
    NoDevice { path: PathBuf },
    #[error("container {name}, whose network is to be shared, is not running")]
    SharedNotRunning { name: Name },
    #[error("container {name} does not share its shared memory")]
    NotShareable { name: Name },
    #[error("container {name} cannot share what it has with itself")]
    SharesWithItself { name: Name },
    #[error("container {name} has the volumes of a container that has its own")]
    VolumesInCircle { name: Name },
    #[error("container {name} has no network in which the host has an address")]
    NoGateway { name: Name },
    #[error("container {other}, which {name} knows by a name of its own, has no address in a network of both")]
    LinkedApart { name: Name, other: Name },
    #[error("a post_start hook of {name} failed ({command}): {why}")]
    Hook { name: Name, command: String, why: String },
    #[error("{name} goes on running, because a pre_stop hook of it failed ({command}): {why}")]
    PreStop { name: Name, command: String, why: String },
    #[error("a container with users of its own (userns {userns}) cannot have {what}")]
    UsersExclude { userns: UsersMode, what: String },
    #[error("the limit {which}: {why}")]
    Limit { which: &'static str, why: &'static str },
    #[error("the configuration of image {digest} cannot be read: {source}")]
    ImageConfig { digest: Digest, source: serde_json::Error },
    #[error("there is nothing at {} in the container", path.display())]
    NoSuchPath { path: PathBuf },
    #[error("{} is not a folder of the container", path.display())]
    NoFolder { path: PathBuf },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("container {name} is one that is removed when it exits, so that it cannot be started again")]
    RemovedAndRestarted { name: Name },
    #[error("container {name} belongs to stack {stack}, whose manifests give it its name")]
    NamedByStack { name: Name, stack: Name },
    #[error("container {name} belongs to stack {stack}")]
    Owned { name: Name, stack: Name },
    #[error("container {name} is one that is removed when it exits, so that no stack can have it")]
    RemovedAtItsEnd { name: Name },
    #[error("run ps: {0}")]
    Ps(std::io::Error),
    #[error("ps: {said}")]
    PsFailed { said: String },
    #[error("ps prints no column PID with these arguments, so that the container's processes cannot be told from others")]
    NoPidColumn,
    #[error("no random numbers: {0}")]
    Random(std::io::Error),
    #[error("the container {name} was made of an image that has no name here")]
    NamelessImage { name: Name, image: Digest },
    #[error("a work thread ended before its work did")]
    Interrupted,
}

/// What kind of error it is, for whoever maps it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NotFound,
    Conflict,
    Invalid,
    /// Somebody else, such as a registry, does not let us.
    Denied,
    /// Somebody else does not answer.
    Unreachable,
    Internal,
}

impl EngineError {
    pub fn status(&self) -> Kind {
        match self {
            Self::Containers(error) => container_kind(error),
            Self::Networks(error) => network_kind(error),
            Self::Volumes(error) => volume_kind(error),
            Self::Images(error) => image_kind(error),
            Self::Build(crate::engine::build::BuildError::Images(error)) => image_kind(error),
            Self::Build(crate::engine::build::BuildError::CacheTo { source, .. }) => cache_kind(source),
            Self::Build(error) if error.is_of_request() => Kind::Invalid,
            Self::Build(_) => Kind::Internal,
            Self::NoSuchImage { .. } | Self::OtherPlatform { .. } | Self::NoSuchPath { .. } => Kind::NotFound,
            Self::RemovedAndRestarted { .. }
            | Self::NamedByStack { .. }
            | Self::Owned { .. }
            | Self::RemovedAtItsEnd { .. }
            | Self::NamelessImage { .. } => Kind::Conflict,
            Self::NoFolder { .. } | Self::Tree(_) | Self::PsFailed { .. } | Self::NoPidColumn => Kind::Invalid,
            Self::Ps(_) => Kind::Internal,
            Self::Hook { .. } | Self::PreStop { .. } | Self::LinkedApart { .. } => Kind::Conflict,
            Self::Running { .. }
            | Self::TakesRestart { .. }
            | Self::ImageInUse { .. }
            | Self::ImageKept { .. }
            | Self::VolumeInUse { .. }
            | Self::AmbiguousImage { .. } => Kind::Conflict,
            Self::NoBindSource { .. }
            | Self::NoSubpath { .. }
            | Self::NoDevice { .. }
            | Self::NotShareable { .. }
            | Self::SharesWithItself { .. }
            | Self::VolumesInCircle { .. }
            | Self::NoGateway { .. }
            | Self::UsersExclude { .. }
            | Self::Limit { .. } => Kind::Invalid,
            Self::SharedNotRunning { .. } | Self::Log(LogError::NotKept { .. }) => Kind::Conflict,
            Self::State(_) | Self::File(_) | Self::Log(_) | Self::Interrupted | Self::ImageConfig { .. } | Self::Random(_) => {
                Kind::Internal
            }
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchImage { reference } if reference.parse::<ImageRef>().is_ok_and(|reference| reference.id().is_some()) => {
                Some("`setpoint images` lists those that are here".into())
            }
            Self::NoSuchImage { reference } => {
                Some(format!("`setpoint pull {reference}` brings it, `setpoint import` makes one from files"))
            }
            Self::OtherPlatform { reference, wanted, .. } => {
                Some(format!("`setpoint pull --platform {wanted} {reference}` brings the other one in its place"))
            }
            Self::Running { name } => Some(format!("stop it first (`setpoint stop {name}`), or use `setpoint rm -f {name}`")),
            Self::TakesRestart { name } => Some(format!("stop it first (`setpoint stop {name}`)")),
            Self::ImageInUse { .. } => Some("remove the container first, or use `setpoint rmi -f`".into()),
            Self::ImageKept { .. } => Some("`setpoint rmi -f` removes it all the same".into()),
            Self::VolumeInUse { .. } => Some("remove the container first".into()),
            Self::Images(
                ImagesError::Registry { source, .. } | ImagesError::Push { source, .. } | ImagesError::Ask { source, .. },
            ) => source.hint(),
            Self::Images(ImagesError::Id(_)) => Some(
                "only what is here has an id: `setpoint images` lists it; from elsewhere it comes by a name, or by NAME@DIGEST"
                    .into(),
            ),
            Self::Images(ImagesError::NotPushable { .. }) => Some("pull the image again, then push it".into()),
            Self::Images(ImagesError::NoTag { .. }) => Some("name the tag that it is to have: REPOSITORY:TAG".into()),
            Self::Images(ImagesError::NoSkeleton { .. }) => {
                Some("pull or load the image again; `setpoint check --repair` does so for all images".into())
            }
            Self::Images(ImagesError::LayerDamaged { .. } | ImagesError::LayerGone { .. } | ImagesError::Damaged { .. }) => {
                Some("`setpoint check --repair` looks at everything and brings what is damaged again".into())
            }
            Self::Log(LogError::NotKept { driver: LogDriver::Journald, name }) => {
                Some(format!("`journalctl CONTAINER_NAME={name}` shows it"))
            }
            Self::Log(LogError::NotKept { .. }) => Some("give it the log driver `file` to have its output kept".into()),
            Self::Containers(ContainersError::Paused { name }) => Some(format!("let it go on first: `setpoint unpause {name}`")),
            Self::NamedByStack { .. } => Some("write `container_name` in its manifest".into()),
            Self::Ps(_) => Some("arguments of ps need that program on the host; without arguments setpoint lists itself".into()),
            Self::NoPidColumn => Some("add `pid` to the columns: -o pid,…".into()),
            Self::Tree(TreeError::OfKernel { .. }) => Some("read it in the container: `setpoint exec NAME cat PATH`".into()),
            Self::Build(error) => error.hint(),
            Self::AmbiguousImage { .. } => Some("give more digits of its digest, or its name".into()),
            Self::NoBindSource { .. } => Some("create it first; a mistyped path would otherwise become an empty folder".into()),
            Self::NamelessImage { image, .. } => Some(format!("give it one first: `setpoint tag {} NAME`", image.short())),
            Self::NoSubpath { volume, .. } => Some(format!("make it first, by a container that mounts the whole of {volume}")),
            Self::SharedNotRunning { name } => Some(format!("start it first (`setpoint start {name}`)")),
            Self::NotShareable { name } => Some(format!("make {name} with `--ipc shareable` (`ipc: shareable` in a manifest)")),
            Self::UsersExclude { .. } => {
                Some("that is open to the host's root only: leave it out, or use `--userns host`".into())
            }
            Self::Containers(ContainersError::NoUsersGiven { path }) => {
                Some(format!("add a line such as `setpoint:1073741824:1073741824` to {path}"))
            }
            Self::Containers(ContainersError::NoUsersLeft { .. }) => {
                Some("ask for fewer (`--userns auto:size=4096`), or give `setpoint` more there".into())
            }
            Self::LinkedApart { other, .. } => {
                Some(format!("start it (`setpoint start {other}`), and declare a network of it as `external`"))
            }
            Self::PreStop { name, .. } => Some(format!(
                "put right what the hook needs, or end it without (`setpoint kill {name}`, `setpoint rm -f {name}`)"
            )),
            Self::Hook { name, .. } => {
                Some(format!("the container runs; `setpoint restart {name}` runs its hooks again, and so does the next apply"))
            }
            Self::NoGateway { .. } => Some("write an address, or give the container a network".into()),
            _ => None,
        }
    }

    /// What a command line that runs a command exits with, where the runtime has said it (125, 126, 127).
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Containers(error) => error.exit_code(),
            _ => None,
        }
    }
}

fn container_kind(error: &ContainersError) -> Kind {
    match error {
        ContainersError::NotFound { .. } => Kind::NotFound,
        ContainersError::NameTaken { .. }
        | ContainersError::Ambiguous { .. }
        | ContainersError::AlreadyRunning { .. }
        | ContainersError::NotRunning { .. }
        | ContainersError::Paused { .. }
        | ContainersError::Pause { .. }
        | ContainersError::StillRunning { .. }
        | ContainersError::NeverStarted { .. }
        | ContainersError::Lost { .. }
        | ContainersError::Busy { .. } => Kind::Conflict,
        ContainersError::Start { .. }
        | ContainersError::Spec { .. }
        | ContainersError::NoUsersGiven { .. }
        | ContainersError::UsersWithin { .. } => Kind::Invalid,
        ContainersError::NoUsersLeft { .. } => Kind::Conflict,
        _ => Kind::Internal,
    }
}

fn network_kind(error: &NetworkError) -> Kind {
    match error {
        NetworkError::Unknown { .. } => Kind::NotFound,
        NetworkError::Differs { .. }
        | NetworkError::NotYours { .. }
        | NetworkError::InUse { .. }
        | NetworkError::SubnetTaken { .. }
        | NetworkError::AddressTaken { .. }
        | NetworkError::PortPublished { .. }
        | NetworkError::PortInUse { .. } => Kind::Conflict,
        NetworkError::AddressOutside { .. }
        | NetworkError::Twice { .. }
        | NetworkError::TooMany
        | NetworkError::PortsWithoutNetwork
        | NetworkError::PortPrivileged { .. }
        | NetworkError::PortAddress { .. } => Kind::Invalid,
        _ => Kind::Internal,
    }
}

fn volume_kind(error: &VolumeError) -> Kind {
    match error {
        VolumeError::Unknown { .. } => Kind::NotFound,
        VolumeError::NotYours { .. } => Kind::Conflict,
        _ => Kind::Internal,
    }
}

fn cache_kind(error: &CacheError) -> Kind {
    match error {
        CacheError::Registry(error) => registry_kind(error),
        CacheError::Images(error) => image_kind(error),
        CacheError::Layout(_) | CacheError::Document(_) | CacheError::Inline => Kind::Invalid,
    }
}

fn registry_kind(error: &RegistryError) -> Kind {
    match error.trouble() {
        Trouble::NotFound => Kind::NotFound,
        Trouble::Denied => Kind::Denied,
        Trouble::Unreachable => Kind::Unreachable,
        Trouble::Untrue | Trouble::Settings => Kind::Invalid,
    }
}

fn image_kind(error: &ImagesError) -> Kind {
    match error {
        ImagesError::Missing(_) => Kind::NotFound,
        ImagesError::Ambiguous { .. } | ImagesError::NoSkeleton { .. } => Kind::Conflict,
        ImagesError::Load(_)
        | ImagesError::Change(_)
        | ImagesError::Unpack { .. }
        | ImagesError::ImportRead(_)
        | ImagesError::Blob { .. } => Kind::Invalid,
        ImagesError::Registry { source, .. } | ImagesError::Push { source, .. } | ImagesError::Ask { source, .. } => {
            registry_kind(source)
        }
        ImagesError::Verify { .. } => Kind::Denied,
        ImagesError::NotPushable { .. } => Kind::Conflict,
        ImagesError::Document { .. }
        | ImagesError::Import { .. }
        | ImagesError::NoTag { .. }
        | ImagesError::Id(_)
        | ImagesError::SamePlatform { .. }
        | ImagesError::Settings(_) => Kind::Invalid,
        _ => Kind::Internal,
    }
}

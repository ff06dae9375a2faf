//! What can go wrong with a build.

use std::path::PathBuf;
use std::sync::Arc;

use super::dockerfile::DockerfileErrors;
use super::files::FilesError;
use super::ignore::IgnoreError;
use super::stages::StageErrors;
use crate::engine::containers::ContainersError;
use crate::engine::images::{CacheError, ImagesError};
use crate::engine::networks::NetworkError;
use crate::engine::runtime::spec::SpecError;
use crate::files::FileError;
use crate::model::build::CachePlace;
use crate::model::{ImageRef, Platform, Problem};

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Dockerfile(#[from] DockerfileErrors),
    #[error(transparent)]
    Stages(#[from] StageErrors),
    /// An instruction cannot be done: where, why, and what helps.
    #[error("{0}")]
    Instruction(Box<Problem>),
    /// The command of a RUN ended with another code than 0. The last lines of its output are in the problem.
    #[error("{problem}")]
    Command { problem: Box<Problem>, code: i32 },
    #[error("{}: there is no such Dockerfile in {context}", path.display())]
    NoDockerfile { path: PathBuf, context: String },
    #[error("{}: it has {size} bytes, and a Dockerfile has {limit} at most", path.display())]
    LargeDockerfile { path: PathBuf, size: u64, limit: u64 },
    #[error("{file}: {source}")]
    Ignore { file: String, source: IgnoreError },
    #[error("the build context {name}: {source}")]
    Context { name: String, source: FilesError },
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("{what} is not supported")]
    Unsupported { what: String, hint: String },
    #[error("{reference} is for {found}, and the stage is for {wanted}")]
    OtherPlatform { reference: Box<ImageRef>, found: Box<Platform>, wanted: Box<Platform> },
    #[error("the base {reference} was removed while it was built on")]
    BaseGone { reference: String },
    #[error("layers that the build found were removed again and again meanwhile")]
    Contended,
    #[error("take a layer from the cache {place}: {source}")]
    CacheLayer { place: Box<CachePlace>, source: Box<CacheError> },
    #[error("write the cache {place}: {source}")]
    CacheTo { place: Box<CachePlace>, source: Box<CacheError> },
    #[error(transparent)]
    Images(#[from] ImagesError),
    #[error(transparent)]
    Networks(#[from] NetworkError),
    #[error(transparent)]
    Containers(#[from] ContainersError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("put the container of a RUN together: {0}")]
    Spec(#[from] SpecError),
    #[error("{action}: {source}")]
    Step { action: &'static str, source: std::io::Error },
    #[error("a work thread ended before its work did")]
    Interrupted,
    /// What several stages failed of, which need the same one.
    #[error("{0}")]
    Shared(Arc<BuildError>),
}

impl BuildError {
    /// For `map_err` on calls of the system.
    pub(super) fn step(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Step { action, source }
    }

    /// The cache that it is the fault of, and why.
    pub(super) fn of_cache(&self) -> Option<(&CachePlace, &CacheError)> {
        match self {
            Self::CacheLayer { place, source } => Some((place, source)),
            Self::Shared(error) => error.of_cache(),
            _ => None,
        }
    }

    /// What a person can do about it, where the message does not say it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDockerfile { .. } => Some("name it with `-f`, from the context's root".to_owned()),
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::OtherPlatform { found, .. } => Some(format!("build for {found}, or give FROM another `--platform`")),
            Self::Shared(error) => error.hint(),
            Self::CacheTo { .. } => Some("`ignore-error=true` in --cache-to lets the build go on without it".to_owned()),
            Self::Files(error) | Self::Context { source: error, .. } => error.hint(),
            _ => None,
        }
    }

    /// Whether it is what was asked for that is wrong, and not this host.
    pub fn is_of_request(&self) -> bool {
        match self {
            Self::Dockerfile(_)
            | Self::Stages(_)
            | Self::Instruction(_)
            | Self::Command { .. }
            | Self::NoDockerfile { .. }
            | Self::LargeDockerfile { .. }
            | Self::Ignore { .. }
            | Self::Context { .. }
            | Self::Files(_)
            | Self::Unsupported { .. }
            | Self::Spec(_)
            | Self::OtherPlatform { .. } => true,
            Self::Shared(error) => error.is_of_request(),
            _ => false,
        }
    }
}

impl From<tokio::task::JoinError> for BuildError {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Interrupted
    }
}

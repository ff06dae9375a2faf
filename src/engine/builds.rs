//! Builds, as they are asked of the engine.

use tokio::io::AsyncRead;

use super::build::Built;
use super::{Engine, EngineError};
use crate::model::build::{BuildRequest, BuildSink};

impl Engine {
    /// Builds an image, or files, of a Dockerfile.
    pub async fn build(
        &self,
        _: BuildRequest,
        _: Option<Box<dyn AsyncRead + Send + Unpin>>,
        _: BuildSink,
    ) -> Result<Built, EngineError> {
        Err(EngineError::NoBuilds)
    }
}

//! The instance as a whole.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

use crate::model::Platform;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::Json;
use crate::wire::native::{Reset, Version};

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/ping", get(async || "ok")).route("/version", get(version)).route("/system/reset", post(reset))
}

async fn version() -> axum::Json<Version> {
    let host = Platform::host();
    axum::Json(Version {
        version: env!("CARGO_PKG_VERSION").into(),
        os: host.os,
        architecture: host.architecture,
        pid: std::process::id(),
    })
}

async fn reset(State(handles): State<Handles>, Json(reset): Json<Reset>) -> Result<StatusCode, ApiError> {
    handles.engine.reset(reset.volumes).await?;
    Ok(StatusCode::NO_CONTENT)
}

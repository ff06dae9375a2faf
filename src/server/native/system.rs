//! The instance as a whole.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

use crate::model::Platform;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::Json;
use crate::wire::native::{Info, Reset, Version};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/ping", get(async || "ok"))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/system/reset", post(reset))
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

async fn info(State(handles): State<Handles>) -> axum::Json<Info> {
    let about = handles.engine.about();
    axum::Json(Info {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: about.kernel,
        state_dir: about.state_dir.display().to_string(),
        run_dir: about.run_dir.display().to_string(),
        rootless: about.rootless,
        cgroups: about.cgroups.to_owned(),
        controllers: about.controllers,
    })
}

async fn reset(State(handles): State<Handles>, Json(reset): Json<Reset>) -> Result<StatusCode, ApiError> {
    handles.engine.reset(reset.volumes).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/networks`: what is here, and removal. They are made by applying manifests.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};

use crate::observed::Network;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::named;

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/networks", get(list)).route("/networks/{name}", delete(remove))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Network>>, ApiError> {
    Ok(axum::Json(handles.engine.observe().await?.networks))
}

async fn remove(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    handles.engine.remove_network(&named("network", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! `/volumes`: named folders of data, which are never removed but by name.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};

use crate::engine::EngineError;
use crate::model::spec::VolumeSpec;
use crate::observed::Volume;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, named};
use crate::wire::native::Create;

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/volumes", get(list).post(create)).route("/volumes/{name}", delete(remove))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Volume>>, ApiError> {
    Ok(axum::Json(handles.engine.volumes().list().map_err(EngineError::from)?))
}

async fn create(State(handles): State<Handles>, Json(volume): Json<Create<VolumeSpec>>) -> Result<StatusCode, ApiError> {
    handles.engine.create_volume(&volume.name, None, &volume.spec)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    handles.engine.remove_volume(&named("volume", &name)?)?;
    Ok(StatusCode::NO_CONTENT)
}

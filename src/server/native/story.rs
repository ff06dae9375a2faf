//! `/steps` and `/resources`: what was done to stacks, and why one of their resources is as it is.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::Name;
use crate::plan::Resource;
use crate::reconcile::ReconcileError;
use crate::reconcile::journal::{self, Filter};
use crate::reconcile::report::{StepEvent, Why};
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::Params;

/// Which steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<OffsetDateTime>,
}

/// A resource as its user names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfResource {
    /// `NAME`, `KIND/NAME`, `STACK/NAME` or `STACK/KIND/NAME`.
    pub resource: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
}

/// The resource that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    pub stack: Name,
    pub resource: Resource,
    /// Its name in the engine; `None` where it is not declared any more, or has none.
    pub engine_name: Option<Name>,
}

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/steps", get(steps)).route("/resources/find", get(find)).route("/resources/why", get(why))
}

async fn steps(State(handles): State<Handles>, Params(asked): Params<Steps>) -> Result<axum::Json<Vec<StepEvent>>, ApiError> {
    let Steps { stack, since, until } = asked;
    let filter = Filter { stack, since, until, ..Filter::default() };
    Ok(axum::Json(journal::read(handles.engine.db(), &filter).map_err(ReconcileError::from)?))
}

async fn find(State(handles): State<Handles>, Params(asked): Params<OfResource>) -> Result<axum::Json<Found>, ApiError> {
    let (stack, resource) = handles.reconciler.find(&asked.resource, asked.stack.as_ref())?;
    let engine_name = handles.reconciler.engine_name(&stack, &resource)?;
    Ok(axum::Json(Found { stack, resource, engine_name }))
}

async fn why(State(handles): State<Handles>, Params(asked): Params<OfResource>) -> Result<axum::Json<Why>, ApiError> {
    Ok(axum::Json(handles.reconciler.why(&asked.resource, asked.stack.as_ref()).await?))
}

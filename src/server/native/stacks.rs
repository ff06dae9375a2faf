//! `/stacks`: plan, apply, destroy, status. Manifests stay where they are; what comes here is what they say.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::images::given;
use crate::manifest::Desired;
use crate::plan::Plan;
use crate::reconcile::ReconcileError;
use crate::reconcile::report::{Event, Outcome, StackStatus};
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params, named};
use crate::server::stream;
use crate::wire::native::{Credentials, Destroy};

/// What is to be planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    pub desired: Desired,
    /// What whoever asks has stored for registries; it goes before what the engine's own user has stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credentials>,
}

/// What is to be made real.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    pub desired: Desired,
    /// Where the manifests were, to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Do exactly this plan, or nothing.
    pub expected: Option<Plan>,
    /// As for a plan. They are used for this apply, and kept nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credentials>,
}

/// Events that wait for a reader at most.
pub(super) const WAITING: usize = 256;

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/stacks", get(all))
        .route("/stacks/plan", post(plan))
        .route("/stacks/apply", post(apply))
        .route("/stacks/{stack}", get(one))
        .route("/stacks/{stack}/destroy", get(plan_destroy).post(destroy))
}

async fn all(State(handles): State<Handles>) -> Result<axum::Json<Vec<StackStatus>>, ApiError> {
    Ok(axum::Json(handles.reconciler.status(None).await?))
}

async fn one(State(handles): State<Handles>, Path(stack): Path<String>) -> Result<axum::Json<Vec<StackStatus>>, ApiError> {
    let stack = named("stack", &stack)?;
    Ok(axum::Json(handles.reconciler.status(Some(&stack)).await?))
}

async fn plan(State(handles): State<Handles>, Json(request): Json<PlanRequest>) -> Result<axum::Json<Plan>, ApiError> {
    let given: Vec<_> = request.credentials.into_iter().map(given).collect();
    Ok(axum::Json(handles.reconciler.plan(&request.desired, &given).await?))
}

async fn apply(State(handles): State<Handles>, Json(request): Json<ApplyRequest>) -> Result<Response, ApiError> {
    let (sender, events) = mpsc::channel(WAITING);
    let reconciler = handles.reconciler;
    // A task of its own: an apply goes on when its reader has gone.
    let ApplyRequest { desired, source, expected, credentials } = request;
    let given = credentials.into_iter().map(given).collect();
    let work = tokio::spawn(async move { reconciler.apply(desired, source, expected, given, sender).await });
    stream::lines(events, end(work)).await
}

async fn plan_destroy(
    State(handles): State<Handles>,
    Path(stack): Path<String>,
    Params(Destroy { volumes }): Params<Destroy>,
) -> Result<axum::Json<Plan>, ApiError> {
    let stack = named("stack", &stack)?;
    Ok(axum::Json(handles.reconciler.plan_destroy(&stack, volumes).await?))
}

async fn destroy(
    State(handles): State<Handles>,
    Path(stack): Path<String>,
    Json(Destroy { volumes }): Json<Destroy>,
) -> Result<Response, ApiError> {
    let stack = named("stack", &stack)?;
    let (sender, events) = mpsc::channel(WAITING);
    let reconciler = handles.reconciler;
    let work = tokio::spawn(async move { reconciler.destroy(&stack, volumes, sender).await });
    stream::lines(events, end(work)).await
}

/// The last event has told the outcome already.
pub(super) async fn end(work: JoinHandle<Result<Outcome, ReconcileError>>) -> Result<Option<Event>, ApiError> {
    work.await.map_err(|_| ReconcileError::Interrupted)??;
    Ok(None)
}

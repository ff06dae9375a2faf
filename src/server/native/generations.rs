//! `/generations`: what was applied before, what differs, and the way back. Where no stack is named, the only one is meant.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::images::given;
use super::stacks::{WAITING, end};
use crate::model::Name;
use crate::plan::Plan;
use crate::reconcile::report::{Comparison, History};
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params};
use crate::server::stream;
use crate::wire::native::Credentials;

/// Whose generations; of all stacks where none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfStack {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
}

/// Which two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
    pub from: u64,
    pub to: u64,
}

/// Which generation is to be brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Name>,
    /// The last one before the current one that was applied, when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Do exactly this plan, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Plan>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<Credentials>,
}

/// What a rollback would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackPlan {
    pub generation: u64,
    pub plan: Plan,
}

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/generations", get(history))
        .route("/generations/compare", get(compare))
        .route("/generations/plan", post(plan))
        .route("/generations/rollback", post(rollback))
}

async fn history(
    State(handles): State<Handles>,
    Params(OfStack { stack }): Params<OfStack>,
) -> Result<axum::Json<Vec<History>>, ApiError> {
    let stacks = match stack {
        Some(stack) => vec![handles.reconciler.only_stack(Some(stack))?],
        None => handles.reconciler.stacks()?,
    };
    let all = stacks.iter().map(|stack| handles.reconciler.history(stack));
    Ok(axum::Json(all.collect::<Result<_, _>>()?))
}

async fn compare(State(handles): State<Handles>, Params(asked): Params<Compare>) -> Result<axum::Json<Comparison>, ApiError> {
    let stack = handles.reconciler.only_stack(asked.stack)?;
    Ok(axum::Json(handles.reconciler.compare(&stack, asked.from, asked.to)?))
}

async fn plan(State(handles): State<Handles>, Json(asked): Json<RollbackRequest>) -> Result<axum::Json<RollbackPlan>, ApiError> {
    let stack = handles.reconciler.only_stack(asked.stack)?;
    let generation = handles.reconciler.target(&stack, asked.generation)?;
    let given: Vec<_> = asked.credentials.into_iter().map(given).collect();
    let plan = handles.reconciler.plan_rollback(&stack, generation, &given).await?;
    Ok(axum::Json(RollbackPlan { generation, plan }))
}

async fn rollback(State(handles): State<Handles>, Json(asked): Json<RollbackRequest>) -> Result<Response, ApiError> {
    let reconciler = handles.reconciler;
    let stack = reconciler.only_stack(asked.stack)?;
    let generation = reconciler.target(&stack, asked.generation)?;
    let given = asked.credentials.into_iter().map(given).collect();
    let (sender, events) = mpsc::channel(WAITING);
    // A task of its own: it goes on when its reader has gone.
    let work = tokio::spawn(async move { reconciler.rollback(stack, generation, asked.expected, given, sender).await });
    stream::lines(events, end(work)).await
}

//! What is in a container and what it does: copies, differences, processes, measures, and changes of it.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio_util::io::StreamReader;

use crate::engine::{Change, Details, Difference, Sizes, Unneeded, WantedLabel};
use crate::files::tree::Found;
use crate::model::ContainerId;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params};
use crate::server::stream;
use crate::wire::native::ErrorKind;
use crate::wire::verbs::{
    Adopt, Adopted, Limit, PATH_STAT, PathIn, Processes, PruneContainers, PrunedContainers, PutArchive, Rename, Sample, Top,
    Update,
};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/prune/containers", post(prune))
        .route("/stats", post(stats))
        .route("/sizes", get(sizes))
        .route("/containers/{name}/archive", get(copy_out).put(copy_in))
        .route("/containers/{name}/path", get(look))
        .route("/containers/{name}/details", get(details))
        .route("/containers/{name}/diff", get(diff))
        .route("/containers/{name}/top", post(top))
        .route("/containers/{name}/adopt", post(adopt))
        .route("/containers/{name}/rename", post(rename))
        .route("/containers/{name}/update", post(update))
}

async fn copy_out(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(PathIn { path, follow }): Params<PathIn>,
) -> Result<Response, ApiError> {
    let id = handles.engine.find(&name)?;
    let (found, outgoing) = handles.engine.copy_out(&id, path.as_ref(), follow).await?;
    let mut response = stream::bytes(outgoing).await?;
    let stat = serde_json::to_vec(&found).ok().and_then(|json| HeaderValue::try_from(STANDARD.encode(json)).ok());
    let stat = stat.ok_or_else(|| ApiError::new(ErrorKind::Internal, "what is there cannot be told in a header".to_owned()))?;
    response.headers_mut().insert(PATH_STAT, stat);
    Ok(response)
}

async fn copy_in(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(PutArchive { path, owners }): Params<PutArchive>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
    handles.engine.copy_in(&id, path.as_ref(), owners, StreamReader::new(body)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing is an answer, too: whoever copies asks before there is anything.
async fn look(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(PathIn { path, follow }): Params<PathIn>,
) -> Result<axum::Json<Option<Found>>, ApiError> {
    let id = handles.engine.find(&name)?;
    Ok(axum::Json(handles.engine.look_in(&id, path.as_ref(), follow).await?))
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WithSizes {
    #[serde(default)]
    sizes: bool,
}

async fn details(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(WithSizes { sizes }): Params<WithSizes>,
) -> Result<axum::Json<Details>, ApiError> {
    let id = handles.engine.find(&name)?;
    Ok(axum::Json(handles.engine.details(&id, sizes).await?))
}

async fn diff(State(handles): State<Handles>, Path(name): Path<String>) -> Result<axum::Json<Vec<Difference>>, ApiError> {
    let id = handles.engine.find(&name)?;
    Ok(axum::Json(handles.engine.diff(&id).await?))
}

async fn top(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(Top { arguments }): Json<Top>,
) -> Result<axum::Json<Processes>, ApiError> {
    let id = handles.engine.find(&name)?;
    let found = handles.engine.top(&id, &arguments).await?;
    Ok(axum::Json(Processes { titles: found.titles, processes: found.rows }))
}

async fn adopt(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(Adopt { stack, take }): Json<Adopt>,
) -> Result<axum::Json<Adopted>, ApiError> {
    let id = handles.engine.find(&name)?;
    let (name, spec) = handles.engine.adopt(&id, &stack, take).await?;
    Ok(axum::Json(Adopted { name, spec }))
}

async fn rename(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(Rename { name: new }): Json<Rename>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.rename(&id, &new).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn update(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(update): Json<Update>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    let change = Change {
        restart: update.restart,
        memory: update.memory.map(Limit::value),
        cpus: update.cpus.map(Limit::value),
        pids: update.pids.map(Limit::value),
        memory_reservation: update.memory_reservation.map(Limit::value),
        memory_swap: update.memory_swap,
        cpu_shares: update.cpu_shares.map(Limit::value),
        cpu_quota: update.cpu_quota.map(Limit::value),
        cpu_period: update.cpu_period.map(Limit::value),
        cpuset_cpus: update.cpuset_cpus,
        cpuset_mems: update.cpuset_mems,
        blkio_weight: update.blkio_weight,
    };
    handles.engine.change(&id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn prune(
    State(handles): State<Handles>,
    Json(prune): Json<PruneContainers>,
) -> Result<axum::Json<PrunedContainers>, ApiError> {
    let labels = prune.labels.into_iter();
    let labels = labels.map(|label| WantedLabel { key: label.key, value: label.value, without: label.without });
    let unneeded = Unneeded { until: prune.until, labels: labels.collect() };
    let (removed, bytes) = handles.engine.prune_containers(&unneeded).await?;
    Ok(axum::Json(PrunedContainers { removed, bytes }))
}

/// What containers use now, all where none is named.
async fn stats(State(handles): State<Handles>, Json(names): Json<Vec<String>>) -> Result<axum::Json<Vec<Sample>>, ApiError> {
    let ids = names.iter().map(|name| handles.engine.find(name)).collect::<Result<Vec<_>, _>>()?;
    Ok(axum::Json(handles.engine.usage_of(&ids)?))
}

async fn sizes(State(handles): State<Handles>) -> Result<axum::Json<std::collections::BTreeMap<ContainerId, Sizes>>, ApiError> {
    Ok(axum::Json(handles.engine.sizes().await?))
}

//! The image store: archives in and out, commits and exports, histories, names, checks and prunes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::TryStreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::images::{ArchiveFormat, HistoryStep, ImageDetails, LabelFilter, LoadOptions, PruneFilter, Pruned};
use crate::engine::{Commit as EngineCommit, DiskUsage, EngineError};
use crate::model::ProgressSink;
use crate::reconcile::generations::images_of_generations;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params};
use crate::server::stream;
use crate::wire::native::ErrorKind;
use crate::wire::store::{Check, Commit, Format, ImageLabels, Load, LoadedImage, OfImage, Prune, Save, Tag, WorkEvent};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/images/save", post(save))
        .route("/images/load", post(load))
        .route("/images/history", get(history))
        .route("/images/inspect", get(details))
        .route("/images/labels", get(labels))
        .route("/images/tag", post(tag))
        .route("/images/check", post(check))
        .route("/images/prune", post(prune))
        .route("/system/df", get(usage))
        .route("/containers/{name}/commit", post(commit))
        .route("/containers/{name}/export", get(export))
}

async fn save(State(handles): State<Handles>, Json(save): Json<Save>) -> Result<Response, ApiError> {
    let format = match save.format {
        Format::DockerArchive => ArchiveFormat::Docker,
        Format::Oci => ArchiveFormat::Oci,
    };
    stream::bytes(handles.engine.save(&save.images, format)?).await
}

async fn load(State(handles): State<Handles>, Params(load): Params<Load>, request: Request) -> Result<Response, ApiError> {
    let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
    let reader = Box::new(StreamReader::new(body));
    let options = LoadOptions { platform: load.platform, keep_blobs: None };
    follow(async move |progress| {
        let loaded = handles.engine.load(reader, options, progress).await?;
        let images = loaded.into_iter().map(|image| LoadedImage { digest: image.digest, references: image.references });
        Ok(images.collect::<Vec<_>>())
    })
    .await
}

async fn history(State(handles): State<Handles>, Params(of): Params<OfImage>) -> Result<axum::Json<Vec<HistoryStep>>, ApiError> {
    Ok(axum::Json(handles.engine.history(&of.image)?))
}

async fn details(State(handles): State<Handles>, Params(of): Params<OfImage>) -> Result<axum::Json<ImageDetails>, ApiError> {
    Ok(axum::Json(handles.engine.image_details(&of.image)?))
}

async fn labels(State(handles): State<Handles>) -> Result<axum::Json<ImageLabels>, ApiError> {
    Ok(axum::Json(handles.engine.image_labels()?))
}

async fn tag(State(handles): State<Handles>, Json(tag): Json<Tag>) -> Result<StatusCode, ApiError> {
    handles.engine.tag_image(&tag.image, &tag.reference)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check(State(handles): State<Handles>, Json(check): Json<Check>) -> Result<Response, ApiError> {
    follow(async move |progress| handles.engine.check_images(check.repair, progress).await).await
}

async fn prune(State(handles): State<Handles>, Json(prune): Json<Prune>) -> Result<axum::Json<Pruned>, ApiError> {
    let labels = prune.labels.into_iter();
    let labels = labels.map(|label| LabelFilter { key: label.key, value: label.value, without: label.without });
    let filter = PruneFilter { all: prune.all, until: prune.until, labels: labels.collect() };
    Ok(axum::Json(handles.engine.prune_images(filter, images_of_generations).await?))
}

async fn usage(State(handles): State<Handles>) -> Result<axum::Json<DiskUsage>, ApiError> {
    Ok(axum::Json(handles.engine.disk_usage().await?))
}

async fn commit(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(commit): Json<Commit>,
) -> Result<Response, ApiError> {
    let id = handles.engine.find(&name)?;
    let Commit { reference, changes, author, message, pause } = commit;
    let commit = EngineCommit { reference, changes, author, message, pause, take_config: true };
    follow(async move |progress| handles.engine.commit(&id, commit, progress).await).await
}

async fn export(State(handles): State<Handles>, Path(name): Path<String>) -> Result<Response, ApiError> {
    let id = handles.engine.find(&name)?;
    stream::bytes(handles.engine.export(&id)?).await
}

/// Progress that waits for a reader at most. What does not fit is left out: the next one says more.
const WAITING: usize = 256;

/// Does the work in a task, and answers with its progress and its end. A client that goes away ends the work.
async fn follow<T, W, F>(work: W) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
    W: FnOnce(ProgressSink) -> F,
    F: Future<Output = Result<T, EngineError>> + Send + 'static,
{
    let (sender, events) = mpsc::channel(WAITING);
    let sink: ProgressSink = Arc::new(move |progress| drop(sender.try_send(WorkEvent::Progress { progress })));
    let work = AbortOnDropHandle::new(tokio::spawn(work(sink)));
    stream::lines(events, async move {
        let ended = |crash| ApiError::new(ErrorKind::Internal, format!("the work ended abnormally: {crash}"));
        Ok(Some(WorkEvent::Done { result: work.await.map_err(ended)?? }))
    })
    .await
}

//! `/images`: what is here, and how more comes in.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::EngineError;
use crate::engine::images::{ImportConfig, ImportSource};
use crate::model::{Digest, ProgressSink};
use crate::observed::Image;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params};
use crate::server::stream;
use crate::wire::native::{ErrorKind, ImageEvent, Import, Pull, RemoveImage};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/images", get(list).delete(remove))
        .route("/images/pull", post(pull))
        .route("/images/import", post(import))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Image>>, ApiError> {
    Ok(axum::Json(handles.engine.images()?))
}

async fn remove(
    State(handles): State<Handles>,
    Params(remove): Params<RemoveImage>,
) -> Result<axum::Json<Vec<String>>, ApiError> {
    Ok(axum::Json(handles.engine.remove_image(&remove.image, remove.force).await?))
}

async fn pull(State(handles): State<Handles>, Json(pull): Json<Pull>) -> Result<Response, ApiError> {
    let engine = handles.engine;
    follow(async move |progress| match pull.missing {
        true => engine.ensure_image(&pull.reference, progress).await,
        false => engine.pull(&pull.reference, pull.platform.as_ref(), progress).await,
    })
    .await
}

async fn import(State(handles): State<Handles>, Params(import): Params<Import>, request: Request) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let Import { reference, folder, defaults } = import;
    let source = match folder {
        Some(folder) => ImportSource::Path(folder),
        None => {
            let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
            ImportSource::Reader(Box::new(StreamReader::new(body)))
        }
    };
    let config = ImportConfig {
        entrypoint: defaults.entrypoint,
        command: defaults.command,
        environment: defaults.environment,
        working_dir: defaults.working_dir,
        user: defaults.user,
    };
    follow(async move |progress| engine.import(source, &reference, config, None, progress).await).await
}

/// Progress that waits for a reader at most. What does not fit is left out: the next one says more.
const WAITING: usize = 256;

/// Does the work in a task, and answers with its progress and its end. A client that goes away ends the work: it is
/// resumed when somebody asks again.
async fn follow<W, F>(work: W) -> Result<Response, ApiError>
where
    W: FnOnce(ProgressSink) -> F,
    F: Future<Output = Result<Digest, EngineError>> + Send + 'static,
{
    let (sender, events) = mpsc::channel(WAITING);
    let sink: ProgressSink = Arc::new(move |progress| drop(sender.try_send(ImageEvent::Progress { progress })));
    let work = AbortOnDropHandle::new(tokio::spawn(work(sink)));
    stream::lines(events, async move {
        let digest = work
            .await
            .map_err(|crash| ApiError::new(ErrorKind::Internal, format!("the work on the image ended abnormally: {crash}")))??;
        Ok(Some(ImageEvent::Done { digest }))
    })
    .await
}

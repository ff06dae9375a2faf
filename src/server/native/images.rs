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
use crate::engine::images::{self, Given, ImportConfig, ImportSource, PullOptions};
use crate::model::{Digest, ProgressSink};
use crate::observed::Image;
use crate::reconcile::generations::images_of_generations;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params};
use crate::server::stream;
use crate::wire::native::{Credentials, ErrorKind, Found, ImageEvent, Import, Pull, Push, RemoveImage, Search, Secret, Tags};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/images", get(list).delete(remove))
        .route("/images/pull", post(pull))
        .route("/images/push", post(push))
        .route("/images/search", post(search))
        .route("/images/tags", post(tags))
        .route("/images/import", post(import))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Image>>, ApiError> {
    Ok(axum::Json(handles.engine.images()?))
}

async fn remove(
    State(handles): State<Handles>,
    Params(remove): Params<RemoveImage>,
) -> Result<axum::Json<Vec<String>>, ApiError> {
    Ok(axum::Json(handles.engine.remove_image(&remove.image, remove.force, images_of_generations).await?))
}

async fn pull(State(handles): State<Handles>, Json(pull): Json<Pull>) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let options = PullOptions { platform: pull.platform, credentials: pull.credentials.map(given), ..PullOptions::default() };
    follow(async move |progress| match pull.missing {
        true => engine.ensure_image(&pull.reference, &options, progress).await,
        false => engine.pull_with(&pull.reference, &options, progress).await,
    })
    .await
}

async fn push(State(handles): State<Handles>, Json(push): Json<Push>) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let Push { reference, with, credentials } = push;
    follow(async move |progress| engine.push(&reference, &with, credentials.map(given), progress).await).await
}

async fn search(State(handles): State<Handles>, Json(search): Json<Search>) -> Result<axum::Json<Vec<Found>>, ApiError> {
    let credentials = search.credentials.map(given);
    let found = handles.engine.search(&search.term, search.limit, credentials.as_ref()).await?;
    let found = found.into_iter().map(|images::Found { name, description, stars, official }| Found {
        name,
        description,
        stars,
        official,
    });
    Ok(axum::Json(found.collect()))
}

async fn tags(State(handles): State<Handles>, Json(tags): Json<Tags>) -> Result<axum::Json<Vec<String>>, ApiError> {
    let credentials = tags.credentials.map(given);
    Ok(axum::Json(handles.engine.tags(&tags.reference, credentials.as_ref()).await?))
}

pub(super) fn given(sent: Credentials) -> Given {
    let credentials = match sent.secret {
        Secret::Password { user, password } => images::Credentials::Password { user, password },
        Secret::Refresh(token) => images::Credentials::Refresh(token),
        Secret::Bearer(token) => images::Credentials::Bearer(token),
    };
    Given { registry: sent.registry, credentials }
}

async fn import(State(handles): State<Handles>, Params(import): Params<Import>, request: Request) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let Import { reference, folder, url, message, platform, defaults, changes } = import;
    let source = match (folder, url) {
        (Some(_), Some(_)) => {
            return Err(ApiError::new(ErrorKind::Invalid, "an import is of a `folder` or of a `url`, not of both".to_owned()));
        }
        (Some(folder), None) => ImportSource::Path(folder),
        (None, Some(url)) => ImportSource::Url(url),
        (None, None) => {
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
        changes,
        message,
        platform,
    };
    follow(async move |progress| engine.import(source, reference.as_ref(), config, None, progress).await).await
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

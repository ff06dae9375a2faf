//! `/build`: a build as it goes on.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::TryStreamExt;
use time::OffsetDateTime;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

use super::images::given;
use crate::engine::StepFilter;
use crate::model::build::{BuildRequest, ContextSource};
use crate::reconcile::build_events::{self, Queue};
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::Json;
use crate::server::stream;
use crate::wire::build::{Build, BuildLine, CachedStep, PruneCache, PrunedCache, Seen};
use crate::wire::native::{ErrorBody, ErrorKind};

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/build", post(build)).route("/build/cache", get(cache)).route("/build/cache/prune", post(prune))
}

/// What is asked has secrets and perhaps a Dockerfile in it, and no files.
const LONGEST_HEAD: u64 = 64 << 20;
/// Lines that wait for the connection to take them.
const WAITING: usize = 64;
/// So long nothing may happen before a line says that nothing has.
const SILENCE: Duration = Duration::from_secs(2);

async fn build(State(handles): State<Handles>, request: Request) -> Result<Response, ApiError> {
    let body = request.into_body().into_data_stream().map_err(std::io::Error::other);
    let mut body = StreamReader::new(body);
    let Build { request, seen, logins } = head(&mut body).await?;
    same_host(seen).await?;
    let upload: Option<Box<dyn AsyncRead + Send + Unpin>> = if uploads(&request) { Some(Box::new(body)) } else { None };
    let (sink, events) = build_events::queue();
    let (sender, lines) = mpsc::channel(WAITING);
    tokio::spawn(forward(events, sender));
    let engine = handles.engine;
    // A client that goes away takes the answer away, and the work with it.
    let given = logins.into_iter().map(given).collect();
    let work = AbortOnDropHandle::new(tokio::spawn(async move { engine.build(request, given, upload, sink).await }));
    stream::lines(lines, async move {
        let ended = |crash| ApiError::new(ErrorKind::Internal, format!("the build ended abnormally: {crash}"));
        let built = work.await.map_err(ended)??;
        Ok(Some(BuildLine::Done { digest: built.digest, pushed: built.pushed }))
    })
    .await
}

async fn cache(State(handles): State<Handles>) -> Result<axum::Json<Vec<CachedStep>>, ApiError> {
    // No clock that this program reads gives another time.
    let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let steps = handles.engine.build_steps()?.into_iter().map(|step| CachedStep {
        id: step.key,
        about: step.about,
        created: moment(step.created),
        used: moment(step.used),
        uses: step.uses,
        size: step.size,
        shared: step.shared,
    });
    Ok(axum::Json(steps.collect()))
}

async fn prune(State(handles): State<Handles>, Json(prune): Json<PruneCache>) -> Result<axum::Json<PrunedCache>, ApiError> {
    let filter = StepFilter { all: prune.all, until: prune.until, keep_bytes: prune.keep };
    let (steps, freed) = handles.engine.prune_build_steps(filter).await?;
    Ok(axum::Json(PrunedCache { steps, bytes: freed.bytes }))
}

/// The first line of the body.
async fn head(body: &mut (impl AsyncBufRead + Unpin)) -> Result<Build, ApiError> {
    let invalid = |why: String| ApiError::new(ErrorKind::Invalid, why);
    let mut line = Vec::new();
    let read = body.take(LONGEST_HEAD).read_until(b'\n', &mut line).await;
    read.map_err(|error| invalid(format!("read the request: {error}")))?;
    if line.pop() != Some(b'\n') {
        return Err(invalid("the body of this request begins with a line of JSON".to_owned()));
    }
    serde_json::from_slice(&line).map_err(|error| invalid(format!("the first line of the body: {error}")))
}

fn uploads(request: &BuildRequest) -> bool {
    request.contexts.values().chain([&request.context]).any(|context| *context == ContextSource::Upload)
}

/// Whether what the paths lead to is here what it is there.
async fn same_host(seen: Vec<Seen>) -> Result<(), ApiError> {
    let look = move || seen.into_iter().find(|seen| Seen::at(seen.path.clone()).ok().as_ref() != Some(seen));
    let ended = |crash| ApiError::new(ErrorKind::Internal, format!("a look at the folders ended abnormally: {crash}"));
    match tokio::task::spawn_blocking(look).await.map_err(ended)? {
        None => Ok(()),
        Some(other) => Err(ApiError(ErrorBody {
            kind: ErrorKind::Elsewhere,
            message: format!("{} is not the same here as where the command was typed", other.path.display()),
            hint: Some("the engine has other file systems: send a tar of the files on standard input instead (`-`)".to_owned()),
            exit_code: None,
        })),
    }
}

/// Passes on what is told, and now and then that nothing is.
async fn forward(mut events: Queue, lines: mpsc::Sender<BuildLine>) {
    loop {
        let line = match tokio::time::timeout(SILENCE, events.next()).await {
            Ok(Some(event)) => BuildLine::Event(event),
            Ok(None) => return,
            Err(_) => BuildLine::Alive,
        };
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[tokio::test]
    async fn the_head_is_one_line_and_the_upload_is_the_rest() {
        let build = r#"{"request":{"context":"upload","dockerfile":{"incontext":null}}}"#;
        let bytes = format!("{build}\nrest\nof it");
        let mut body = tokio::io::BufReader::new(bytes.as_bytes());
        let read = head(&mut body).await.unwrap();
        assert!(uploads(&read.request));
        let mut rest = String::new();
        body.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "rest\nof it");
        for bad in ["", "{}\n", build, "\n"] {
            assert_eq!(head(&mut bad.as_bytes()).await.unwrap_err().0.kind, ErrorKind::Invalid, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn another_folder_under_the_same_path_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Seen::at(folder.path().to_owned()).unwrap();
        assert!(same_host(vec![seen.clone()]).await.is_ok());
        for other in [Seen { inode: seen.inode + 1, ..seen.clone() }, Seen { path: folder.path().join("none"), ..seen }] {
            assert_eq!(same_host(vec![other]).await.unwrap_err().0.kind, ErrorKind::Elsewhere);
        }
    }
}

//! `/containers`: their life, their output, and commands in them.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt, stream};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::session;
use crate::engine::containers::ExecSpec;
use crate::engine::monitor::logs::{LogLine, LogQuery, LogReader, LogStream};
use crate::engine::{EngineError, NewContainer};
use crate::observed::Container;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params, Upgrade};
use crate::server::stream::switching;
use crate::wire::frame::Frame;
use crate::wire::native::{Attach, CreateContainer, Created, ErrorKind, Exec, Exited, Force, Kill, Stop};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/containers", get(list).post(create))
        .route("/containers/{name}", get(inspect).delete(remove))
        .route("/containers/{name}/start", post(start))
        .route("/containers/{name}/stop", post(stop))
        .route("/containers/{name}/restart", post(restart))
        .route("/containers/{name}/kill", post(kill))
        .route("/containers/{name}/wait", post(wait))
        .route("/containers/{name}/logs", get(super::logs::logs))
        .route("/containers/{name}/attach", post(attach))
        .route("/containers/{name}/exec", post(exec))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Container>>, ApiError> {
    Ok(axum::Json(handles.engine.observe().await?.containers))
}

async fn create(State(handles): State<Handles>, Json(new): Json<CreateContainer>) -> Result<axum::Json<Created>, ApiError> {
    let new = NewContainer { name: new.name, owner: None, spec: new.spec, auto_remove: new.auto_remove };
    Ok(axum::Json(Created { id: handles.engine.create(new).await? }))
}

async fn inspect(State(handles): State<Handles>, Path(name): Path<String>) -> Result<axum::Json<Container>, ApiError> {
    let id = handles.engine.find(&name)?;
    Ok(axum::Json(handles.engine.inspect(&id).await?))
}

async fn remove(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(Force { force }): Params<Force>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.remove(&id, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn start(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.start(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stop(State(handles): State<Handles>, Path(name): Path<String>, Json(stop): Json<Stop>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.stop(&id, stop.grace).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(stop): Json<Stop>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.stop(&id, stop.grace).await?;
    handles.engine.start(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(handles): State<Handles>, Path(name): Path<String>, Json(kill): Json<Kill>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.signal(&id, kill.signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn wait(State(handles): State<Handles>, Path(name): Path<String>) -> Result<axum::Json<Exited>, ApiError> {
    let id = handles.engine.find(&name)?;
    Ok(axum::Json(Exited { code: handles.engine.wait(&id, false).await? }))
}

async fn attach(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Upgrade(upgrade): Upgrade,
    Json(attach): Json<Attach>,
) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let id = engine.find(&name)?;
    if attach.reap && !attach.start {
        return Err(ApiError::new(ErrorKind::Invalid, "`reap` is for a container that is started by the same call".to_owned()));
    }
    if attach.start {
        let output = engine.start_attached(&id, attach.reap).await?;
        tokio::spawn(session::attached(upgrade, engine, id, attach.reap, output));
    } else {
        let query = LogQuery { follow: true, tail: Some(0), ..LogQuery::default() };
        let output = frames(engine.logs(&id, query)?, false);
        tokio::spawn(session::followed(upgrade, engine, id, output));
    }
    Ok(switching())
}

async fn exec(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Upgrade(upgrade): Upgrade,
    Json(exec): Json<Exec>,
) -> Result<Response, ApiError> {
    let id = handles.engine.find(&name)?;
    let spec = ExecSpec {
        argv: exec.argv,
        env: exec.env,
        user: exec.user,
        working_dir: exec.working_dir,
        tty: exec.tty,
        window: exec.window,
    };
    let child = handles.engine.exec(&id, spec).await?;
    tokio::spawn(session::executing(upgrade, child));
    Ok(switching())
}

/// Bytes of one frame, more or less.
const CHUNK: usize = 64 << 10;

/// UTC with nine digits of a second, as in the log itself.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// A container's log as frames.
fn frames(reader: LogReader, timestamps: bool) -> impl Stream<Item = Frame> + Send + Unpin + use<> {
    let batches = stream::unfold(Some(reader), move |reader| async move {
        let mut reader = reader?;
        match reader.next_batch().await {
            Ok(Some(lines)) => Some((together(&lines, timestamps), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((vec![Frame::Failure(ApiError::from(EngineError::from(error)).0)], None)),
        }
    });
    Box::pin(batches.flat_map(stream::iter))
}

/// Neighbouring lines of one stream go in one frame.
fn together(lines: &[LogLine], timestamps: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut gathered: Option<(LogStream, Vec<u8>)> = None;
    for line in lines {
        let fits = gathered.as_ref().is_some_and(|(stream, bytes)| *stream == line.stream && bytes.len() < CHUNK);
        if !fits {
            frames.extend(gathered.take().map(frame));
        }
        append(&mut gathered.get_or_insert((line.stream, Vec::new())).1, line, timestamps);
    }
    frames.extend(gathered.map(frame));
    frames
}

fn frame((stream, bytes): (LogStream, Vec<u8>)) -> Frame {
    match stream {
        LogStream::Stdout => Frame::Stdout(bytes.into()),
        LogStream::Stderr => Frame::Stderr(bytes.into()),
    }
}

fn append(bytes: &mut Vec<u8>, line: &LogLine, timestamps: bool) {
    if timestamps {
        // Every time that a line can have can be formatted.
        drop(line.time.format_into(bytes, STAMP));
        bytes.push(b' ');
    }
    bytes.extend_from_slice(&line.text);
    // What was printed without a line break is shown without one; with times, each piece is a line of its own.
    if !line.partial || timestamps {
        bytes.push(b'\n');
    }
}

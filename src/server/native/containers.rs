//! `/containers`: their life, their output, and commands in them.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::session;
use crate::engine::NewContainer;
use crate::engine::containers::ExecSpec;
use crate::observed::Container;
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::{Json, Params, Upgrade};
use crate::server::stream::switching;
use crate::wire::native::{Attach, CreateContainer, Created, ErrorKind, Exec, Exited, Kill, RemoveContainer, Stop};

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/containers", get(list).post(create))
        .route("/containers/{name}", get(inspect).delete(remove))
        .route("/containers/{name}/start", post(start))
        .route("/containers/{name}/stop", post(stop))
        .route("/containers/{name}/restart", post(restart))
        .route("/containers/{name}/kill", post(kill))
        .route("/containers/{name}/pause", post(pause))
        .route("/containers/{name}/unpause", post(unpause))
        .route("/containers/{name}/wait", post(wait))
        .route("/containers/{name}/logs", get(super::logs::logs))
        .route("/containers/{name}/attach", post(attach))
        .route("/containers/{name}/exec", post(exec))
        .route("/containers/{name}/exec-detached", post(exec_detached))
}

async fn list(State(handles): State<Handles>) -> Result<axum::Json<Vec<Container>>, ApiError> {
    Ok(axum::Json(handles.engine.observe().await?.containers))
}

async fn create(State(handles): State<Handles>, Json(new): Json<CreateContainer>) -> Result<axum::Json<Created>, ApiError> {
    if let Some(platform) = &new.platform {
        handles.engine.require_platform(&new.spec.image, platform)?;
    }
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
    Params(RemoveContainer { force, volumes }): Params<RemoveContainer>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    if volumes {
        handles.engine.remove_with(&id, force, true).await?
    } else {
        handles.engine.remove(&id, force).await?
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn start(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.start(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stop(State(handles): State<Handles>, Path(name): Path<String>, Json(stop): Json<Stop>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.stop_by(&id, stop.grace, stop.signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn restart(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(stop): Json<Stop>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.stop_by(&id, stop.grace, stop.signal).await?;
    handles.engine.start(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn kill(State(handles): State<Handles>, Path(name): Path<String>, Json(kill): Json<Kill>) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.signal(&id, kill.signal).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn pause(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    handles.engine.pause(&handles.engine.find(&name)?, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unpause(State(handles): State<Handles>, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    handles.engine.pause(&handles.engine.find(&name)?, false).await?;
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
        let attached = engine.start_attached(&id, attach.reap, attach.stdin).await?;
        tokio::spawn(session::attached(upgrade, engine, id, attach.reap, attached));
    } else {
        let attached = engine.attach(&id, attach.stdin).await?;
        tokio::spawn(session::attached(upgrade, engine, id, false, attached));
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
    let child = handles.engine.exec(&id, exec_spec(exec)).await?;
    tokio::spawn(session::executing(upgrade, child));
    Ok(switching())
}

/// Answers as soon as the command is executed.
async fn exec_detached(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Json(exec): Json<Exec>,
) -> Result<StatusCode, ApiError> {
    let id = handles.engine.find(&name)?;
    handles.engine.exec_detached(&id, exec_spec(exec)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn exec_spec(exec: Exec) -> ExecSpec {
    ExecSpec {
        argv: exec.argv,
        env: exec.env,
        user: exec.user,
        working_dir: exec.working_dir,
        tty: exec.tty,
        window: exec.window,
        privileged: exec.privileged,
    }
}

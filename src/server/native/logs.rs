//! `/containers/{name}/logs`: what a container printed, and what a service prints over all of its containers.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use futures_util::stream;
use tokio_util::codec::Encoder;

use crate::engine::monitor::logs::{Form, LogFrames, LogQuery, Render};
use crate::engine::{Engine, EngineError};
use crate::model::{ContainerId, Owner};
use crate::reconcile::{ReconcileError, record};
use crate::server::Handles;
use crate::server::error::ApiError;
use crate::server::extract::Params;
use crate::wire::frame::{Frame, FrameCodec};
use crate::wire::native::{ErrorKind, FRAMES_TYPE, Logs};

pub(super) async fn logs(
    State(handles): State<Handles>,
    Path(name): Path<String>,
    Params(logs): Params<Logs>,
) -> Result<Response, ApiError> {
    let engine = handles.engine;
    let id = engine.find(&name)?;
    // Who names a stack means the service, and not the container that it is at this moment.
    let service =
        if logs.follow && name.contains('/') { engine.containers().get(&id).map_err(EngineError::from)?.owner } else { None };
    let grep = logs.grep.as_deref().map(regex::bytes::Regex::new).transpose();
    let grep = grep.map_err(|e| ApiError::new(ErrorKind::Invalid, format!("what is searched for: {e}")))?;
    let reading = Reading { engine, service, grep, logs };
    let first = reading.open(&id, true)?;
    let answer = stream::unfold(Some((reading, Some((id, first)))), next);
    Ok(([(CONTENT_TYPE, FRAMES_TYPE)], Body::from_stream(answer)).into_response())
}

/// What is read, for as long as somebody listens.
struct Reading {
    engine: Engine,
    /// Followed over all of its containers.
    service: Option<Owner>,
    grep: Option<regex::bytes::Regex>,
    logs: Logs,
}

/// How often a service is looked for that has no container.
const LOOK: Duration = Duration::from_millis(100);

type Current = Option<(ContainerId, LogFrames)>;
type Item = Result<Bytes, std::convert::Infallible>;

async fn next(state: Option<(Reading, Current)>) -> Option<(Item, Option<(Reading, Current)>)> {
    let (reading, mut current) = state?;
    loop {
        let failed = match &mut current {
            Some((id, frames)) => match frames.next().await {
                Ok(Some(bytes)) => return Some((Ok(bytes), Some((reading, current)))),
                Ok(None) => {
                    let ended = id.clone();
                    match reading.after(&ended).await {
                        Ok(None) => return None,
                        Ok(next) => {
                            current = next;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => EngineError::from(error).into(),
            },
            None => return None,
        };
        return Some((Ok(failure(failed)), None));
    }
}

impl Reading {
    fn open(&self, id: &ContainerId, first: bool) -> Result<LogFrames, EngineError> {
        let Logs { since, until, follow, .. } = self.logs;
        // Of later containers nothing is left out: they begin while one watches.
        let query = LogQuery { tail: if first { self.logs.tail } else { None }, since, until, follow };
        let containers = self.engine.containers();
        let reader =
            if self.service.is_some() { containers.logs_until_removed(id, query)? } else { containers.logs(id, query)? };
        let form = if self.logs.json {
            Form::Json { container: containers.get(id)?.name.to_string() }
        } else {
            let details = if self.logs.details { containers.log_details(id)? } else { None };
            Form::Text { timestamps: self.logs.timestamps, details }
        };
        Ok(reader.render(Render { form, grep: self.grep.clone() }))
    }

    /// The service's next container, once there is one; `None` when there will be none.
    async fn after(&self, ended: &ContainerId) -> Result<Current, ApiError> {
        let Some(owner) = &self.service else { return Ok(None) };
        loop {
            if self.logs.until.is_some_and(|until| until < time::OffsetDateTime::now_utc()) {
                return Ok(None);
            }
            match self.engine.containers().find_owned(owner).map_err(EngineError::from)? {
                Some(id) if id != *ended => {
                    let frames = self.open(&id, false)?;
                    return Ok(Some((id, frames)));
                }
                Some(_) => {}
                None => {
                    // A stack that was taken down has no services.
                    if record::stack(self.engine.db(), &owner.stack).map_err(ReconcileError::from)?.is_none() {
                        return Ok(None);
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn failure(ApiError(error): ApiError) -> Bytes {
    let mut bytes = BytesMut::new();
    // What cannot be encoded is an error that is too long, which the engine does not make.
    drop(FrameCodec.encode(Frame::Failure(error), &mut bytes));
    bytes.freeze()
}

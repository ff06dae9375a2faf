//! Answers that go on: lines of JSON that something under way produces, and upgraded connections.

use axum::body::{Body, Bytes};
use axum::http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;

use super::error::ApiError;
use crate::engine::Outgoing;
use crate::wire::native::{ErrorKind, FRAMES, LINES_TYPE, Line};

/// One line for each value that comes in, and at the end the line that `last` gives.
///
/// An error before any value is an answer of its own, so that its status tells. The reader sets the pace: nothing is taken
/// from `values` before the last line is on its way.
pub(super) async fn lines<T, L>(mut values: mpsc::Receiver<T>, last: L) -> Result<Response, ApiError>
where
    T: Serialize + Send + 'static,
    L: Future<Output = Result<Option<T>, ApiError>> + Send + 'static,
{
    let last = Box::pin(last);
    let first = match values.recv().await {
        Some(value) => value,
        None => match last.await? {
            Some(value) => return Ok(respond(Body::from(line(&Line::Value(value))))),
            None => return Ok(respond(Body::empty())),
        },
    };
    let head = stream::iter([line(&Line::Value(first))]);
    let tail = stream::unfold(Some((values, last)), async |state| {
        let (mut values, mut last) = state?;
        if let Some(value) = values.recv().await {
            return Some((line(&Line::Value(value)), Some((values, last))));
        }
        let end = match last.as_mut().await {
            Ok(Some(value)) => line(&Line::Value(value)),
            Ok(None) => Bytes::new(),
            Err(ApiError(error)) => line(&Line::<T>::Failed { error }),
        };
        Some((end, None))
    });
    let all = futures_util::StreamExt::chain(head, tail);
    Ok(respond(Body::from_stream(futures_util::StreamExt::map(all, Ok::<_, std::convert::Infallible>))))
}

/// Bytes as they come. An error before the first of them is an answer of its own; a later one breaks the connection off,
/// so that nobody takes a part for the whole.
pub(super) async fn bytes(outgoing: Outgoing) -> Result<Response, ApiError> {
    let Outgoing { mut parts, end } = outgoing;
    let ended = |crash| ApiError::new(ErrorKind::Internal, format!("the work ended abnormally: {crash}"));
    let Some(first) = parts.recv().await else {
        end.await.map_err(ended)??;
        return Ok(([(CONTENT_TYPE, TAR_TYPE)], Body::empty()).into_response());
    };
    let head = stream::iter([Ok(first)]);
    let tail = stream::unfold(Some((parts, end)), async |state| {
        let (mut parts, end) = state?;
        if let Some(part) = parts.recv().await {
            return Some((Ok(part), Some((parts, end))));
        }
        let error = match end.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(crash) => crash.to_string(),
        };
        tracing::error!(%error, "an answer breaks off");
        Some((Err(std::io::Error::other(error)), None))
    });
    let all = futures_util::StreamExt::chain(head, tail);
    Ok(([(CONTENT_TYPE, TAR_TYPE)], Body::from_stream(all)).into_response())
}

/// The type of a body that is a tar.
const TAR_TYPE: &str = "application/x-tar";

fn line<T: Serialize>(value: &Line<T>) -> Bytes {
    // The values are this program's own; those that cannot be JSON do not exist.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn respond(body: Body) -> Response {
    ([(CONTENT_TYPE, LINES_TYPE)], body).into_response()
}

/// The answer after which a connection carries frames.
pub(super) fn switching() -> Response {
    let headers = [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(FRAMES))];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

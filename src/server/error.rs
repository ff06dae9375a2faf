//! Errors as answers: a status for programs, and a message with a hint for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::engine::{EngineError, Kind};
use crate::reconcile::ReconcileError;
use crate::wire::native::{ErrorBody, ErrorKind};

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) ErrorBody);

impl ApiError {
    pub(crate) const fn new(kind: ErrorKind, message: String) -> Self {
        Self(ErrorBody { kind, message, hint: None, exit_code: None })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.0.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Denied => StatusCode::FORBIDDEN,
            ErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
            ErrorKind::Elsewhere => StatusCode::MISDIRECTED_REQUEST,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self.0)).into_response()
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        Self(ErrorBody {
            kind: kind(error.status()),
            message: error.to_string(),
            hint: error.hint(),
            exit_code: error.exit_code(),
        })
    }
}

impl From<ReconcileError> for ApiError {
    fn from(error: ReconcileError) -> Self {
        let of = match &error {
            ReconcileError::Engine(error) => kind(error.status()),
            ReconcileError::NoSuchStack(_)
            | ReconcileError::NoStack
            | ReconcileError::NotKept { .. }
            | ReconcileError::NoContent { .. }
            | ReconcileError::NoEarlier(_) => ErrorKind::NotFound,
            ReconcileError::NoSuchResource(_) => ErrorKind::NotFound,
            ReconcileError::WhichStack(_) | ReconcileError::WhichResource { .. } => ErrorKind::Invalid,
            ReconcileError::Moved { .. } | ReconcileError::Stopping(_) => ErrorKind::Conflict,
            ReconcileError::Plan(_) => ErrorKind::Invalid,
            ReconcileError::Record(_) | ReconcileError::File(_) | ReconcileError::Interrupted => ErrorKind::Internal,
        };
        Self(ErrorBody { kind: of, message: error.to_string(), hint: error.hint(), exit_code: None })
    }
}

const fn kind(kind: Kind) -> ErrorKind {
    match kind {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::Conflict => ErrorKind::Conflict,
        Kind::Invalid => ErrorKind::Invalid,
        Kind::Denied => ErrorKind::Denied,
        Kind::Unreachable => ErrorKind::Unreachable,
        Kind::Internal => ErrorKind::Internal,
    }
}

//! What handlers take from a request, with refusals in the API's own form.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::model::Name;
use crate::wire::native::ErrorKind;

/// The body as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(ErrorKind::Invalid, rejection.body_text())),
        }
    }
}

/// The query's parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(ApiError::new(ErrorKind::Invalid, rejection.body_text())),
        }
    }
}

/// The connection itself, once the answer is sent.
pub(crate) struct Upgrade(pub(crate) OnUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let asked = parts.headers.contains_key(axum::http::header::UPGRADE);
        match parts.extensions.remove::<OnUpgrade>().filter(|_| asked) {
            Some(upgrade) => Ok(Self(upgrade)),
            None => Err(ApiError::new(ErrorKind::Invalid, "this needs a connection that is upgraded".into())),
        }
    }
}

/// A name in a path. What cannot be a name is not there.
pub(crate) fn named(what: &str, text: &str) -> Result<Name, ApiError> {
    text.parse().map_err(|_| ApiError::new(ErrorKind::NotFound, format!("there is no {what} {text:?}")))
}

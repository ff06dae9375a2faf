//! Questions to Docker's daemon by its socket: plain requests, and JSON in the answers.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    #[error("connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: std::io::Error },
    #[error("ask Docker for {path}: {source}")]
    Ask { path: String, source: hyper::Error },
    #[error("ask Docker for {path}: {source}")]
    Address { path: String, source: hyper::http::Error },
    #[error("Docker has no {path}")]
    None { path: String },
    #[error("Docker says of {path}: {status}: {said}")]
    Refused { path: String, status: StatusCode, said: String },
    #[error("what Docker says of {path} is not understood: {source}")]
    Answer { path: String, source: serde_json::Error },
}

/// What is at `path` of Docker's API.
pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, DockerError> {
    let ask = |source| DockerError::Ask { path: path.to_owned(), source };
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|source| DockerError::Connect { path: socket.to_owned(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ask)?;
    // What it ends with is seen by whoever waits for the answer.
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(Method::GET).uri(path).header("host", "docker").body(Empty::<Bytes>::new());
    let request = request.map_err(|source| DockerError::Address { path: path.to_owned(), source })?;
    let response = sender.send_request(request).await.map_err(ask)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(ask)?.to_bytes();
    connection.abort();
    if status == StatusCode::NOT_FOUND {
        return Err(DockerError::None { path: path.to_owned() });
    }
    if !status.is_success() {
        let said = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(DockerError::Refused { path: path.to_owned(), status, said });
    }
    serde_json::from_slice(&body).map_err(|source| DockerError::Answer { path: path.to_owned(), source })
}

/// A name as a part of a path.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

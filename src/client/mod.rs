//! The client of the native API: typed calls over HTTP on a byte stream. The stream is a daemon's socket, or a pipe within
//! this process with the same router at its other end; nothing but [`Client::daemon`] and [`Client::embedded`] knows which.

mod build;
mod calls;
mod error;
mod generations;
mod store;
mod story;
mod stream;
mod verbs;

use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

pub use calls::Events;
pub use error::ClientError;
pub use store::Bytes as ByteStream;
pub use stream::{FrameStream, Session};

use crate::server;
use crate::wire::native::{ErrorBody, ErrorKind, FRAMES, PREFIX};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A way to an engine.
#[derive(Debug)]
pub struct Client {
    way: Way,
    /// A connection on which nothing is under way.
    idle: Mutex<Option<SendRequest<Body>>>,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Embedded(axum::Router),
}

/// A connection to a daemon that listens at `socket`; `None` when nobody does.
///
/// # Errors
/// When the socket is there, and this user may not use it.
pub fn knock(socket: &Path) -> Result<Option<StdStream>, ClientError> {
    use std::io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    match StdStream::connect(socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if matches!(e.kind(), NotFound | NotADirectory | ConnectionRefused) => Ok(None),
        Err(source) => Err(ClientError::Connect { path: socket.to_owned(), source }),
    }
}

impl Client {
    /// A client of the daemon that answered at `socket`, which goes on with the connection that [`knock`] has made.
    pub async fn daemon(socket: &Path, first: StdStream) -> Result<Self, ClientError> {
        let fail = |source| ClientError::Connect { path: socket.to_owned(), source };
        first.set_nonblocking(true).map_err(fail)?;
        let sender = handshake(UnixStream::from_std(first).map_err(fail)?).await?;
        Ok(Self { way: Way::Socket(socket.to_owned()), idle: Mutex::new(Some(sender)) })
    }

    /// A client of an engine in this process.
    pub fn embedded(router: axum::Router) -> Self {
        Self { way: Way::Embedded(router), idle: Mutex::new(None) }
    }

    /// Whether the engine is in this process.
    pub const fn is_embedded(&self) -> bool {
        matches!(self.way, Way::Embedded(_))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, ClientError> {
        match &self.way {
            Way::Socket(path) => {
                let fail = |source| ClientError::Connect { path: path.clone(), source };
                handshake(UnixStream::connect(path).await.map_err(fail)?).await
            }
            Way::Embedded(router) => {
                let (near, far) = tokio::io::duplex(PIPE);
                let router = router.clone();
                tokio::spawn(async move {
                    // What a connection ends with is seen by its other end, which is the client that reports it.
                    drop(server::serve_connection(router, far).await);
                });
                handshake(near).await
            }
        }
    }

    async fn sender(&self) -> Result<SendRequest<Body>, ClientError> {
        match self.idle.lock().await.take() {
            Some(sender) if sender.is_ready() => Ok(sender),
            _ => self.connect().await,
        }
    }

    /// Sends a request and gives its answer, whose body is still to be read; what is not a success is an error.
    async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, sender));
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        *self.idle.lock().await = Some(sender);
        Err(ClientError::Refused(serde_json::from_slice(&body).unwrap_or_else(|_| ErrorBody {
            kind: ErrorKind::Internal,
            message: format!("{status}: {}", String::from_utf8_lossy(&body)),
            hint: None,
            exit_code: None,
        })))
    }

    async fn call<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T, ClientError> {
        let (response, sender) = self.send(request).await?;
        let body = response.into_body().collect().await?.to_bytes();
        *self.idle.lock().await = Some(sender);
        serde_json::from_slice(if body.is_empty() { b"null" } else { &body }).map_err(ClientError::Answer)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(request(Method::GET, path, empty())?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, value: &impl Serialize) -> Result<T, ClientError> {
        self.call(request(Method::POST, path, json(value)?)?).await
    }

    async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(request(Method::DELETE, path, empty())?).await
    }

    /// Sends a request that makes its connection a stream of frames both ways.
    async fn upgrade(&self, path: &str, value: &impl Serialize) -> Result<Session, ClientError> {
        let mut request = request(Method::POST, path, json(value)?)?;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, hyper::header::HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, hyper::header::HeaderValue::from_static(FRAMES));
        // The connection lives on in its own task; a sender that is dropped does not end an upgraded one.
        let (response, _sender) = self.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NotUpgraded { status: response.status() });
        }
        Ok(Session::new(TokioIo::new(hyper::upgrade::on(response).await?)))
    }
}

/// Bytes that are under way at most in a pipe within this process.
const PIPE: usize = 1 << 20;

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, ClientError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Errors reach whoever waits for the answer.
        drop(connection.with_upgrades().await);
    });
    Ok(sender)
}

fn request(method: Method, path: &str, body: Body) -> Result<Request<Body>, ClientError> {
    Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{path}"))
        .header(HOST, "setpoint")
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(ClientError::Request)
}

fn json(value: &impl Serialize) -> Result<Body, ClientError> {
    let bytes = serde_json::to_vec(value).map_err(ClientError::Encode)?;
    Ok(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync())
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests;

//! The server: HTTP requests become typed actions of an engine. Holds handles only; serves a connection whatever it is made of,
//! so that the same router answers on a daemon's socket and within a command line's own process.

mod error;
mod extract;
pub mod native;
mod stream;

use std::pin::pin;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::engine::Engine;
use crate::reconcile::Reconciler;
use crate::wire::native::{ErrorKind, PREFIX};
use error::ApiError;

/// What handlers act through.
#[derive(Clone)]
pub(crate) struct Handles {
    pub(crate) engine: Engine,
    pub(crate) reconciler: Reconciler,
}

/// A whole stack in one request, with the content of its configs.
const LONGEST_BODY: usize = 256 << 20;
/// How long requests that are under way may go on when the server is stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Between attempts to accept when the process is out of descriptors.
const BREATH: Duration = Duration::from_millis(50);

pub fn router(engine: Engine, reconciler: Reconciler) -> axum::Router {
    axum::Router::new()
        .nest(PREFIX, native::routes())
        .fallback(async |uri: Uri| ApiError::new(ErrorKind::NotFound, format!("there is nothing at {}", uri.path())))
        .method_not_allowed_fallback(async || ApiError::new(ErrorKind::Invalid, "this cannot be done there".into()))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(Handles { engine, reconciler })
}

/// Serves one connection to its end.
pub async fn serve_connection<S>(router: axum::Router, stream: S) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_until(router, stream, CancellationToken::new()).await
}

async fn serve_until<S>(router: axum::Router, stream: S, stop: CancellationToken) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        // A client may close its side once it has asked, and still wants its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        end = connection.as_mut() => return end,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Serves whoever connects until `stop`, then lets requests that are under way have a moment.
pub async fn serve_unix(router: axum::Router, listener: UnixListener, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = serve_until(router.clone(), stream, stop.clone());
                connections.spawn(async move {
                    if let Err(error) = serving.await {
                        debug!(%error, "a connection broke off");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    connections.close();
    if tokio::time::timeout(LAST_WORDS, connections.wait()).await.is_err() {
        debug!(open = connections.len(), "connections are cut off");
    }
}

#[cfg(test)]
mod tests;

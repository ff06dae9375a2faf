//! The call for a build.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream as streams};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Method;
use hyper::body::Frame as BodyFrame;
use tokio_util::io::ReaderStream;

use super::calls::UPLOAD;
use super::store::Bytes as ByteStream;
use super::{Client, ClientError, Events, request, stream};
use crate::wire::build::{Build, BuildLine, CachedStep, PruneCache, PrunedCache};

impl Client {
    pub async fn build_cache(&self) -> Result<Vec<CachedStep>, ClientError> {
        self.get("/build/cache").await
    }

    pub async fn prune_build_cache(&self, prune: &PruneCache) -> Result<PrunedCache, ClientError> {
        self.post("/build/cache/prune", prune).await
    }

    /// Asks for a build, sends its upload as it is read, and gives what is told of it.
    pub async fn build(&self, build: &Build, upload: Option<ByteStream>) -> Result<impl Events<BuildLine> + use<>, ClientError> {
        let mut head = serde_json::to_vec(build).map_err(ClientError::Encode)?;
        head.push(b'\n');
        let head = Bytes::from(head);
        let body = match upload {
            Some(upload) => {
                let head = streams::iter([Ok(head)]);
                let all = head.chain(ReaderStream::with_capacity(upload, UPLOAD));
                StreamBody::new(all.map_ok(BodyFrame::data)).boxed_unsync()
            }
            None => Full::new(head).map_err(|never| match never {}).boxed_unsync(),
        };
        let (response, _) = self.send(request(Method::POST, "/build", body)?).await?;
        Ok(stream::lines(response.into_body()))
    }
}

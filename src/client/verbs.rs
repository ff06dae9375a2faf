//! Calls about what is in a container and what it does.

use std::collections::BTreeMap;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame as BodyFrame;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::calls::{UPLOAD, query, segment};
use super::store::Bytes;
use super::{Client, ClientError, empty, request, stream};
use crate::engine::{Details, Difference, Sizes};
use crate::files::tree::Found;
use crate::model::ContainerId;
use crate::wire::verbs::{
    Adopt, Adopted, PATH_STAT, PathIn, Processes, PruneContainers, PrunedContainers, PutArchive, Rename, Sample, Top, Update,
};

impl Client {
    /// A tar of what is at a path of a container, and what that is.
    pub async fn copy_out(&self, name: &str, path: &PathIn) -> Result<(Found, Bytes), ClientError> {
        let path = format!("/containers/{}/archive?{}", segment(name), query(path)?);
        let (response, _) = self.send(request(Method::GET, &path, empty())?).await?;
        let stat = response.headers().get(PATH_STAT).and_then(|text| STANDARD.decode(text).ok());
        let found = serde_json::from_slice(&stat.ok_or(ClientError::Ended)?).map_err(ClientError::Answer)?;
        Ok((found, Box::pin(stream::reader(response.into_body()))))
    }

    /// Unpacks a tar, as it is read, into a folder of a container.
    pub async fn copy_in(&self, name: &str, put: &PutArchive, tar: Pin<Box<dyn AsyncRead + Send>>) -> Result<(), ClientError> {
        let body = StreamBody::new(ReaderStream::with_capacity(tar, UPLOAD).map_ok(BodyFrame::data)).boxed_unsync();
        let path = format!("/containers/{}/archive?{}", segment(name), query(put)?);
        self.call(request(Method::PUT, &path, body)?).await
    }

    /// What is at a path of a container; `None` when there is nothing.
    pub async fn look_in(&self, name: &str, path: &PathIn) -> Result<Option<Found>, ClientError> {
        self.get(&format!("/containers/{}/path?{}", segment(name), query(path)?)).await
    }

    pub async fn details(&self, name: &str, sizes: bool) -> Result<Details, ClientError> {
        self.get(&format!("/containers/{}/details?sizes={sizes}", segment(name))).await
    }

    pub async fn diff(&self, name: &str) -> Result<Vec<Difference>, ClientError> {
        self.get(&format!("/containers/{}/diff", segment(name))).await
    }

    pub async fn top(&self, name: &str, top: &Top) -> Result<Processes, ClientError> {
        self.post(&format!("/containers/{}/top", segment(name)), top).await
    }

    pub async fn adopt(&self, name: &str, adopt: &Adopt) -> Result<Adopted, ClientError> {
        self.post(&format!("/containers/{}/adopt", segment(name)), adopt).await
    }

    pub async fn rename(&self, name: &str, rename: &Rename) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/rename", segment(name)), rename).await
    }

    pub async fn update(&self, name: &str, update: &Update) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/update", segment(name)), update).await
    }

    pub async fn prune_containers(&self, prune: &PruneContainers) -> Result<PrunedContainers, ClientError> {
        self.post("/prune/containers", prune).await
    }

    /// What containers use now, all where none is named.
    pub async fn stats(&self, names: &[String]) -> Result<Vec<Sample>, ClientError> {
        self.post("/stats", &names).await
    }

    pub async fn sizes(&self) -> Result<BTreeMap<ContainerId, Sizes>, ClientError> {
        self.get("/sizes").await
    }
}

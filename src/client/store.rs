//! The calls about the image store.

use std::pin::Pin;

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame as BodyFrame;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::calls::{UPLOAD, query, segment};
use super::{Client, ClientError, Events, empty, json, request, stream};
use crate::engine::DiskUsage;
use crate::engine::images::{CheckReport, HistoryStep, ImageDetails, Pruned};
use crate::model::Digest;
use crate::wire::store::{Check, Commit, ImageLabels, Load, LoadedImage, OfImage, Prune, Save, Tag, WorkEvent};

/// Bytes from the engine.
pub type Bytes = Pin<Box<dyn AsyncRead + Send>>;

impl Client {
    pub async fn save(&self, save: &Save) -> Result<Bytes, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/images/save", json(save)?)?).await?;
        Ok(Box::pin(stream::reader(response.into_body())))
    }

    pub async fn load(
        &self,
        load: &Load,
        archive: Bytes,
    ) -> Result<impl Events<WorkEvent<Vec<LoadedImage>>> + use<>, ClientError> {
        let body = StreamBody::new(ReaderStream::with_capacity(archive, UPLOAD).map_ok(BodyFrame::data)).boxed_unsync();
        let path = format!("/images/load?{}", query(load)?);
        let (response, _) = self.send(request(Method::POST, &path, body)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn export(&self, container: &str) -> Result<Bytes, ClientError> {
        let path = format!("/containers/{}/export", segment(container));
        let (response, _) = self.send(request(Method::GET, &path, empty())?).await?;
        Ok(Box::pin(stream::reader(response.into_body())))
    }

    pub async fn commit(&self, container: &str, commit: &Commit) -> Result<impl Events<WorkEvent<Digest>> + use<>, ClientError> {
        let path = format!("/containers/{}/commit", segment(container));
        let (response, _) = self.send(request(Method::POST, &path, json(commit)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn history(&self, image: &str) -> Result<Vec<HistoryStep>, ClientError> {
        self.get(&format!("/images/history?{}", query(&OfImage { image: image.to_owned() })?)).await
    }

    pub async fn image(&self, image: &str) -> Result<ImageDetails, ClientError> {
        self.get(&format!("/images/inspect?{}", query(&OfImage { image: image.to_owned() })?)).await
    }

    pub async fn image_labels(&self) -> Result<ImageLabels, ClientError> {
        self.get("/images/labels").await
    }

    pub async fn tag(&self, tag: &Tag) -> Result<(), ClientError> {
        self.post("/images/tag", tag).await
    }

    pub async fn check(&self, check: &Check) -> Result<impl Events<WorkEvent<CheckReport>> + use<>, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/images/check", json(check)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn prune_images(&self, prune: &Prune) -> Result<Pruned, ClientError> {
        self.post("/images/prune", prune).await
    }

    pub async fn disk_usage(&self) -> Result<DiskUsage, ClientError> {
        self.get("/system/df").await
    }
}

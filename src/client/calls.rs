//! The calls: one method a resource and verb, in the order of the server's folders.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::Frame as BodyFrame;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::stream::{self, FrameStream, Session};
use super::{Client, ClientError, empty, json, request};
use crate::model::Name;
use crate::model::spec::VolumeSpec;
use crate::observed::{Container, Image, Network, Volume};
use crate::plan::Plan;
use crate::reconcile::report::{Event, StackStatus};
use crate::server::native::stacks::{ApplyRequest, PlanRequest};
use crate::wire::native::{
    Attach, Create, CreateContainer, Created, Destroy, Exec, Exited, Found, ImageEvent, Import, Info, Kill, Logs, Pull, Push,
    RemoveContainer, RemoveImage, Reset, Search, Stop, Tags, Version,
};

/// Answers of one JSON value a line.
pub trait Events<T>: Stream<Item = Result<T, ClientError>> + Unpin {}
impl<T, S: Stream<Item = Result<T, ClientError>> + Unpin> Events<T> for S {}

// ---- containers
impl Client {
    pub async fn containers(&self) -> Result<Vec<Container>, ClientError> {
        self.get("/containers").await
    }

    pub async fn container(&self, name: &str) -> Result<Container, ClientError> {
        self.get(&format!("/containers/{}", segment(name))).await
    }

    pub async fn create(&self, container: &CreateContainer) -> Result<Created, ClientError> {
        self.post("/containers", container).await
    }

    pub async fn start(&self, name: &str) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/start", segment(name)), &()).await
    }

    pub async fn stop(&self, name: &str, stop: &Stop) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/stop", segment(name)), stop).await
    }

    pub async fn restart(&self, name: &str, stop: &Stop) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/restart", segment(name)), stop).await
    }

    pub async fn pause(&self, name: &str) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/pause", segment(name)), &()).await
    }

    pub async fn unpause(&self, name: &str) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/unpause", segment(name)), &()).await
    }

    pub async fn kill(&self, name: &str, kill: &Kill) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/kill", segment(name)), kill).await
    }

    pub async fn remove(&self, name: &str, how: &RemoveContainer) -> Result<(), ClientError> {
        self.delete(&format!("/containers/{}?{}", segment(name), query(how)?)).await
    }

    pub async fn wait(&self, name: &str) -> Result<Exited, ClientError> {
        self.post(&format!("/containers/{}/wait", segment(name)), &()).await
    }

    pub async fn logs(&self, name: &str, logs: &Logs) -> Result<FrameStream, ClientError> {
        let path = format!("/containers/{}/logs?{}", segment(name), query(logs)?);
        let (response, _) = self.send(request(Method::GET, &path, empty())?).await?;
        Ok(stream::frames(response.into_body()))
    }

    pub async fn attach(&self, name: &str, attach: &Attach) -> Result<Session, ClientError> {
        self.upgrade(&format!("/containers/{}/attach", segment(name)), attach).await
    }

    pub async fn exec(&self, name: &str, exec: &Exec) -> Result<Session, ClientError> {
        self.upgrade(&format!("/containers/{}/exec", segment(name)), exec).await
    }

    pub async fn exec_detached(&self, name: &str, exec: &Exec) -> Result<(), ClientError> {
        self.post(&format!("/containers/{}/exec-detached", segment(name)), exec).await
    }
}

// ---- images
impl Client {
    pub async fn images(&self) -> Result<Vec<Image>, ClientError> {
        self.get("/images").await
    }

    pub async fn pull(&self, pull: &Pull) -> Result<impl Events<ImageEvent> + use<>, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/images/pull", json(pull)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn push(&self, push: &Push) -> Result<impl Events<ImageEvent> + use<>, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/images/push", json(push)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn search(&self, search: &Search) -> Result<Vec<Found>, ClientError> {
        self.post("/images/search", search).await
    }

    pub async fn tags(&self, tags: &Tags) -> Result<Vec<String>, ClientError> {
        self.post("/images/tags", tags).await
    }

    /// Sends a tar as it is read, and gives what becomes of it. Without a tar, `import` names a folder.
    pub async fn import(
        &self,
        import: &Import,
        tar: Option<Pin<Box<dyn AsyncRead + Send>>>,
    ) -> Result<impl Events<ImageEvent> + use<>, ClientError> {
        let body = match tar {
            Some(tar) => StreamBody::new(ReaderStream::with_capacity(tar, UPLOAD).map_ok(BodyFrame::data)).boxed_unsync(),
            None => empty(),
        };
        let path = format!("/images/import?{}", query(import)?);
        let (response, _) = self.send(request(Method::POST, &path, body)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn remove_image(&self, image: &RemoveImage) -> Result<Vec<String>, ClientError> {
        self.delete(&format!("/images?{}", query(image)?)).await
    }
}

// ---- networks and volumes
impl Client {
    pub async fn networks(&self) -> Result<Vec<Network>, ClientError> {
        self.get("/networks").await
    }

    pub async fn remove_network(&self, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/networks/{}", segment(name))).await
    }

    pub async fn volumes(&self) -> Result<Vec<Volume>, ClientError> {
        self.get("/volumes").await
    }

    pub async fn create_volume(&self, volume: &Create<VolumeSpec>) -> Result<(), ClientError> {
        self.post("/volumes", volume).await
    }

    pub async fn remove_volume(&self, name: &str) -> Result<(), ClientError> {
        self.delete(&format!("/volumes/{}", segment(name))).await
    }
}

// ---- stacks
impl Client {
    pub async fn plan(&self, plan: &PlanRequest) -> Result<Plan, ClientError> {
        self.post("/stacks/plan", plan).await
    }

    pub async fn apply(&self, apply: &ApplyRequest) -> Result<impl Events<Event> + use<>, ClientError> {
        let (response, _) = self.send(request(Method::POST, "/stacks/apply", json(apply)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn plan_destroy(&self, stack: &Name, destroy: &Destroy) -> Result<Plan, ClientError> {
        self.get(&format!("/stacks/{stack}/destroy?{}", query(destroy)?)).await
    }

    pub async fn destroy(&self, stack: &Name, destroy: &Destroy) -> Result<impl Events<Event> + use<>, ClientError> {
        let path = format!("/stacks/{stack}/destroy");
        let (response, _) = self.send(request(Method::POST, &path, json(destroy)?)?).await?;
        Ok(stream::lines(response.into_body()))
    }

    pub async fn stacks(&self) -> Result<Vec<StackStatus>, ClientError> {
        self.get("/stacks").await
    }

    pub async fn stack(&self, stack: &Name) -> Result<Vec<StackStatus>, ClientError> {
        self.get(&format!("/stacks/{stack}")).await
    }
}

// ---- the instance
impl Client {
    pub async fn info(&self) -> Result<Info, ClientError> {
        self.get("/info").await
    }

    pub async fn version(&self) -> Result<Version, ClientError> {
        self.get("/version").await
    }

    pub async fn reset(&self, reset: &Reset) -> Result<(), ClientError> {
        self.post("/system/reset", reset).await
    }
}

pub(super) const UPLOAD: usize = 256 << 10;

pub(super) fn query(value: &impl Serialize) -> Result<String, ClientError> {
    serde_urlencoded::to_string(value).map_err(ClientError::Query)
}

/// A segment of a path: what is not plain is percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in Bytes::copy_from_slice(text.as_bytes()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            b'.' if !text.trim_matches('.').is_empty() => encoded.push('.'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments_are_one_segment() {
        for (text, encoded) in [("web-1.a_b", "web-1.a_b"), ("a/b?c", "a%2Fb%3Fc"), ("..", "%2E%2E"), ("ä", "%C3%A4"), ("", "")]
        {
            assert_eq!(segment(text), encoded);
        }
    }
}

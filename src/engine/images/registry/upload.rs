//! Writing a repository: blobs that are not there yet, mounted from a neighbour where one has them, else uploaded whole or
//! in chunks and taken up where a connection broke; then manifests.
//! Source: the OCI Distribution Specification, "Push".

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, LOCATION, RANGE};
use reqwest::{Body, Method, Response, StatusCode, Url};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::address::may_lead;
use super::endpoint::{Endpoint, is_passing};
use super::error;
use super::retry::{Backoff, retry_after};
use super::{Given, Http, RegistryError};
use crate::model::{Digest, ImageRef};

/// A repository to write.
#[derive(Debug)]
pub(in crate::engine::images) struct Target {
    endpoint: Endpoint,
}

/// A blob to be written.
#[derive(Clone, Debug)]
pub(in crate::engine::images) struct Piece {
    pub(in crate::engine::images) digest: Digest,
    pub(in crate::engine::images) size: u64,
    pub(in crate::engine::images) content: Source,
}

#[derive(Clone, Debug)]
pub(in crate::engine::images) enum Source {
    Memory(Bytes),
    File(PathBuf),
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::images) enum Written {
    Existed,
    Mounted,
    Uploaded,
}

/// A place where an upload goes on.
struct Session {
    url: Url,
    done: u64,
    /// The registry's wish, if it has one.
    least: u64,
}

enum Begun {
    Mounted,
    Session(Session),
}

/// Why one request of an upload has not done its part.
enum Setback {
    /// The connection or the registry failed; the registry may ask for a pause.
    Passing(Option<Duration>, RegistryError),
    /// The session has come to an end, or stands elsewhere than we think.
    Lost(RegistryError),
    Final(RegistryError),
}

const OCTETS: &str = "application/octet-stream";
const PART: usize = 64 << 10;
const TICK: Duration = Duration::from_millis(100);

impl Target {
    /// `from` are repositories of the same registry that blobs are to be mounted from.
    pub(in crate::engine::images) fn open(
        http: &Http,
        reference: &ImageRef,
        from: &BTreeSet<String>,
        given: Option<&Given>,
    ) -> Result<Self, RegistryError> {
        Ok(Self { endpoint: http.target(reference, from, given)? })
    }

    /// Sees to it that the repository has a blob. `from` is a repository that is thought to have it. `moved` is told how
    /// many bytes have gone.
    pub(in crate::engine::images) async fn blob(
        &self,
        piece: &Piece,
        from: Option<&str>,
        mut moved: impl FnMut(u64) + Send,
    ) -> Result<Written, RegistryError> {
        let endpoint = &self.endpoint;
        let url = endpoint.url("blobs", &piece.digest.to_string())?;
        if endpoint.head("blob", &url, "*/*").await?.is_some() {
            return Ok(Written::Existed);
        }
        let mut session = match self.begin(piece.digest, from).await? {
            Begun::Mounted => return Ok(Written::Mounted),
            Begun::Session(session) => session,
        };
        let mut backoff = Backoff::new(&endpoint.patience);
        loop {
            let (asked, error, lost) = match self.advance(&mut session, piece, &mut moved).await {
                Ok(true) => return Ok(Written::Uploaded),
                Ok(false) => {
                    backoff.progressed();
                    continue;
                }
                Err(Setback::Passing(asked, error)) => (asked, error, false),
                Err(Setback::Lost(error)) => (None, error, true),
                Err(Setback::Final(error)) => return Err(error),
            };
            if !backoff.wait(asked).await {
                return Err(error);
            }
            let there = if lost { None } else { self.look(&session).await? };
            session = match there {
                Some(there) if there.done <= piece.size => there,
                _ => match self.begin(piece.digest, None).await? {
                    Begun::Mounted => return Ok(Written::Mounted),
                    Begun::Session(session) => session,
                },
            };
        }
    }

    /// Whether the repository has a blob, or gets it from a neighbour without our sending it.
    pub(in crate::engine::images) async fn claim(
        &self,
        digest: Digest,
        from: Option<&str>,
    ) -> Result<Option<Written>, RegistryError> {
        let url = self.endpoint.url("blobs", &digest.to_string())?;
        if self.endpoint.head("blob", &url, "*/*").await?.is_some() {
            return Ok(Some(Written::Existed));
        }
        let Some(from) = from else { return Ok(None) };
        match self.begin(digest, Some(from)).await? {
            Begun::Mounted => Ok(Some(Written::Mounted)),
            Begun::Session(session) => {
                self.give_up(&session).await;
                Ok(None)
            }
        }
    }

    /// Ends an upload that nothing was sent of. A registry that does not let us forgets it by itself in time.
    async fn give_up(&self, session: &Session) {
        if session.url.origin() == self.endpoint.base.origin()
            && let Err(error) = self.endpoint.ask(|client| client.delete(session.url.clone())).await
        {
            tracing::debug!(%error, "an upload is left to the registry to forget");
        }
    }

    /// Publishes a manifest under a tag, or under its digest.
    pub(in crate::engine::images) async fn manifest(
        &self,
        name: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<(), RegistryError> {
        let (url, content) = (self.endpoint.url("manifests", name)?, Bytes::copy_from_slice(content));
        let put = |client: &reqwest::Client| client.put(url.clone()).header(CONTENT_TYPE, media_type).body(content.clone());
        let response = self.endpoint.get("manifest", put).await?;
        let said = response.headers().get("docker-content-digest").and_then(|said| said.to_str().ok()?.parse().ok());
        let digest = Digest::of(&content);
        match said {
            Some(found) if found != digest => Err(RegistryError::Digest { what: "manifest", expected: digest, found }),
            _ => Ok(()),
        }
    }

    async fn begin(&self, digest: Digest, from: Option<&str>) -> Result<Begun, RegistryError> {
        let mut url = self.endpoint.url("blobs", "uploads/")?;
        let post = |url: &Url| {
            let url = url.clone();
            move |client: &reqwest::Client| client.post(url.clone()).header(CONTENT_LENGTH, "0")
        };
        if let Some(from) = from {
            let mut mount = url.clone();
            mount.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            let response = self.endpoint.ask(post(&mount)).await?;
            match response.status() {
                StatusCode::CREATED => return Ok(Begun::Mounted),
                StatusCode::ACCEPTED => return self.session(&url, response.headers(), 0).map(Begun::Session),
                // We may not read the neighbour, or it has gone: that is no reason not to upload.
                status => tracing::debug!(%status, from, "not mounted"),
            }
        }
        let response = self.endpoint.get("upload", post(&url)).await?;
        url.set_query(None);
        self.session(&url, response.headers(), 0).map(Begun::Session)
    }

    /// What the headers say of where to go on.
    fn session(&self, current: &Url, headers: &HeaderMap, done: u64) -> Result<Session, RegistryError> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let url = match headers.get(LOCATION) {
            None if done > 0 => current.clone(),
            location => {
                let text = location.and_then(|location| location.to_str().ok());
                let url = text.and_then(|text| current.join(text).ok()).ok_or_else(|| self.astray())?;
                let downgrade = current.scheme() == "https" && url.scheme() != "https";
                if downgrade || !matches!(url.scheme(), "http" | "https") || !may_lead(&self.endpoint.root, &url) {
                    return Err(self.astray());
                }
                url
            }
        };
        Ok(Session { url, done, least: number("oci-chunk-min-length").unwrap_or(0) })
    }

    fn astray(&self) -> RegistryError {
        RegistryError::Astray { registry: self.endpoint.host.clone() }
    }

    /// Sends the next part, or all; true when the blob is complete.
    async fn advance(&self, session: &mut Session, piece: &Piece, moved: &mut (impl FnMut(u64) + Send)) -> Result<bool, Setback> {
        let left = piece.size - session.done;
        let chunk = self.endpoint.patience.chunk.max(session.least);
        let whole = session.done == 0 && left <= chunk;
        let last = whole || left == 0;
        let length = left.min(chunk);
        let mut url = session.url.clone();
        if last {
            url.query_pairs_mut().append_pair("digest", &piece.digest.to_string());
        }
        let sent = Arc::new(AtomicU64::new(0));
        let build = || {
            sent.store(0, Ordering::Relaxed);
            let method = if last { Method::PUT } else { Method::PATCH };
            let request = self.endpoint.client.request(method, url.clone());
            let request = request.header(CONTENT_TYPE, OCTETS).header(CONTENT_LENGTH, length);
            if length == 0 {
                return request;
            }
            let body = Body::wrap_stream(part(piece.content.clone(), session.done, length, sent.clone()));
            let end = session.done + length - 1;
            let request = if last { request } else { request.header(CONTENT_RANGE, format!("{}-{end}", session.done)) };
            request.body(body)
        };
        let done = session.done;
        let response = self.send(&url, build, &sent, length, &mut |sent| moved(done + sent)).await?;
        let status = response.status();
        if status.is_success() {
            if !last {
                let reached = range_end(response.headers()).unwrap_or(done + length);
                if reached <= done || reached > piece.size {
                    return Err(Setback::Lost(self.astray()));
                }
                let least = session.least;
                *session = self.session(&session.url, response.headers(), reached).map_err(Setback::Final)?;
                session.least = session.least.max(least);
            }
            return Ok(last);
        }
        let asked = retry_after(response.headers());
        let error = self.endpoint.refusal("upload", response).await;
        Err(match status {
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => Setback::Lost(error),
            status if is_passing(status) => Setback::Passing(asked, error),
            _ => Setback::Final(error),
        })
    }

    /// Sends a request with a streamed body, which is made anew when the registry wants another authorization.
    async fn send(
        &self,
        url: &Url,
        build: impl Fn() -> reqwest::RequestBuilder,
        sent: &AtomicU64,
        length: u64,
        moved: &mut (impl FnMut(u64) + Send),
    ) -> Result<Response, Setback> {
        let endpoint = &self.endpoint;
        let ours = url.origin() == endpoint.base.origin();
        let mut challenges = 0;
        loop {
            let authorization = endpoint.authorization.current().await;
            let mut request = build();
            // Uploads may be elsewhere, and nobody else gets the registry's authorization.
            if let Some(header) = authorization.header.as_ref().filter(|_| ours) {
                request = request.header(AUTHORIZATION, header);
            }
            let answer = watch(request, sent, length, endpoint.patience.stall, moved).await;
            let response = answer.map_err(|source| {
                let passing = source.as_ref().is_none_or(error::is_passing);
                let error = RegistryError::connect(&endpoint.host, source);
                if passing { Setback::Passing(None, error) } else { Setback::Final(error) }
            })?;
            if response.status() != StatusCode::UNAUTHORIZED || !ours || challenges == 2 {
                return Ok(response);
            }
            challenges += 1;
            endpoint.authorization.renew(endpoint, &authorization, response.headers()).await.map_err(Setback::Final)?;
        }
    }

    /// Asks how far a session has come; `None` when it is not there any more.
    async fn look(&self, session: &Session) -> Result<Option<Session>, RegistryError> {
        if session.url.origin() != self.endpoint.base.origin() {
            return Ok(None);
        }
        let response = self.endpoint.ask(|client| client.get(session.url.clone())).await?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let done = range_end(response.headers()).unwrap_or(0);
        let mut there = self.session(&session.url, response.headers(), done.max(1))?;
        there.done = done;
        there.least = there.least.max(session.least);
        Ok(Some(there))
    }
}

/// Waits for the answer as long as the body moves. `None`: it did not.
async fn watch(
    request: reqwest::RequestBuilder,
    sent: &AtomicU64,
    length: u64,
    stall: Duration,
    moved: &mut (impl FnMut(u64) + Send),
) -> Result<Response, Option<reqwest::Error>> {
    let answer = request.send();
    tokio::pin!(answer);
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let ended = tokio::time::timeout(TICK, &mut answer).await;
        let now = sent.load(Ordering::Relaxed);
        if now != before {
            (before, since) = (now, Instant::now());
            moved(now);
        }
        match ended {
            Ok(answer) => return answer.map_err(Some),
            // A registry takes its time to check and to move what it has got.
            Err(_) if since.elapsed() >= if now >= length { stall * 4 } else { stall } => return Err(None),
            Err(_) => {}
        }
    }
}

/// A part of the content, counted as it goes.
fn part(source: Source, from: u64, length: u64, sent: Arc<AtomicU64>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let opened = async move {
        Ok::<_, io::Error>(match source {
            Source::Memory(bytes) => {
                let bytes = bytes.slice(from as usize..(from + length) as usize);
                let parts = (0..bytes.len()).step_by(PART).map(move |at| bytes.slice(at..bytes.len().min(at + PART)));
                stream::iter(parts.collect::<Vec<_>>()).map(Ok).boxed()
            }
            Source::File(path) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(io::SeekFrom::Start(from)).await?;
                ReaderStream::with_capacity(file.take(length), PART).boxed()
            }
        })
    };
    stream::once(opened).try_flatten().inspect_ok(move |part| {
        sent.fetch_add(part.len() as u64, Ordering::Relaxed);
    })
}

/// How many bytes a registry has: `0-99` are a hundred. It says `0-0` for one and for none; none is what makes us send.
fn range_end(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let text = text.strip_prefix("bytes=").or(text.strip_prefix("bytes ")).unwrap_or(text);
    let end: u64 = text.strip_prefix("0-")?.parse().ok()?;
    Some(if end == 0 { 0 } else { end + 1 })
}

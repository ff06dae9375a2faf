//! The client of one repository in a registry: manifests and blobs, checked as they arrive. Knows nothing of layers, of
//! the store or of platforms.
//! Source: the OCI Distribution Specification, "Pull".

mod auth;
mod challenge;
mod credentials;
mod error;
mod http;
mod retry;
mod tags;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use self::auth::Authorization;
pub use self::error::RegistryError;
pub(super) use self::http::Http;
pub(super) use self::retry::Patience;
use self::retry::{Backoff, retry_after};
use super::documents::{ACCEPT, Blob, MAX_DOCUMENT};
use crate::model::{Digest, ImageRef};

/// A repository of a registry.
#[derive(Debug)]
pub(super) struct Registry {
    client: Client,
    base: Url,
    patience: Patience,
    authorization: Authorization,
}

/// A manifest as it was sent.
#[derive(Debug)]
pub(super) struct RawManifest {
    pub(super) digest: Digest,
    pub(super) content: Vec<u8>,
    pub(super) content_type: Option<String>,
}

impl Registry {
    pub(super) fn open(http: &Http, reference: &ImageRef) -> Result<Self, RegistryError> {
        let (client, root) = http.reach(reference.registry())?;
        let base = format!("{root}/v2/{}/", reference.repository());
        let base = Url::parse(&base).map_err(|_| RegistryError::Name { registry: reference.registry().to_owned() })?;
        let authorization = Authorization::new(http.credentials_file(), reference, base.scheme() == "http");
        Ok(Self { client, base, patience: http.patience().clone(), authorization })
    }

    /// The manifest of a tag.
    pub(super) async fn manifest_of_tag(&self, tag: &str) -> Result<RawManifest, RegistryError> {
        self.manifest(tag, None).await
    }

    /// The manifest of a digest.
    pub(super) async fn manifest_of_digest(&self, digest: Digest) -> Result<RawManifest, RegistryError> {
        self.manifest(&digest.to_string(), Some(digest)).await
    }

    async fn manifest(&self, name: &str, expected: Option<Digest>) -> Result<RawManifest, RegistryError> {
        let url = self.url("manifests", name)?;
        let accept = ACCEPT.join(", ");
        let build = |client: &Client| client.get(url.clone()).header(reqwest::header::ACCEPT, &accept);
        let (headers, content) = self.document("manifest", build).await?;
        let digest = Digest::of(&content);
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        // What the registry says of a tag's manifest is a check of the transfer, no more; a pin is the user's own.
        let said = text("docker-content-digest").and_then(|d| d.parse().ok());
        if let Some(wanted) = expected.or(said).filter(|wanted| *wanted != digest) {
            return Err(RegistryError::Digest { what: "manifest", expected: wanted, found: digest });
        }
        let content_type = text(CONTENT_TYPE.as_str()).map(|t| t.split(';').next().unwrap_or_default().trim().to_owned());
        Ok(RawManifest { digest, content, content_type })
    }

    /// A small blob, whole.
    pub(super) async fn small_blob(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        let (feed, mut parts) = mpsc::channel::<io::Result<Bytes>>(8);
        let gather = async {
            let mut content = Vec::new();
            while let Some(Ok(part)) = parts.recv().await {
                content.extend_from_slice(&part);
            }
            content
        };
        let (fetched, content) = tokio::join!(self.blob(blob, feed, |_| {}), gather);
        fetched.map(|()| content)
    }

    /// Streams a blob into `feed`, and says at the end whether it was what its digest promised. A connection that
    /// breaks is taken up where it broke. `moved` is told how many bytes have come.
    pub(super) async fn blob(
        &self,
        blob: &Blob,
        feed: mpsc::Sender<io::Result<Bytes>>,
        mut moved: impl FnMut(u64),
    ) -> Result<(), RegistryError> {
        let url = self.url("blobs", &blob.digest.to_string())?;
        let mut feed = Some(feed);
        let mut hash = Sha256::new();
        let mut done = 0u64;
        let mut backoff = Backoff::new(&self.patience);
        while done < blob.size {
            let build = |client: &Client| {
                let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
                if done > 0 { request.header(RANGE, format!("bytes={done}-")) } else { request }
            };
            let mut response = self.get("blob", build).await?;
            // A registry that ignores the range starts again; what we have is passed over.
            let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { done };
            if response.status() == StatusCode::PARTIAL_CONTENT && range_start(response.headers()) != Some(done) {
                return Err(RegistryError::Range { digest: blob.digest, wanted: done });
            }
            let broken = loop {
                let mut part = match tokio::time::timeout(self.patience.stall, response.chunk()).await {
                    Ok(Ok(Some(part))) => part,
                    Ok(Ok(None)) => break None,
                    Ok(Err(error)) => break Some(error),
                    Err(_) => break None,
                };
                let passed = part.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                skip -= passed as u64;
                let part = part.split_off(passed);
                if part.is_empty() {
                    continue;
                }
                done += part.len() as u64;
                if done > blob.size {
                    return Err(RegistryError::TooLong { what: "blob", limit: blob.size });
                }
                hash.update(&part);
                moved(done);
                backoff.progressed();
                // Whoever unpacks may have given up. Whether the content was right still says which of the two failed.
                if let Some(open) = &feed
                    && open.send(Ok(part)).await.is_err()
                {
                    feed = None;
                }
            };
            if done < blob.size && !backoff.wait(None).await {
                return Err(RegistryError::Broken { digest: blob.digest, done, size: blob.size, source: broken });
            }
        }
        let found = Digest::from_bytes(hash.finalize().into());
        if found != blob.digest {
            return Err(RegistryError::Digest { what: "blob", expected: blob.digest, found });
        }
        Ok(())
    }

    fn url(&self, kind: &str, name: &str) -> Result<Url, RegistryError> {
        // A relative reference with a colon needs a path before it, or it looks like a scheme.
        self.base
            .join(&format!("./{kind}/{name}"))
            .map_err(|_| RegistryError::Name { registry: self.authorization.registry().to_owned() })
    }

    /// A response with a success status. Authenticates and retries.
    async fn get(&self, what: &'static str, build: impl Fn(&Client) -> RequestBuilder) -> Result<Response, RegistryError> {
        let mut backoff = Backoff::new(&self.patience);
        let mut challenges = 0;
        loop {
            let authorization = self.authorization.current().await;
            let mut request = build(&self.client);
            if let Some(header) = &authorization.header {
                request = request.header(reqwest::header::AUTHORIZATION, header);
            }
            let response = self.attempt(request, &mut backoff).await?;
            match response.status() {
                status if status.is_success() => return Ok(response),
                // Twice: a token may have run out since it was issued.
                StatusCode::UNAUTHORIZED if challenges < 2 => {
                    challenges += 1;
                    self.authorization.renew(self, &authorization, response.headers()).await?;
                }
                _ => return Err(self.refusal(what, response).await),
            }
        }
    }

    /// Sends until there is an answer that another attempt would not better.
    async fn attempt(&self, request: RequestBuilder, backoff: &mut Backoff<'_>) -> Result<Response, RegistryError> {
        loop {
            // Requests have no streamed body, so they can always be sent again.
            let again = request.try_clone().ok_or(RegistryError::Unrepeatable)?;
            let asked = match tokio::time::timeout(self.patience.stall, again.send()).await {
                Ok(Ok(response)) if is_passing(response.status()) => {
                    let asked = retry_after(response.headers());
                    if !backoff.wait(asked).await {
                        return Ok(response);
                    }
                    continue;
                }
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let retry = asked.as_ref().is_none_or(error::is_passing);
            if !retry || !backoff.wait(None).await {
                return Err(RegistryError::connect(self.authorization.registry(), asked));
            }
        }
    }

    /// A bounded body, whole.
    async fn document(
        &self,
        what: &'static str,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let mut backoff = Backoff::new(&self.patience);
        loop {
            let response = self.get(what, &build).await?;
            let headers = response.headers().clone();
            match bounded(response, what, MAX_DOCUMENT, self.patience.stall).await {
                Ok(content) => return Ok((headers, content)),
                Err(Unread::TooLong(error)) => return Err(error),
                Err(Unread::Broken(source)) if !backoff.wait(None).await => {
                    return Err(RegistryError::connect(self.authorization.registry(), source));
                }
                Err(Unread::Broken(_)) => {}
            }
        }
    }

    async fn refusal(&self, what: &'static str, response: Response) -> RegistryError {
        let (status, asked) = (response.status(), retry_after(response.headers()));
        // The explanation is a courtesy: without it the status stands for itself.
        let body = bounded(response, what, 64 << 10, self.patience.stall).await.unwrap_or_default();
        let registry = self.authorization.registry().to_owned();
        RegistryError::refusal(registry, what, status, asked, &body, self.authorization.hint().await)
    }
}

enum Unread {
    TooLong(RegistryError),
    /// `None`: nothing came for too long.
    Broken(Option<reqwest::Error>),
}

async fn bounded(mut response: Response, what: &'static str, limit: u64, stall: Duration) -> Result<Vec<u8>, Unread> {
    let mut content = Vec::new();
    loop {
        let part = match tokio::time::timeout(stall, response.chunk()).await {
            Ok(Ok(Some(part))) => part,
            Ok(Ok(None)) => return Ok(content),
            Ok(Err(error)) => return Err(Unread::Broken(Some(error))),
            Err(_) => return Err(Unread::Broken(None)),
        };
        if content.len() as u64 + part.len() as u64 > limit {
            return Err(Unread::TooLong(RegistryError::TooLong { what, limit }));
        }
        content.extend_from_slice(&part);
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// Where a partial response starts: `bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim().split('-').next()?.parse().ok()
}

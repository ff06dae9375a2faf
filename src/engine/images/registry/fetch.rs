//! Reading a repository: manifests and blobs, from mirrors first and from the registry itself in the end. All is checked
//! against its digest, so that it does not matter who sent it.
//! Source: the OCI Distribution Specification, "Pull".

use std::io;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::{Client, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::endpoint::Endpoint;
use super::retry::{Backoff, Pace};
use super::{Given, Http, RawManifest, RegistryError};
use crate::engine::images::documents::{ACCEPT, Blob};
use crate::model::{Digest, ImageRef};

/// A repository to read.
#[derive(Debug)]
pub(in crate::engine::images) struct Registry {
    /// In the order in which they are asked; never empty.
    pub(super) sources: Vec<Endpoint>,
}

/// A blob on its way: what of it has come, and where it goes.
#[derive(Debug)]
pub(in crate::engine::images) struct Download {
    blob: Blob,
    hash: Sha256,
    done: u64,
    feed: Option<mpsc::Sender<io::Result<Bytes>>>,
    /// Gets a copy of what comes from the network.
    beside: Option<mpsc::Sender<Bytes>>,
}

impl Download {
    pub(in crate::engine::images) fn new(blob: Blob, feed: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self { blob, hash: Sha256::new(), done: 0, feed: Some(feed), beside: None }
    }

    /// Takes in what had come before. To be called before anything comes from the network.
    pub(in crate::engine::images) async fn known(&mut self, part: Bytes) {
        self.take(part).await;
    }

    /// From now on a copy of all that comes goes there too.
    pub(in crate::engine::images) fn copy_to(&mut self, beside: mpsc::Sender<Bytes>) {
        self.beside = Some(beside);
    }

    async fn take(&mut self, part: Bytes) {
        self.done += part.len() as u64;
        self.hash.update(&part);
        // Nobody may take the copies any more: then there are none.
        if let Some(open) = &self.beside
            && open.send(part.clone()).await.is_err()
        {
            self.beside = None;
        }
        // Whoever unpacks may have given up. Whether the content was right still says which of the two failed.
        if let Some(open) = &self.feed
            && open.send(Ok(part)).await.is_err()
        {
            self.feed = None;
        }
    }
}

impl Registry {
    pub(in crate::engine::images) fn open(
        http: &Http,
        reference: &ImageRef,
        given: Option<&Given>,
    ) -> Result<Self, RegistryError> {
        Ok(Self { sources: http.sources(reference, given)? })
    }

    /// The manifest of a tag.
    pub(in crate::engine::images) async fn manifest_of_tag(&self, tag: &str) -> Result<RawManifest, RegistryError> {
        self.manifest(tag, None).await
    }

    /// The manifest of a digest.
    pub(in crate::engine::images) async fn manifest_of_digest(&self, digest: Digest) -> Result<RawManifest, RegistryError> {
        self.manifest(&digest.to_string(), Some(digest)).await
    }

    async fn manifest(&self, name: &str, expected: Option<Digest>) -> Result<RawManifest, RegistryError> {
        let (last, mirrors) = self.sources.split_last().ok_or(RegistryError::Nowhere)?;
        for mirror in mirrors {
            match mirror.manifest(name, expected).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => passed_over(mirror, &error),
            }
        }
        last.manifest(name, expected).await
    }

    /// A small blob, whole.
    pub(in crate::engine::images) async fn small_blob(&self, blob: &Blob) -> Result<Vec<u8>, RegistryError> {
        match self.small_blob_of(blob, true).await {
            // A mirror has spoilt it.
            Err(RegistryError::Digest { .. }) if self.has_mirrors() => self.small_blob_of(blob, false).await,
            result => result,
        }
    }

    async fn small_blob_of(&self, blob: &Blob, mirrors: bool) -> Result<Vec<u8>, RegistryError> {
        let (feed, mut parts) = mpsc::channel::<io::Result<Bytes>>(8);
        let gather = async {
            let mut content = Vec::new();
            while let Some(Ok(part)) = parts.recv().await {
                content.extend_from_slice(&part);
            }
            content
        };
        let download = Download::new(blob.clone(), feed);
        let (fetched, content) = tokio::join!(self.blob(download, mirrors, |_| {}), gather);
        fetched.map(|()| content)
    }

    /// Whether others are asked than the registry itself.
    pub(in crate::engine::images) fn has_mirrors(&self) -> bool {
        self.sources.len() > 1
    }

    /// Streams what is missing of a blob to where it goes, and says at the end whether it was what its digest promised.
    /// A connection that breaks is taken up where it broke, at the next place if need be. `moved` is told how many
    /// bytes have come. Without `mirrors` only the registry itself is asked.
    pub(in crate::engine::images) async fn blob(
        &self,
        mut download: Download,
        mirrors: bool,
        mut moved: impl FnMut(u64) + Send,
    ) -> Result<(), RegistryError> {
        let passed = if mirrors { 0 } else { self.sources.len().saturating_sub(1) };
        for (place, source) in self.sources.iter().enumerate().skip(passed) {
            match source.blob(&mut download, &mut moved).await {
                Ok(()) => break,
                Err(error) if place + 1 < self.sources.len() => passed_over(source, &error),
                Err(error) => return Err(error),
            }
        }
        let found = Digest::from_bytes(download.hash.finalize().into());
        if found != download.blob.digest {
            return Err(RegistryError::Digest { what: "blob", expected: download.blob.digest, found });
        }
        Ok(())
    }
}

fn passed_over(mirror: &Endpoint, error: &RegistryError) {
    tracing::info!(mirror = mirror.host, %error, "the mirror is passed over");
}

impl Endpoint {
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

    /// Fetches from where the download is to its end.
    async fn blob(&self, download: &mut Download, moved: &mut (impl FnMut(u64) + Send)) -> Result<(), RegistryError> {
        let (digest, size) = (download.blob.digest, download.blob.size);
        let url = self.url("blobs", &digest.to_string())?;
        let mut backoff = Backoff::new(&self.patience);
        let mut knows_ranges = true;
        while download.done < size {
            let done = download.done;
            let part = done > 0 && knows_ranges;
            let build = |client: &Client| {
                let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
                if part { request.header(RANGE, format!("bytes={done}-")) } else { request }
            };
            let mut response = self.ask(build).await?;
            if part && response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                knows_ranges = false;
                continue;
            }
            if !response.status().is_success() {
                return Err(self.refusal("blob", response).await);
            }
            // A registry that ignores the range starts again; what we have is passed over.
            let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { done };
            if response.status() == StatusCode::PARTIAL_CONTENT && range_start(response.headers()) != Some(done) {
                return Err(RegistryError::Range { digest, wanted: done });
            }
            let mut pace = Pace::new(&self.patience);
            let broken = loop {
                let mut part = match pace.next(&mut response).await {
                    Ok(Some(part)) => part,
                    Ok(None) => break None,
                    Err(error) => break error,
                };
                let passed = part.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
                skip -= passed as u64;
                let part = part.split_off(passed);
                if part.is_empty() {
                    continue;
                }
                if download.done + part.len() as u64 > size {
                    return Err(RegistryError::TooLong { what: "blob", limit: size });
                }
                download.take(part).await;
                moved(download.done);
                if pace.is_worth_waiting() {
                    backoff.progressed();
                }
            };
            if download.done < size && !backoff.wait(None).await {
                return Err(RegistryError::Broken { digest, done: download.done, size, source: broken });
            }
        }
        Ok(())
    }
}

/// Where a partial response starts: `bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim().split('-').next()?.parse().ok()
}

//! A file of the web, as a stream: what an import by URL reads, or a build. Knows nothing of what is in it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_DISPOSITION, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{Http, RegistryError};

/// A file that is being fetched, and what its server says of it.
pub struct WebFile {
    pub body: Box<dyn AsyncRead + Send + Unpin>,
    /// `Content-Disposition`, as it was sent.
    pub disposition: Option<String>,
    /// `Last-Modified`, in seconds since 1970.
    pub modified: Option<i64>,
    /// By what its server knows it again.
    pub version: WebVersion,
}

/// What a server says of a version of a file. Source: RFC 9110, "Validator Fields".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebVersion {
    /// `ETag`, as it was sent.
    pub tag: Option<String>,
    /// `Last-Modified`, as it was sent.
    pub modified: Option<String>,
}

impl WebVersion {
    /// Whether a server can be asked for what is newer.
    pub const fn is_known(&self) -> bool {
        self.tag.is_some() || self.modified.is_some()
    }
}

impl Http {
    /// Begins to fetch `url`, as far as its size is of no concern. A connection that brings nothing for too long is an error
    /// of the reader.
    pub(in crate::engine::images) async fn file(&self, url: &str) -> Result<WebFile, RegistryError> {
        let url = parsed(url)?;
        let endpoint = self.service(&url)?;
        let response = endpoint.get("file", |client| client.get(url.clone())).await?;
        Ok(opened(response, endpoint.patience.stall))
    }

    /// The same; `None` where the server says that it is this version still.
    pub(in crate::engine::images) async fn newer_file(
        &self,
        url: &str,
        than: &WebVersion,
    ) -> Result<Option<WebFile>, RegistryError> {
        let url = parsed(url)?;
        let endpoint = self.service(&url)?;
        let build = |client: &reqwest::Client| {
            let conditions = [(IF_NONE_MATCH, &than.tag), (IF_MODIFIED_SINCE, &than.modified)];
            let known = conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
            known.fold(client.get(url.clone()), |request, (name, value)| request.header(name, value))
        };
        let response = endpoint.ask(build).await?;
        match response.status() {
            StatusCode::NOT_MODIFIED if than.is_known() => Ok(None),
            status if status.is_success() => Ok(Some(opened(response, endpoint.patience.stall))),
            _ => Err(endpoint.refusal("file", response).await),
        }
    }
}

fn parsed(url: &str) -> Result<Url, RegistryError> {
    let wrong = || RegistryError::Url { url: url.to_owned() };
    Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).ok_or_else(wrong)
}

fn opened(response: Response, stall: Duration) -> WebFile {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let disposition = header(CONTENT_DISPOSITION);
    let version = WebVersion { tag: header(ETAG), modified: header(LAST_MODIFIED) };
    let modified = version.modified.as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok());
    let modified = modified.map(OffsetDateTime::unix_timestamp);
    let parts = stream::unfold(Some(response), move |response| async move {
        let mut response = response?;
        let part: io::Result<Option<Bytes>> = match tokio::time::timeout(stall, response.chunk()).await {
            Ok(part) => part.map_err(io::Error::other),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came any more")),
        };
        match part.transpose()? {
            Ok(part) => Some((Ok(part), Some(response))),
            Err(error) => Some((Err(error), None)),
        }
    });
    WebFile { body: Box::new(StreamReader::new(Box::pin(parts))), disposition, modified, version }
}

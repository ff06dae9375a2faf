//! A file of the web, as a stream: what an import by URL reads, or a build. Knows nothing of what is in it.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use reqwest::Url;
use reqwest::header::{CONTENT_DISPOSITION, LAST_MODIFIED};
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
}

impl Http {
    /// Begins to fetch `url`, as far as its size is of no concern. A connection that brings nothing for too long is an error
    /// of the reader.
    pub(in crate::engine::images) async fn file(&self, url: &str) -> Result<WebFile, RegistryError> {
        let wrong = || RegistryError::Url { url: url.to_owned() };
        let url =
            Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).ok_or_else(wrong)?;
        let endpoint = self.service(&url)?;
        let response = endpoint.get("file", |client| client.get(url.clone())).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let disposition = header(CONTENT_DISPOSITION);
        let modified = header(LAST_MODIFIED).and_then(|text| OffsetDateTime::parse(&text, &Rfc2822).ok());
        let modified = modified.map(OffsetDateTime::unix_timestamp);
        let stall = endpoint.patience.stall;
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
        Ok(WebFile { body: Box::new(StreamReader::new(Box::pin(parts))), disposition, modified })
    }
}

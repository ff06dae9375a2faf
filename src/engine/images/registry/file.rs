//! A file of the web, as a stream: what an import by URL reads. Knows nothing of what is in it.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use reqwest::Url;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{Http, RegistryError};

impl Http {
    /// Begins to fetch `url`, as far as its size is of no concern. A connection that brings nothing for too long is an error
    /// of the reader.
    pub(in crate::engine::images) async fn file(
        &self,
        url: &str,
    ) -> Result<impl AsyncRead + Send + Unpin + use<>, RegistryError> {
        let wrong = || RegistryError::Url { url: url.to_owned() };
        let url =
            Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()).ok_or_else(wrong)?;
        let endpoint = self.service(&url)?;
        let response = endpoint.get("file", |client| client.get(url.clone())).await?;
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
        Ok(StreamReader::new(Box::pin(parts)))
    }
}

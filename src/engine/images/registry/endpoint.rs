//! One place that answers requests: a repository at a registry or at a mirror. Authenticates, retries, and reads answers
//! within bounds. Knows nothing of what is asked for.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::Authorization;
use super::retry::{Backoff, Pace, Patience, retry_after};
use super::{RegistryError, error};
use crate::engine::images::documents::MAX_DOCUMENT;

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) client: Client,
    /// As people and credentials name it.
    pub(super) host: String,
    /// `…/v2/`
    pub(super) root: Url,
    /// `…/v2/<repository>/`
    pub(super) base: Url,
    pub(super) patience: Patience,
    pub(super) authorization: Authorization,
}

impl Endpoint {
    pub(super) fn url(&self, kind: &str, name: &str) -> Result<Url, RegistryError> {
        // A relative reference with a colon needs a path before it, or it looks like a scheme.
        self.base.join(&format!("./{kind}/{name}")).map_err(|_| RegistryError::Name { registry: self.host.clone() })
    }

    /// A response with a success status. Authenticates and retries.
    pub(super) async fn get(
        &self,
        what: &'static str,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let response = self.ask(build).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(what, response).await) }
    }

    /// Whatever the answer is. Authenticates and retries.
    pub(super) async fn ask(&self, build: impl Fn(&Client) -> RequestBuilder) -> Result<Response, RegistryError> {
        let mut backoff = Backoff::new(&self.patience);
        let mut challenges = 0;
        loop {
            let authorization = self.authorization.current().await;
            let mut request = build(&self.client);
            if let Some(header) = &authorization.header {
                request = request.header(reqwest::header::AUTHORIZATION, header);
            }
            let response = self.attempt(request, &mut backoff).await?;
            // Twice: a token may have run out since it was issued.
            if response.status() != StatusCode::UNAUTHORIZED || challenges == 2 {
                return Ok(response);
            }
            challenges += 1;
            self.authorization.renew(self, &authorization, response.headers()).await?;
        }
    }

    /// Whether something is there, by a HEAD request: `None`, or the headers of what is.
    pub(super) async fn head(&self, what: &'static str, url: &Url, accept: &str) -> Result<Option<HeaderMap>, RegistryError> {
        let build = |client: &Client| client.request(Method::HEAD, url.clone()).header(reqwest::header::ACCEPT, accept);
        let response = self.ask(build).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(response.headers().clone())),
            _ => Err(self.refusal(what, response).await),
        }
    }

    /// Sends until there is an answer that another attempt would not better.
    pub(super) async fn attempt(&self, request: RequestBuilder, backoff: &mut Backoff<'_>) -> Result<Response, RegistryError> {
        loop {
            // These requests have no streamed body, so they can always be sent again.
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
                return Err(RegistryError::connect(&self.host, asked));
            }
        }
    }

    /// A bounded body, whole.
    pub(super) async fn document(
        &self,
        what: &'static str,
        build: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let mut backoff = Backoff::new(&self.patience);
        loop {
            let response = self.get(what, &build).await?;
            let headers = response.headers().clone();
            match bounded(response, what, MAX_DOCUMENT, &self.patience).await {
                Ok(content) => return Ok((headers, content)),
                Err(Unread::TooLong(error)) => return Err(error),
                Err(Unread::Broken(source)) if !backoff.wait(None).await => {
                    return Err(RegistryError::connect(&self.host, source));
                }
                Err(Unread::Broken(_)) => {}
            }
        }
    }

    pub(super) async fn refusal(&self, what: &'static str, response: Response) -> RegistryError {
        let (status, asked) = (response.status(), retry_after(response.headers()));
        // The explanation is a courtesy: without it the status stands for itself.
        let body = bounded(response, what, 64 << 10, &self.patience).await.unwrap_or_default();
        RegistryError::refusal(self.host.clone(), what, status, asked, &body, self.authorization.hint().await)
    }
}

pub(super) enum Unread {
    TooLong(RegistryError),
    /// `None`: nothing, or next to nothing, came for too long.
    Broken(Option<reqwest::Error>),
}

pub(super) async fn bounded(
    mut response: Response,
    what: &'static str,
    limit: u64,
    patience: &Patience,
) -> Result<Vec<u8>, Unread> {
    let mut content = Vec::new();
    let mut pace = Pace::new(patience);
    loop {
        let part = match pace.next(&mut response).await {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(content),
            Err(error) => return Err(Unread::Broken(error)),
        };
        if content.len() as u64 + part.len() as u64 > limit {
            return Err(Unread::TooLong(RegistryError::TooLong { what, limit }));
        }
        content.extend_from_slice(&part);
    }
}

pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

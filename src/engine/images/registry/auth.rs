//! Authorization for one repository: answers the registry's challenge with a password, a token from its token service,
//! or anonymously. Knows nothing of what is requested.
//! Source: the distribution project's token authentication specification.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::challenge::{self, Challenge};
use super::credentials::{self, Credentials, Stored};
use super::retry::Backoff;
use super::{Registry, RegistryError, bounded};
use crate::model::ImageRef;

/// A token is some kilobytes.
const MAX_TOKEN: u64 = 1 << 20;

/// What requests to a repository are authorized with, shared by all of a pull.
#[derive(Debug)]
pub(super) struct Authorization {
    registry: String,
    repository: String,
    credentials: Option<PathBuf>,
    /// The registry is spoken to without TLS, so its token service may be too.
    plain: bool,
    current: Mutex<Current>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Current {
    pub(super) header: Option<HeaderValue>,
    /// Tells a request that was refused whether there is a newer header since.
    version: u32,
    /// Why there are no credentials, where that may be the reason of a refusal.
    hint: Option<String>,
}

impl Authorization {
    pub(super) fn new(credentials: Option<&Path>, reference: &ImageRef, plain: bool) -> Self {
        Self {
            registry: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            credentials: credentials.map(Path::to_owned),
            plain,
            current: Mutex::default(),
        }
    }

    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    pub(super) async fn current(&self) -> Current {
        self.current.lock().await.clone()
    }

    pub(super) async fn hint(&self) -> Option<String> {
        self.current.lock().await.hint.clone()
    }

    /// Answers the challenge of a refusal of `refused`, unless another request has done so meanwhile.
    pub(super) async fn renew(&self, registry: &Registry, refused: &Current, headers: &HeaderMap) -> Result<(), RegistryError> {
        let mut current = self.current.lock().await;
        if current.version != refused.version {
            return Ok(());
        }
        current.version += 1;
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(challenge::parse).collect();
        let stored = match &self.credentials {
            Some(path) => credentials::look_up(path, &self.registry)?,
            None => Stored::Nothing,
        };
        let (credentials, hint) = match stored {
            Stored::Here(credentials) => (Some(credentials), None),
            Stored::Nothing => (None, Some(format!("log in with `docker login {}`, if it needs that", self.registry))),
            Stored::Helper(helper) => {
                let hint = format!(
                    "its credentials are with the helper docker-credential-{helper}, and helpers are not supported; \
                     store them under `auths`"
                );
                (None, Some(hint))
            }
        };
        current.hint = hint;
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        let text = match (bearer, credentials) {
            (Some(_), Some(Credentials::Bearer(token))) => format!("Bearer {token}"),
            (Some((realm, service, scope)), credentials) => {
                let token = self.token(registry, realm, service.as_deref(), scope.as_deref(), credentials).await?;
                format!("Bearer {token}")
            }
            (None, Some(Credentials::Password { user, password })) if challenges.contains(&Challenge::Basic) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            (None, _) => {
                return Err(RegistryError::Unauthorized { registry: self.registry.clone(), hint: current.hint.clone() });
            }
        };
        let mut header = HeaderValue::from_str(&text).map_err(|_| RegistryError::Token { why: "it is not a header's text" })?;
        header.set_sensitive(true);
        current.header = Some(header);
        Ok(())
    }

    async fn token(
        &self,
        registry: &Registry,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<String, RegistryError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut url = Url::parse(realm).map_err(|_| RegistryError::Realm { realm: realm.to_owned() })?;
        if url.scheme() != "https" && !(self.plain && url.scheme() == "http") {
            return Err(RegistryError::Realm { realm: realm.to_owned() });
        }
        let own = format!("repository:{}:pull", self.repository);
        let scope = scope.unwrap_or(&own);
        let request: RequestBuilder = match credentials {
            Some(Credentials::Refresh(token)) => {
                let mut form = Url::parse("form:").map_err(|_| RegistryError::Realm { realm: realm.to_owned() })?;
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("client_id", "setpoint")
                    .append_pair("scope", scope)
                    .append_pair("refresh_token", &token);
                let body = form.query().unwrap_or_default().to_owned();
                registry.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
            other => {
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                url.query_pairs_mut().append_pair("scope", scope);
                match other {
                    Some(Credentials::Password { user, password }) => {
                        url.query_pairs_mut().append_pair("account", &user);
                        registry.client.get(url).basic_auth(user, Some(password))
                    }
                    _ => registry.client.get(url),
                }
            }
        };
        let mut backoff = Backoff::new(&registry.patience);
        let response = registry.attempt(request, &mut backoff).await?;
        if !response.status().is_success() {
            let status = response.status();
            let body = bounded(response, "token", MAX_TOKEN, registry.patience.stall).await.unwrap_or_default();
            return Err(RegistryError::refusal(self.registry.clone(), "token", status, None, &body, None));
        }
        let unread = RegistryError::Token { why: "it could not be read" };
        let body = bounded(response, "token", MAX_TOKEN, registry.patience.stall).await.map_err(|_| unread)?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| RegistryError::Token { why: "it is not JSON" })?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        token.ok_or(RegistryError::Token { why: "the answer has none" })
    }
}

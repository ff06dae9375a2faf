//! Authorization at one place: answers the challenge with a password, a token from the token service, or anonymously.
//! Knows nothing of what is requested but its scopes.
//! Source: the distribution project's token authentication specification.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::RegistryError;
use super::address::{self, may_lead};
use super::challenge::{self, Challenge};
use super::credentials::{Credentials, CredentialsError, CredentialsFile, Given};
use super::endpoint::{Endpoint, bounded};
use super::retry::Backoff;
use super::settings::Settings;

/// A token is some kilobytes.
const MAX_TOKEN: u64 = 1 << 20;

/// What is to be done in a repository, or with a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
    /// The names of all repositories.
    Catalog,
    /// Nothing but to be let in.
    Enter,
}

impl Access {
    pub(super) fn scopes(self, repository: &str) -> Vec<String> {
        match self {
            Self::Pull => vec![format!("repository:{repository}:pull")],
            Self::Push => vec![format!("repository:{repository}:pull,push")],
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
            Self::Enter => Vec::new(),
        }
    }
}

/// What requests are authorized with, shared by all of a pull or a push.
#[derive(Debug)]
pub(super) struct Authorization {
    registry: String,
    scopes: Vec<String>,
    stored: CredentialsFile,
    /// Come with the request, and go before what is stored.
    given: Option<Given>,
    settings: Arc<Settings>,
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
    pub(super) fn new(
        registry: &str,
        scopes: Vec<String>,
        stored: CredentialsFile,
        given: Option<Given>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { registry: registry.to_owned(), scopes, stored, given, settings, current: Mutex::default() }
    }

    pub(super) async fn current(&self) -> Current {
        self.current.lock().await.clone()
    }

    pub(super) async fn hint(&self) -> Option<String> {
        self.current.lock().await.hint.clone()
    }

    /// Answers the challenge of a refusal of `refused`, unless another request has done so meanwhile.
    pub(super) async fn renew(&self, endpoint: &Endpoint, refused: &Current, headers: &HeaderMap) -> Result<(), RegistryError> {
        let mut current = self.current.lock().await;
        if current.version != refused.version {
            return Ok(());
        }
        current.version += 1;
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = texts.flat_map(challenge::parse).collect();
        let (credentials, hint) = self.credentials().await?;
        current.hint = hint;
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
            Challenge::Basic => None,
        });
        let text = match (bearer, credentials) {
            (Some(_), Some(Credentials::Bearer(token))) => format!("Bearer {token}"),
            (Some((realm, service, scope)), credentials) => {
                let token = self.token(endpoint, realm, service.as_deref(), scope.as_deref(), credentials).await?;
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

    /// The credentials, or why there are none. A helper that fails is told of only if the registry refuses then: most of
    /// what is pulled needs no password.
    async fn credentials(&self) -> Result<(Option<Credentials>, Option<String>), CredentialsError> {
        if let Some(given) = &self.given {
            return Ok((Some(given.credentials.clone()), None));
        }
        match self.stored.look_up(&self.registry).await {
            Ok(Some(credentials)) => Ok((Some(credentials), None)),
            Ok(None) => Ok((None, Some(format!("log in with `setpoint login {}`, if it needs that", self.registry)))),
            Err(CredentialsError::Helper(error)) => Ok((None, Some(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// The token service's address, unless it is one that no registry has a reason to send a password to.
    fn realm(&self, endpoint: &Endpoint, realm: &str) -> Result<Url, RegistryError> {
        let refuse = |why| RegistryError::Realm { realm: realm.chars().take(300).collect(), why };
        let url = Url::parse(realm).map_err(|_| refuse("not a URL"))?;
        let host = address::authority(&url);
        match url.scheme() {
            "https" => {}
            // Without TLS only among those that are named, or are this host, and never down from TLS.
            "http" if endpoint.root.scheme() == "http" && self.settings.is_plain(&host) => {}
            "http" if endpoint.root.scheme() == "http" && host == address::authority(&endpoint.root) => {}
            _ => return Err(refuse("not an https address")),
        }
        if !may_lead(&endpoint.root, &url) {
            return Err(refuse("an address of this machine's own"));
        }
        Ok(url)
    }

    /// What is asked for: our own scopes, and what of the challenge goes beyond them.
    fn wanted(&self, challenge: Option<&str>) -> Vec<String> {
        let covers = |own: &str, asked: &str| match (own.rsplit_once(':'), asked.rsplit_once(':')) {
            (Some((own, have)), Some((asked, want))) => {
                own == asked && want.split(',').all(|want| have.split(',').any(|have| have == want))
            }
            _ => false,
        };
        let mut wanted = self.scopes.clone();
        for asked in challenge.unwrap_or_default().split_whitespace() {
            if !self.scopes.iter().any(|own| covers(own, asked)) {
                wanted.push(asked.to_owned());
            }
        }
        wanted
    }

    async fn token(
        &self,
        endpoint: &Endpoint,
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
        let mut url = self.realm(endpoint, realm)?;
        let scopes = self.wanted(scope);
        let client = &endpoint.client;
        let request: RequestBuilder = match credentials {
            Some(Credentials::Refresh(token)) => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service.unwrap_or_default()),
                    ("client_id", "setpoint"),
                    ("scope", &scopes.join(" ")),
                    ("refresh_token", &token),
                ];
                let body =
                    serde_urlencoded::to_string(form).map_err(|_| RegistryError::Token { why: "it cannot be asked for" })?;
                client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
            other => {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in &scopes {
                    query.append_pair("scope", scope);
                }
                if let Some(Credentials::Password { user, .. }) = &other {
                    query.append_pair("account", user);
                }
                drop(query);
                match other {
                    Some(Credentials::Password { user, password }) => client.get(url).basic_auth(user, Some(password)),
                    _ => client.get(url),
                }
            }
        };
        let mut backoff = Backoff::new(&endpoint.patience);
        let response = endpoint.attempt(request, &mut backoff).await?;
        if !response.status().is_success() {
            let status = response.status();
            let body = bounded(response, "token", MAX_TOKEN, &endpoint.patience).await.unwrap_or_default();
            return Err(RegistryError::refusal(self.registry.clone(), "token", status, None, &body, None));
        }
        let unread = RegistryError::Token { why: "it could not be read" };
        let body = bounded(response, "token", MAX_TOKEN, &endpoint.patience).await.map_err(|_| unread)?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| RegistryError::Token { why: "it is not JSON" })?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
        token.ok_or(RegistryError::Token { why: "the answer has none" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_what_it_needs_once() {
        let scopes = vec!["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        let own = Authorization::new("x", scopes.clone(), CredentialsFile(None), None, Arc::default());
        assert_eq!(own.wanted(None), scopes);
        assert_eq!(own.wanted(Some("repository:a/b:pull repository:c:pull")), scopes);
        assert_eq!(own.wanted(Some("repository:a/b:push,pull")), scopes);
        let more = own.wanted(Some("repository:c:pull,push"));
        assert_eq!(more.last().unwrap(), "repository:c:pull,push");
        assert_eq!(more.len(), 3);
    }
}

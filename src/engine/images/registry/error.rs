//! What can go wrong with a registry, said so that the reader knows what to do.

use std::error::Error;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::credentials::CredentialsError;
use super::settings::SettingsError;
use crate::files::FileError;
use crate::model::Digest;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{registry:?} is not a registry's address")]
    Name { registry: String },
    #[error("{url:?} is not the address of a file: expected http:// or https:// and a host")]
    Url { url: String },
    #[error("set up HTTPS: {}", chain(source))]
    Client { source: reqwest::Error },
    #[error("{registry} does not answer: {}{}", reason(source.as_ref()), plain_hint(source.as_ref()))]
    Connect { registry: String, source: Option<reqwest::Error> },
    #[error("{registry} has no such {what}{}", details(message))]
    NotFound { registry: String, what: &'static str, message: String },
    #[error("{registry} refuses: not authorized{}", hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
    Unauthorized { registry: String, hint: Option<String> },
    #[error("{registry} refuses the {what}: {status}{}{}", details(message), hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default())]
    Denied { registry: String, what: &'static str, status: StatusCode, message: String, hint: Option<String> },
    #[error("{registry} answers {status} for the {what}{}{}", details(message), later(asked))]
    Status { registry: String, what: &'static str, status: StatusCode, message: String, asked: Option<Duration> },
    #[error("the {what} has digest {found}, and {expected} was promised")]
    Digest { what: &'static str, expected: Digest, found: Digest },
    #[error("the {what} is longer than {limit} bytes")]
    TooLong { what: &'static str, limit: u64 },
    #[error("blob {digest} broke off after {done} of {size} bytes, again and again: {}", reason(source.as_ref()))]
    Broken { digest: Digest, done: u64, size: u64, source: Option<reqwest::Error> },
    #[error("asked for blob {digest} from byte {wanted}, the registry sent another part")]
    Range { digest: Digest, wanted: u64 },
    #[error("the registry's token service {realm:?} is refused: it is {why}")]
    Realm { realm: String, why: &'static str },
    #[error("the registry's token: {why}")]
    Token { why: &'static str },
    #[error("a request cannot be sent twice")]
    Unrepeatable,
    #[error("there is no place to ask")]
    Nowhere,
    #[error("the authorities that are trusted for the registry: {source}")]
    Authorities { source: FileError },
    #[error("the file of authorities that are trusted for the registry has no certificate in PEM")]
    NoAuthorities,
    #[error("the {what} of {registry} is not what it should be")]
    Unread { registry: String, what: &'static str },
    #[error("the {what} of {registry} does not come to an end")]
    Endless { registry: String, what: &'static str },
    #[error("{registry} sends the upload to a place that is none")]
    Astray { registry: String },
    #[error("stored credentials: {0}")]
    Credentials(#[from] CredentialsError),
    #[error("settings of registries: {0}")]
    Settings(#[from] SettingsError),
}

/// What kind of trouble it is, for whoever maps it to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NotFound,
    Denied,
    /// It does not answer, or not now.
    Unreachable,
    /// What it answers cannot be right.
    Untrue,
    /// What we were told of it cannot be right.
    Settings,
}

impl RegistryError {
    pub(super) fn connect(registry: &str, source: Option<reqwest::Error>) -> Self {
        // The URL may have a token in it.
        Self::Connect { registry: registry.to_owned(), source: source.map(reqwest::Error::without_url) }
    }

    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NotFound { .. } => Trouble::NotFound,
            Self::Unauthorized { .. } | Self::Denied { .. } => Trouble::Denied,
            Self::Connect { source, .. } if source.as_ref().is_some_and(|e| e.is_redirect()) => Trouble::Untrue,
            Self::Connect { .. } | Self::Broken { .. } | Self::Status { .. } => Trouble::Unreachable,
            Self::Digest { .. }
            | Self::TooLong { .. }
            | Self::Range { .. }
            | Self::Realm { .. }
            | Self::Token { .. }
            | Self::Unread { .. }
            | Self::Endless { .. }
            | Self::Astray { .. } => Trouble::Untrue,
            Self::Name { .. }
            | Self::Url { .. }
            | Self::Client { .. }
            | Self::Authorities { .. }
            | Self::NoAuthorities
            | Self::Unrepeatable
            | Self::Nowhere
            | Self::Credentials(_)
            | Self::Settings(_) => Trouble::Settings,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self.trouble() {
            Trouble::NotFound => Some("check its name and tag; `setpoint search --list-tags NAME` lists the tags".into()),
            Trouble::Unreachable => {
                Some("check the address and the network; what has come so far is kept for the next attempt".into())
            }
            Trouble::Denied | Trouble::Untrue | Trouble::Settings => None,
        }
    }

    pub(super) fn refusal(
        registry: String,
        what: &'static str,
        status: StatusCode,
        asked: Option<Duration>,
        body: &[u8],
        hint: Option<String>,
    ) -> Self {
        let message = message(body);
        match status.as_u16() {
            404 => Self::NotFound { registry, what, message },
            401 | 403 => Self::Denied { registry, what, status, message, hint },
            _ => Self::Status { registry, what, status, message, asked },
        }
    }
}

/// Whether another attempt may do better. A certificate that is not trusted stays so.
pub(super) fn is_passing(error: &reqwest::Error) -> bool {
    !error.is_builder() && !error.is_redirect() && tls_error(error).is_none()
}

/// What the registry itself says: `{"errors": [{"code": "…", "message": "…"}]}`, or a token service's own form.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        errors: Vec<One>,
        details: Option<String>,
        error_description: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct One {
        code: String,
        message: String,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return String::new() };
    let all = body.errors.into_iter().map(|e| if e.message.is_empty() { e.code } else { e.message });
    let text = all.chain(body.details).chain(body.error_description).collect::<Vec<_>>().join("; ");
    // It ends up on a terminal.
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

fn details(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn later(asked: &Option<Duration>) -> String {
    asked.map(|asked| format!("; it asks to come back in {} s", asked.as_secs())).unwrap_or_default()
}

fn reason(source: Option<&reqwest::Error>) -> String {
    source.map_or_else(|| "nothing came for too long".to_owned(), |error| chain(error))
}

/// An error and all that caused it: the cause is usually what one needs to know.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

fn plain_hint(source: Option<&reqwest::Error>) -> &'static str {
    match source.and_then(|error| tls_error(error)) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "; if it speaks plain HTTP, say so with `plainHttp` in registries.yaml or in SETPOINT_INSECURE_REGISTRIES"
        }
        _ => "",
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error does not name what it wraps as its source, and may wrap another one.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        if let Some(tls) = wrapped.and_then(|inner| tls_error(inner)) {
            return Some(tls);
        }
        next = error.source();
    }
    None
}

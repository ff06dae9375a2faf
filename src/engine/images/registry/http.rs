//! The HTTP clients, made when the first pull needs one: TLS roots and name servers cost time that no other command pays.
//! Registries on this host are spoken to in plain HTTP, as are those that the user has named.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, redirect};

use super::{Patience, RegistryError, credentials};

/// How registries are reached.
#[derive(Debug)]
pub(in crate::engine::images) struct Http {
    /// Never through a proxy, which could not reach this host's own loopback.
    loopback: Mutex<Option<Client>>,
    remote: Mutex<Option<Client>>,
    /// Registries without TLS, `host[:port]`.
    insecure: BTreeSet<String>,
    credentials: Option<PathBuf>,
    patience: Patience,
}

impl Http {
    /// As the environment says: `SETPOINT_INSECURE_REGISTRIES` (commas), `DOCKER_CONFIG`, `HOME`.
    pub(in crate::engine::images) fn from_environment() -> Self {
        let insecure = std::env::var("SETPOINT_INSECURE_REGISTRIES").unwrap_or_default();
        Self::new(
            insecure.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
            credentials::default_path(),
            Patience::default(),
        )
    }

    pub(in crate::engine::images) fn new(insecure: BTreeSet<String>, credentials: Option<PathBuf>, patience: Patience) -> Self {
        Self { loopback: Mutex::new(None), remote: Mutex::new(None), insecure, credentials, patience }
    }

    pub(super) fn credentials_file(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// A client for `registry`, and the start of its URLs.
    pub(super) fn reach(&self, registry: &str) -> Result<(Client, String), RegistryError> {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let loopback = is_loopback(host);
        let scheme = if loopback || self.insecure.contains(registry) { "http" } else { "https" };
        let slot = if loopback { &self.loopback } else { &self.remote };
        let mut client = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &*client {
            Some(client) => client.clone(),
            None => client.insert(make(loopback)?).clone(),
        };
        Ok((client, format!("{scheme}://{host}")))
    }
}

fn make(loopback: bool) -> Result<Client, RegistryError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a provider of cryptography was installed before");
    }
    let fail = |source| RegistryError::Client { source };
    let builder = || -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(concat!("setpoint/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(redirect::Policy::custom(redirected));
        if loopback { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        // A host without certificates can still use the registry that runs on it.
        Err(_) if loopback => builder().tls_certs_only([]).build().map_err(fail),
        result => result.map_err(fail),
    }
}

/// Blobs are often elsewhere. The client itself takes the authorization off a request to another host.
fn redirected(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let downgrade = attempt.url().scheme() == "http" && attempt.previous().iter().any(|url| url.scheme() == "https");
    if downgrade {
        attempt.error("the registry redirects from HTTPS to plain HTTP")
    } else if attempt.previous().len() > 10 {
        attempt.error("more than 10 redirects")
    } else {
        attempt.follow()
    }
}

/// Whether `host[:port]` is this host itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_and_named_registries_are_plain() {
        let named = BTreeSet::from(["plain.example:5000".to_owned()]);
        let http = Http::new(named, None, Patience::default());
        for (registry, root) in [
            ("localhost:5000", "http://localhost:5000"),
            ("127.8.9.1", "http://127.8.9.1"),
            ("plain.example:5000", "http://plain.example:5000"),
        ] {
            assert_eq!(http.reach(registry).unwrap().1, root);
        }
        for remote in ["plain.example", "localhost.example", "128.0.0.1:80", "docker.io"] {
            assert!(!is_loopback(remote) && !http.insecure.contains(remote), "{remote}");
        }
    }
}

//! The HTTP clients, made when the first one is needed: TLS roots and name servers cost time that no other command pays.
//! Also where a reference leads: to mirrors, and to the registry itself, each in its own way.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Url, redirect};

use super::address::{is_loopback, may_lead};
use super::auth::{Access, Authorization};
use super::credentials::{self, CredentialsFile, Given};
use super::endpoint::Endpoint;
use super::settings::{Reach, Settings, SettingsError, SettingsFile};
use super::{Patience, RegistryError};
use crate::files;
use crate::model::{Digest, ImageRef};

/// How registries are reached.
#[derive(Debug)]
pub(in crate::engine::images) struct Http {
    clients: Mutex<HashMap<Kind, Client>>,
    settings: SettingsFile,
    credentials: Option<PathBuf>,
    patience: Patience,
}

/// What makes clients different.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    /// Never through a proxy, which could not reach this host's own loopback.
    loopback: bool,
    skip_verify: bool,
    /// The digest of the PEM.
    ca: Option<Digest>,
}

/// What comes before the repository's name at one place.
#[derive(Debug)]
struct Place {
    host: String,
    path: String,
    plain: bool,
}

impl Http {
    /// As the environment says: `SETPOINT_REGISTRIES`, `SETPOINT_INSECURE_REGISTRIES` (commas), `DOCKER_CONFIG`, `HOME`.
    pub(in crate::engine::images) fn from_environment() -> Self {
        let plain = std::env::var("SETPOINT_INSECURE_REGISTRIES").unwrap_or_default();
        let plain = plain.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect();
        let settings = SettingsFile::from_environment(plain);
        Self { clients: Mutex::default(), settings, credentials: credentials::default_path(), patience: Patience::default() }
    }

    /// With settings of its own. Registries in `plain` are spoken to without TLS.
    #[cfg(test)]
    pub(in crate::engine::images) fn new(
        settings: PathBuf,
        plain: BTreeSet<String>,
        credentials: Option<PathBuf>,
        patience: Patience,
    ) -> Self {
        Self { clients: Mutex::default(), settings: SettingsFile::new(settings, plain), credentials, patience }
    }

    pub(in crate::engine::images) fn settings(&self) -> Result<Arc<Settings>, SettingsError> {
        self.settings.get()
    }

    pub(super) fn credentials(&self) -> CredentialsFile {
        CredentialsFile(self.credentials.clone())
    }

    /// Where the reference's repository is to be read: mirrors in their order, then the registry itself.
    pub(super) fn sources(&self, reference: &ImageRef, given: Option<&Given>) -> Result<Vec<Endpoint>, RegistryError> {
        let settings = self.settings()?;
        let (registry, repository) = settings.rewritten(reference);
        let mirrors = settings.reach(&registry).map(|reach| reach.mirrors.as_slice()).unwrap_or_default();
        let mut all = Vec::with_capacity(mirrors.len() + 1);
        for mirror in mirrors {
            let plain = mirror.plain || settings.is_plain(&mirror.host);
            let place = Place { host: mirror.host.clone(), path: mirror.path.clone(), plain };
            let name = format!("{}{repository}", mirror.path);
            // One that does not answer must not hold up what the registry itself could give.
            let patience = Patience { attempts: self.patience.attempts.min(2), ..self.patience.clone() };
            all.push(self.endpoint(&settings, place, &repository, Access::Pull.scopes(&name), patience, None)?);
        }
        let place = Place { plain: settings.is_plain(&registry), host: registry, path: String::new() };
        let scopes = Access::Pull.scopes(&repository);
        all.push(self.endpoint(&settings, place, &repository, scopes, self.patience.clone(), given)?);
        Ok(all)
    }

    /// Where the reference's repository is to be written. `from` are repositories there whose blobs are to be mounted.
    pub(super) fn target(
        &self,
        reference: &ImageRef,
        from: &BTreeSet<String>,
        given: Option<&Given>,
    ) -> Result<Endpoint, RegistryError> {
        let settings = self.settings()?;
        let (registry, repository) = settings.rewritten(reference);
        let mut scopes = Access::Push.scopes(&repository);
        scopes.extend(from.iter().flat_map(|from| Access::Pull.scopes(from)));
        let place = Place { plain: settings.is_plain(&registry), host: registry, path: String::new() };
        self.endpoint(&settings, place, &repository, scopes, self.patience.clone(), given)
    }

    /// The registry as a whole.
    pub(super) fn root(&self, registry: &str, access: Access, given: Option<&Given>) -> Result<Endpoint, RegistryError> {
        let settings = self.settings()?;
        let place = Place { plain: settings.is_plain(registry), host: registry.to_owned(), path: String::new() };
        self.endpoint(&settings, place, "", access.scopes(""), self.patience.clone(), given)
    }

    /// A service that is no registry, such as that of a search.
    pub(super) fn service(&self, url: &Url) -> Result<Endpoint, RegistryError> {
        let settings = self.settings()?;
        let host = super::address::authority(url);
        let client = self.client(settings.reach(&host), is_loopback(&host))?;
        let authorization = Authorization::new(&host, Vec::new(), self.credentials(), None, settings);
        Ok(Endpoint { client, host, root: url.clone(), base: url.clone(), patience: self.patience.clone(), authorization })
    }

    fn endpoint(
        &self,
        settings: &Arc<Settings>,
        place: Place,
        repository: &str,
        scopes: Vec<String>,
        patience: Patience,
        given: Option<&Given>,
    ) -> Result<Endpoint, RegistryError> {
        let host = if place.host == "docker.io" { "registry-1.docker.io" } else { &place.host };
        let scheme = if place.plain { "http" } else { "https" };
        let wrong = || RegistryError::Name { registry: place.host.clone() };
        let root = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| wrong())?;
        // What a URL makes of the host must be the host: `0x7f.1` would be this one.
        if root.host_str().is_none_or(|parsed| !host.to_lowercase().starts_with(parsed)) {
            return Err(wrong());
        }
        let base = match repository {
            "" => root.clone(),
            repository => root.join(&format!("./{}{repository}/", place.path)).map_err(|_| wrong())?,
        };
        let client = self.client(settings.reach(&place.host), is_loopback(host))?;
        let given = given.filter(|given| given.registry == place.host).cloned();
        let authorization = Authorization::new(&place.host, scopes, self.credentials(), given, settings.clone());
        Ok(Endpoint { client, host: place.host, root, base, patience, authorization })
    }

    fn client(&self, reach: Option<&Reach>, loopback: bool) -> Result<Client, RegistryError> {
        let pem = reach.and_then(|reach| reach.ca.as_ref()).map(|path| files::read(path)).transpose();
        let pem = pem.map_err(|source| RegistryError::Authorities { source })?;
        let skip_verify = reach.is_some_and(|reach| reach.skip_tls_verify);
        let kind = Kind { loopback, skip_verify, ca: pem.as_deref().map(Digest::of) };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = make(&kind, pem.as_deref())?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

fn make(kind: &Kind, pem: Option<&[u8]>) -> Result<Client, RegistryError> {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a provider of cryptography was installed before");
    }
    let fail = |source| RegistryError::Client { source };
    let authorities = pem.map(Certificate::from_pem_bundle).transpose().map_err(fail)?.unwrap_or_default();
    if pem.is_some() && authorities.is_empty() {
        return Err(RegistryError::NoAuthorities);
    }
    let builder = || -> ClientBuilder {
        let builder = Client::builder()
            .user_agent(concat!("setpoint/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(redirect::Policy::custom(redirected));
        let builder = if kind.skip_verify { builder.tls_danger_accept_invalid_certs(true) } else { builder };
        let builder = builder.tls_certs_merge(authorities.clone());
        if kind.loopback { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        // A host without certificates can still use the registry that runs on it, and one whose authorities are named.
        Err(_) if kind.loopback || pem.is_some() => builder().tls_certs_only([]).build().map_err(fail),
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
    } else if attempt.previous().first().is_some_and(|from| !may_lead(from, attempt.url())) {
        attempt.error("the registry redirects to an address that is this machine's own")
    } else {
        attempt.follow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_references_lead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.yaml");
        let text = "rewrites: [{from: docker.io/library, to: 'hub.example/lib'}]\n\
                    registries: {hub.example: {mirrors: ['http://m.example:1/p', localhost:5000]}}\n";
        std::fs::write(&path, text).unwrap();
        let named = BTreeSet::from(["plain.example:5000".to_owned()]);
        let http = Http::new(path, named, None, Patience::default());
        let leads = |reference: &str| -> Vec<String> {
            let all = http.sources(&reference.parse().unwrap(), None).unwrap();
            all.iter().map(|endpoint| endpoint.base.to_string()).collect()
        };
        for (reference, urls) in [
            ("team/app", vec!["https://registry-1.docker.io/v2/team/app/"]),
            ("localhost:5000/a", vec!["http://localhost:5000/v2/a/"]),
            ("127.8.9.1/a/b", vec!["http://127.8.9.1/v2/a/b/"]),
            ("plain.example:5000/a", vec!["http://plain.example:5000/v2/a/"]),
            ("plain.example/a", vec!["https://plain.example/v2/a/"]),
            (
                "nginx",
                vec![
                    "http://m.example:1/v2/p/lib/nginx/",
                    "http://localhost:5000/v2/lib/nginx/",
                    "https://hub.example/v2/lib/nginx/",
                ],
            ),
        ] {
            assert_eq!(leads(reference), urls, "{reference}");
        }
        let hidden: ImageRef = "0x7f.1/a".parse().unwrap();
        assert!(http.sources(&hidden, None).is_err());
    }
}

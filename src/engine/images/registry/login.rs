//! Logging in to registries and out of them. Needs no store, so that it can be done by the process of whoever types the
//! password, in whose home it is kept.

use reqwest::Client;

use super::auth::Access;
use super::credentials::host;
use super::{Credentials, Given, Http, RegistryError};

/// The registries as this process's surroundings describe them: settings, and credentials of its user.
#[derive(Debug)]
pub struct Registries {
    http: Http,
}

/// What a login has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub registry: String,
    /// The file, or the helper, that has the password now.
    pub stored: String,
    /// It is in a file that holds it as it is.
    pub in_the_clear: bool,
}

impl Registries {
    /// As the environment says. Reads nothing yet.
    pub fn from_environment() -> Self {
        Self { http: Http::from_environment() }
    }

    #[cfg(test)]
    pub(in crate::engine::images) const fn new(http: Http) -> Self {
        Self { http }
    }

    /// Asks the registry whether it lets this user in, and stores the password if it does.
    pub async fn login(&self, registry: &str, user: &str, password: &str) -> Result<Login, RegistryError> {
        let registry = named(registry)?;
        let credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
        let given = Given { registry: registry.clone(), credentials };
        let endpoint = self.http.root(&registry, Access::Enter, Some(&given))?;
        let root = endpoint.root.clone();
        endpoint.get("login", |client: &Client| client.get(root.clone())).await?;
        let file = self.http.credentials();
        let stored = file.store(&registry, user, password).await?;
        let in_the_clear = !stored.starts_with("docker-credential-");
        Ok(Login { registry, stored, in_the_clear })
    }

    /// Forgets the password; false when there was none.
    pub async fn logout(&self, registry: &str) -> Result<bool, RegistryError> {
        Ok(self.http.credentials().erase(&named(registry)?).await?)
    }

    /// The registries that something is stored for.
    pub fn stored(&self) -> Result<Vec<String>, RegistryError> {
        let all = self.http.credentials().registries()?;
        Ok(all.into_iter().filter(|registry| named(registry).is_ok()).collect())
    }

    /// What is stored for a registry, to be sent along with a request. A helper that fails is no reason not to try.
    pub async fn credentials(&self, registry: &str) -> Result<Option<Given>, RegistryError> {
        let registry = named(registry)?;
        let found = match self.http.credentials().look_up(&registry).await {
            Ok(found) => found,
            Err(super::CredentialsError::Helper(error)) => {
                tracing::warn!(%error, "going on without credentials");
                None
            }
            Err(error) => return Err(error.into()),
        };
        Ok(found.map(|credentials| Given { registry, credentials }))
    }
}

/// A registry as users name it: `https://index.docker.io/v1/` is `docker.io`.
fn named(text: &str) -> Result<String, RegistryError> {
    let registry = host(text);
    let sample = format!("{registry}/x").parse::<crate::model::ImageRef>();
    match sample {
        Ok(reference) if reference.registry() == registry => Ok(registry.to_owned()),
        _ => Err(RegistryError::Name { registry: text.chars().take(200).collect() }),
    }
}

//! Credentials that the user has stored with `docker login`. Reads the file; never writes it, never prints what is in it.
//! Credential helpers are programs of their own; a registry that needs one is an error that names it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::files::{self, FileError};

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: the entry for {registry} is not base64 of user:password", path.display())]
    Entry { path: PathBuf, registry: String },
}

/// What one registry is told.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for a token at the registry's token service.
    Refresh(String),
    /// A token as it is.
    Bearer(String),
}

/// Shows only the kind: this may end up in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Refresh(_) => "Refresh",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// What is stored for a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Nothing,
    Here(Credentials),
    /// A credential helper has it.
    Helper(String),
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|f| !f.is_empty()).map(PathBuf::from);
    let home = || std::env::var_os("HOME").filter(|h| !h.is_empty()).map(|h| Path::new(&h).join(".docker"));
    Some(folder.or_else(home)?.join("config.json"))
}

/// What the file at `path` has for `registry`.
pub(super) fn look_up(path: &Path, registry: &str) -> Result<Stored, CredentialsError> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct File {
        auths: HashMap<String, Entry>,
        cred_helpers: HashMap<String, String>,
        creds_store: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "lowercase")]
    struct Entry {
        auth: Option<String>,
        username: Option<String>,
        password: Option<String>,
        identitytoken: Option<String>,
        registrytoken: Option<String>,
    }
    let Some(content) = files::read_if_there(path)? else { return Ok(Stored::Nothing) };
    let file: File =
        serde_json::from_slice(&content).map_err(|source| CredentialsError::Json { path: path.to_owned(), source })?;
    let wanted = host(registry);
    if let Some((_, helper)) = file.cred_helpers.iter().find(|(key, _)| host(key) == wanted) {
        return Ok(Stored::Helper(helper.clone()));
    }
    // The exact name wins over one that only names the same host.
    let entry = file.auths.get(registry).or_else(|| file.auths.iter().find(|(k, _)| host(k) == wanted).map(|(_, e)| e));
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    if let Some(entry) = entry {
        if let Some(token) = given(&entry.registrytoken) {
            return Ok(Stored::Here(Credentials::Bearer(token)));
        }
        if let Some(token) = given(&entry.identitytoken) {
            return Ok(Stored::Here(Credentials::Refresh(token)));
        }
        if let (Some(user), Some(password)) = (given(&entry.username), given(&entry.password)) {
            return Ok(Stored::Here(Credentials::Password { user, password }));
        }
        if let Some(auth) = given(&entry.auth) {
            let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let wrong = || CredentialsError::Entry { path: path.to_owned(), registry: registry.to_owned() };
            let (user, password) = pair.ok_or_else(wrong)?;
            return Ok(Stored::Here(Credentials::Password { user: user.to_owned(), password: password.to_owned() }));
        }
    }
    Ok(file.creds_store.filter(|s| !s.is_empty()).map_or(Stored::Nothing, Stored::Helper))
}

/// The host of a key, which may be a URL; Docker's own registry has several names.
fn host(key: &str) -> &str {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_docker_login_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(look_up(&path, "docker.io").unwrap(), Stored::Nothing);
        let auth = STANDARD.encode("me:pass:word");
        let content = serde_json::json!({
            "auths": {"https://index.docker.io/v1/": {"auth": auth}, "localhost:5000": {"identitytoken": "t"}, "bad": {"auth": "!"}},
            "credHelpers": {"cloud.example": "cloud"},
        });
        std::fs::write(&path, content.to_string()).unwrap();
        let password = Credentials::Password { user: "me".into(), password: "pass:word".into() };
        assert_eq!(look_up(&path, "docker.io").unwrap(), Stored::Here(password));
        assert_eq!(look_up(&path, "localhost:5000").unwrap(), Stored::Here(Credentials::Refresh("t".into())));
        assert_eq!(look_up(&path, "cloud.example").unwrap(), Stored::Helper("cloud".into()));
        assert_eq!(look_up(&path, "localhost:5001").unwrap(), Stored::Nothing);
        let error = look_up(&path, "bad").unwrap_err().to_string();
        assert!(error.contains("bad"), "{error}");
    }
}

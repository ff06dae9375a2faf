//! Credentials that users have stored with `login`, ours or Docker's: in a file, or with a helper program that the file
//! names. Never prints what is in it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::helper::{self, HelperError};
use crate::files::{self, FileError};
use crate::model::ImageRef;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{}: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{}: {what} is not what it should be", path.display())]
    Shape { path: PathBuf, what: &'static str },
    #[error("{}: the entry for {registry} is not base64 of user:password", path.display())]
    Entry { path: PathBuf, registry: String },
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error("there is no place for credentials: neither DOCKER_CONFIG nor HOME is set")]
    NoPlace,
}

/// What one registry is told.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
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

/// Credentials that come with a request, for one registry.
#[derive(Clone, Debug)]
pub struct Given {
    pub registry: String,
    pub credentials: Credentials,
}

impl Given {
    /// Those for the registry of a reference.
    pub fn of<'a>(all: &'a [Self], reference: &ImageRef) -> Option<&'a Self> {
        all.iter().find(|given| given.registry == reference.registry())
    }
}

/// What is stored for a registry.
#[derive(Debug, PartialEq, Eq)]
enum Stored {
    Nothing,
    Here(Credentials),
    /// A credential helper has it.
    Helper(String),
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(super) fn default_path() -> Option<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || given("HOME").or_else(home_of_user).map(|home| home.join(".docker"));
    Some(given("DOCKER_CONFIG").or_else(home)?.join("config.json"))
}

/// A service of the system has no `HOME`, and its user has a home all the same.
fn home_of_user() -> Option<PathBuf> {
    let user = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut entries = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry.get(2).is_some_and(|id| *id == user))?;
    entry.get(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
}

/// The file, which may not be there, or have no place at all.
#[derive(Clone, Debug)]
pub(super) struct CredentialsFile(pub(super) Option<PathBuf>);

impl CredentialsFile {
    /// What is stored for `registry`. Asks its helper where there is one.
    pub(super) async fn look_up(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let Some(path) = &self.0 else { return Ok(None) };
        match look_up(path, registry)? {
            Stored::Nothing => Ok(None),
            Stored::Here(credentials) => Ok(Some(credentials)),
            Stored::Helper(name) => Ok(helper::get(&name, server(registry)).await?),
        }
    }

    /// The registries that something is stored for, as far as the file says it: a helper that has all of them need not.
    pub(super) fn registries(&self) -> Result<std::collections::BTreeSet<String>, CredentialsError> {
        let Some(path) = &self.0 else { return Ok(std::collections::BTreeSet::new()) };
        let file = read(path)?;
        let keys = ["auths", "credHelpers"].into_iter().filter_map(|name| file.get(name)?.as_object());
        Ok(keys.flat_map(serde_json::Map::keys).map(|key| host(key).to_owned()).collect())
    }

    /// Stores a password, in the place of whatever is stored. Says where: the file, or the helper.
    pub(super) async fn store(&self, registry: &str, user: &str, password: &str) -> Result<String, CredentialsError> {
        let path = self.0.as_deref().ok_or(CredentialsError::NoPlace)?;
        let mut file = read(path)?;
        let helper = helper_for(path, &file, registry)?;
        if let Some(name) = &helper {
            helper::store(name, server(registry), user, password).await?;
        }
        let auths = object(path, &mut file, "auths")?;
        auths.retain(|key, _| host(key) != registry);
        // Docker lists what a helper has, too, by an entry without content.
        let entry = match helper {
            Some(_) => json!({}),
            None => json!({"auth": STANDARD.encode(format!("{user}:{password}"))}),
        };
        auths.insert(server(registry).to_owned(), entry);
        write(path, &file)?;
        Ok(helper.map_or_else(|| path.display().to_string(), |name| format!("docker-credential-{name}")))
    }

    /// Forgets what is stored; false when nothing was.
    pub(super) async fn erase(&self, registry: &str) -> Result<bool, CredentialsError> {
        let path = self.0.as_deref().ok_or(CredentialsError::NoPlace)?;
        let mut file = read(path)?;
        let helper = helper_for(path, &file, registry)?;
        let mut known = false;
        if let Some(name) = helper {
            known = helper::get(&name, server(registry)).await?.is_some();
            if known {
                helper::erase(&name, server(registry)).await?;
            }
        }
        if file.contains_key("auths") {
            let auths = object(path, &mut file, "auths")?;
            let before = auths.len();
            auths.retain(|key, _| host(key) != registry);
            if auths.len() < before {
                known = true;
                write(path, &file)?;
            }
        }
        Ok(known)
    }
}

/// What helpers and the file call a registry.
fn server(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

fn read(path: &Path) -> Result<Map<String, Value>, CredentialsError> {
    let Some(content) = files::read_if_there(path)? else { return Ok(Map::new()) };
    serde_json::from_slice(&content).map_err(|source| CredentialsError::Json { path: path.to_owned(), source })
}

/// Replaces the file, whole, readable by its owner only. A link to it stays one.
fn write(path: &Path, file: &Map<String, Value>) -> Result<(), CredentialsError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = target.parent() {
        files::create_dirs(folder, 0o700)?;
    }
    let text = serde_json::to_string_pretty(file).map_err(|source| CredentialsError::Json { path: path.to_owned(), source })?;
    Ok(files::publish_durably(&target, text.as_bytes(), 0o600)?)
}

fn object<'a>(
    path: &Path,
    file: &'a mut Map<String, Value>,
    what: &'static str,
) -> Result<&'a mut Map<String, Value>, CredentialsError> {
    let value = file.entry(what).or_insert_with(|| Value::Object(Map::new()));
    value.as_object_mut().ok_or_else(|| CredentialsError::Shape { path: path.to_owned(), what })
}

/// The helper for a registry: its own, else that for all.
fn helper_for(path: &Path, file: &Map<String, Value>, registry: &str) -> Result<Option<String>, CredentialsError> {
    let shape = |what| CredentialsError::Shape { path: path.to_owned(), what };
    if let Some(helpers) = file.get("credHelpers").filter(|value| !value.is_null()) {
        let helpers = helpers.as_object().ok_or_else(|| shape("credHelpers"))?;
        if let Some((_, name)) = helpers.iter().find(|(key, _)| host(key) == registry) {
            return Ok(Some(name.as_str().ok_or_else(|| shape("credHelpers"))?.to_owned()));
        }
    }
    match file.get("credsStore") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.clone()).filter(|name| !name.is_empty())),
        Some(_) => Err(shape("credsStore")),
    }
}

/// What the file at `path` has for `registry`.
fn look_up(path: &Path, registry: &str) -> Result<Stored, CredentialsError> {
    let file = read(path)?;
    let shape = |what| CredentialsError::Shape { path: path.to_owned(), what };
    let own_helper = file.get("credHelpers").and_then(Value::as_object);
    let own_helper = own_helper.is_some_and(|helpers| helpers.keys().any(|key| host(key) == registry));
    let auths = match file.get("auths") {
        None | Some(Value::Null) => None,
        Some(auths) => Some(auths.as_object().ok_or_else(|| shape("auths"))?),
    };
    // The exact name wins over one that only names the same host.
    let entry = auths.and_then(|auths| {
        let same_host = || auths.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry);
        auths.get(registry).or_else(same_host)
    });
    if let Some(entry) = entry.filter(|_| !own_helper)
        && let Some(credentials) = credentials(path, registry, entry)?
    {
        return Ok(Stored::Here(credentials));
    }
    Ok(helper_for(path, &file, registry)?.map_or(Stored::Nothing, Stored::Helper))
}

/// What an entry of `auths` holds; one without content says that a helper has it.
fn credentials(path: &Path, registry: &str, entry: &Value) -> Result<Option<Credentials>, CredentialsError> {
    let given = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = given("registrytoken") {
        return Ok(Some(Credentials::Bearer(token.to_owned())));
    }
    if let Some(token) = given("identitytoken") {
        return Ok(Some(Credentials::Refresh(token.to_owned())));
    }
    if let (Some(user), Some(password)) = (given("username"), given("password")) {
        return Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }));
    }
    let Some(auth) = given("auth") else { return Ok(None) };
    let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
    let wrong = || CredentialsError::Entry { path: path.to_owned(), registry: registry.to_owned() };
    let (user, password) = pair.ok_or_else(wrong)?;
    Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
}

/// The registry that a key means, which may be a URL; Docker's own registry has several names.
pub(super) fn host(key: &str) -> &str {
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn finds_what_docker_login_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert_eq!(look_up(&path, "docker.io").unwrap(), Stored::Nothing);
        let auth = STANDARD.encode("me:pass:word");
        let content = serde_json::json!({
            "auths": {"https://index.docker.io/v1/": {"auth": auth}, "localhost:5000": {"identitytoken": "t"}, "bad": {"auth": "!"},
                      "kept.example": {}},
            "credHelpers": {"cloud.example": "cloud"},
        });
        std::fs::write(&path, content.to_string()).unwrap();
        let password = Credentials::Password { user: "me".into(), password: "pass:word".into() };
        assert_eq!(look_up(&path, "docker.io").unwrap(), Stored::Here(password));
        assert_eq!(look_up(&path, "localhost:5000").unwrap(), Stored::Here(Credentials::Refresh("t".into())));
        assert_eq!(look_up(&path, "cloud.example").unwrap(), Stored::Helper("cloud".into()));
        assert_eq!(look_up(&path, "localhost:5001").unwrap(), Stored::Nothing);
        assert_eq!(look_up(&path, "kept.example").unwrap(), Stored::Nothing);
        let all = CredentialsFile(Some(path.clone())).registries().unwrap();
        assert_eq!(Vec::from_iter(all), ["bad", "cloud.example", "docker.io", "kept.example", "localhost:5000"]);
        let error = look_up(&path, "bad").unwrap_err().to_string();
        assert!(error.contains("bad"), "{error}");
        std::fs::write(&path, r#"{"auths": []}"#).unwrap();
        assert!(look_up(&path, "docker.io").unwrap_err().to_string().contains("auths"));
    }

    #[tokio::test]
    async fn stores_and_forgets_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("elsewhere.json");
        let path = folder.path().join("config.json");
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let before =
            r#"{"psFormat": "x", "auths": {"https://r.example": {"auth": "b2xkOm9sZA=="}, "other": {"auth": "YTpi"}}, "z": [1]}"#;
        std::fs::write(&real, before).unwrap();
        let file = CredentialsFile(Some(path.clone()));
        assert_eq!(file.store("r.example", "me", "p:w").await.unwrap(), path.display().to_string());
        assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
        let there: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let auth = STANDARD.encode("me:p:w");
        assert_eq!(there, json!({"psFormat": "x", "auths": {"other": {"auth": "YTpi"}, "r.example": {"auth": auth}}, "z": [1]}));
        let password = Credentials::Password { user: "me".into(), password: "p:w".into() };
        assert_eq!(file.look_up("r.example").await.unwrap(), Some(password));
        assert!(file.erase("r.example").await.unwrap());
        assert!(!file.erase("r.example").await.unwrap());
        assert_eq!(file.look_up("r.example").await.unwrap(), None);
        assert!(file.look_up("other").await.unwrap().is_some());
        // Docker's registry is stored under the name that Docker looks for.
        let fresh = CredentialsFile(Some(folder.path().join("new/config.json")));
        fresh.store("docker.io", "a", "b").await.unwrap();
        let text = std::fs::read_to_string(folder.path().join("new/config.json")).unwrap();
        assert!(text.contains("https://index.docker.io/v1/"), "{text}");
        assert!(fresh.look_up("docker.io").await.unwrap().is_some());
    }
}

//! The one file about registries: mirrors, ways to reach them, rewrites, limits of layers, and whose signatures are
//! wanted. Read when it is needed first and again when it has changed; without a file all is as it is by default.
//!
//! ```yaml
//! keepBlobs: true
//! limits: {bytes: 64g, entries: 1000000, ratio: 500}
//! rewrites:
//!   - {from: docker.io/library, to: registry.example/hub}
//! registries:
//!   docker.io: {mirrors: ["mirror.example:5000", "https://cache.example/hub"]}
//!   registry.example: {ca: /etc/ssl/company.pem}
//!   lab.example:5000: {plainHttp: true}
//! verify:
//!   - {prefix: registry.example/team, keys: [/etc/setpoint/team.pub], required: true, checkName: true}
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::address;
use crate::engine::images::layer::Limits;
use crate::engine::images::verify::{InvalidKey, PublicKey, Rule};
use crate::files::{self, FileError};
use crate::manifest::Problem;
use crate::model::{ByteSize, ImageRef};

/// Where the file is, unless `SETPOINT_REGISTRIES` says otherwise.
const DEFAULT: &str = "/etc/setpoint/registries.yaml";

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0}")]
    Invalid(Box<Problem>),
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: InvalidKey },
}

/// What the file says.
#[derive(Clone, Debug, Default)]
pub(in crate::engine::images) struct Settings {
    /// Whether layers are also kept as they came, so that they can be pushed again byte for byte.
    pub(in crate::engine::images) keep_blobs: bool,
    limits: LimitsText,
    pub(super) registries: BTreeMap<String, Reach>,
    /// The longest prefixes first.
    rewrites: Vec<Rewrite>,
    verify: Vec<(Prefix, Rule)>,
}

/// How one registry is reached, by `host[:port]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Reach {
    /// Asked first, in this order.
    pub(super) mirrors: Vec<Mirror>,
    pub(super) plain_http: bool,
    pub(super) skip_tls_verify: bool,
    /// PEM of authorities that are trusted besides the system's.
    pub(super) ca: Option<PathBuf>,
    /// The start of the URLs of a search service in Docker's form.
    pub(super) search: Option<String>,
}

/// `[http[s]://]host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Mirror {
    pub(super) plain: bool,
    pub(super) host: String,
    /// Goes before the repository; empty, or ends with a slash.
    pub(super) path: String,
}

/// A registry, or repositories of one: `host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Prefix(String);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rewrite {
    from: Prefix,
    to: Prefix,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    keep_blobs: bool,
    limits: LimitsText,
    registries: BTreeMap<Prefix, Reach>,
    rewrites: Vec<Rewrite>,
    verify: Vec<RuleText>,
}

/// What layers may cost, where it is not what it is by default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsText {
    bytes: Option<ByteSize>,
    entries: Option<u64>,
    ratio: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleText {
    prefix: Prefix,
    /// Paths of PEM files, or the PEM itself.
    keys: Vec<String>,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    check_name: bool,
}

const fn yes() -> bool {
    true
}

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (host, path) = text.split_once('/').unwrap_or((&text, ""));
        // With a repository behind it, what is a registry or a path is one in a reference too.
        let sample = format!("{host}/{}", if path.is_empty() { "x" } else { path });
        let named = host.contains(['.', ':']) || host == "localhost";
        match sample.parse::<ImageRef>() {
            Ok(reference) if named && !path.contains([':', '@']) && reference.registry() == host => Ok(Self(text)),
            _ => Err(format!("{text:?} is not a registry or a repository's beginning; write it as host[:port][/path]")),
        }
    }
}

impl Prefix {
    /// What of `name` comes after this prefix; `None` when it does not begin with it.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.0.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    fn covers(&self, reference: &ImageRef) -> bool {
        self.rest(&full_name(reference)).is_some()
    }
}

impl TryFrom<String> for Mirror {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.starts_with("http://");
        let rest = text.strip_prefix("http://").or(text.strip_prefix("https://")).unwrap_or(&text).trim_end_matches('/');
        let wrong = |_| format!("{text:?} is not a mirror; write it as [https://]host[:port][/path]");
        let prefix = Prefix::try_from(rest.to_owned()).map_err(wrong)?;
        let (host, path) = prefix.0.split_once('/').unwrap_or((&prefix.0, ""));
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        Ok(Self { plain, host: host.to_owned(), path })
    }
}

/// `docker.io/library/nginx`.
fn full_name(reference: &ImageRef) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

impl Settings {
    /// The registry and the repository that stand in for a reference's.
    pub(in crate::engine::images) fn rewritten(&self, reference: &ImageRef) -> (String, String) {
        let name = full_name(reference);
        for rewrite in &self.rewrites {
            if let Some(rest) = rewrite.from.rest(&name) {
                let full = format!("{}{rest}", rewrite.to.0);
                if let Some((registry, repository)) = full.split_once('/') {
                    return (registry.to_owned(), repository.to_owned());
                }
            }
        }
        (reference.registry().to_owned(), reference.repository().to_owned())
    }

    /// What a layer may cost, where the file does not say so as well.
    pub(in crate::engine::images) fn limits(&self, otherwise: &Limits) -> Limits {
        Limits {
            bytes: self.limits.bytes.map_or(otherwise.bytes, |size| size.0),
            entries: self.limits.entries.unwrap_or(otherwise.entries),
            ratio: self.limits.ratio.unwrap_or(otherwise.ratio),
            small: otherwise.small,
        }
    }

    /// What the signatures of this image must be like.
    pub(in crate::engine::images) fn rules(&self, reference: &ImageRef) -> Vec<Rule> {
        self.verify.iter().filter(|(prefix, _)| prefix.covers(reference)).map(|(_, rule)| rule.clone()).collect()
    }

    pub(super) fn reach(&self, host: &str) -> Option<&Reach> {
        self.registries.get(host)
    }

    /// Whether `host[:port]` is spoken to without TLS.
    pub(super) fn is_plain(&self, host: &str) -> bool {
        match self.reach(host) {
            Some(reach) if reach.plain_http => true,
            // Whoever names authorities for it, or refuses to check them, means TLS.
            Some(reach) if reach.skip_tls_verify || reach.ca.is_some() => false,
            _ => address::is_loopback(host),
        }
    }
}

/// The file, and what it said when it was read last.
#[derive(Debug)]
pub(super) struct SettingsFile {
    path: PathBuf,
    /// Registries without TLS that the environment names.
    plain: BTreeSet<String>,
    read: Mutex<Option<(Stamp, Arc<Settings>)>>,
}

/// Tells that a file has changed: device and number, size, and time of change. `None` when there is none.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl SettingsFile {
    pub(super) fn from_environment(plain: BTreeSet<String>) -> Self {
        let path = std::env::var_os("SETPOINT_REGISTRIES").filter(|path| !path.is_empty());
        Self::new(path.map_or_else(|| DEFAULT.into(), PathBuf::from), plain)
    }

    pub(super) fn new(path: PathBuf, plain: BTreeSet<String>) -> Self {
        Self { path, plain, read: Mutex::default() }
    }

    pub(super) fn get(&self) -> Result<Arc<Settings>, SettingsError> {
        let stamp = std::fs::metadata(&self.path).ok().map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, settings)) = &*read
            && *known == stamp
        {
            return Ok(settings.clone());
        }
        let mut settings = match files::read_if_there(&self.path)? {
            Some(bytes) => parse(&self.path, &String::from_utf8_lossy(&bytes))?,
            None => Settings::default(),
        };
        for host in &self.plain {
            settings.registries.entry(host.clone()).or_default().plain_http = true;
        }
        let settings = Arc::new(settings);
        *read = Some((stamp, settings.clone()));
        Ok(settings)
    }
}

fn parse(path: &Path, text: &str) -> Result<Settings, SettingsError> {
    let invalid = |error: &serde_yaml::Error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line() as usize, at.column() as usize));
        let whole = error.without_snippet().to_string();
        // The place is told apart from the message.
        let message = whole.split(" at line ").next().unwrap_or(&whole).lines().next().unwrap_or_default().to_owned();
        let hint = message.contains("unknown field").then(|| "the fields are in the documentation of registries.yaml".to_owned());
        problem(path, text, (line, column), message, hint)
    };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Settings::default());
    }
    let document: Document = serde_yaml::from_str(text).map_err(|error| invalid(&error))?;
    let limits = document.limits;
    if [limits.bytes.map(|size| size.0), limits.entries, limits.ratio].contains(&Some(0)) {
        let hint = Some("leave it out to have the default".to_owned());
        return Err(problem(path, text, place_of(text, "limits"), "a limit of 0 lets no layer through".into(), hint));
    }
    let mut registries = BTreeMap::new();
    for (host, reach) in document.registries {
        let wrong =
            |message: String, hint: &str| Err(problem(path, text, place_of(text, &host.0), message, Some(hint.to_owned())));
        if host.0.contains('/') {
            return wrong(format!("`registries` names hosts, and {:?} has a path", host.0), "use `rewrites` for repositories");
        }
        if reach.plain_http && (reach.skip_tls_verify || reach.ca.is_some()) {
            return wrong(format!("{} has plainHttp, and what only TLS needs", host.0), "choose one of them");
        }
        if reach.ca.as_ref().is_some_and(|ca| !ca.is_absolute()) {
            return wrong("`ca` is not a path from the root of the file system".into(), "begin it with /");
        }
        registries.insert(host.0, reach);
    }
    let mut rewrites = document.rewrites;
    if let Some(bare) = rewrites.iter().find(|rewrite| rewrite.from.0.contains('/') && !rewrite.to.0.contains('/')) {
        let hint = Some("one repository only would be left without a name; give `to` a path too".to_owned());
        let message = format!("{} is rewritten to a registry without a path", bare.from.0);
        return Err(problem(path, text, place_of(text, &bare.from.0), message, hint));
    }
    rewrites.sort_by_key(|rewrite| std::cmp::Reverse(rewrite.from.0.len()));
    let verify = document.verify.into_iter().map(|rule| self::rule(path, text, rule)).collect::<Result<_, _>>()?;
    Ok(Settings { keep_blobs: document.keep_blobs, limits, registries, rewrites, verify })
}

fn rule(path: &Path, text: &str, rule: RuleText) -> Result<(Prefix, Rule), SettingsError> {
    if rule.keys.is_empty() {
        let message = format!("{} is to be verified, and no key is named", rule.prefix.0);
        let hint = Some("name at least one public key: a path or the PEM itself".to_owned());
        return Err(problem(path, text, place_of(text, &rule.prefix.0), message, hint));
    }
    let mut keys = Vec::with_capacity(rule.keys.len());
    for key in rule.keys {
        if key.trim_start().starts_with("-----BEGIN") {
            keys.push(key.parse().map_err(|source| SettingsError::Key { path: path.to_owned(), source })?);
        } else {
            let file = path.parent().unwrap_or(Path::new("/")).join(&key);
            let pem = files::read_to_string(&file)?;
            keys.push(pem.parse::<PublicKey>().map_err(|source| SettingsError::Key { path: file, source })?);
        }
    }
    Ok((rule.prefix, Rule { keys, required: rule.required, check_name: rule.check_name }))
}

/// Where a word stands first; the file as a whole when it does not.
fn place_of(text: &str, word: &str) -> (usize, usize) {
    let found = text.lines().enumerate().find_map(|(line, content)| Some((line, content.find(word)?, content)));
    found.map_or((0, 0), |(line, at, content)| (line + 1, content[..at].chars().count() + 1))
}

fn problem(path: &Path, text: &str, (line, column): (usize, usize), message: String, hint: Option<String>) -> SettingsError {
    let snippet = line.checked_sub(1).and_then(|line| text.lines().nth(line)).unwrap_or_default().to_owned();
    let width = snippet.chars().skip(column.saturating_sub(1)).take_while(|c| !c.is_whitespace() && *c != ':').count().max(1);
    SettingsError::Invalid(Box::new(Problem { file: path.to_owned(), line, column, width, snippet, message, hint }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("team.pub"), KEY).unwrap();
        let path = folder.path().join("registries.yaml");
        std::fs::write(&path, text).unwrap();
        let file = SettingsFile::new(path, BTreeSet::from(["env.example".to_owned()]));
        file.get().map(|settings| (*settings).clone()).map_err(|e| e.to_string())
    }

    #[test]
    fn says_what_it_says() {
        let settings = read(
            "keepBlobs: true\nlimits: {bytes: 1g, ratio: 7}\nrewrites:\n- {from: docker.io, to: 'r.example:5000/hub'}\n\
             - {from: docker.io/library, to: r.example/lib}\nregistries:\n  docker.io:\n    mirrors: ['http://m:5', 'm.example/a/b/']\n\
             \x20 t.example: {skipTlsVerify: true}\n  127.0.0.1:7: {ca: /ca.pem}\n\
             verify:\n- {prefix: r.example/lib, keys: [team.pub], checkName: true}\n",
        )
        .unwrap();
        assert!(settings.keep_blobs);
        let limits = settings.limits(&Limits::default());
        assert_eq!((limits.bytes, limits.ratio, limits.entries), (1 << 30, 7, Limits::default().entries));
        let mirrors = &settings.reach("docker.io").unwrap().mirrors;
        assert_eq!(mirrors[0], Mirror { plain: true, host: "m:5".into(), path: String::new() });
        assert_eq!(mirrors[1], Mirror { plain: false, host: "m.example".into(), path: "a/b/".into() });
        for (reference, registry, repository) in [
            ("nginx", "r.example", "lib/nginx"),
            ("team/app", "r.example:5000", "hub/team/app"),
            ("libraryx.example/app", "libraryx.example", "app"),
            ("docker.io/libraryx/app", "r.example:5000", "hub/libraryx/app"),
        ] {
            let rewritten = settings.rewritten(&reference.parse().unwrap());
            assert_eq!(rewritten, (registry.to_owned(), repository.to_owned()), "{reference}");
        }
        for (host, plain) in
            [("env.example", true), ("localhost:5", true), ("127.0.0.1:7", false), ("t.example", false), ("x.example", false)]
        {
            assert_eq!(settings.is_plain(host), plain, "{host}");
        }
        let rules = settings.rules(&"r.example/lib/x:1".parse().unwrap());
        assert!(rules.len() == 1 && rules[0].required && rules[0].check_name);
        assert!(settings.rules(&"r.example/library:1".parse().unwrap()).is_empty());
        assert!(!read("").unwrap().keep_blobs);
        assert!(read("# nothing\n").unwrap().verify.is_empty());
    }

    #[test]
    fn tells_the_place_of_a_mistake() {
        for (text, place, said) in [
            ("keepBlob: true\n", ":1:1:", "keepBlob"),
            ("registries:\n  a.example:\n    insecure: true\n", ":3:5:", "insecure"),
            ("registries:\n  a.example/b: {}\n", ":2:3:", "has a path"),
            ("registries:\n  a.example: {plainHttp: true, ca: /x}\n", ":2:3:", "plainHttp"),
            ("registries:\n  a.example: {mirrors: ['not a host']}\n", ":2:", "host[:port]"),
            ("rewrites:\n- {from: a.example/b, to: c.example}\n", ":2:10:", "without a path"),
            ("limits: {ratio: 0}\n", ":1:1:", "lets no layer"),
            ("limits: {bytes: many}\n", ":1:", "is not a size"),
            ("verify:\n- {prefix: a.example, keys: []}\n", ":2:12:", "no key"),
            ("verify:\n- {prefix: a.example, keys: [gone.pub]}\n", "gone.pub", "No such file"),
            ("a: [\n", "registries.yaml:", ""),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(place) && error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.yaml");
        let file = SettingsFile::new(path.clone(), BTreeSet::new());
        assert!(!file.get().unwrap().keep_blobs);
        files::publish(&path, b"keepBlobs: true\n", 0o644).unwrap();
        assert!(file.get().unwrap().keep_blobs);
    }
}

//! What builds are made of on this host: which files of a context are part of it, and a fingerprint that tells when they have
//! changed. Files are looked at, not read: but for the Dockerfile and the rules, which are small.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::engine::build::dockerfile as syntax;
use crate::engine::build::ignore::{Ignore, IgnoreError, Verdict};
use crate::engine::build::stages::{self, BuildSettings};
use crate::files::{self, FileError};
use crate::manifest::Found;
use crate::model::build::{ContextSource, DockerfileSource};
use crate::model::spec::Build;
use crate::model::{Digest, ImageRef};

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no Dockerfile {}", path.display())]
    NoDockerfile { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Ignore { path: PathBuf, source: IgnoreError },
}

/// The name of a Dockerfile that has none of its own.
pub const DOCKERFILE: &str = "Dockerfile";

/// The rules of a context, as they are written and as they are read. A file beside the Dockerfile that is called after it goes
/// before the context's own.
pub fn rules(folder: &Path, dockerfile: &DockerfileSource) -> Result<(Vec<u8>, Ignore), ContextError> {
    let named = match dockerfile {
        DockerfileSource::InContext(inside) => Some(folder.join(inside.as_deref().unwrap_or(DOCKERFILE))),
        DockerfileSource::File(path) => Some(path.clone()),
        DockerfileSource::Text { .. } => None,
    };
    let beside = named.map(|path| {
        let mut name = path.into_os_string();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in beside.into_iter().chain([folder.join(".dockerignore")]) {
        if let Some(bytes) = files::read_if_there(&path)? {
            let rules = Ignore::parse(&bytes).map_err(|source| ContextError::Ignore { path, source })?;
            return Ok((bytes, rules));
        }
    }
    Ok((Vec::new(), Ignore::default()))
}

/// Digest over what tells that the files changed that an image is built of: the Dockerfile's bytes; of the context and of each
/// further folder every entry's path, kind, mode, size, time of change and target. What the context's rules leave out counts
/// for nothing, and neither does when a folder changed.
pub fn fingerprint(build: &Build) -> Result<Digest, ContextError> {
    Ok(fingerprint_with(build)?.0)
}

/// The fingerprint, and digests of its parts by the names by which their changes are told.
fn fingerprint_with(build: &Build) -> Result<(Digest, BTreeMap<String, String>), ContextError> {
    let mut hash = Sha256::new();
    let mut parts = Parts::default();
    let mut part = |told: &dyn Fn(&str) -> String, name: &str, bytes: &[u8]| {
        let own = parts.hash(told(name));
        for bytes in [&(name.len() as u64).to_le_bytes(), name.as_bytes(), &(bytes.len() as u64).to_le_bytes(), bytes] {
            hash.update(bytes);
            own.update(bytes);
        }
    };
    let folder = match &build.context {
        ContextSource::Folder(folder) => Some(folder),
        _ => None,
    };
    if let Some(path) = dockerfile(build) {
        let bytes = files::read_if_there(&path)?.ok_or(ContextError::NoDockerfile { path })?;
        part(&|_| "dockerfile".to_owned(), "Dockerfile", &bytes);
    }
    if let Some(folder) = folder {
        let (bytes, ignore) = rules(folder, &build.dockerfile)?;
        part(&|_| "context/.dockerignore".to_owned(), ".dockerignore", &bytes);
        walk(folder, &ignore, &mut |path, facts| part(&|path| format!("context/{}", top(path)), path, facts))?;
    }
    for (name, context) in &build.contexts {
        if let ContextSource::Folder(path) | ContextSource::Layout { path, .. } = context {
            let told = |path: &str| format!("additional_contexts.{name}/{}", top(path));
            part(&told, "context", name.as_bytes());
            walk(path, &Ignore::default(), &mut |path, facts| part(&told, path, facts))?;
        }
    }
    Ok((Digest::from_bytes(hash.finalize().into()), parts.end()))
}

/// The first name of a path.
fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Digests of parts.
#[derive(Default)]
struct Parts(BTreeMap<String, Sha256>);

/// So many parts are kept apart; the rest is one.
const MOST_PARTS: usize = 128;
/// Digits that are kept of the digest of a part: it only tells that it is another one.
const DIGITS: usize = 12;

impl Parts {
    fn hash(&mut self, name: String) -> &mut Sha256 {
        let name = if self.0.len() < MOST_PARTS || self.0.contains_key(&name) { name } else { "context".to_owned() };
        self.0.entry(name).or_default()
    }

    fn end(self) -> BTreeMap<String, String> {
        let digest = |hash: Sha256| Digest::from_bytes(hash.finalize().into()).hex().to_string().chars().take(DIGITS).collect();
        self.0.into_iter().map(|(name, hash)| (name, digest(hash))).collect()
    }
}

/// The fingerprint of a build's files, and the images that it is built on, as far as its Dockerfile can be read here: what is
/// wrong with that is told when it is built.
pub fn look(build: &Build) -> Result<Found, ContextError> {
    let (fingerprint, files) = fingerprint_with(build)?;
    let text = match (&build.dockerfile, dockerfile(build)) {
        (DockerfileSource::Text { text, .. }, _) => Some(text.clone().into_bytes()),
        (_, Some(path)) => files::read_if_there(&path)?,
        (_, None) => None,
    };
    let bases = text.and_then(|text| bases(build, &text)).unwrap_or_default();
    Ok(Found { fingerprint, bases, files })
}

fn bases(build: &Build, text: &[u8]) -> Option<BTreeSet<ImageRef>> {
    let file = syntax::parse(Path::new(DOCKERFILE), text).ok()?;
    let settings = BuildSettings::on_this_host(build.target.as_ref(), &build.arguments, &build.platforms, build.contexts.keys());
    let stages = stages::plan(&file, &settings).ok()?;
    let contexts = build.contexts.values().filter_map(|context| match context {
        ContextSource::Image(reference) => Some(reference.clone()),
        _ => None,
    });
    Some(stages.images().into_iter().map(|image| image.reference).chain(contexts).collect())
}

/// Where the Dockerfile is, where it is a file of this host.
fn dockerfile(build: &Build) -> Option<PathBuf> {
    match (&build.dockerfile, &build.context) {
        (DockerfileSource::InContext(inside), ContextSource::Folder(folder)) => {
            Some(folder.join(inside.as_deref().unwrap_or(DOCKERFILE)))
        }
        (DockerfileSource::File(path), _) => Some(path.clone()),
        (DockerfileSource::InContext(_) | DockerfileSource::Text { .. }, _) => None,
    }
}

/// Hands on what is to be known of every entry, in an order of its own.
fn walk(root: &Path, ignore: &Ignore, part: &mut impl FnMut(&str, &[u8])) -> Result<(), ContextError> {
    let mut open = vec![(PathBuf::new(), Verdict::default())];
    while let Some((inside, verdict)) = open.pop() {
        let path = root.join(&inside);
        let fail = |e| FileError::new("read", &path, e);
        let entries = fs::read_dir(&path).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let mut names: Vec<_> = entries.into_iter().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let inside = inside.join(&name);
            let text = inside.to_string_lossy();
            let said = ignore.look(&text, &verdict);
            let path = root.join(&inside);
            // What goes away while it is looked at was not there.
            let meta = match fs::symlink_metadata(&path) {
                Ok(meta) => meta,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(FileError::new("look at", &path, e).into()),
            };
            if !said.ignored {
                part(&text, &facts(&path, &meta));
            }
            if meta.is_dir() && (!said.ignored || ignore.may_keep_below(&text)) {
                open.push((inside, said));
            }
        }
    }
    Ok(())
}

fn facts(path: &Path, meta: &Metadata) -> Vec<u8> {
    let mut facts = Vec::with_capacity(32);
    facts.extend(meta.mode().to_le_bytes());
    if meta.is_dir() {
        return facts;
    }
    facts.extend(meta.len().to_le_bytes());
    facts.extend(meta.mtime().to_le_bytes());
    facts.extend(meta.mtime_nsec().to_le_bytes());
    if meta.is_symlink() {
        // One that went away meanwhile leads nowhere.
        facts.extend(fs::read_link(path).unwrap_or_default().as_os_str().as_bytes());
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn a_change_of_what_is_built_of_shows_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (app, lib) = (folder.path().join("app"), folder.path().join("lib"));
        write(&app, &[("Dockerfile", "FROM scratch"), (".dockerignore", "*.log\nbuild\n!build/keep"), ("src/main.go", "1")]);
        write(&app, &[("a.log", ""), ("build/x", ""), ("build/keep", "")]);
        write(&lib, &[("lib.go", "")]);
        let mut build = Build::new(ContextSource::Folder(app.clone()), DockerfileSource::InContext(None));
        build.contexts.insert("lib".into(), ContextSource::Folder(lib.clone()));
        let mut last = fingerprint(&build).unwrap();
        let mut changes = |what: &str, expected: bool| {
            let now = fingerprint(&build).unwrap();
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        changes("nothing", false);
        write(&app, &[("b.log", "new"), ("a.log", "changed"), ("build/y", "new"), ("src/c.log", "is not left out")]);
        changes("a file below, which the rules do not mean", true);
        write(&app, &[("b.log", "changed"), ("build/y", "changed")]);
        changes("what is left out", false);
        write(&app, &[("build/keep", "changed")]);
        changes("what is kept after all", true);
        write(&app, &[("src/main.go", "22")]);
        changes("a source", true);
        write(&app, &[("Dockerfile", "FROM scratch\n")]);
        changes("the Dockerfile", true);
        write(&lib, &[("lib.go", "changed")]);
        changes("another context", true);
        fs::create_dir(app.join("empty")).unwrap();
        changes("a folder", true);
        std::os::unix::fs::symlink("a", app.join("link")).unwrap();
        changes("a link", true);
        write(&app, &[("Dockerfile.dockerignore", "src")]);
        changes("other rules", true);
        write(&app, &[("src/main.go", "333")]);
        changes("what these leave out", false);
    }

    #[test]
    fn the_images_that_it_is_built_on_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "ARG BASE=base\nFROM $BASE AS one\nCOPY --from=tools:2 /x /\nFROM one\nRUN --mount=from=mounted true\nFROM unused\n";
        write(folder.path(), &[("Dockerfile", text)]);
        let mut build = Build::new(ContextSource::Folder(folder.path().to_owned()), DockerfileSource::InContext(None));
        let found = |build: &Build| look(build).unwrap().bases.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found(&build), ["unused:latest"]);
        build.target = Some("1".into());
        assert_eq!(found(&build), ["base:latest", "mounted:latest", "tools:2"]);
        build.arguments.insert("BASE".into(), "localhost/own:1".into());
        build.contexts.insert("mounted".into(), ContextSource::Image("other".parse().unwrap()));
        assert_eq!(found(&build), ["other:latest", "tools:2", "localhost/own:1"]);
        write(folder.path(), &[("Dockerfile", "RUNN")]);
        assert_eq!(found(&build), Vec::<String>::new());
    }

    #[test]
    fn without_a_dockerfile_there_is_no_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let build = Build::new(ContextSource::Folder(folder.path().to_owned()), DockerfileSource::InContext(Some("x".into())));
        assert!(matches!(fingerprint(&build), Err(ContextError::NoDockerfile { path }) if path == folder.path().join("x")));
        let inline = DockerfileSource::Text { name: "x".into(), text: "FROM scratch".into() };
        let build = Build { dockerfile: inline, ..build };
        assert!(fingerprint(&build).is_ok());
        let remote = Build::new(ContextSource::Git("https://example.com/x.git".into()), DockerfileSource::InContext(None));
        assert!(fingerprint(&remote).is_ok());
    }
}

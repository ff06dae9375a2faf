//! Which files make up a stack, and their text: a folder of manifests, one manifest file, or a compose project. Every
//! file that is read is remembered, for those who watch for changes. Knows nothing of what the files say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::fields;
use super::interpolate;
use super::problem::{Place, Problems};
use super::reader::Reader;
use super::tree::{self, Node, Value};
use super::words;

/// In the order of preference.
const COMPOSE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const OVERRIDE_NAMES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"];
/// What a config's content may have, and a file of variables.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// More files than this in one folder are not manifests.
const MAX_FILES: usize = 2000;

/// The files of a stack.
pub(super) struct Sources {
    /// The folder that relative paths are relative to, and that the stack is named after.
    pub(super) folder: PathBuf,
    pub(super) files: Vec<PathBuf>,
    /// Compose files that are laid over the one in `files`.
    pub(super) over: Vec<PathBuf>,
}

/// A compose project is named so, whatever else is in its folder.
pub(super) fn is_compose_name(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| COMPOSE_NAMES.contains(&name))
}

/// Finds the files of the stack at `path`. Problems with the path itself are reported against it.
pub(super) fn discover(path: &Path, problems: &mut Problems, watched: &mut Vec<PathBuf>) -> Option<Sources> {
    let whole = |problems: &mut Problems, message: String, hint: &str| {
        let file = problems.file(path, "");
        problems.error_hint(Place::whole(file), message, hint);
    };
    let there = std::path::absolute(path).and_then(|path| Ok((fs::metadata(&path)?, super::reader::clean(&path))));
    let (meta, path_full) = match there {
        Ok(there) => there,
        Err(error) => {
            whole(problems, error.to_string(), "expected a folder of manifests, a manifest or a compose file");
            return None;
        }
    };
    watched.push(path_full.clone());
    if !meta.is_dir() {
        let folder = path_full.parent()?.to_owned();
        return Some(Sources { folder, files: vec![path_full], over: Vec::new() });
    }
    let mut files = match list(&path_full) {
        Ok(files) => files,
        Err(error) => {
            whole(problems, format!("the folder cannot be read: {error}"), "check its permissions");
            return None;
        }
    };
    if files.len() > MAX_FILES {
        whole(problems, format!("there are more than {MAX_FILES} YAML files in this folder"), "is it the right one?");
        return None;
    }
    let mut over = Vec::new();
    let composes: Vec<PathBuf> =
        COMPOSE_NAMES.iter().map(|name| path_full.join(name)).filter(|path| files.contains(path)).collect();
    if let Some(compose) = composes.first() {
        if let Some(native) = files.iter().find(|file| !composes.contains(file) && looks_native(file)) {
            let message = format!("{} is a manifest, and stands beside the compose file {}", show(native), show(compose));
            whole(problems, message, "a folder holds either manifests or a compose file: name the one that is meant");
            return None;
        }
        over.extend(OVERRIDE_NAMES.iter().map(|name| path_full.join(name)).find(|path| files.contains(path)));
        for other in composes.iter().skip(1) {
            let file = problems.file(other, "");
            problems.warn(Place::whole(file), format!("this file is not read, because {} is there", show(compose)), None);
        }
        files = vec![compose.clone()];
    }
    if files.is_empty() {
        whole(
            problems,
            "there are no manifests in this folder".to_owned(),
            "manifests are files *.yaml or *.yml; to remove a stack, use `setpoint destroy`",
        );
        return None;
    }
    Some(Sources { folder: path_full, files, over })
}

fn show(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let yaml = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml");
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if yaml && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn looks_native(path: &Path) -> bool {
    match read_limited(path, tree::MAX_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).lines().any(|line| line.starts_with("apiVersion: setpoint/")),
        // What cannot be read is nobody's manifest here; were it the compose file, reading that will say so.
        Err(_) => false,
    }
}

/// Whether a file whose name does not say so is a compose file: its first document is one.
pub(super) fn begins_as_compose(path: &Path) -> bool {
    // What cannot be read is told of when it is.
    let Ok(text) = read_limited(path, tree::MAX_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) else {
        return false;
    };
    let mut unheard = Problems::default();
    let file = unheard.file(path, &text);
    tree::parse(file, &text, &mut unheard).first().is_some_and(super::is_compose)
}

/// Reads a regular file (or what a symbolic link leads to), unless it is larger than `limit`.
pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let too_large = || io::Error::other(format!("it is larger than {} KiB", limit >> 10));
    if meta.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    // The file may grow meanwhile.
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// A file's documents. `None` when it could not be read at all.
pub(super) fn read_documents(path: &Path, shown: &Path, problems: &mut Problems) -> Option<(u32, Vec<Node>)> {
    let text = read_limited(path, tree::MAX_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text")));
    match text {
        Ok(text) => {
            let file = problems.file(shown, &text);
            Some((file, tree::parse(file, &text, problems)))
        }
        Err(error) => {
            let file = problems.file(shown, "");
            problems.error(Place::whole(file), format!("the file cannot be read: {error}"));
            None
        }
    }
}

/// The variables that values may use: those of `.env` in the stack's folder, and over them `environment`.
pub(super) fn variables(
    folder: &Path,
    environment: &BTreeMap<String, String>,
    problems: &mut Problems,
    watched: &mut Vec<PathBuf>,
) -> BTreeMap<String, String> {
    let path = folder.join(".env");
    let mut all = match read_limited(&path, MAX_CONFIG_BYTES) {
        Ok(bytes) => {
            watched.push(path.clone());
            parse_variables(&path, &bytes, environment, problems)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => {
            let file = problems.file(&path, "");
            problems.error(Place::whole(file), format!("the file cannot be read: {error}"));
            BTreeMap::new()
        }
    };
    all.extend(environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

pub(super) fn parse_variables(
    path: &Path,
    bytes: &[u8],
    outer: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let found = words::variables(&text, |value, known| {
        let mut scope = known.clone();
        scope.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
        interpolate::expand(value, &scope, &mut Vec::new()).map_err(|error| error.to_string())
    });
    found.unwrap_or_else(|(line, message)| {
        let file = problems.file(path, &text);
        let place = Place { file, line: line as u32, column: 1, width: u32::MAX };
        problems.error(place, message);
        BTreeMap::new()
    })
}

/// Lines of `NAME=value`, where all that follows the `=` is the value.
fn raw_variables(path: &Path, bytes: &[u8], problems: &mut Problems) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        match line.split_once('=') {
            _ if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                found.insert(name.to_owned(), value.to_owned());
            }
            _ => {
                let file = problems.file(path, &text);
                let place = Place { file, line: index as u32 + 1, column: 1, width: u32::MAX };
                problems.error(place, "expected NAME=value");
            }
        }
    }
    found
}

/// The text of a file that a field names. What cannot be read is reported at the field.
pub(super) fn small_text(reader: &mut Reader, at: Place, path: &Path) -> Option<String> {
    reader.watched.push(path.to_owned());
    let text = read_limited(path, MAX_CONFIG_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text")));
    match text {
        Ok(text) => Some(text),
        Err(error) => {
            reader.error(at, format!("the file {} cannot be read: {error}", path.display()));
            None
        }
    }
}

/// The variables of a container's `env_file`: later files win.
pub(super) fn env_files(reader: &mut Reader, node: &Node) -> BTreeMap<String, String> {
    let single = std::slice::from_ref(node);
    let items = if let Value::List(items) = &node.value { items.as_slice() } else { single };
    let mut all = BTreeMap::new();
    for item in items {
        let (text, at, required, raw) = match &item.value {
            Value::Map(_) => {
                let Some(f) = reader.fields(item, &fields::ENV_FILE) else { continue };
                let required = f.get("required").and_then(|node| reader.boolean(node)).unwrap_or(true);
                let raw = f.get("format").and_then(|node| reader.choice(node, &[("raw", ())])).is_some();
                let Some(node) = f.get("path") else { continue };
                (reader.text(node), node.at, required, raw)
            }
            _ => (reader.text(item), item.at, true, false),
        };
        let Some(path) = text.and_then(|text| reader.host_path(at, text)) else { continue };
        reader.watched.push(path.clone());
        match read_limited(&path, MAX_CONFIG_BYTES) {
            Ok(bytes) if raw => all.extend(raw_variables(&path, &bytes, reader.problems)),
            Ok(bytes) => all.extend(parse_variables(&path, &bytes, reader.variables, reader.problems)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
            Err(error) => reader.error(at, format!("the file {} cannot be read: {error}", path.display())),
        }
    }
    all
}

//! Reads how an image is built: `build` of an Image and of a container alike.
//! Source: the Compose Build Specification.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::attest_words::Attest;
use crate::model::build::{BuildNetwork, CachePlace, ContextSource, DockerfileSource, Entitlement};
use crate::model::build_words::{self, InvalidWords};
use crate::model::spec::Build;
use crate::model::{ImageRef, Name};

use super::problem::Place;
use super::reader::{Fields, Reader, clean};
use super::tree::{Node, ScalarKind, Value};
use super::{connections, fields, limits};

/// A build whose secrets of the compose file are still to be found.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) build: Build,
    /// Where its context stands.
    pub(super) at: Place,
    pub(super) secrets: Vec<NamedSecret>,
}

/// A secret of the compose file, and what the build calls it.
#[derive(Clone, Debug)]
pub(super) struct NamedSecret {
    pub(super) id: String,
    pub(super) source: Name,
    pub(super) at: Place,
}

/// Build arguments that say when everything was made.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

pub(super) fn build(reader: &mut Reader, node: &Node) -> Option<Read> {
    if let Value::Scalar(_) = &node.value {
        let context = context(reader, Some(node), node.at)?;
        return Some(Read { build: Build::new(context, DockerfileSource::InContext(None)), at: node.at, secrets: Vec::new() });
    }
    let f = reader.fields(node, &fields::BUILD)?;
    let at = f.get("context").map_or(node.at, |node| node.at);
    // All is read, so that all problems are told at once.
    let context = context(reader, f.get("context"), node.at);
    let dockerfile = dockerfile(reader, &f, context.as_ref());
    let mut build = Build::new(
        context.clone().unwrap_or(ContextSource::Nothing),
        dockerfile.clone().unwrap_or(DockerfileSource::InContext(None)),
    );
    build.contexts = f.get("additional_contexts").map(|node| contexts(reader, node)).unwrap_or_default();
    build.target = f.get("target").and_then(|node| reader.text(node)).map(str::to_owned);
    if let Some(node) = f.get("args") {
        build.arguments = reader.environment(node);
        build.epoch = build.arguments.get(EPOCH).and_then(|text| {
            let epoch = text.trim().parse().ok();
            if epoch.is_none() {
                reader.error(node.at, format!("{EPOCH} is {text:?}, and not a number of seconds since 1970"));
            }
            epoch
        });
    }
    build.labels = f.get("labels").map(|node| reader.labels(node)).unwrap_or_default();
    build.platforms = f.get("platforms").map(|node| list(reader, node)).unwrap_or_default();
    build.no_cache = f.get("no_cache").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let stages = f.get("no_cache_filter").map(|node| reader.texts(node)).unwrap_or_default();
    build.no_cache_filter = stages.into_iter().map(|(stage, _)| stage).collect();
    build.pull = f.get("pull").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let networks = [("default", BuildNetwork::Default), ("none", BuildNetwork::None), ("host", BuildNetwork::Host)];
    build.network = f.get("network").and_then(|node| reader.choice(node, &networks)).unwrap_or_default();
    build.ssh = f.get("ssh").map(|node| agents(reader, node)).unwrap_or_default();
    build.extra_hosts = f.get("extra_hosts").map(|node| connections::extra_hosts(reader, node)).unwrap_or_default();
    build.shm_size = f.get("shm_size").and_then(|node| reader.parse(node));
    build.ulimits = f.get("ulimits").map(|node| limits::ulimits(reader, node)).unwrap_or_default();
    build.allow = f.get("entitlements").map(|node| entitlements(reader, node)).unwrap_or_default();
    if build.network == BuildNetwork::Host {
        // Whoever writes the manifest has said so.
        build.allow.insert(Entitlement::NetworkHost);
    }
    for item in f.get("cache_from").map(|node| reader.list(node)).unwrap_or_default() {
        let read = words(reader, item, build_words::cache_from);
        build.cache_from.extend(read.and_then(|place| beneath(reader, item.at, place)));
    }
    for item in f.get("cache_to").map(|node| reader.list(node)).unwrap_or_default() {
        let Some(mut to) = words(reader, item, build_words::cache_to) else { continue };
        let Some(place) = beneath(reader, item.at, to.place) else { continue };
        to.place = place;
        build.cache_to.push(to);
    }
    for item in f.get("tags").map(|node| reader.list(node)).unwrap_or_default() {
        let Some(tag) = reader.parse::<ImageRef>(item) else { continue };
        if tag.digest().is_some() {
            reader.error_hint(item.at, format!("`{tag}` has a digest: that cannot be chosen"), "write a tag only");
        } else if !build.tags.insert(tag.clone()) {
            reader.error(item.at, format!("`{tag}` is given twice"));
        }
    }
    let mut attest = Attest::default();
    for name in ["provenance", "sbom"] {
        let Some(node) = f.get(name) else { continue };
        let text = match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Bool => reader.boolean(node).map(|wanted| wanted.to_string()),
            _ => reader.text(node).map(str::to_owned),
        };
        let Some(text) = text else { continue };
        let read = if name == "sbom" { attest.sbom(&text) } else { attest.provenance(&text) };
        if let Err(error) = read {
            wrong(reader, node.at, &error);
        }
    }
    build.provenance = attest.provenance;
    build.sbom = attest.sbom;
    let mut named = Vec::new();
    for item in f.get("secrets").map(|node| reader.list(node)).unwrap_or_default() {
        secret(reader, item, &mut build.secrets, &mut named);
    }
    context.zip(dockerfile)?;
    Some(Read { build, at, secrets: named })
}

/// A folder of the host, or what is fetched.
fn context(reader: &mut Reader, node: Option<&Node>, at: Place) -> Option<ContextSource> {
    let (text, at) = match node {
        Some(node) => (reader.text(node)?, node.at),
        None => (".", at),
    };
    match build_words::remote(text) {
        Some(remote) => Some(remote),
        None => folder(reader, at, text).map(ContextSource::Folder),
    }
}

fn folder(reader: &mut Reader, at: Place, text: &str) -> Option<PathBuf> {
    let path = reader.host_path(at, text)?;
    reader.watched.push(path.clone());
    if path.is_dir() {
        return Some(path);
    }
    if path.exists() {
        reader.error_hint(at, format!("{} is not a folder", path.display()), "name the Dockerfile with `dockerfile`");
    } else {
        reader.error(at, format!("there is no folder {}", path.display()));
    }
    None
}

fn dockerfile(reader: &mut Reader, f: &Fields, context: Option<&ContextSource>) -> Option<DockerfileSource> {
    let inline = f.get("dockerfile_inline").and_then(|node| reader.text(node)).map(str::to_owned);
    let Some(node) = f.get("dockerfile") else {
        return Some(match inline {
            Some(text) => DockerfileSource::Text { name: "dockerfile_inline".to_owned(), text },
            None => DockerfileSource::InContext(None),
        });
    };
    if inline.is_some() {
        let at = f.place("dockerfile_inline");
        reader.error_hint(at, "there is one Dockerfile only", "remove `dockerfile` or `dockerfile_inline`");
    }
    let text = reader.text(node)?;
    let Some(ContextSource::Folder(folder)) = context else { return Some(DockerfileSource::InContext(Some(text.to_owned()))) };
    let path = clean(&folder.join(text));
    match path.strip_prefix(folder) {
        Ok(inside) => Some(DockerfileSource::InContext(Some(inside.to_string_lossy().into_owned()))),
        Err(_) => {
            reader.watched.push(path.clone());
            Some(DockerfileSource::File(path))
        }
    }
}

/// Further contexts, by their names.
fn contexts(reader: &mut Reader, node: &Node) -> BTreeMap<String, ContextSource> {
    let mut found = BTreeMap::new();
    for (name, (value, at)) in reader.pairs(node) {
        let source = match build_words::context(value.as_deref().unwrap_or_default()) {
            Ok(source) => source,
            Err(error) => {
                wrong(reader, at, &error);
                continue;
            }
        };
        let source = match source {
            ContextSource::Folder(path) => folder(reader, at, &path.to_string_lossy()).map(ContextSource::Folder),
            ContextSource::Layout { path, image } => {
                folder(reader, at, &path.to_string_lossy()).map(|path| ContextSource::Layout { path, image })
            }
            other => Some(other),
        };
        found.extend(source.map(|source| (name, source)));
    }
    found
}

fn wrong(reader: &mut Reader, at: Place, error: &InvalidWords) {
    match &error.hint {
        Some(hint) => reader.error_hint(at, error.to_string(), hint.clone()),
        None => reader.error(at, error.to_string()),
    }
}

fn words<T>(reader: &mut Reader, node: &Node, read: fn(&str) -> Result<T, InvalidWords>) -> Option<T> {
    match read(reader.text(node)?) {
        Ok(value) => Some(value),
        Err(error) => {
            wrong(reader, node.at, &error);
            None
        }
    }
}

/// A cache in a folder is relative to the manifest.
fn beneath(reader: &mut Reader, at: Place, place: CachePlace) -> Option<CachePlace> {
    match place {
        CachePlace::Local { path, name } => {
            Some(CachePlace::Local { path: reader.host_path(at, &path.to_string_lossy())?, name })
        }
        other => Some(other),
    }
}

fn list<T: std::str::FromStr<Err: std::fmt::Display>>(reader: &mut Reader, node: &Node) -> Vec<T> {
    reader.list(node).iter().filter_map(|item| reader.parse(item)).collect()
}

fn entitlements(reader: &mut Reader, node: &Node) -> BTreeSet<Entitlement> {
    reader.list(node).iter().filter_map(|item| words(reader, item, build_words::entitlement)).collect()
}

/// Sockets of agents: whoever keeps the stack has no agent of its own.
fn agents(reader: &mut Reader, node: &Node) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for (id, (socket, at)) in reader.pairs(node) {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
            let hint = format!("name its socket: `{id}=/run/agent.sock`");
            reader.error_hint(at, "a stack is kept without anybody's agent", hint);
            continue;
        };
        let Some(path) = reader.host_path(at, &socket) else { continue };
        if path.is_file() {
            let hint = "start an agent that has the key, and name its socket";
            reader.error_hint(at, format!("{} is a file, and not the socket of an agent", path.display()), hint);
            continue;
        }
        found.insert(id, path);
    }
    found
}

/// The name of a secret of the compose file; that with another name for the build; or a file.
fn secret(reader: &mut Reader, item: &Node, files: &mut BTreeMap<String, PathBuf>, named: &mut Vec<NamedSecret>) {
    let known = |id: &str, files: &BTreeMap<String, PathBuf>, named: &[NamedSecret]| {
        files.contains_key(id) || named.iter().any(|secret| secret.id == id)
    };
    if let Value::Scalar(_) = &item.value {
        let Some(source) = reader.parse::<Name>(item) else { return };
        if known(source.as_str(), files, named) {
            reader.error(item.at, format!("the secret `{source}` is given twice"));
        }
        named.push(NamedSecret { id: source.to_string(), source, at: item.at });
        return;
    }
    let Some(f) = reader.fields(item, &fields::BUILD_SECRET) else { return };
    let id = f.get("target").or_else(|| f.get("id")).and_then(|node| reader.text(node)).map(str::to_owned);
    match (f.get("source"), f.get("file")) {
        (Some(node), None) => {
            let Some(source) = reader.parse::<Name>(node) else { return };
            let id = id.unwrap_or_else(|| source.to_string());
            if known(&id, files, named) {
                reader.error(item.at, format!("the secret `{id}` is given twice"));
            }
            named.push(NamedSecret { id, source, at: node.at });
        }
        (None, Some(node)) => {
            let Some(text) = reader.text(node) else { return };
            let Some(path) = reader.host_path(node.at, text) else { return };
            let Some(id) = id else {
                reader.error_hint(
                    item.at,
                    "a secret that is a file needs an `id`",
                    "it is what RUN --mount=type=secret calls it",
                );
                return;
            };
            if known(&id, files, named) {
                reader.error(item.at, format!("the secret `{id}` is given twice"));
            }
            files.insert(id, path);
        }
        (Some(_), Some(_)) => {
            reader.error_hint(f.place("file"), "a secret has one source only", "remove `source` or `file`");
        }
        (None, None) => reader.error_hint(item.at, "a secret needs its source", "give it `id` and `file`, or `source`"),
    }
}

//! Reads an image: what it is called, the one way in which it is obtained, where it is pushed, and who must have signed it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::change::apply_changes;
use crate::model::spec::{Commit, ImageSource, ImageSpec, Pull, Verify};
use crate::model::{Digest, ImageRef, Name, PullPolicy, TagPolicy};

use super::builds::{self, NamedSecret};
use super::declared::{Image, Resource};
use super::fields;
use super::files::{MAX_CONFIG_BYTES, read_limited};
use super::problem::{Place, did_you_mean};
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

/// The ways to obtain an image. A manifest gives exactly one.
pub(super) const WAYS: [&str; 5] = ["pull", "build", "load", "commit", "import"];

pub(super) fn read(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Image>> {
    let f = reader.fields(node, &fields::IMAGE)?;
    let reference: Option<ImageRef> = match f.get("reference") {
        Some(node) => reader.parse(node),
        None => {
            let reference = name.as_str().parse().ok();
            if reference.is_none() {
                reader.error_hint(at, format!("`{name}` is not an image reference"), "give the image a `reference`");
            }
            reference
        }
    };
    let source = source(reader, &f);
    let push = f.get("push").map(|node| push(reader, node)).unwrap_or_default();
    let verify = f.get("verify").and_then(|node| verify(reader, node));
    let (source, source_at, secrets) = source?;
    if f.get("verify").is_some() {
        let at = f.place("verify");
        match &source {
            ImageSource::Pull(Pull { policy: PullPolicy::Never, .. }) => {
                reader.error_hint(at, "an image that is never pulled is never verified", "give it another `policy`");
            }
            ImageSource::Pull(_) => {}
            _ => reader.error_hint(at, "only an image that is pulled can be verified", "remove `verify`, or `pull` it"),
        }
    }
    let reference = reference?;
    if let ImageSource::Pull(Pull { tag_policy: Some(_), .. }) = &source {
        let written = f.get("reference").and_then(|node| reader.text(node)).unwrap_or_default();
        let path = written.rsplit('/').next().unwrap_or_default();
        if path.contains([':', '@']) {
            let at = f.get("reference").map_or(at, |node| node.at);
            let hint = "write the repository only: `tag_policy` says which of its tags it is";
            reader.error_hint(at, "this reference names one image already", hint);
        }
    }
    if matches!(source, ImageSource::Build(_)) && reference.digest().is_some() {
        let at = f.get("reference").map_or(at, |node| node.at);
        reader.error_hint(at, format!("`{reference}` has a digest: that cannot be chosen"), "write a tag only");
    }
    for (target, at) in &push {
        if *target == reference && matches!(source, ImageSource::Pull(_)) {
            reader.error_hint(*at, format!("`{target}` is where the image is pulled from"), "remove it");
        }
    }
    let push = push.into_iter().map(|(target, _)| target).collect();
    let body = Image { spec: ImageSpec { reference, source, push, verify }, source_at, secrets };
    Some(Resource { name, at, engine_name: None, external: false, body })
}

/// The one source, and where what it is made of stands.
fn source(reader: &mut Reader, f: &Fields) -> Option<(ImageSource, Place, Vec<NamedSecret>)> {
    let given: Vec<(&str, &Node)> = WAYS.into_iter().filter_map(|way| Some((way, f.get(way)?))).collect();
    match given.as_slice() {
        [] => {
            let hint =
                "give it `pull: {}`, `build: FOLDER`, `load: {archive: …}`, `commit: {container: …}` or `import: {source: …}`";
            reader.error_hint(f.at, "an image needs a way to obtain it", hint);
            None
        }
        [(first, node), more @ ..] => {
            for (second, _) in more {
                let at = f.place(second);
                reader.error_hint(at, "an image is obtained in one way only", format!("remove `{first}` or `{second}`"));
            }
            let plain = |(source, at)| (source, at, Vec::new());
            let source = match *first {
                "build" => {
                    builds::build(reader, node).map(|read| (ImageSource::Build(Box::new(read.build)), read.at, read.secrets))
                }
                "pull" => pull(reader, node).map(plain),
                "load" => load(reader, node).map(plain),
                "commit" => commit(reader, node).map(plain),
                _ => import(reader, node).map(plain),
            };
            source.filter(|_| more.is_empty())
        }
    }
}

fn pull(reader: &mut Reader, node: &Node) -> Option<(ImageSource, Place)> {
    let f = reader.fields(node, &fields::PULL)?;
    let pull = Pull {
        policy: f.get("policy").and_then(|node| policy(reader, node)).unwrap_or_default(),
        platform: f.get("platform").and_then(|node| reader.parse(node)),
        tag_policy: f.get("tag_policy").and_then(|node| {
            let f = reader.fields(node, &fields::TAG_POLICY)?;
            Some(TagPolicy { semver: f.get("semver").and_then(|node| reader.parse(node))? })
        }),
        keep_blobs: f.get("keep_blobs").and_then(|node| reader.boolean(node)),
    };
    Some((ImageSource::Pull(pull), node.at))
}

/// A pull policy, in the words of Compose.
pub(super) fn policy(reader: &mut Reader, node: &Node) -> Option<PullPolicy> {
    let text = reader.text(node)?;
    if text == "build" {
        reader.error_hint(node.at, "what is pulled is not built", "give it `build`");
        return None;
    }
    match text.parse() {
        Ok(policy) => Some(policy),
        Err(error) => {
            const WORDS: [&str; 6] = ["always", "missing", "if_not_present", "never", "daily", "weekly"];
            let hint = match text.starts_with("every") {
                true => "a duration is numbers with units w, d, h, m and s, such as every_1d12h".to_owned(),
                false => did_you_mean(text, WORDS)
                    .unwrap_or_else(|| "`missing` asks for what is not here, `daily` once a day".to_owned()),
            };
            reader.error_hint(node.at, error.to_string(), hint);
            None
        }
    }
}

fn load(reader: &mut Reader, node: &Node) -> Option<(ImageSource, Place)> {
    let f = reader.fields(node, &fields::LOAD)?;
    let reference = f.get("reference").and_then(|node| reader.parse(node));
    let archive = f.get("archive")?;
    let text = reader.text(archive)?;
    let path = reader.host_path(archive.at, text)?;
    Some((ImageSource::Load { archive: path, fingerprint: None, reference }, archive.at))
}

fn commit(reader: &mut Reader, node: &Node) -> Option<(ImageSource, Place)> {
    let f = reader.fields(node, &fields::COMMIT)?;
    let mut changes = Vec::new();
    for item in f.get("changes").map(|node| reader.list(node)).unwrap_or_default() {
        let Some(text) = reader.text(item) else { continue };
        // Whether one can be applied does not depend on what the image says already.
        match apply_changes(&mut serde_json::Map::new(), std::slice::from_ref(&text.to_owned())) {
            Ok(()) => changes.push(text.to_owned()),
            Err(error) => reader.error(item.at, error.to_string()),
        }
    }
    let author = f.get("author").and_then(|node| reader.text(node)).map(str::to_owned);
    let message = f.get("message").and_then(|node| reader.text(node)).map(str::to_owned);
    let container = f.get("container")?;
    let commit = Commit { container: reader.parse(container)?, changes, author, message };
    Some((ImageSource::Commit(commit), container.at))
}

fn import(reader: &mut Reader, node: &Node) -> Option<(ImageSource, Place)> {
    let f = reader.fields(node, &fields::IMPORT)?;
    let entrypoint = f.get("entrypoint").and_then(|node| reader.command(node));
    let command = f.get("command").and_then(|node| reader.command(node));
    let environment = f.get("environment").map(|node| reader.environment(node)).unwrap_or_default();
    let working_dir = f.get("working_dir").and_then(|node| reader.text(node)).map(str::to_owned);
    let user = f.get("user").and_then(|node| reader.word(node)).map(str::to_owned);
    let source = f.get("source")?;
    let text = reader.text(source)?;
    let path = reader.host_path(source.at, text)?;
    // The fingerprint takes its place once the source has been read.
    let fingerprint = Digest::of(b"");
    let import = ImageSource::Import { path, fingerprint, entrypoint, command, environment, working_dir, user };
    Some((import, source.at))
}

fn push(reader: &mut Reader, node: &Node) -> Vec<(ImageRef, Place)> {
    let Some(to) = reader.fields(node, &fields::PUSH).and_then(|f| f.get("to")) else { return Vec::new() };
    let mut targets: Vec<(ImageRef, Place)> = Vec::new();
    let items = reader.list(to);
    if items.is_empty() && matches!(to.value, Value::List(_)) {
        reader.error_hint(to.at, "an image is pushed to at least one reference", "such as registry.example/app:1");
    }
    for item in items {
        let Some(target) = reader.parse::<ImageRef>(item) else { continue };
        if target.digest().is_some() {
            reader.error_hint(item.at, format!("`{target}` has a digest: that cannot be chosen"), "write a tag only");
        } else if targets.iter().any(|(known, _)| *known == target) {
            reader.error(item.at, format!("`{target}` is given twice"));
        } else {
            targets.push((target, item.at));
        }
    }
    targets
}

fn verify(reader: &mut Reader, node: &Node) -> Option<Verify> {
    let f = reader.fields(node, &fields::VERIFY)?;
    let list = f.get("keys")?;
    let mut keys = BTreeSet::new();
    let items = reader.list(list);
    for item in items {
        keys.extend(key(reader, item));
    }
    if items.is_empty() && matches!(list.value, Value::List(_)) {
        reader.error_hint(list.at, "nobody could sign this image", "give at least one public key");
    }
    (!keys.is_empty()).then_some(Verify { keys })
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A key as it stands, or a file of one.
fn key(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let pem = if text.trim_start().starts_with("-----") {
        text.to_owned()
    } else {
        let path = reader.host_path(node.at, text)?;
        reader.watched.push(path.clone());
        match read_limited(&path, MAX_CONFIG_BYTES) {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) => {
                reader.error(node.at, format!("the file {} cannot be read: {error}", path.display()));
                return None;
            }
        }
    };
    let pem = pem.trim();
    let body = pem.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let body: Option<String> = body.map(|body| body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    if body.is_none_or(|body| body.is_empty() || STANDARD.decode(body).is_err()) {
        let hint = format!("it begins with `{BEGIN}`, as `cosign public-key` writes it; one key a file");
        reader.error_hint(node.at, "this is not a public key in PEM", hint);
        return None;
    }
    Some(pem.to_owned())
}

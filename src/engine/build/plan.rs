//! The beginning of a build: contexts, the Dockerfile, its stages, and the images that they need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::bases;
use super::dockerfile;
use super::error::BuildError;
use super::events::Events;
use super::files::{FileDigests, Tree};
use super::stages::{self, BuildSettings};
use super::work::{Context, Work, base_key};
use super::{Parts, Upload};
use crate::files;
use crate::model::Platform;
use crate::model::build::{BuildOutput, BuildRequest, CachePlace, ContextSource, DockerfileSource};

/// More than this is no Dockerfile, in bytes.
const LARGEST: u64 = 4 << 20;
const USUAL: &str = "Dockerfile";

pub(super) async fn prepare(
    parts: Parts,
    request: BuildRequest,
    upload: Option<Upload>,
    events: Events,
) -> Result<Work, BuildError> {
    refuse(&request)?;
    let Parts { images, networks, containers, state_dir } = parts;
    let floor = images.draft(None)?;
    files::create_dirs(&state_dir.join("build"), 0o700)?;
    let known = FileDigests::open(&state_dir.join("build/digests"))?;
    let mut fetched = Vec::new();
    let main = context(&request.context, "the build context", upload, &mut fetched)?;
    let (name, text, path) = dockerfile_of(&request, &main)?;
    // Rules are taken from the context, or from beside a Dockerfile that is elsewhere.
    let main = match &path {
        Beside::Context(path) => main.ignoring(Some(path)),
        Beside::Nothing => main.ignoring(None),
        Beside::File(file) => {
            let own = PathBuf::from(format!("{}.dockerignore", file.display()));
            match files::read_if_there(&own)? {
                Some(rules) => main.with_rules(&own.display().to_string(), &rules),
                None => main.ignoring(None),
            }
        }
    };
    let main = main.map_err(|source| BuildError::Context { name: "of the build".to_owned(), source })?;
    let parsed = dockerfile::parse(&name, &text)?;
    for warning in &parsed.warnings {
        events.warn(warning.problem.render(false));
    }
    let target_platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let settings = BuildSettings {
        target: request.target.clone(),
        arguments: request.arguments.clone(),
        build_platform: Platform::host(),
        target_platform: target_platform.clone(),
        contexts: request.contexts.keys().cloned().collect(),
    };
    let mut stages = stages::plan(&parsed, &settings)?;
    for name in &stages.unused_arguments {
        events.warn(format!("the build argument `{name}` is used by no ARG"));
    }
    let mut all = BTreeMap::new();
    let mut contexts = BTreeMap::new();
    for (name, source) in &request.contexts {
        let made = match source {
            ContextSource::Image(reference) => {
                let key = base_key(reference, &target_platform);
                let base = bases::get(&images, reference, &target_platform, request.pull, &events).await?;
                all.insert(key.clone(), base);
                Context::Image(key)
            }
            other => {
                let tree = context(other, &format!("the context {name}"), None, &mut fetched)?;
                Context::Files(tree.ignoring(None)?)
            }
        };
        contexts.insert(name.clone(), made);
    }
    bases::resolve(&images, &mut stages, request.pull, &events, &mut all).await?;
    Ok(Work {
        images,
        networks,
        containers,
        state_dir,
        request,
        stages,
        bases: all,
        main,
        contexts,
        events,
        known,
        floor,
        _fetched: fetched,
        done: Mutex::new(Vec::new()),
        closing: Mutex::new(Vec::new()),
    })
}

/// What cannot be done is said before anything is.
fn refuse(request: &BuildRequest) -> Result<(), BuildError> {
    let refused = |what: &str, hint: &str| Err(BuildError::Unsupported { what: what.to_owned(), hint: hint.to_owned() });
    if request.platforms.len() > 1 {
        return refused("an image for several platforms in one build", "build each by itself, and push them as one with `push`");
    }
    if let Some(platform) = request.platforms.first()
        && !platform.runs_on(&Platform::host())
    {
        let what = format!("a build for {platform} on this host, which is {}", Platform::host());
        return refused(&what, "build it on a host of that platform");
    }
    if request.cache_from.iter().any(|place| !matches!(place, CachePlace::Inline)) || !request.cache_to.is_empty() {
        return refused("a cache in a registry or a folder", "leave it out: the store of this host is the cache");
    }
    if let Some(output) = request.outputs.iter().find(|output| !matches!(output, BuildOutput::Image { push: false })) {
        let what = format!("the output {output:?}");
        return refused(&what, "build an image, and use `push`, `save` or `export`");
    }
    Ok(())
}

fn context(
    source: &ContextSource,
    name: &str,
    _upload: Option<Upload>,
    _fetched: &mut Vec<crate::engine::images::Draft>,
) -> Result<Tree, BuildError> {
    let wrong = |source| BuildError::Context { name: name.to_owned(), source };
    match source {
        ContextSource::Folder(path) => Tree::open(path, name).map_err(wrong),
        ContextSource::Nothing => Ok(Tree::nothing(name)),
        other => Err(BuildError::Unsupported { what: format!("a context such as {other:?}"), hint: "use a folder".to_owned() }),
    }
}

/// Where a Dockerfile is, for the rules that may stand beside it.
enum Beside {
    Context(String),
    File(PathBuf),
    Nothing,
}

/// What errors call the Dockerfile, and its text.
fn dockerfile_of(request: &BuildRequest, main: &Tree) -> Result<(PathBuf, Vec<u8>, Beside), BuildError> {
    match &request.dockerfile {
        DockerfileSource::Text { name, text } => Ok((name.into(), text.clone().into_bytes(), Beside::Nothing)),
        DockerfileSource::File(path) => {
            let size = std::fs::metadata(path).map_err(|e| files::FileError::new("read", path, e))?.len();
            if size > LARGEST {
                return Err(BuildError::LargeDockerfile { path: path.clone(), size, limit: LARGEST });
            }
            Ok((path.clone(), files::read(path)?, Beside::File(path.clone())))
        }
        DockerfileSource::InContext(path) => {
            let path = path.as_deref().unwrap_or(USUAL);
            let wrong = |source| BuildError::Context { name: "of the build".to_owned(), source };
            let text = main.read(path, LARGEST).map_err(wrong)?;
            let missing = || BuildError::NoDockerfile { path: path.into(), context: main.name().to_owned() };
            Ok((Path::new(path).to_owned(), text.ok_or_else(missing)?, Beside::Context(path.to_owned())))
        }
    }
}

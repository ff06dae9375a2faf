//! The beginning of a build: contexts, the Dockerfile, its stages, and the images that they need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::bases;
use super::caches::Caches;
use super::dockerfile;
use super::error::BuildError;
use super::events::Events;
use super::files::git::{self, GitAccess, GitSource};
use super::files::{FileDigests, Received, Tree, receive, receive_url};
use super::stages::{self, BuildSettings};
use super::work::{BaseKey, Context, Passing, Work, base_key};
use super::{Parts, Upload};
use crate::engine::images::{Base, Draft, Images};
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
    let Parts { images, networks, containers, state_dir, given } = parts;
    let floor = images.draft(None)?;
    files::create_dirs(&state_dir.join("build"), 0o700)?;
    let known = FileDigests::open(&state_dir.join("build/digests"))?;
    let mut fetched = Vec::new();
    let mut request = request;
    let access = git_access(&request);
    let mut fetch = Fetch { images: &images, access, upload, events: &events, drafts: &mut fetched };
    let main = match fetch.context(&request.context, "the build context").await? {
        Found::Files(tree) => tree,
        // What came is a Dockerfile, with no files beside it.
        Found::Dockerfile(text) => {
            if let DockerfileSource::InContext(None) = &request.dockerfile {
                request.dockerfile = DockerfileSource::Text { name: USUAL.to_owned(), text };
            }
            Tree::nothing("the build context")
        }
    };
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
    let mut passing = Vec::new();
    for (name, source) in &request.contexts {
        let made = match source {
            ContextSource::Image(reference) => {
                let key = base_key(reference, &target_platform);
                let base = bases::get(&images, reference, &target_platform, request.pull, &given, &events).await?;
                all.insert(key.clone(), base);
                Context::Image(key)
            }
            ContextSource::Layout { path, image } => {
                let (key, base) = layout(&images, path, image.as_deref(), &target_platform, &events, &mut passing).await?;
                all.insert(key.clone(), base);
                Context::Image(key)
            }
            other => {
                let name = format!("the context {name}");
                let access = git_access(&request);
                let mut fetch = Fetch { images: &images, access, upload: None, events: &events, drafts: &mut fetched };
                match fetch.context(other, &name).await? {
                    Found::Files(tree) => Context::Files(tree.ignoring(None)?),
                    Found::Dockerfile(_) => {
                        let hint = "it is a text; give a tar, or a folder".to_owned();
                        return Err(BuildError::Unsupported { what: format!("{name}, which is one file,"), hint });
                    }
                }
            }
        };
        contexts.insert(name.clone(), made);
    }
    bases::resolve(&images, &mut stages, request.pull, &given, &events, &mut all).await?;
    let caches = Caches::open(&images, &request, &target_platform, &given, &events).await;
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
        caches,
        given,
        floor,
        _fetched: fetched,
        _passing: passing,
        done: Mutex::new(Vec::new()),
        closing: Mutex::new(Vec::new()),
    })
}

/// An image of a layout, which is in the store as long as it is built on.
async fn layout(
    images: &Images,
    path: &Path,
    image: Option<&str>,
    platform: &Platform,
    events: &Events,
    passing: &mut Vec<Passing>,
) -> Result<(BaseKey, Base), BuildError> {
    let name = format!("oci-layout://{}{}", path.display(), image.map(|image| format!(":{image}")).unwrap_or_default());
    let running = events.begin(format!("[internal] load {name}"));
    let (store, path, image, wanted) = (images.clone(), path.to_owned(), image.map(str::to_owned), platform.clone());
    let taken = tokio::task::spawn_blocking(move || store.take_in(&path, image.as_deref(), &wanted)).await?;
    let taken = running.ended(taken, false)?;
    if taken.is_new {
        passing.push(Passing { images: images.clone(), digest: taken.digest });
    }
    Ok(((name, platform.to_string()), images.base(taken.digest)?))
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
    if request.cache_from.contains(&CachePlace::Inline) {
        return refused("a cache that is read from no image", "name the image that has it: type=registry,ref=IMAGE");
    }
    if request.docker_types && !request.annotations.is_empty() {
        return refused("annotations of an image with Docker's media types", "leave out `oci-mediatypes=false`");
    }
    if request.tags.is_empty() && request.outputs.iter().any(BuildOutput::is_pushed) {
        return refused("a push of an image without a name", "give it one with `-t`");
    }
    Ok(())
}

/// What a context turned out to be.
enum Found {
    Files(Tree),
    Dockerfile(String),
}

/// Gets contexts, wherever they are.
struct Fetch<'f> {
    images: &'f Images,
    access: GitAccess,
    upload: Option<Upload>,
    events: &'f Events,
    /// What is fetched is in their folders.
    drafts: &'f mut Vec<Draft>,
}

impl Fetch<'_> {
    async fn context(&mut self, source: &ContextSource, name: &str) -> Result<Found, BuildError> {
        let wrong = |source| BuildError::Context { name: name.to_owned(), source };
        let title = match source {
            ContextSource::Folder(path) => return Ok(Found::Files(Tree::open(path, name).map_err(wrong)?)),
            ContextSource::Nothing => return Ok(Found::Files(Tree::nothing(name))),
            ContextSource::Image(_) | ContextSource::Layout { .. } => {
                let hint = "use a folder, a tar or a Git repository; images can be named contexts".to_owned();
                return Err(BuildError::Unsupported { what: format!("an image as {name}"), hint });
            }
            ContextSource::Upload => format!("[internal] receive {name}"),
            ContextSource::Url(url) => format!("[internal] fetch {url}"),
            ContextSource::Git(text) => format!("[internal] fetch {}", GitSource::parse(text).map_err(wrong)?.shown()),
        };
        let running = self.events.begin(title);
        let outcome = self.fetch(source, name).await;
        running.ended(outcome, false)
    }

    async fn fetch(&mut self, source: &ContextSource, name: &str) -> Result<Found, BuildError> {
        let wrong = |source| BuildError::Context { name: name.to_owned(), source };
        let draft = self.images.draft(None)?;
        let folder = draft.folder().join("context");
        self.drafts.push(draft);
        let received = match source {
            ContextSource::Git(text) => {
                let (parsed, access) = (GitSource::parse(text).map_err(wrong)?, self.access.clone());
                let checkout = tokio::task::spawn_blocking(move || git::fetch(&parsed, &folder, false, &access)).await?;
                return Ok(Found::Files(checkout.map_err(wrong)?.tree));
            }
            ContextSource::Url(url) => receive_url(self.images, url, folder.clone()).await.map_err(wrong)?,
            _ => {
                let Some(upload) = self.upload.take() else {
                    let hint = "send a tar with the request".to_owned();
                    return Err(BuildError::Unsupported { what: format!("{name} that does not come"), hint });
                };
                receive(upload, folder.clone(), name.to_owned()).await.map_err(wrong)?
            }
        };
        Ok(match received {
            Received::Tree => Found::Files(Tree::open(&folder, name).map_err(wrong)?.passing()),
            Received::Dockerfile(text) => Found::Dockerfile(text),
        })
    }
}

/// What a fetch of a repository may use: the agent that the build was given, and nothing on this host.
pub(super) fn git_access(request: &BuildRequest) -> GitAccess {
    let agent = request.ssh.iter().find(|agent| agent.id == "default").map(|agent| agent.socket.clone());
    GitAccess { ssh_agent: agent, local: false }
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

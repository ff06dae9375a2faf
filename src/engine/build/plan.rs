//! The beginning of a build: contexts, the Dockerfile, its stages, and the images that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::attest::{Material, shown};
use super::bases;
use super::caches::Caches;
use super::dockerfile::{self, Command};
use super::emulation::{self, Runs};
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
use crate::model::spec::CgroupParent;

/// More than this is no Dockerfile, in bytes.
const LARGEST: u64 = 4 << 20;
const USUAL: &str = "Dockerfile";

/// What is to be built, once for each platform.
pub(super) async fn prepare(
    parts: Parts,
    request: BuildRequest,
    upload: Option<Upload>,
    events: Events,
) -> Result<Vec<Work>, BuildError> {
    refuse(&request)?;
    let Parts { images, networks, containers, state_dir, given } = parts;
    let floor = images.draft(None)?;
    files::create_dirs(&state_dir.join("build"), 0o700)?;
    let known = FileDigests::open(&state_dir.join("build/digests"))?;
    let mut fetched = Vec::new();
    let mut request = request;
    let access = git_access(&request);
    let mut materials = BTreeSet::new();
    let mut fetch = Fetch { images: &images, access, upload, events: &events, drafts: &mut fetched, materials: &mut materials };
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
    let mut trees = BTreeMap::new();
    let is_image = |source: &ContextSource| matches!(source, ContextSource::Image(_) | ContextSource::Layout { .. });
    for (name, source) in request.contexts.iter().filter(|(_, source)| !is_image(source)) {
        let about = format!("the context {name}");
        let access = git_access(&request);
        let (drafts, materials) = (&mut fetched, &mut materials);
        let mut fetch = Fetch { images: &images, access, upload: None, events: &events, drafts, materials };
        match fetch.context(source, &about).await? {
            Found::Files(tree) => drop(trees.insert(name.clone(), tree.ignoring(None)?)),
            Found::Dockerfile(_) => {
                let hint = "it is a text; give a tar, or a folder".to_owned();
                return Err(BuildError::Unsupported { what: format!("{about}, which is one file,"), hint });
            }
        }
    }
    let platforms = platforms(&request);
    let is_one_of_several = platforms.len() > 1;
    let (request, fetched, floor, known) = (Arc::new(request), Arc::new(fetched), Arc::new(floor), Arc::new(known));
    let done = Arc::new(Mutex::new(Vec::new()));
    let materials = Arc::new(Mutex::new(materials));
    let mut all = Vec::with_capacity(platforms.len());
    for platform in platforms {
        let settings = BuildSettings {
            target: request.target.clone(),
            arguments: request.arguments.clone(),
            build_platform: Platform::host(),
            target_platform: platform.clone(),
            contexts: request.contexts.keys().cloned().collect(),
        };
        let mut stages = stages::plan(&parsed, &settings)?;
        if all.is_empty() {
            for name in &stages.unused_arguments {
                events.warn(format!("the build argument `{name}` is used by no ARG"));
            }
        }
        let (mut bases, mut contexts, mut passing) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, source) in &request.contexts {
            let context = match (source, trees.get(name)) {
                (ContextSource::Image(reference), _) => {
                    let key = base_key(reference, &platform);
                    let base = bases::get(&images, reference, &platform, request.pull, &given, &events).await?;
                    bases.insert(key.clone(), base);
                    Context::Image(key)
                }
                (ContextSource::Layout { path, image }, _) => {
                    let (key, base) = layout(&images, path, image.as_deref(), &platform, &events, &mut passing).await?;
                    bases.insert(key.clone(), base);
                    Context::Image(key)
                }
                (_, Some(tree)) => Context::Files(tree.clone()),
                // All others were fetched.
                (_, None) => return Err(BuildError::Interrupted),
            };
            contexts.insert(name.clone(), context);
        }
        bases::resolve(&images, &mut stages, request.pull, &given, &events, &mut bases).await?;
        let caches = Caches::open(&images, &request, &platform, &given, &events).await;
        all.push(Work {
            images: images.clone(),
            networks: networks.clone(),
            containers: containers.clone(),
            state_dir: state_dir.clone(),
            request: Arc::clone(&request),
            platform,
            is_one_of_several,
            stages,
            bases,
            main: main.clone(),
            contexts,
            events: events.clone(),
            known: Arc::clone(&known),
            caches,
            given: given.clone(),
            floor: Arc::clone(&floor),
            _fetched: Arc::clone(&fetched),
            _passing: passing,
            materials: Arc::clone(&materials),
            done: Arc::clone(&done),
            closing: Mutex::new(Vec::new()),
        });
    }
    for work in &all {
        emulated(work)?;
    }
    Ok(all)
}

/// What is built for, each once: this host where nothing is said.
fn platforms(request: &BuildRequest) -> Vec<Platform> {
    let mut found: Vec<Platform> = Vec::new();
    for platform in &request.platforms {
        if !found.iter().any(|known| stages::normal(known.clone()) == stages::normal(platform.clone())) {
            found.push(platform.clone());
        }
    }
    if found.is_empty() {
        found.push(Platform::host());
    }
    found
}

/// Refuses commands of stages that this host cannot run, before anything is built.
fn emulated(work: &Work) -> Result<(), BuildError> {
    for stage in work.stages.needed().into_iter().map(|index| &work.stages.stages[index]) {
        let run = stage.steps.iter().find(|step| matches!(step.instruction.command, Command::Run(_)));
        let Some(run) = run else { continue };
        let (platform, host) = (&stage.platform, Platform::host());
        let (why, hint) = match emulation::of(platform)? {
            Runs::Natively | Runs::Emulated => continue,
            Runs::No => {
                let emulator = emulation::emulator(platform);
                let hint = format!(
                    "install an emulator for all containers, {emulator} (Debian and Ubuntu: `apt install qemu-user-static \
                     binfmt-support`); or compile on this host: `FROM --platform=$BUILDPLATFORM`"
                );
                ("and the kernel has no emulator for it".to_owned(), hint)
            }
            Runs::Outside { handler, interpreter } => {
                let why = format!("and containers do not see the emulator {interpreter} of the kernel's handler {handler}");
                (
                    why,
                    format!(
                        "register it with the flag F, as the package qemu-user-static does, in /proc/sys/fs/binfmt_misc/{handler}"
                    ),
                )
            }
        };
        let message = format!("RUN of a stage for {platform} cannot run here: this host is {host}, {why}");
        let problem = work.stages.source().problem(run.instruction.place, message, Some(hint));
        return Err(BuildError::Instruction(Box::new(problem)));
    }
    Ok(())
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
    if let Some(platform) = request.platforms.iter().find(|platform| platform.os != "linux") {
        return refused(&format!("a build for {platform}"), "name a platform such as linux/arm64");
    }
    let is_docker = |output: &BuildOutput| matches!(output, BuildOutput::Docker { .. });
    if platforms(request).len() > 1 && request.outputs.iter().any(is_docker) {
        return refused("an archive of Docker's form with an image for several platforms", "write a layout: type=oci,dest=FILE");
    }
    if request.cache_from.contains(&CachePlace::Inline) {
        return refused("a cache that is read from no image", "name the image that has it: type=registry,ref=IMAGE");
    }
    if let Some(slice) = request.cgroup_parent.as_ref().and_then(CgroupParent::slice) {
        let what = format!("a slice of systemd, {slice}, as the parent of a build's control groups");
        return refused(&what, "name a path such as /batch; --memory and --cpus bound each RUN");
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
    /// What it was, for who asks how the image was built.
    materials: &'f mut BTreeSet<Material>,
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
                let checkout = checkout.map_err(wrong)?;
                self.materials.insert(Material { uri: shown(source), digest: Some(("sha1", checkout.commit)) });
                return Ok(Found::Files(checkout.tree));
            }
            ContextSource::Url(url) => {
                self.materials.insert(Material { uri: shown(source), digest: None });
                receive_url(self.images, url, folder.clone()).await.map_err(wrong)?
            }
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

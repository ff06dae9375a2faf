//! `RUN --mount`: what each of them is, what of it matters to the cache, and where it is while the command runs.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::dockerfile::{MountError, Place, Run, RunMount, Sharing};
use super::error::BuildError;
use super::expand::ExpandError;
use super::files::{CopyOrder, Select, Selection, Tree, copy, look_like};
use super::ignore::Ignore;
use super::sandbox::Sandbox;
use super::stage::Builder;
use super::stages::Step;
use super::work::{Origin, Work};
use crate::engine::images::Draft;
use crate::engine::runtime::spec::HostMount;
use crate::engine::runtime::{View, view};
use crate::files::{self, FileError, Lock};
use crate::model::Digest;

/// A mount with its variables replaced, and where its files come from.
pub(super) struct Prepared {
    mount: RunMount,
    /// Absolute; `None` for a secret that is in the environment only.
    target: Option<String>,
    origin: Option<Origin>,
    /// Over what it shows, where that is of a context or a stage.
    content: Option<Digest>,
    /// What of a context that is.
    selection: Option<Selection>,
    place: Place,
}

impl Prepared {
    /// What of it the result of the command depends on: of a cache only where it is, of a secret only that it is there.
    pub(super) fn facts(&self) -> Value {
        let target = &self.target;
        match &self.mount {
            RunMount::Bind { writable, .. } => json!(["bind", target, writable, self.content]),
            RunMount::Cache { id, .. } => json!(["cache", target, id, self.content]),
            RunMount::Tmpfs { size, .. } => json!(["tmpfs", target, size]),
            RunMount::Secret { id, env, .. } => json!(["secret", target, id, env]),
            RunMount::Ssh { id, .. } => json!(["ssh", target, id]),
        }
    }
}

/// A context, a path in it, and what was there when it was looked at.
type Looked = (Tree, String, Selection);

/// Where all mounts of a command are. Dropping it gives back what they hold.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) mounts: Vec<HostMount>,
    /// Variables that the command has besides.
    pub(super) environment: Vec<(String, String)>,
    /// What must not be told.
    pub(super) secrets: Vec<Vec<u8>>,
    locks: Vec<Lock>,
    /// Files in memory, which go with the command.
    passing: Vec<PathBuf>,
    /// What the command sees of contexts as it is, by what it is of and its name there.
    seen: Vec<Looked>,
    /// Something has changed between the look at it and its copy.
    changed: bool,
}

impl Placed {
    /// Whether what the command was shown has changed since it was looked at, so that its result is not what the key says. Blocks the
    /// thread.
    pub(super) fn has_changed(&self) -> bool {
        let differs = |(tree, source, before): &Looked| {
            // What cannot be looked at any more has changed.
            !select(tree, source).is_ok_and(|now| before.is_unchanged(&now))
        };
        self.changed || self.seen.iter().any(differs)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        for path in &self.passing {
            if let Err(error) = files::remove_all(path) {
                tracing::warn!(%error, "what a command was given is left");
            }
        }
    }
}

/// Reads the mounts of a RUN, and looks at what they show.
pub(super) async fn prepare(builder: &mut Builder, step: &Step, run: &Run) -> Result<Vec<Prepared>, BuildError> {
    let mut all = Vec::new();
    for (options, from) in run.mounts.iter().zip(&step.from) {
        let scope = &builder.image.scope;
        let mut expand = |text: &str| Ok::<_, ExpandError>(scope.word(text)?.value);
        let place = options.text.place;
        let mount = options
            .resolve(&mut expand)
            .map_err(|error: MountError| builder.wrong_with(place, format!("`--mount`: {error}"), error.hint()))?;
        let target = match &mount {
            RunMount::Bind { target, .. } | RunMount::Cache { target, .. } | RunMount::Tmpfs { target, .. } => {
                Some(target.clone())
            }
            RunMount::Secret { target, .. } => target.clone(),
            RunMount::Ssh { target, .. } => {
                let number = all.iter().filter(|other: &&Prepared| matches!(other.mount, RunMount::Ssh { .. })).count();
                Some(target.clone().unwrap_or_else(|| format!("/run/setpoint/ssh_agent.{number}")))
            }
        };
        let absolute = |target: String| {
            let folder = if target.starts_with('/') { "" } else { builder.image.working_dir() };
            super::config::clean(&format!("{folder}/{target}"))
        };
        let target = target.map(absolute);
        if target.as_deref() == Some("/") {
            let hint = Some("give it a `target` below `/`".to_owned());
            return Err(builder.wrong_with(place, "`--mount`: nothing can be mounted over the root".to_owned(), hint));
        }
        let shows_files = match &mount {
            RunMount::Bind { .. } => true,
            RunMount::Cache { source, .. } => from.is_some() || !source.is_empty(),
            RunMount::Tmpfs { .. } | RunMount::Secret { .. } | RunMount::Ssh { .. } => false,
        };
        let origin = if shows_files { Some(builder.origin(from.as_ref(), &step.instruction)?) } else { None };
        let mut prepared = Prepared { mount, target, origin, content: None, selection: None, place };
        if let Some(origin) = &prepared.origin {
            let (content, selection) = content(builder, origin, source(&prepared.mount)).await?;
            (prepared.content, prepared.selection) = (Some(content), selection);
        }
        all.push(prepared);
    }
    Ok(all)
}

fn source(mount: &RunMount) -> String {
    match mount {
        RunMount::Bind { source, .. } | RunMount::Cache { source, .. } if !source.is_empty() => source.clone(),
        _ => "/".to_owned(),
    }
}

/// The tree of an origin. Blocks the thread.
fn tree(work: &Work, origin: &Origin, name: &str) -> Result<Tree, BuildError> {
    Ok(match origin {
        Origin::Tree(tree) => tree.clone(),
        Origin::Layers(layers) => Tree::of_root(work.view(layers)?, name),
    })
}

async fn content(builder: &Builder, origin: &Origin, source: String) -> Result<(Digest, Option<Selection>), BuildError> {
    // What a stage or an image has is known by its layers, without a look at the files.
    if let Origin::Layers(layers) = origin {
        return Ok((Digest::of(format!("{} {source}", layers.chain()).as_bytes()), None));
    }
    let work = builder.work.clone();
    let origin = origin.share();
    let digest = tokio::task::spawn_blocking(move || {
        let tree = tree(&work, &origin, "the source of a mount")?;
        let selection = select(&tree, &source)?;
        Ok::<_, BuildError>((selection.digest(&work.known)?, Some(selection)))
    });
    digest.await?
}

fn select(tree: &Tree, source: &str) -> Result<Selection, BuildError> {
    // As it is written: what is mounted has no wildcards.
    let escaped: String = source.chars().flat_map(|c| if "*?[\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
    let none = Ignore::default();
    let sources = [escaped];
    Ok(Selection::of(tree, &Select { sources: &sources, exclude: &none, parents: false })?)
}

/// Puts all mounts in their places.
pub(super) async fn place(builder: &Builder, sandbox: &Sandbox, draft: &Draft, all: Vec<Prepared>) -> Result<Placed, BuildError> {
    let mut placed = Placed::default();
    for (number, prepared) in all.into_iter().enumerate() {
        let folder = draft.folder().join(format!("mount-{number}"));
        let memory = sandbox.workshop()?.folder().join(format!("mount-{number}"));
        let Prepared { mount, target, origin, place, selection, .. } = prepared;
        match (&mount, target) {
            (RunMount::Tmpfs { size, read_only, .. }, Some(target)) => {
                let base = HostMount::Tmpfs { target, size: size.map(|size| size.0), mode: None };
                let mut options = vec!["exec".to_owned()];
                options.extend(read_only.then(|| "ro".to_owned()));
                placed.mounts.push(HostMount::Special { base: Box::new(base), options });
            }
            (RunMount::Bind { source: _, writable, .. }, Some(target)) => {
                let Some(origin) = origin else { return Err(BuildError::Interrupted) };
                let order = Order { origin, source: source(&mount), selection, folder, writable: *writable };
                let work = builder.work.clone();
                match tokio::task::spawn_blocking(move || bound(&work, order)).await?? {
                    Bound::Seen(both) => {
                        let (view, seen) = *both;
                        placed.seen.extend(seen);
                        placed.mounts.push(HostMount::View { view, target });
                    }
                    Bound::Copied(source, changed) => {
                        placed.changed |= changed;
                        placed.mounts.push(HostMount::Bind { source, target, read_only: !writable });
                    }
                }
            }
            (RunMount::Cache { id, read_only, sharing, mode, uid, gid, .. }, Some(target)) => {
                let id = id.clone().unwrap_or_else(|| target.clone());
                let first = match origin {
                    Some(origin) => Some(first(builder, origin, source(&mount), folder).await?),
                    None => None,
                };
                let owner = (uid.unwrap_or(0), gid.unwrap_or(0), mode.unwrap_or(0o755));
                let (cache, lock) = cache(&builder.work.state_dir, &id, *sharing, first.as_deref(), owner).await?;
                placed.locks.push(lock);
                placed.mounts.push(HostMount::Bind { source: cache, target, read_only: *read_only });
            }
            (RunMount::Secret { id, env, required, mode, uid, gid, .. }, target) => {
                let found = builder.work.request.secrets.iter().find(|secret| secret.id == *id);
                let Some(secret) = found else {
                    if *required {
                        let message = format!("the secret `{id}` is required, and the build was given none of that name");
                        return Err(builder.wrong_with(
                            place,
                            message,
                            Some(format!("give it with `--secret id={id},src=FILE`")),
                        ));
                    }
                    continue;
                };
                placed.secrets.push(secret.content.clone());
                if let Some(env) = env {
                    placed.environment.push((env.clone(), String::from_utf8_lossy(&secret.content).into_owned()));
                }
                if let Some(target) = target {
                    let fail = |action| {
                        let memory = memory.clone();
                        move |e| FileError::new(action, memory, e)
                    };
                    files::publish(&memory, &secret.content, 0o600)?;
                    placed.passing.push(memory.clone());
                    chown(&memory, Some(*uid), Some(*gid)).map_err(fail("set the owner of"))?;
                    fs::set_permissions(&memory, fs::Permissions::from_mode(*mode)).map_err(fail("set the mode of"))?;
                    placed.mounts.push(HostMount::Bind { source: memory, target, read_only: true });
                }
            }
            (RunMount::Ssh { id, required, uid, gid, .. }, Some(target)) => {
                let found = builder.work.request.ssh.iter().find(|agent| agent.id == *id);
                let Some(agent) = found else {
                    if *required {
                        let message = format!("an agent `{id}` is required, and the build was given none");
                        return Err(builder.wrong_with(place, message, Some(format!("give it with `--ssh {id}=SOCKET`"))));
                    }
                    continue;
                };
                if (*uid, *gid) != (0, 0) {
                    let message = "an agent's socket cannot have another owner in the container".to_owned();
                    return Err(builder.wrong_with(
                        place,
                        message,
                        Some("remove `uid` and `gid`, and use it as root".to_owned()),
                    ));
                }
                placed.environment.push(("SSH_AUTH_SOCK".to_owned(), target.clone()));
                placed.mounts.push(HostMount::Bind { source: agent.socket.clone(), target, read_only: false });
            }
            (_, None) => return Err(BuildError::Interrupted),
        }
    }
    Ok(placed)
}

/// What a mount is to show, and the folder for what that takes.
struct Order {
    origin: Origin,
    source: String,
    selection: Option<Selection>,
    folder: PathBuf,
    /// The command may change it, and nobody sees that afterwards.
    writable: bool,
}

enum Bound {
    /// As it is; with what of a context that was.
    Seen(Box<(View, Option<Looked>)>),
    /// A copy, and whether something has changed meanwhile.
    Copied(PathBuf, bool),
}

/// Shows a stage, an image or a context as it is, and copies a context only where a copy differs from what is there. Blocks the
/// thread.
fn bound(work: &Work, order: Order) -> Result<Bound, BuildError> {
    let Order { origin, source, selection, folder, writable } = order;
    let changes = (folder.join("changes"), folder.join("work"));
    let tree = tree(work, &origin, "the source of a mount")?;
    let layers = match origin {
        Origin::Tree(_) => {
            let selection = selection.map_or_else(|| select(&tree, &source), Ok)?;
            if let Some(view) = of_context(&selection, &folder, changes, writable)? {
                return Ok(Bound::Seen(Box::new((view, Some((tree, source, selection))))));
            }
            let (copy, changed) = copied(&selection, folder)?;
            return Ok(Bound::Copied(copy, changed));
        }
        Origin::Layers(layers) => layers.lower(&work.floor.upper()),
    };
    let Some((inside, is_folder)) = tree.place(&source)? else {
        // Says what is missing.
        return Err(select(&tree, &source).err().unwrap_or(BuildError::Interrupted));
    };
    let changes = writable.then_some(changes);
    if let Some((upper, work)) = &changes {
        files::create_dirs(work, 0o700)?;
        files::create_dirs(upper, 0o755)?;
        look_like(upper, &layers[0])?;
    }
    let view = View { layers, identity: None, changes, inside, is_folder };
    Ok(Bound::Seen(Box::new((view, None))))
}

/// A context's files as they are; `None` where they are to be copied.
fn of_context(
    selection: &Selection,
    folder: &Path,
    (upper, work): (PathBuf, PathBuf),
    writable: bool,
) -> Result<Option<View>, BuildError> {
    let Some(shown) = selection.shown()? else { return Ok(None) };
    let mut layers = vec![shown.folder.clone()];
    let hiding = folder.join("hidden");
    if selection.hide(&shown, &hiding)? {
        layers.insert(0, hiding);
    }
    let overlaid = writable || layers.len() > 1;
    if writable {
        files::create_dirs(&work, 0o700)?;
        files::create_dirs(&upper, 0o755)?;
        look_like(&upper, &shown.folder)?;
    }
    // Not every file system can be below an overlay. What is made for the trial goes again: a work folder serves one mount only.
    if overlaid {
        let trial = (folder.join("trial-changes"), folder.join("trial-work"));
        for made in [&trial.0, &trial.1] {
            files::create_dirs(made, 0o700)?;
        }
        let tried = view::detached(&layers, writable.then_some((trial.0.as_path(), trial.1.as_path())));
        let works = tried.is_ok();
        drop(tried);
        for made in [&trial.0, &trial.1] {
            files::remove_all(made)?;
        }
        if !works {
            return Ok(None);
        }
    }
    let is_folder = shown.name.as_os_str().is_empty();
    let changes = writable.then_some((upper, work));
    let view = View { layers, identity: Some(shown.identity), changes, inside: shown.name, is_folder };
    Ok(view.can_be_said().then_some(view))
}

/// A copy of what is selected, which may be changed: a folder, or a file where one is meant; and whether it has changed meanwhile.
/// Blocks the thread.
fn copied(selection: &Selection, folder: PathBuf) -> Result<(PathBuf, bool), BuildError> {
    let folder = folder.join("copy");
    files::create_dirs(&folder, 0o755)?;
    let root = open(&folder)?;
    let is_file = selection.is_single_file();
    let destination = if is_file { "/file" } else { "/" };
    let order = CopyOrder { destination: destination.to_owned(), to_folder: !is_file, owner: None, mode: None, epoch: None };
    let copied = copy(selection, std::os::fd::AsFd::as_fd(&root), &order)?;
    Ok((if is_file { folder.join("file") } else { folder }, copied.changed))
}

fn open(folder: &Path) -> Result<OwnedFd, BuildError> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| FileError::new("open folder", folder, e))?)
}

/// A copy that a cache begins with.
async fn first(builder: &Builder, origin: Origin, source: String, folder: PathBuf) -> Result<PathBuf, BuildError> {
    let work = builder.work.clone();
    let made = tokio::task::spawn_blocking(move || {
        let tree = tree(&work, &origin, "the source of a mount")?;
        Ok::<_, BuildError>(copied(&select(&tree, &source)?, folder)?.0)
    });
    made.await?
}

/// The folder of a cache, and the lock under which it is used. A new one begins with what is in `first`, and belongs to `owner`: user,
/// group and mode.
async fn cache(
    state_dir: &Path,
    id: &str,
    sharing: Sharing,
    first: Option<&Path>,
    owner: (u32, u32, u32),
) -> Result<(PathBuf, Lock), BuildError> {
    let home = caches(state_dir);
    files::create_dirs(&home, 0o700)?;
    let name = Digest::of(id.as_bytes()).hex().to_string();
    let mut number = 0;
    loop {
        let folder = home.join(if number == 0 { name.clone() } else { format!("{name}-{number}") });
        let path = home.join(format!("{}.lock", folder.file_name().unwrap_or_default().to_string_lossy()));
        let lock = match sharing {
            Sharing::Shared => Lock::try_share(&path)?,
            Sharing::Private | Sharing::Locked => Lock::try_take(&path)?,
        };
        match (lock, sharing) {
            (Some(lock), _) => {
                begin(&folder, id, first, owner)?;
                return Ok((folder, lock));
            }
            (None, Sharing::Private) => number += 1,
            (None, Sharing::Shared | Sharing::Locked) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Where caches are kept.
pub(super) fn caches(state_dir: &Path) -> PathBuf {
    state_dir.join("build/caches")
}

/// Makes the folder of a cache, unless it is there. What is begun has another name until it is whole.
fn begin(folder: &Path, id: &str, first: Option<&Path>, (uid, gid, mode): (u32, u32, u32)) -> Result<(), BuildError> {
    if folder.is_dir() {
        return Ok(());
    }
    let fail = |action: &'static str| move |e: std::io::Error| BuildError::File(FileError::new(action, folder, e));
    let unfinished = folder.with_extension(format!("{}.new", std::process::id()));
    files::remove_all(&unfinished)?;
    match first {
        Some(first) => fs::rename(first, &unfinished).map_err(fail("begin the cache"))?,
        None => files::create_dirs(&unfinished, 0o755)?,
    }
    chown(&unfinished, Some(uid), Some(gid)).map_err(fail("set the owner of"))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode)).map_err(fail("set the mode of"))?;
    files::publish(&folder.with_extension("id"), id.as_bytes(), 0o600)?;
    match fs::rename(&unfinished, folder) {
        // Somebody else who shares it was faster.
        Err(_) if folder.is_dir() => Ok(files::remove_all(&unfinished)?),
        made => made.map_err(fail("make")),
    }
}

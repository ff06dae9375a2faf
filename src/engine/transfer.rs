//! Images and file systems on their way in and out: archives, commits and exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::io::AsyncRead;

use super::images::{
    ArchiveFormat, CommitConfig, CommitSource, HistoryStep, ImageDetails, Images, ImagesError, LoadOptions, Loaded, Saved,
    apply_changes,
};
use super::outgoing::Outgoing;
use super::runtime::view;
use super::{Engine, EngineError};
use crate::files::FileError;
use crate::model::port::Protocol;
use crate::model::spec::{ContainerSpec, Mount};
use crate::model::{ContainerId, Digest, ImageRef, PortMapping, ProgressSink};
use crate::{files, observed};

/// How a container becomes an image.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What the image is to be called.
    pub reference: Option<ImageRef>,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// Whether the container stands still while it is read.
    pub pause: bool,
    /// Whether what the container was told to run becomes what the image runs, as with `docker commit`. Otherwise the image
    /// runs what the one below it does.
    pub take_config: bool,
}

impl Engine {
    /// An archive of images, given by their names or digests.
    pub fn save(&self, texts: &[String], format: ArchiveFormat) -> Result<Outgoing, EngineError> {
        let mut wanted: Vec<Saved> = Vec::new();
        for text in texts {
            let (image, references) = self.named(text)?;
            match wanted.iter_mut().find(|known| known.digest == image.digest) {
                Some(known) => {
                    known.references.extend(references);
                    known.references.sort();
                    known.references.dedup();
                }
                None => {
                    let members = references.first().map_or(Ok(Vec::new()), |name| self.0.images.members(name))?;
                    wanted.push(Saved { digest: image.digest, references, members });
                }
            }
        }
        let images = self.0.images.clone();
        Ok(Outgoing::new(move |mut output| Ok(images.save(&wanted, format, &mut output)?)))
    }

    /// The images of an archive.
    pub async fn load(
        &self,
        reader: Box<dyn AsyncRead + Send + Unpin>,
        options: LoadOptions,
        progress: ProgressSink,
    ) -> Result<Vec<Loaded>, EngineError> {
        Ok(self.0.images.load(reader, options, progress).await?)
    }

    /// An image, and those of its names that `text` means: one, or none when it is found by its digest.
    fn named(&self, text: &str) -> Result<(observed::Image, Vec<ImageRef>), EngineError> {
        if let Ok(reference) = text.parse::<ImageRef>()
            && let Some(image) = self.0.images.find(&reference)?
        {
            let known = image.references.contains(&reference);
            return Ok((image, if known { vec![reference] } else { Vec::new() }));
        }
        Ok((self.resolve_image(text)?, Vec::new()))
    }

    /// The image that a name, a digest or the beginning of one means.
    pub fn resolve_image(&self, text: &str) -> Result<observed::Image, EngineError> {
        self.0.images.resolve(text)?.ok_or_else(|| EngineError::NoSuchImage { reference: text.to_owned() })
    }

    /// All that is known of an image.
    pub fn image_details(&self, text: &str) -> Result<ImageDetails, EngineError> {
        Ok(self.0.images.details(self.resolve_image(text)?.digest)?)
    }

    /// The labels of all images that have any.
    pub fn image_labels(&self) -> Result<BTreeMap<Digest, BTreeMap<String, String>>, EngineError> {
        Ok(self.0.images.labels()?)
    }

    pub fn history(&self, text: &str) -> Result<Vec<HistoryStep>, EngineError> {
        Ok(self.0.images.history(self.resolve_image(text)?.digest)?)
    }

    /// Gives an image one more name.
    pub fn tag_image(&self, text: &str, reference: &ImageRef) -> Result<(), EngineError> {
        let (image, names) = self.named(text)?;
        match names.first() {
            Some(name) if name != reference => Ok(self.0.images.tag_like(name, image.digest, reference)?),
            _ => Ok(self.0.images.tag(image.digest, reference)?),
        }
    }

    /// Makes an image of what a container has changed.
    pub async fn commit(&self, id: &ContainerId, commit: Commit, progress: ProgressSink) -> Result<Digest, EngineError> {
        let record = self.0.containers.get(id)?;
        let images = self.0.images.clone();
        let base = record.image_digest;
        let content = images.raw_config(base)?;
        let config: Value =
            serde_json::from_slice(&content).map_err(|source| EngineError::ImageConfig { digest: base, source })?;
        let mut run = config.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        if commit.take_config {
            take(&mut run, &record.spec);
        }
        apply_changes(&mut run, &commit.changes).map_err(ImagesError::from)?;
        let source = CommitSource {
            base,
            upper: self.0.instance.container_dir(id).join("upper"),
            mount_points: mount_points(&record.spec),
        };
        let held = self.0.containers.hold(id).await?;
        let containers = self.0.containers.clone();
        let work = move || {
            let frozen = if commit.pause { containers.freeze(&held)? } else { None };
            let difference = images.difference(&source, &progress);
            // It goes on as soon as all is read.
            drop(frozen);
            drop(held);
            let created_by = command_of(&run);
            let config = CommitConfig { run, author: commit.author, message: commit.message, created_by };
            Ok::<_, EngineError>(images.commit(base, &difference?, config, commit.reference.as_ref())?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Interrupted)?
    }

    /// A tar of what a container sees of its image and of what it has written. Its volumes are not in it.
    pub fn export(&self, id: &ContainerId) -> Result<Outgoing, EngineError> {
        let record = self.0.containers.get(id)?;
        let folder = self.0.instance.container_dir(id);
        let mut layers = vec![folder.join("upper")];
        layers.extend(self.0.images.rootfs(record.image_digest)?.layers);
        let mount_point = folder.join(".export");
        Ok(Outgoing::new(move |mut output| {
            files::create_dirs(&mount_point, 0o700)?;
            // A thread of its own, because a mount namespace lives as long as its thread.
            std::thread::scope(|scope| {
                let work = || {
                    let root = view::merged(&layers, &mount_point).map_err(|e| FileError::new("mount at", &mount_point, e))?;
                    let path = seen_through(&root);
                    Ok::<_, EngineError>(Images::export(&path, &mut output)?)
                };
                let thread = std::thread::Builder::new().name("export".to_owned()).spawn_scoped(scope, work);
                let thread = thread.map_err(|e| FileError::new("start a thread for", &mount_point, e))?;
                thread.join().map_err(|_| EngineError::Interrupted)?
            })
        }))
    }
}

/// The dot makes it the folder rather than the link that /proc shows.
fn seen_through(folder: &impl std::os::fd::AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/.", folder.as_raw_fd()))
}

/// What a container was told to run, over what its image says.
fn take(run: &mut Map<String, Value>, spec: &ContainerSpec) {
    let mut put = |key: &str, value: Option<Value>| run.extend(value.map(|value| (key.to_owned(), value)));
    if spec.entrypoint.is_some() && spec.command.is_none() {
        put("Cmd", Some(Value::Null));
    }
    put("Entrypoint", spec.entrypoint.clone().map(Value::from));
    put("Cmd", spec.command.clone().map(Value::from));
    put("WorkingDir", spec.working_dir.clone().map(Value::from));
    put("User", spec.user.clone().map(Value::from));
    put("StopSignal", spec.stop_signal.map(|signal| signal.to_string().into()));
    if !spec.environment.is_empty() {
        let known = run.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
        let name = |line: &Value| line.as_str().and_then(|line| line.split_once('=')).map(|(name, _)| name.to_owned());
        let mut all: Vec<Value> =
            known.into_iter().filter(|line| name(line).is_none_or(|name| !spec.environment.contains_key(&name))).collect();
        all.extend(spec.environment.iter().map(|(name, value)| Value::from(format!("{name}={value}"))));
        run.insert("Env".to_owned(), all.into());
    }
    let mut merge = |key: &str, entries: Vec<(String, Value)>| {
        if !entries.is_empty() {
            let mut all = run.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
            all.extend(entries);
            run.insert(key.to_owned(), all.into());
        }
    };
    merge("Labels", spec.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect());
    let port = |mapping: &PortMapping| {
        let protocol = match mapping.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!("{}/{protocol}", mapping.container_port)
    };
    merge("ExposedPorts", spec.ports.iter().map(|mapping| (port(mapping), json!({}))).collect());
}

/// The command line of a configuration, for a history.
fn command_of(run: &Map<String, Value>) -> String {
    let words = ["Entrypoint", "Cmd"].iter().filter_map(|key| run.get(*key).and_then(Value::as_array)).flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// Where a container has something mounted over its root file system, from its root.
pub(super) fn mount_points(spec: &ContainerSpec) -> BTreeSet<PathBuf> {
    let fixed = ["dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"].map(PathBuf::from);
    let own = spec.mounts.iter().map(|mount| match mount {
        Mount::Volume { target, .. }
        | Mount::Anonymous { target, .. }
        | Mount::Bind { target, .. }
        | Mount::Tmpfs { target, .. }
        | Mount::Config { target, .. } => Path::new(target).strip_prefix("/").unwrap_or(Path::new(target)).to_owned(),
    });
    fixed.into_iter().chain(own).collect()
}

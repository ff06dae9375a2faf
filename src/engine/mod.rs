//! The engine: what makes containers, images, networks and volumes real on this host. Here is the façade, and in the
//! files beside it every rule that crosses two parts: what a start needs, what a look gathers, what an end releases.

pub mod build;
pub mod containers;
pub mod images;
pub mod monitor;
pub mod networks;
pub mod roles;
pub mod rootless;
pub mod runtime;
pub mod state;
pub mod volumes;

mod about;
mod adopt;
mod alter;
mod builds;
mod care;
mod change;
mod closely;
mod copy;
mod details;
mod diff;
mod error;
mod hooks;
mod look;
mod mounts;
mod outgoing;
mod processes;
mod recover;
mod settle_role;
mod sharing;
mod start;
mod switch;
mod transfer;
mod vigil;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

pub use about::About;
pub use builds::StepFilter;
pub use care::{ContainerUsage, DiskUsage, Keep, VolumeUsage};
pub use change::{Change, Unneeded, WantedLabel};
pub use details::{Details, Sizes};
pub use diff::{Difference, DifferenceKind};
pub use error::{EngineError, Kind};
pub use networks::DEFAULT_NETWORK;
pub use outgoing::Outgoing;
pub use processes::Processes;
pub use transfer::Commit;

use crate::engine::containers::{Containers, ContainersError, ExecSpec};
use crate::engine::images::{Found, Given, Images, ImportConfig, ImportSource, PullOptions, PushOptions, Resolution};
use crate::engine::monitor::logs::{LogQuery, LogReader};
use crate::engine::monitor::{Attached, Attachment};
use crate::engine::networks::Networks;
use crate::engine::state::Db;
use crate::engine::vigil::Vigil;
use crate::engine::volumes::Volumes;
use crate::files;
use crate::model::spec::{ContainerSpec, NetworkMode, NetworkSpec, VolumeSpec};
use crate::model::{ContainerId, Digest, ImageRef, Instance, Name, Owner, Platform, ProgressSink, Signal, Span};
use crate::observed;

/// One instance's engine. Cheap to clone; any number of processes may have one open on the same roots.
#[derive(Clone)]
pub struct Engine(Arc<Parts>);

struct Parts {
    instance: Instance,
    db: Arc<Db>,
    images: Images,
    networks: Networks,
    volumes: Volumes,
    containers: Containers,
    /// See [`Engine::keep_watch`].
    vigil: OnceLock<Vigil>,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct NewContainer {
    /// `None` lets the engine choose one.
    pub name: Option<Name>,
    pub owner: Option<Owner>,
    pub spec: ContainerSpec,
    /// Removed as soon as it has finally exited.
    pub auto_remove: bool,
}

impl Engine {
    /// Opens the roots and creates them where they are missing. Starts nothing and repairs nothing.
    pub async fn open(instance: Instance) -> Result<Self, EngineError> {
        files::create_dirs(instance.state_dir(), 0o700)?;
        files::create_dirs(&instance.state_dir().join("locks"), 0o700)?;
        files::create_dirs(instance.run_dir(), 0o700)?;
        let db = Arc::new(Db::open(instance.state_dir())?);
        Ok(Self(Arc::new(Parts {
            images: Images::open(&instance, Arc::clone(&db))?,
            networks: Networks::open(&instance, Arc::clone(&db))?,
            volumes: Volumes::open(&instance, Arc::clone(&db))?,
            containers: Containers::new(instance.clone(), Arc::clone(&db)),
            vigil: OnceLock::new(),
            db,
            instance,
        })))
    }

    pub fn instance(&self) -> &Instance {
        &self.0.instance
    }

    /// The database, for the tables of the floors above.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    pub fn networks(&self) -> &Networks {
        &self.0.networks
    }

    pub fn volumes(&self) -> &Volumes {
        &self.0.volumes
    }

    pub fn containers(&self) -> &Containers {
        &self.0.containers
    }

    /// From now on, what a look at containers has found is not read again until the kernel tells of a change. For a
    /// program that stays. To be called in an asynchronous context.
    pub fn keep_watch(&self) -> Result<(), EngineError> {
        let vigil = Vigil::new(&self.0.instance, &self.0.networks)?;
        // Who kept watch before goes on.
        drop(self.0.vigil.set(vigil));
        Ok(())
    }

    /// Returns when there is a reason to look at containers again, with the reason: one has changed or ended, or something that was
    /// as it was made may not be so any more. Never, where no watch is kept.
    pub async fn news(&self) -> Result<&'static str, EngineError> {
        match self.0.vigil.get() {
            Some(vigil) => vigil.news().await,
            None => std::future::pending().await,
        }
    }

    // Containers.

    /// The container that a user means: by name, id, unique prefix of an id, or unique name of a stack's resource.
    pub fn find(&self, text: &str) -> Result<ContainerId, EngineError> {
        Ok(self.0.containers.find(text)?)
    }

    /// Records a container of an image that is on this host, and makes its folders. A container that belongs to no
    /// stack and names no network joins the default one, which is created when it is not there.
    pub async fn create(&self, new: NewContainer) -> Result<ContainerId, EngineError> {
        let NewContainer { name, owner, mut spec, auto_remove } = new;
        let image = self.image(&spec.image)?.digest;
        spec.limits.check().map_err(|(which, why)| EngineError::Limit { which, why })?;
        if let Some(what) = spec.users_exclude() {
            return Err(EngineError::UsersExclude { userns: spec.userns, what });
        }
        if owner.is_none() {
            mounts::fix(&self.0, &mut spec)?;
        }
        if owner.is_none() && spec.network_mode == NetworkMode::Bridge && spec.networks.is_empty() {
            let default: Name = DEFAULT_NETWORK.parse().map_err(|_| EngineError::Interrupted)?;
            self.0.networks.create(&default, None, &NetworkSpec::default()).await?;
            spec.networks.insert(default, crate::model::spec::Attachment::default());
        }
        self.create_of(image, NewContainer { name, owner, spec, auto_remove }).await
    }

    /// The same of an image that was looked up before.
    async fn create_of(&self, image: Digest, new: NewContainer) -> Result<ContainerId, EngineError> {
        let NewContainer { name, owner, spec, auto_remove } = new;
        let reference = spec.image.to_string();
        let invented = name.is_none();
        let mut new = match name {
            Some(name) => containers::NewContainer { name, owner, spec, image_digest: image, auto_remove },
            None => containers::NewContainer { name: start::invented_name()?, owner, spec, image_digest: image, auto_remove },
        };
        let id = loop {
            match self.0.containers.create(new.clone()).await {
                // With a thousand containers one in sixteen thousand inventions is a name that there is.
                Err(ContainersError::NameTaken { .. }) if invented => new.name = start::invented_name()?,
                other => break other?,
            }
        };
        // From now on no prune takes the image away; one that came before may have.
        if self.0.images.has(&image)? {
            return Ok(id);
        }
        self.remove(&id, true).await?;
        Err(EngineError::NoSuchImage { reference })
    }

    /// Starts a container, and runs what is to be run in it then; one that runs already is left alone.
    pub async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
        match start::start(&self.0, id, false).await? {
            Some(hooks) => hooks.run(&self.0).await,
            None => Ok(()),
        }
    }

    /// Starts a container and has all of its output, from the first byte on. With `reap` the caller removes the container
    /// if it is one that is removed at its end: nobody else does, as long as the caller holds what this returns.
    pub async fn start_attached(&self, id: &ContainerId, reap: bool, stdin: bool) -> Result<Attached, EngineError> {
        let started = start::start(&self.0, id, true).await?;
        let attached = self.0.containers.attach(id, Attachment { reap, lossless: true, stdin }).await?;
        if let Some(hooks) = started {
            hooks.run(&self.0).await?;
        }
        Ok(attached)
    }

    /// The output of a running container from now on. It does not wait for who reads too slowly.
    pub async fn attach(&self, id: &ContainerId, stdin: bool) -> Result<Attached, EngineError> {
        self.0.containers.refuse_paused(id)?;
        Ok(self.0.containers.attach(id, Attachment { reap: false, lossless: false, stdin }).await?)
    }

    /// Lets every process of a container stand still, or go on.
    pub async fn pause(&self, id: &ContainerId, pause: bool) -> Result<(), EngineError> {
        Ok(self.0.containers.pause(id, pause).await?)
    }

    /// Stops a container by its stop signal, and by SIGKILL after `grace` (the container's own when `None`). What is to be run
    /// in it before is run within that time; where that fails, the container goes on running, and this is an error.
    pub async fn stop(&self, id: &ContainerId, grace: Option<Span>) -> Result<(), EngineError> {
        self.stop_by(id, grace, None).await
    }

    /// The same by another signal than its own.
    pub async fn stop_by(&self, id: &ContainerId, grace: Option<Span>, signal: Option<Signal>) -> Result<(), EngineError> {
        self.stop_with(id, grace, signal, false).await.map(drop)
    }

    /// Stops a container whatever what is to be run in it before comes to: what went wrong with that is returned.
    pub async fn stop_anyway(&self, id: &ContainerId) -> Result<Vec<String>, EngineError> {
        self.stop_with(id, None, None, true).await
    }

    async fn stop_with(
        &self,
        id: &ContainerId,
        grace: Option<Span>,
        signal: Option<Signal>,
        insists: bool,
    ) -> Result<Vec<String>, EngineError> {
        let hooks::Left { grace, told } = hooks::pre_stop(&self.0, id, grace, insists).await?;
        loop {
            // Not under the lock: a stop may take as long as its grace, and a kill in the meantime must not wait.
            self.0.containers.stop_by(id, grace, signal).await?;
            let held = self.0.containers.hold(id).await?;
            // A start that another process had under way may have come through.
            if !self.0.containers.runs(&held).await? {
                self.0.networks.detach(id).await?;
                return Ok(told);
            }
        }
    }

    pub async fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), EngineError> {
        Ok(self.0.containers.signal(id, signal).await?)
    }

    /// Removes a container, its writable layer and its logs. A running one only when `force`. The volumes that it has
    /// without a name for them stay, unless it is one that is removed at its end.
    pub async fn remove(&self, id: &ContainerId, force: bool) -> Result<(), EngineError> {
        let volumes = self.0.containers.get(id).is_ok_and(|record| record.auto_remove);
        self.remove_with(id, force, volumes).await
    }

    /// As [`remove`](Self::remove); with `volumes`, those too that the container has without a name for them, **and their
    /// data**, as far as no other container mounts them.
    pub async fn remove_with(&self, id: &ContainerId, force: bool, volumes: bool) -> Result<(), EngineError> {
        let held = self.0.containers.hold(id).await?;
        let own = match self.0.containers.get(id) {
            Ok(record) if volumes => mounts::own_volumes(&self.0, &record)?,
            _ => Vec::new(),
        };
        if self.0.containers.runs(&held).await? {
            if !force {
                return Err(EngineError::Running { name: self.0.containers.get(id)?.name });
            }
            self.0.containers.stop(id, Some(Span::default())).await?;
        }
        self.0.networks.detach(id).await?;
        self.0.containers.remove_held(held).await?;
        mounts::remove_unused(&self.0, own)
    }

    /// Where a container is in its life now. Reads one small file.
    pub fn state(&self, id: &ContainerId) -> Result<observed::ContainerState, EngineError> {
        Ok(self.0.containers.state(id)?)
    }

    /// Waits until a container has finally exited, and gives its exit code. With `reap` the caller also sees to the
    /// removal of a container that was to be removed at its end: it is gone when this returns.
    pub async fn wait(&self, id: &ContainerId, reap: bool) -> Result<i32, EngineError> {
        let ended = self.0.containers.wait(id, reap).await;
        // One that was lost has ended too, though nobody knows how.
        if reap && matches!(ended, Ok(_) | Err(ContainersError::Lost { .. })) {
            self.remove_ended(id).await?;
        }
        Ok(ended?)
    }

    /// Removes a container that has exited and is one that is removed then; somebody else may have been faster.
    pub async fn remove_ended(&self, id: &ContainerId) -> Result<(), EngineError> {
        let removed = match self.0.containers.get(id) {
            Ok(record) if !record.auto_remove => return Ok(()),
            Ok(_) => self.remove(id, true).await,
            Err(error) => Err(error.into()),
        };
        match removed {
            Err(error) if error.status() == Kind::NotFound => Ok(()),
            result => result,
        }
    }

    pub fn logs(&self, id: &ContainerId, query: LogQuery) -> Result<LogReader, EngineError> {
        Ok(self.0.containers.logs(id, query)?)
    }

    /// Runs a command in a running container. The child's standard streams are piped, and it exits as the command does.
    pub async fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Result<tokio::process::Child, EngineError> {
        Ok(self.0.containers.exec(id, spec).await?)
    }

    /// Runs a command in a running container that nobody waits for. Returns when it is executed.
    pub async fn exec_detached(&self, id: &ContainerId, spec: ExecSpec) -> Result<(), EngineError> {
        Ok(self.0.containers.exec_detached(id, spec).await?)
    }

    /// Forgets the contents of configs that neither a container nor `keep` needs, and gives how many.
    pub fn collect_configs(
        &self,
        keep: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<BTreeSet<Digest>>,
    ) -> Result<usize, EngineError> {
        Ok(self.0.containers.collect_configs(keep)?)
    }

    /// Stores the content of a config, for containers that mount it by its digest.
    pub fn put_config(&self, content: &[u8]) -> Result<Digest, EngineError> {
        Ok(self.0.containers.put_config(content)?)
    }

    // Images.

    /// The image that a reference names on this host, or whose id stands there for one.
    pub fn image(&self, reference: &ImageRef) -> Result<observed::Image, EngineError> {
        let found = match reference.id() {
            Some(id) => self.0.images.get(&id)?,
            None => self.0.images.find(reference)?,
        };
        found.ok_or_else(|| EngineError::NoSuchImage { reference: reference.to_string() })
    }

    /// That the image which a reference names is for a platform.
    ///
    /// # Errors
    /// When it is for another one, or not here.
    pub fn require_platform(&self, reference: &ImageRef, wanted: &Platform) -> Result<(), EngineError> {
        let config = self.0.images.rootfs(self.image(reference)?.digest)?.config;
        let found = Platform {
            os: config.os().to_string(),
            architecture: config.architecture().to_string(),
            variant: config.variant().clone(),
        };
        let same = found.os == wanted.os
            && found.architecture == wanted.architecture
            && (wanted.variant.is_none() || found.variant.is_none() || found.variant == wanted.variant);
        if same {
            return Ok(());
        }
        let (found, wanted) = (Box::new(found), Box::new(wanted.clone()));
        Err(EngineError::OtherPlatform { reference: reference.to_string(), found, wanted })
    }

    /// Whether an image is here with all that the disk is to have of it.
    pub fn has_whole_image(&self, digest: &Digest) -> Result<bool, EngineError> {
        Ok(self.0.images.is_whole(digest)?)
    }

    pub fn images(&self) -> Result<Vec<observed::Image>, EngineError> {
        Ok(self.0.images.list()?)
    }

    pub async fn pull(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        progress: ProgressSink,
    ) -> Result<Digest, EngineError> {
        Ok(self.0.images.pull(reference, platform, progress).await?)
    }

    /// As [`pull`](Self::pull), with all that can be chosen.
    pub async fn pull_with(
        &self,
        reference: &ImageRef,
        options: &PullOptions,
        progress: ProgressSink,
    ) -> Result<Digest, EngineError> {
        Ok(self.0.images.pull_with(reference, options, progress).await?)
    }

    /// Pushes an image of this host, and all else that its name means, to where `reference` says.
    pub async fn push_image(
        &self,
        digest: Digest,
        name: &ImageRef,
        reference: &ImageRef,
        credentials: Option<Given>,
        progress: ProgressSink,
    ) -> Result<(), EngineError> {
        let members = self.0.images.members(name)?;
        let options = PushOptions { credentials, members, ..PushOptions::default() };
        self.0.images.push(digest, reference, &options, progress).await?;
        Ok(())
    }

    /// What a reference means at its registry now, and what a pull with these options would bring. Pulls nothing.
    pub async fn resolve(&self, reference: &ImageRef, options: &PullOptions) -> Result<Resolution, EngineError> {
        Ok(self.0.images.look_up(reference, options).await?)
    }

    /// The image's digest; pulls it when it is not on this host.
    pub async fn ensure_image(
        &self,
        reference: &ImageRef,
        options: &PullOptions,
        progress: ProgressSink,
    ) -> Result<Digest, EngineError> {
        match self.0.images.find(reference)? {
            Some(image) => Ok(image.digest),
            None => self.pull_with(reference, options, progress).await,
        }
    }

    /// Pushes the image that has this reference. With others it becomes an index of all.
    pub async fn push(
        &self,
        reference: &ImageRef,
        with: &[String],
        credentials: Option<Given>,
        progress: ProgressSink,
    ) -> Result<Digest, EngineError> {
        let image = self.image(reference)?;
        let with = with.iter().map(|text| Ok(self.resolve_image(text)?.digest)).collect::<Result<_, EngineError>>()?;
        let members = self.0.images.members(reference)?;
        let options = PushOptions { with, members, credentials, ..PushOptions::default() };
        Ok(self.0.images.push(image.digest, reference, &options, progress).await?.digest)
    }

    /// Repositories that match, at Docker's registry or another one.
    pub async fn search(&self, term: &str, limit: usize, credentials: Option<&Given>) -> Result<Vec<Found>, EngineError> {
        Ok(self.0.images.search(term, limit, credentials).await?)
    }

    /// All tags of the reference's repository.
    pub async fn tags(&self, reference: &ImageRef, credentials: Option<&Given>) -> Result<Vec<String>, EngineError> {
        Ok(self.0.images.tags(reference, credentials).await?)
    }

    /// Makes an image from a root file system. `fingerprint` is recorded as what it was made from.
    pub async fn import(
        &self,
        source: ImportSource,
        reference: impl Into<Option<&ImageRef>>,
        config: ImportConfig,
        fingerprint: Option<Digest>,
        progress: ProgressSink,
    ) -> Result<Digest, EngineError> {
        Ok(self.0.images.import(source, reference.into(), config, fingerprint, progress).await?)
    }

    /// Removes a reference, or an image by its digest, and what no image needs any more. Unless `force`, what `keep` says stays
    /// without a name. Returns what was removed, as people read it.
    pub async fn remove_image(&self, text: &str, force: bool, keep: impl Keep) -> Result<Vec<String>, EngineError> {
        let (engine, text) = (self.clone(), text.to_owned());
        // Thousands of files may go, and nobody else is to wait for them.
        let removed = tokio::task::spawn_blocking(move || engine.remove_image_now(&text, force, keep)).await;
        removed.map_err(|_| EngineError::Interrupted)?
    }

    fn remove_image_now(&self, text: &str, force: bool, keep: impl Keep) -> Result<Vec<String>, EngineError> {
        let by_reference = match text.parse::<ImageRef>() {
            Ok(reference) => self.0.images.find(&reference)?.map(|image| (image, reference)),
            Err(_) => None,
        };
        let (image, references) = match by_reference {
            Some((image, reference)) => (image, BTreeSet::from([reference])),
            None => {
                let image =
                    self.0.images.find_by_id(text)?.ok_or_else(|| EngineError::NoSuchImage { reference: text.to_owned() })?;
                let references = image.references.clone();
                (image, references)
            }
        };
        let last = image.references.iter().all(|r| references.contains(r));
        let user = self.0.containers.list()?.into_iter().find(|c| c.image_digest == image.digest);
        if let (true, false, Some(user)) = (last, force, &user) {
            return Err(EngineError::ImageInUse { reference: text.to_owned(), by: user.name.clone() });
        }
        let kept = last && !force && self.0.db.read(&keep)?.contains(&image.digest);
        if kept && references.is_empty() {
            return Err(EngineError::ImageKept { digest: image.digest });
        }
        let mut removed = Vec::new();
        let mut members = Vec::new();
        for reference in &references {
            members.extend(self.0.images.members(reference)?.into_iter().map(|member| member.digest));
            self.0.images.untag(reference)?;
            removed.push(format!("Untagged: {reference}"));
        }
        if kept {
            removed.push(format!("Kept: {}, which a stack can go back to", image.digest));
        } else if last && user.is_none() {
            // A container may be made of it since it was looked at.
            let freed = self.0.images.remove_unless(image.digest, containers::images_in_use)?;
            removed.extend((freed.images > 0).then(|| format!("Deleted: {}", image.digest)));
        }
        members.retain(|member| *member != image.digest);
        self.0.images.collect_among(&members, |t| care::live_images(t, &keep))?;
        Ok(removed)
    }

    // Networks and volumes.

    pub async fn create_network(
        &self,
        name: &Name,
        owner: Option<&Owner>,
        spec: &NetworkSpec,
    ) -> Result<observed::Network, EngineError> {
        Ok(self.0.networks.create(name, owner, spec).await?)
    }

    /// Removes a network that no container is attached to.
    pub async fn remove_network(&self, name: &Name) -> Result<(), EngineError> {
        Ok(self.0.networks.remove(name).await?)
    }

    pub fn create_volume(&self, name: &Name, owner: Option<&Owner>, spec: &VolumeSpec) -> Result<observed::Volume, EngineError> {
        Ok(self.0.volumes.create(name, owner, spec)?)
    }

    /// Removes a volume **and its data**; refused while a container mounts it.
    pub fn remove_volume(&self, name: &Name) -> Result<(), EngineError> {
        if let Some(by) = mounts::user_of(&self.0, name)? {
            return Err(EngineError::VolumeInUse { name: name.clone(), by });
        }
        Ok(self.0.volumes.remove(name)?)
    }
}

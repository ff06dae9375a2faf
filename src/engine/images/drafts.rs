//! What a build makes of images: layers that are the upper folders of overlays, the steps that they came of, and an image on top.
//! Knows nothing of Dockerfiles.
//!
//! Layers of a build that is under way are in the store's work folder, and have no row. All of a build becomes visible
//! in one publication, after one sync.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::cache::{Fetched, Pending};
use super::layer::{self, Fresh, TreeError};
use super::members::{self, Attestation, Member};
use super::publish::Package;
use super::rows::{self, Record};
use super::store::{Scratch, Staged};
use super::{Freed, Images, ImagesError, manifests, steps};
use crate::files::{self, FileError};
use crate::model::build::CachePlace;
use crate::model::{Digest, ImageRef};

/// A folder that is to become a layer: an overlay writes its changes there.
#[derive(Debug)]
pub struct Draft(Scratch);

impl Draft {
    /// Empty at first, with the mode of a root.
    pub fn upper(&self) -> PathBuf {
        self.0.root()
    }

    /// The upper folder, open.
    pub fn opened(&self) -> Result<fs::File, FileError> {
        let root = self.upper();
        fs::File::open(&root).map_err(|e| FileError::new("open", &root, e))
    }

    /// Begins to send to the disk what is written here from now on.
    pub fn syncing(&self) -> Result<Syncing, FileError> {
        let (root, folder, is_done) = (self.upper(), self.opened()?, Arc::new(AtomicBool::new(false)));
        let seen = is_done.clone();
        let work = move || {
            loop {
                std::thread::park_timeout(Syncing::PATIENCE);
                if seen.load(Ordering::Relaxed) {
                    return Ok(());
                }
                rustix::fs::syncfs(&folder)?;
            }
        };
        let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(work);
        let thread = thread.map_err(|e| FileError::new("start a thread for", &root, e))?;
        Ok(Syncing { root, is_done, thread: Some(thread) })
    }

    /// For the overlay's own use, on the same file system.
    pub fn work(&self) -> PathBuf {
        self.0.path().join("work")
    }

    /// For whatever else is needed meanwhile. All of it goes with the draft.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// Sends what is written meanwhile to the disk, so that whoever waits for that later has less to wait for. Work that is done within
/// [`Self::PATIENCE`] is left alone.
#[derive(Debug)]
pub struct Syncing {
    root: PathBuf,
    is_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Errno>>>,
}

impl Syncing {
    const PATIENCE: Duration = Duration::from_millis(200);

    /// Ends it. What could not be written by now is an error, which would not be told to whoever syncs later.
    pub fn end(mut self) -> Result<(), FileError> {
        let ended = self.stop().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.map_err(|e| FileError::new("sync", &self.root, e))
    }

    fn stop(&mut self) -> Option<JoinHandle<Result<(), Errno>>> {
        self.is_done.store(true, Ordering::Relaxed);
        self.thread.take().inspect(|thread| thread.thread().unpark())
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        // Where the work has failed nobody waits for it.
        self.stop();
    }
}

/// A layer of a build, published or not, or in a cache elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DraftLayer {
    pub diff_id: Digest,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    place: LayerPlace,
}

#[derive(Clone, Debug)]
enum LayerPlace {
    /// It has a row, and its folder is here.
    Stored(PathBuf),
    Made(Arc<Staged>),
    Cached(Arc<Pending>),
}

/// What a stage can begin with.
#[derive(Clone, Debug)]
pub struct Base {
    pub image: Digest,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
    /// Folders for overlayfs, the top one first; with completions, so not one for each layer.
    pub folders: Vec<PathBuf>,
    /// The image's configuration as it was published.
    pub config: Vec<u8>,
}

/// A step of a build whose result is to be found again.
#[derive(Clone, Debug)]
pub struct Step {
    pub key: Digest,
    pub about: String,
    pub layer: DraftLayer,
    /// It was found here, and neither done nor taken from a cache elsewhere.
    pub known: bool,
}

/// An image that is to be made.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Its configuration, with the diff ids of `layers`.
    pub config: Vec<u8>,
    /// Lowest first.
    pub layers: Vec<Digest>,
    pub created: OffsetDateTime,
    pub references: Vec<ImageRef>,
    /// What these mean besides. `None` in the place of a digest is this image.
    pub members: Vec<(Option<Digest>, Vec<Attestation>)>,
    /// Of its manifest.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// In Docker's words instead of OCI's.
    pub docker_types: bool,
}

/// What is kept of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUsage {
    pub key: Digest,
    pub diff_id: Digest,
    /// The instruction.
    pub about: String,
    /// In seconds since 1970, as `used`.
    pub created: i64,
    pub used: i64,
    pub uses: u64,
    /// Bytes of its layer, unpacked.
    pub size: u64,
    /// An image has the layer too, so that forgetting the step frees nothing.
    pub shared: bool,
}

impl Images {
    /// An empty folder for a layer on top of others, of which `top` is the topmost: its root is as theirs.
    pub fn draft(&self, top: Option<&Path>) -> Result<Draft, ImagesError> {
        let draft = Draft(self.inner.store.scratch()?);
        files::create_dirs(&draft.work(), 0o700)?;
        if let Some(top) = top {
            let fail = |action| move |e| FileError::new(action, top, e);
            let (root, wanted) = (draft.upper(), fs::metadata(top).map_err(fail("read"))?);
            chown(&root, Some(wanted.uid()), Some(wanted.gid())).map_err(fail("take the owner of"))?;
            fs::set_permissions(&root, fs::Permissions::from_mode(wanted.mode() & 0o7777)).map_err(fail("take the mode of"))?;
        }
        Ok(draft)
    }

    /// Makes a layer of what is in a draft's upper folder, which no overlay may have any more. What is `fresh` is not read. Blocks
    /// the thread.
    pub fn seal(&self, draft: Draft, epoch: Option<i64>, fresh: &Fresh) -> Result<DraftLayer, ImagesError> {
        let Draft(scratch) = draft;
        let root = scratch.root();
        let sealed = layer::seal(&root, scratch.recorder()?, epoch, fresh).map_err(|source| match source {
            TreeError::File(error) => error.into(),
            source => ImagesError::Import { path: root.clone(), source },
        })?;
        files::remove_all(&scratch.path().join("work"))?;
        let created = epoch.unwrap_or_else(|| OffsetDateTime::now_utc().unix_timestamp());
        let staged = Arc::new(scratch.into_staged(sealed, None));
        Ok(DraftLayer { diff_id: sealed.diff_id, created, place: LayerPlace::Made(staged) })
    }

    /// What a stage that begins with this image begins with.
    pub fn base(&self, image: Digest) -> Result<Base, ImagesError> {
        let (config, diff_ids) = self.content_of(&image)?;
        let folders = self.folders(&image, &diff_ids)?;
        Ok(Base { image, diff_ids, folders, config: self.inner.store.blob(&config)? })
    }

    /// What a step came to when it was done before, if that is still here.
    pub fn known_step(&self, key: &Digest) -> Result<Option<DraftLayer>, ImagesError> {
        let found = self.inner.db.read(|t| steps::find(t, key))?;
        Ok(found.and_then(|(diff_id, created)| {
            let folder = self.inner.store.layer_path(&diff_id);
            folder.is_dir().then_some(DraftLayer { diff_id, created, place: LayerPlace::Stored(folder) })
        }))
    }

    /// Publishes what a build has made: all layers of its steps, and the image. `None` when something that was here
    /// has been removed meanwhile; then nothing has been recorded. Blocks the thread.
    pub fn publish_build(&self, done: &[Step], image: Option<BuiltImage>) -> Result<Option<Digest>, ImagesError> {
        let staged: Vec<&Staged> = done.iter().filter_map(|step| step.layer.staged()).collect();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        // What is in a cache elsewhere only is not known here.
        let here = |step: &&Step| step.layer.is_here();
        let record = |t: &rusqlite::Transaction<'_>| {
            for step in done.iter().filter(here) {
                match step.known {
                    true => steps::touch(t, &step.key, now)?,
                    false => steps::insert(t, &step.key, &step.layer.diff_id, &step.about, step.layer.created, now)?,
                }
            }
            Ok(())
        };
        let Some(image) = image else {
            let whole = if staged.is_empty() {
                self.inner.db.write(record)?;
                true
            } else {
                self.publish_with(None, &staged, record)?
            };
            // There is no image, so its digest says no more than that it went well.
            return Ok(whole.then(|| Digest::of(b"")));
        };
        let package = self.package(image, &staged)?;
        let digest = package.record.digest;
        if staged.is_empty() && self.is_whole(&package.record.digest)? {
            self.inner.db.write(|t| {
                record(t)?;
                package.references.iter().try_for_each(|reference| {
                    rows::tag(t, reference, &digest)?;
                    members::write(t, reference, &package.members)
                })
            })?;
            return Ok(Some(digest));
        }
        Ok(self.publish_with(Some(&package), &staged, record)?.then_some(digest))
    }

    fn package(&self, image: BuiltImage, staged: &[&Staged]) -> Result<Package, ImagesError> {
        let mut layers = Vec::with_capacity(image.layers.len());
        for diff_id in &image.layers {
            let size = match staged.iter().find(|staged| staged.layer.diff_id == *diff_id) {
                Some(staged) => staged.layer.tar_size,
                None => self.layer_tar(diff_id)?.size(),
            };
            layers.push((*diff_id, size));
        }
        let manifest = manifests::annotated(&image.config, &layers, &image.annotations, image.docker_types);
        let record = Record {
            digest: Digest::of(&manifest),
            config: Digest::of(&image.config),
            created: image.created,
            layers: image.layers,
            imported_from: None,
        };
        let own = record.digest;
        let members = image.members.into_iter();
        let members = members.map(|(digest, attestations)| Member { digest: digest.unwrap_or(own), attestations }).collect();
        Ok(Package {
            record,
            members,
            manifest,
            config: image.config,
            references: image.references,
            blobs: layers.iter().map(|(diff_id, size)| manifests::plain_blob(*diff_id, *size)).collect(),
            place: None,
        })
    }

    /// Removes an image if no name means it. Blocks the thread.
    pub fn collect_one(&self, digest: Digest) -> Result<Freed, ImagesError> {
        self.sweep(|t| Ok(rows::unreferenced(t)?.into_iter().filter(|found| *found == digest).collect()))
    }

    /// What is kept of steps of builds, that which was needed last at the end.
    pub fn steps(&self) -> Result<Vec<StepUsage>, ImagesError> {
        Ok(self.inner.db.read(steps::all)?)
    }

    /// Forgets steps, and removes the layers that nobody needs then. Blocks the thread.
    pub fn forget_steps(&self, keys: &BTreeSet<Digest>) -> Result<Freed, ImagesError> {
        self.sweep(|t| keys.iter().try_for_each(|key| steps::remove(t, key)).map(|()| Vec::new()))
    }
}

impl DraftLayer {
    /// One of a cache, none of whose files is here yet.
    pub(super) fn pending(diff_id: Digest, created: i64, pending: Pending) -> Self {
        Self { diff_id, created, place: LayerPlace::Cached(Arc::new(pending)) }
    }

    /// The folder for overlayfs. `None`: it is still to be brought.
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.place {
            LayerPlace::Stored(folder) => Some(folder.clone()),
            LayerPlace::Made(staged) => Some(staged.root()),
            LayerPlace::Cached(pending) => pending.fetched().map(|fetched| match fetched {
                Fetched::Stored(folder) => folder.clone(),
                Fetched::Made(staged) => staged.root(),
            }),
        }
    }

    pub fn is_here(&self) -> bool {
        match &self.place {
            LayerPlace::Stored(_) | LayerPlace::Made(_) => true,
            LayerPlace::Cached(pending) => pending.fetched().is_some(),
        }
    }

    /// Whether it was found in a cache elsewhere.
    pub const fn is_imported(&self) -> bool {
        matches!(self.place, LayerPlace::Cached(_))
    }

    /// The cache that it was found in, if that is elsewhere.
    pub fn cache(&self) -> Option<CachePlace> {
        self.pending_place().map(|pending| pending.place().clone())
    }

    pub(super) fn pending_place(&self) -> Option<&Pending> {
        match &self.place {
            LayerPlace::Cached(pending) => Some(pending),
            LayerPlace::Stored(_) | LayerPlace::Made(_) => None,
        }
    }

    /// What is still to be published of it.
    fn staged(&self) -> Option<&Staged> {
        match &self.place {
            LayerPlace::Stored(_) => None,
            LayerPlace::Made(staged) => Some(staged),
            LayerPlace::Cached(pending) => match pending.fetched()? {
                Fetched::Stored(_) => None,
                Fetched::Made(staged) => Some(staged),
            },
        }
    }

    /// Bytes of its tar and of its files, where it was made just now.
    pub fn made(&self) -> Option<(u64, u64)> {
        self.staged().map(|staged| (staged.layer.tar_size, staged.layer.size))
    }
}

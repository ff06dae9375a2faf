//! The image store and the registry client: images are pulled or imported, unpacked once per layer, found, listed, and
//! collected. Knows nothing of containers: which images are in use is handed in.
//!
//! Guarantees: what is visible is whole, checked against its digests and on the disk, whatever was killed and when.

mod cache;
mod chain;
mod check;
mod commit;
mod details;
mod documents;
mod drafts;
mod error;
mod history;
mod import;
mod layer;
mod layout;
mod layout_images;
mod load;
mod lookup;
mod manifests;
mod members;
mod packed;
mod partial;
mod presence;
mod progress;
mod prune;
mod publish;
mod pull;
mod push;
mod registry;
mod resolve;
mod rows;
mod save;
mod settings;
mod steps;
mod store;
mod tars;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;

pub use self::cache::{CacheDocumentError, CacheError, INLINE_OWN, INLINE_RECORDS, ImportedCache};
pub use self::check::{CheckReport, Part, Problem, Repair};
pub use self::commit::{CommitConfig, CommitSource, Difference};
pub use self::details::{ImageDetails, RootFsDetails};
pub use self::documents::DocumentError;
pub use self::drafts::{Base, BuiltImage, Draft, DraftLayer, Step, StepUsage};
pub use self::error::ImagesError;
pub use self::history::HistoryStep;
pub use self::import::{ImportConfig, ImportSource};
pub(super) use self::layer::opaque;
pub use self::layer::{ArchiveError, CompleteError, Fresh, FreshFile, SkeletonError, TreeError, UnpackError};
pub use self::layout::LayoutError;
pub use self::layout_images::TakenIn;
pub use self::load::{LoadError, LoadOptions, Loaded};
pub use self::members::{Attestation, Member, package_url};
pub use self::presence::Present;
pub use self::prune::{ImageUsage, ImagesUsage, LabelFilter, Live, PruneFilter, Pruned, PrunedImage};
pub use self::pull::PullOptions;
pub use self::push::{PushOptions, Pushed};
pub use self::registry::{
    Credentials, CredentialsError, Found, Given, Login, Referrer, Registries, RegistryError, SettingsError, Trouble, WebFile,
    WebVersion,
};
pub use self::resolve::Resolution;
pub use self::save::{ArchiveFormat, Saved};
pub use self::settings::StoreSettings;
pub use self::tars::LayerTar;
pub use self::verify::{InvalidKey, PublicKey, VerifyError};
pub use crate::model::change::{InvalidChange, apply_changes};

use self::layer::Limits;
use self::partial::Partials;
use self::publish::Fetching;
use self::registry::Http;
use self::store::Store;
use crate::engine::state::Db;
use crate::model::{Digest, ImageRef, Instance};
use crate::observed;

/// The images of an instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Arc<Db>,
    store: Store,
    http: Http,
    limits: Limits,
    settings: StoreSettings,
    fetching: Fetching,
    partials: Partials,
}

/// What a container of an image is made from.
#[derive(Clone, Debug)]
pub struct RootFs {
    /// Folders for overlayfs, the top one first. Nobody may write in them.
    pub layers: Vec<PathBuf>,
    pub config: ImageConfiguration,
}

/// What a removal or a collection has freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub images: u64,
    pub layers: u64,
    /// Bytes of the layers, unpacked.
    pub bytes: u64,
}

impl Images {
    /// Opens the store, and makes its folders. Cheap: registries are not thought of before the first pull.
    pub fn open(instance: &Instance, db: Arc<Db>) -> Result<Self, ImagesError> {
        Self::open_with(instance, db, StoreSettings::default())
    }

    /// The same with settings.
    pub fn open_with(instance: &Instance, db: Arc<Db>, settings: StoreSettings) -> Result<Self, ImagesError> {
        Self::with(instance, db, Http::from_environment(), Limits::default(), settings)
    }

    fn with(instance: &Instance, db: Arc<Db>, http: Http, limits: Limits, settings: StoreSettings) -> Result<Self, ImagesError> {
        let store = Store::open(instance.state_dir())?;
        let partials = Partials::open(instance.state_dir());
        Ok(Self { inner: Arc::new(Inner { db, store, http, limits, settings, fetching: Fetching::default(), partials }) })
    }

    /// What a layer may cost here.
    fn limits(&self) -> Result<Limits, ImagesError> {
        Ok(self.inner.http.settings()?.limits(&self.inner.limits))
    }

    /// Whether layers' blobs are kept: as this program says, or the file about registries.
    fn keeps_blobs(&self) -> Result<bool, ImagesError> {
        Ok(self.inner.settings.keep_blobs || self.inner.http.settings()?.keep_blobs)
    }

    /// The image that has this reference; one with a digest also finds the image of that digest under another name.
    pub fn find(&self, reference: &ImageRef) -> Result<Option<observed::Image>, ImagesError> {
        Ok(self.inner.db.read(|t| rows::by_reference(t, reference))?)
    }

    /// The image with this digest.
    pub fn get(&self, digest: &Digest) -> Result<Option<observed::Image>, ImagesError> {
        Ok(self.inner.db.read(|t| rows::by_digest(t, digest))?)
    }

    /// Whether an image is here.
    pub fn has(&self, digest: &Digest) -> Result<bool, ImagesError> {
        Ok(self.inner.db.read(|t| rows::by_digest(t, digest))?.is_some())
    }

    /// The image with this digest, `sha256:…` or the start of its hexadecimal digits, if that is the start of one only.
    pub fn find_by_id(&self, text: &str) -> Result<Option<observed::Image>, ImagesError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut found = self.inner.db.read(|t| rows::by_prefix(t, hex))?;
        if found.is_empty() {
            // What docker and podman call an image's id.
            found = self.inner.db.read(|t| rows::by_config(t, hex))?;
        }
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(ImagesError::Ambiguous { text: text.to_owned() }),
        }
    }

    /// What a user means by `text`: a reference first, else the start of a digest.
    pub fn resolve(&self, text: &str) -> Result<Option<observed::Image>, ImagesError> {
        let named = match text.parse::<ImageRef>() {
            Ok(reference) => self.find(&reference)?,
            Err(_) => None,
        };
        named.map_or_else(|| self.find_by_id(text), |image| Ok(Some(image)))
    }

    /// All images, the oldest first.
    pub fn list(&self) -> Result<Vec<observed::Image>, ImagesError> {
        Ok(self.inner.db.read(rows::all)?)
    }

    /// What a container of this image is made from.
    pub fn rootfs(&self, digest: Digest) -> Result<RootFs, ImagesError> {
        let content = self.inner.db.read(|t| rows::content(t, &digest))?;
        let (config, diff_ids) = content.ok_or(ImagesError::Missing(digest))?;
        let content = self.inner.store.blob(&config)?;
        let (config, _) =
            documents::configuration(&content, diff_ids.len()).map_err(|_| ImagesError::Damaged { digest: config })?;
        Ok(RootFs { layers: self.folders(&digest, &diff_ids)?, config })
    }

    /// The image's configuration as it was published, with what no standard names.
    pub fn raw_config(&self, digest: Digest) -> Result<Vec<u8>, ImagesError> {
        let content = self.inner.db.read(|t| rows::content(t, &digest))?;
        let (config, _) = content.ok_or(ImagesError::Missing(digest))?;
        self.inner.store.blob(&config)
    }

    /// Takes a reference from its image; false when there was none. The image stays until it is collected.
    pub fn untag(&self, reference: &ImageRef) -> Result<bool, ImagesError> {
        Ok(self.inner.db.write(|t| rows::untag(t, reference))?)
    }
}

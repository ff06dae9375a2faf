//! What all stages of a build have in common: the parts of the engine that they use, what was asked for, and what has been done.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::attest::Material;
use super::caches::Caches;
use super::error::BuildError;
use super::events::Events;
use super::files::{FileDigests, Tree};
use super::layers::Layers;
use super::stages::{Source, Stages};
use crate::engine::containers::Containers;
use crate::engine::images::{Base, Draft, DraftLayer, Given, Images, Step};
use crate::engine::networks::Networks;
use crate::model::build::BuildRequest;
use crate::model::{Digest, Platform};

/// A named context.
pub(super) enum Context {
    Files(Tree),
    /// An image, by its place among the bases.
    Image(BaseKey),
}

/// An image by its reference and its platform.
pub(super) type BaseKey = (String, String);

/// An image that is in the store for a build only. It goes when this is dropped, unless somebody has named it meanwhile; what was
/// built on it keeps the layers.
pub(super) struct Passing {
    pub(super) images: Images,
    pub(super) digest: Digest,
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = self.images.collect_one(self.digest) {
            tracing::warn!(%error, "an image without a name is left");
        }
    }
}

pub(super) struct Work {
    pub(super) images: Images,
    pub(super) networks: Networks,
    pub(super) containers: Containers,
    pub(super) state_dir: PathBuf,
    pub(super) request: Arc<BuildRequest>,
    /// What is built here, and whether the same is built for others too.
    pub(super) platform: Platform,
    pub(super) is_one_of_several: bool,
    pub(super) stages: Stages,
    pub(super) bases: BTreeMap<BaseKey, Base>,
    pub(super) main: Tree,
    pub(super) contexts: BTreeMap<String, Context>,
    pub(super) events: Events,
    /// What files of the host are known to have.
    pub(super) known: Arc<FileDigests>,
    /// Caches elsewhere.
    pub(super) caches: Caches,
    /// Credentials of whoever asked for the build.
    pub(super) given: Vec<Given>,
    /// Its upper folder is the empty folder that a stage without layers has below it.
    pub(super) floor: Arc<Draft>,
    /// Contexts that were fetched live in these folders.
    pub(super) _fetched: Arc<Vec<Draft>>,
    /// Images that go with the build.
    pub(super) _passing: Vec<Passing>,
    /// What was fetched, of all platforms.
    pub(super) materials: Arc<Mutex<BTreeSet<Material>>>,
    /// Of all platforms: what they have in common is done once.
    pub(super) done: Arc<Mutex<Vec<Step>>>,
    /// Sandboxes that are being closed.
    pub(super) closing: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

/// Where a step takes files from.
pub(super) enum Origin {
    Tree(Tree),
    /// A stage's or an image's.
    Layers(Layers),
}

impl Origin {
    /// The same once more.
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Tree(tree) => Self::Tree(tree.clone()),
            Self::Layers(layers) => Self::Layers(layers.clone()),
        }
    }
}

pub(super) fn base_key(reference: &crate::model::ImageRef, platform: &Platform) -> BaseKey {
    (reference.to_string(), platform.to_string())
}

impl Work {
    /// What a step came to when it was done before, by this build or another.
    pub(super) fn known_step(&self, key: &Digest) -> Result<Option<DraftLayer>, BuildError> {
        let here = {
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.iter().find(|step| step.key == *key).map(|step| step.layer.clone())
        };
        if here.is_some() {
            return Ok(here);
        }
        Ok(self.images.known_step(key)?.or_else(|| self.caches.find(key)))
    }

    pub(super) fn record(&self, key: Digest, about: String, layer: DraftLayer, known: bool) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        // What was found elsewhere is new here.
        let known = known && !layer.is_imported();
        done.push(Step { key, about, layer, known });
    }

    /// Notes that something was fetched.
    pub(super) fn fetched(&self, material: Material) {
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).insert(material);
    }

    pub(super) fn base(&self, key: &BaseKey) -> Result<&Base, BuildError> {
        self.bases.get(key).ok_or_else(|| BuildError::BaseGone { reference: key.0.clone() })
    }

    /// The tree of layers, to be read. Blocks the thread.
    pub(super) fn view(&self, layers: &Layers) -> Result<OwnedFd, BuildError> {
        layers.view(&self.floor.upper()).map_err(BuildError::step("mount the layers"))
    }

    /// What `source` has, but for stages.
    pub(super) fn origin(&self, source: Option<&Source>) -> Result<Option<Origin>, BuildError> {
        Ok(Some(match source {
            None => Origin::Tree(self.main.clone()),
            Some(Source::Scratch) => Origin::Layers(Layers::default()),
            Some(Source::Image(reference)) => Origin::Layers(Layers::of_base(self.base(&base_key(reference, &self.platform))?)),
            Some(Source::Context(name)) => match self.contexts.get(name) {
                Some(Context::Files(tree)) => Origin::Tree(tree.clone()),
                Some(Context::Image(key)) => Origin::Layers(Layers::of_base(self.base(key)?)),
                None => return Ok(None),
            },
            Some(Source::Stage(_)) => return Ok(None),
        }))
    }
}

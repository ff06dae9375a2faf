//! The layers that a stage has come to, and the ways to look at them and to change them: mounted as an overlay that nobody else
//! sees.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::engine::images::{Base, Draft, DraftLayer, Images, ImagesError};
use crate::engine::runtime::view;
use crate::model::Digest;

/// Cheap to clone but for its lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    /// Lowest first.
    diff_ids: Vec<Digest>,
    /// For overlayfs, the topmost first; completions among them.
    folders: Vec<PathBuf>,
    /// Of all layers. Source: OCI Image Specification, config.md, "Layer ChainID".
    chain: Option<Digest>,
    /// When the last one that was made by a build was made, in seconds since 1970.
    created: Option<i64>,
    /// Layers that are not published yet live as long as somebody has them.
    made: Vec<DraftLayer>,
}

impl Layers {
    pub(super) fn of_base(base: &Base) -> Self {
        let mut layers = Self::default();
        for diff_id in &base.diff_ids {
            layers.link(*diff_id);
        }
        layers.folders.clone_from(&base.folders);
        layers
    }

    pub(super) fn push(&mut self, layer: &DraftLayer) {
        self.link(layer.diff_id);
        self.folders.insert(0, layer.folder.clone());
        self.created = Some(self.created.unwrap_or(i64::MIN).max(layer.created));
        self.made.push(layer.clone());
    }

    fn link(&mut self, diff_id: Digest) {
        self.chain = Some(self.chain.map_or(diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes())));
        self.diff_ids.push(diff_id);
    }

    pub(super) fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    pub(super) fn created(&self) -> Option<i64> {
        self.created
    }

    /// What the files of all layers together are known by.
    pub(super) fn chain(&self) -> String {
        self.chain.map_or_else(String::new, |chain| chain.to_string())
    }

    /// The folders for overlayfs, the topmost first. `floor`, an empty folder, is what there is without any.
    pub(super) fn lower(&self, floor: &Path) -> Vec<PathBuf> {
        let mut lower: Vec<PathBuf> = Vec::with_capacity(self.folders.len());
        for folder in &self.folders {
            // As in the store: what a layer says is said by its topmost place.
            if !lower.contains(folder) {
                lower.push(folder.clone());
            }
        }
        if lower.is_empty() {
            lower.push(floor.to_owned());
        }
        lower
    }

    /// A draft of the next layer.
    pub(super) fn draft(&self, images: &Images) -> Result<Draft, ImagesError> {
        images.draft(self.folders.first().map(PathBuf::as_path))
    }

    /// The tree to be read. Blocks the thread.
    pub(super) fn view(&self, floor: &Path) -> std::io::Result<OwnedFd> {
        view::detached(&self.lower(floor), None)
    }

    /// The tree to be changed; what changes is in the draft. Blocks the thread.
    pub(super) fn changed_in(&self, draft: &Draft, floor: &Path) -> std::io::Result<OwnedFd> {
        view::detached(&self.lower(floor), Some((&draft.upper(), &draft.work())))
    }
}

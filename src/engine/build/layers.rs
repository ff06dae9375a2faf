//! The layers that a stage has come to, and the ways to look at them and to change them: mounted as an overlay that nobody else
//! sees.

use std::collections::BTreeSet;
use std::io;
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
    /// Those of the base for overlayfs, the topmost first; completions among them.
    folders: Vec<PathBuf>,
    /// Of all layers. Source: OCI Image Specification, config.md, "Layer ChainID".
    chain: Option<Digest>,
    /// When the last one that was made by a build was made, in seconds since 1970.
    created: Option<i64>,
    /// Those on top of the base, lowest first. Layers that are not published yet live as long as somebody has them.
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

    /// The chain of each layer with those below it, as [`Self::chain`] gives it.
    pub(super) fn chains(diff_ids: &[Digest]) -> BTreeSet<String> {
        let mut layers = Self::default();
        let linked = diff_ids.iter().map(|diff_id| {
            layers.link(*diff_id);
            layers.chain()
        });
        linked.collect()
    }

    /// Those whose files are in a cache elsewhere only.
    pub(super) fn missing(&self) -> impl Iterator<Item = &DraftLayer> {
        self.made.iter().filter(|layer| !layer.is_here())
    }

    /// The folders for overlayfs, the topmost first. `floor`, an empty folder, is what there is without any. An error where a
    /// layer has not been brought.
    pub(super) fn lower(&self, floor: &Path) -> io::Result<Vec<PathBuf>> {
        let absent = || io::Error::other("a layer of a cache has not been brought");
        let mut lower: Vec<PathBuf> = Vec::with_capacity(self.made.len() + self.folders.len());
        let made = self.made.iter().rev().map(|layer| layer.folder().ok_or_else(absent));
        for folder in made.chain(self.folders.iter().cloned().map(Ok)) {
            let folder = folder?;
            // As in the store: what a layer says is said by its topmost place.
            if !lower.contains(&folder) {
                lower.push(folder);
            }
        }
        if lower.is_empty() {
            lower.push(floor.to_owned());
        }
        Ok(lower)
    }

    /// A draft of the next layer.
    pub(super) fn draft(&self, images: &Images) -> Result<Draft, ImagesError> {
        let top = self.made.last().and_then(DraftLayer::folder).or_else(|| self.folders.first().cloned());
        images.draft(top.as_deref())
    }

    /// The tree to be read. Blocks the thread.
    pub(super) fn view(&self, floor: &Path) -> io::Result<OwnedFd> {
        view::detached(&self.lower(floor)?, None)
    }

    /// The tree to be changed; what changes is in the draft. Blocks the thread.
    pub(super) fn changed_in(&self, draft: &Draft, floor: &Path) -> io::Result<OwnedFd> {
        view::detached(&self.lower(floor)?, Some((&draft.upper(), &draft.work())))
    }
}

//! Layers one on the other: which folders make an image, and the completions of layers that cannot say all by themselves.
//! A layer is shared by all images that have it; a completion by those that have the same layers below it too.

use std::path::{Path, PathBuf};

use super::layer::{self, is_opaque};
use super::rows::{self, Completion, Record};
use super::store::{Scratch, Staged};
use super::{Images, ImagesError};
use crate::files::FileError;
use crate::model::Digest;

/// A layer on those below it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) completion: Option<Completion>,
    /// Its folder, when it was made just now.
    pub(super) made: Option<Scratch>,
}

/// The chain ids of layers, the lowest first. Source: OCI Image Specification, config.md, "Layer ChainID".
pub(super) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let ids = diff_ids.iter().scan(None, |below: &mut Option<Digest>, diff_id| {
        let id = below.map_or(*diff_id, |below| Digest::of(format!("{below} {diff_id}").as_bytes()));
        *below = Some(id);
        Some(id)
    });
    ids.collect()
}

impl Images {
    /// The folders of an image for overlayfs, the top one first.
    pub(super) fn folders(&self, image: &Digest, diff_ids: &[Digest]) -> Result<Vec<PathBuf>, ImagesError> {
        let completions = self.inner.db.read(|t| rows::completions_of(t, image))?;
        let mut folders = Vec::with_capacity(diff_ids.len());
        for (diff_id, completion) in diff_ids.iter().zip(completions).rev() {
            let completion = completion.map(|chain_id| self.inner.store.completion_path(&chain_id));
            for path in completion.into_iter().chain([self.inner.store.layer_path(diff_id)]) {
                if !path.is_dir() {
                    return Err(ImagesError::LayerGone { diff_id: *diff_id });
                }
                // The same layer once more says nothing that it does not say above, and overlayfs takes no folder twice.
                if !folders.contains(&path) {
                    folders.push(path);
                }
            }
            // Overlayfs takes no notice of a root that hides what is below.
            if hides_all(&self.inner.store.layer_path(diff_id))? {
                break;
            }
        }
        Ok(folders)
    }

    /// Completes the layers of an image that is being published, from the lowest up. Nothing has its final name afterwards
    /// that had none before.
    pub(super) fn complete(&self, image: &Record, staged: &[&Staged]) -> Result<Vec<Link>, ImagesError> {
        let store = &self.inner.store;
        if let Some(known) = self.completed_before(image)? {
            return Ok(known);
        }
        let mut below: Vec<PathBuf> = Vec::new();
        let mut chain = Vec::with_capacity(image.layers.len());
        for (diff_id, chain_id) in image.layers.iter().zip(chain_ids(&image.layers)) {
            let (known, noted) =
                self.inner.db.read(|t| Ok((rows::completion(t, &chain_id)?, rows::is_dependent(t, diff_id)?)))?;
            let is_here = self.inner.db.read(|t| rows::has_layer(t, diff_id))? && store.layer_path(diff_id).is_dir();
            let fresh = staged.iter().find(|staged| !is_here && staged.layer.diff_id == *diff_id && staged.is_there());
            let (folder, dependent) = match fresh {
                Some(staged) => (staged.root(), Some(staged.layer.dependent)),
                None => (store.layer_path(diff_id), noted),
            };
            let mut link = Link { completion: None, made: None };
            let mut over = None;
            if let Some(known) = known.filter(|known| store.completion_path(&known.chain_id).is_dir()) {
                link.completion = Some(known);
                over = Some(store.completion_path(&chain_id));
            } else if let Some((scratch, size)) = self.completed(diff_id, &folder, dependent, &below)? {
                link.completion = Some(Completion { chain_id, size });
                over = Some(scratch.root());
                link.made = Some(scratch);
            }
            if hides_all(&folder)? {
                below.clear();
            }
            below.splice(0..0, over.into_iter().chain([folder]));
            chain.push(link);
        }
        Ok(chain)
    }

    /// The completions of an image that is here whole: then there is nothing to look at.
    fn completed_before(&self, image: &Record) -> Result<Option<Vec<Link>>, ImagesError> {
        let known = self.inner.db.read(|t| {
            let chain = rows::completions_of(t, &image.digest)?.into_iter();
            chain.map(|id| id.map_or(Ok(None), |id| rows::completion(t, &id))).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let store = &self.inner.store;
        let is_there = |link: &Option<Completion>| link.is_none_or(|known| store.completion_path(&known.chain_id).is_dir());
        let whole = known.len() == image.layers.len()
            && known.iter().all(is_there)
            && image.layers.iter().all(|diff_id| store.layer_path(diff_id).is_dir());
        Ok(whole.then(|| known.into_iter().map(|completion| Link { completion, made: None }).collect()))
    }

    /// The completion of the layer in `folder` over the folders `below`, the top one first, and the bytes of its files.
    /// `dependent` is `None` for a layer whose folder does not tell what it takes from below.
    pub(super) fn completed(
        &self,
        diff_id: &Digest,
        folder: &Path,
        dependent: Option<bool>,
        below: &[PathBuf],
    ) -> Result<Option<(Scratch, u64)>, ImagesError> {
        let Some(dependent) = dependent else { return Ok(None) };
        let scratch = self.inner.store.scratch()?;
        let size = layer::complete(folder, dependent, below, &scratch.root(), &self.limits()?)
            .map_err(|source| ImagesError::Complete { diff_id: *diff_id, source })?;
        Ok(size.map(|size| (scratch, size)))
    }
}

/// Whether a layer hides everything below it.
pub(super) fn hides_all(folder: &Path) -> Result<bool, FileError> {
    is_opaque(folder).map_err(|e| FileError::new("look at", folder, e))
}

//! Which images have lost something behind our back: the folder of a layer, or what is laid over one. Two folders are listed, however
//! many images there are. What is in a layer's folder is a check's to know.

use std::collections::HashSet;

use super::{Images, ImagesError, rows};
use crate::model::Digest;
use crate::observed;

/// All images, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Present {
    /// Those of which every folder is there.
    pub whole: Vec<observed::Image>,
    /// Those that no container can be made of any more.
    pub gone: Vec<observed::Image>,
}

impl Images {
    /// All images, as the disk has them.
    pub fn present(&self) -> Result<Present, ImagesError> {
        // The rows first: a folder has its name before there is a row, and loses it after that has gone.
        let (all, needed) = self.inner.db.read(|t| Ok((rows::all(t)?, rows::folders(t)?)))?;
        let (layers, completions) = self.inner.store.folders()?;
        let is_lost =
            |(digest, is_layer): &(Digest, bool)| !if *is_layer { &layers } else { &completions }.contains(&digest.hex());
        let lost: HashSet<Digest> = needed.into_iter().filter(is_lost).map(|(digest, _)| digest).collect();
        if lost.is_empty() {
            return Ok(Present { whole: all, gone: Vec::new() });
        }
        let of = self.inner.db.read(rows::layers_of_images)?.into_iter();
        let broken: HashSet<Digest> = of.filter(|(_, part)| lost.contains(part)).map(|(image, _)| image).collect();
        let (gone, whole) = all.into_iter().partition(|image| broken.contains(&image.digest));
        Ok(Present { whole, gone })
    }

    /// Whether every folder of an image is there, and it itself.
    pub fn is_whole(&self, digest: &Digest) -> Result<bool, ImagesError> {
        let Some((_, diff_ids)) = self.inner.db.read(|t| rows::content(t, digest))? else { return Ok(false) };
        let completions = self.inner.db.read(|t| rows::completions_of(t, digest))?;
        let store = &self.inner.store;
        Ok(diff_ids.iter().all(|diff_id| store.layer_path(diff_id).is_dir())
            && completions.iter().flatten().all(|chain_id| store.completion_path(chain_id).is_dir()))
    }
}

//! A layer as the tar that it was unpacked from, for pushes, saves and checks: from its folder and its skeleton. Also the
//! blobs that were kept, as registries have them.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::layer::{Rebuilt, SkeletonError};
use super::rows::{self, LayerBlob};
use super::{Images, ImagesError};
use crate::files::FileError;
use crate::model::Digest;

/// The tar of a layer. Its end is an error when the whole does not have the layer's diff id, so whoever reads it to its end
/// has read exactly the layer.
pub struct LayerTar {
    rebuilt: Rebuilt,
    hash: Sha256,
    diff_id: Digest,
    size: u64,
}

impl LayerTar {
    /// Bytes of the whole tar.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl Read for LayerTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.rebuilt.read(buffer)?;
        if n > 0 {
            self.hash.update(&buffer[..n]);
        } else if Digest::from_bytes(self.hash.clone().finalize().into()) != self.diff_id {
            let what = "a file's content is not what it was".to_owned();
            return Err(io::Error::other(ImagesError::LayerDamaged { diff_id: self.diff_id, what }));
        }
        Ok(n)
    }
}

impl Images {
    /// The tar of a layer, the same bytes as it was unpacked from. Blocks the thread while it is read.
    pub fn layer_tar(&self, diff_id: &Digest) -> Result<LayerTar, ImagesError> {
        let store = &self.inner.store;
        let (folder, skeleton) = (store.layer_path(diff_id), store.skeleton_path(diff_id));
        if !folder.is_dir() {
            return Err(ImagesError::LayerGone { diff_id: *diff_id });
        }
        let size = self.inner.db.read(|t| rows::tar_size(t, diff_id))?;
        let (Some(size), true) = (size, skeleton.is_file()) else {
            return Err(ImagesError::NoSkeleton { diff_id: *diff_id });
        };
        let rebuilt = Rebuilt::open(&skeleton, &folder).map_err(|source| damaged(diff_id, &source))?;
        Ok(LayerTar { rebuilt, hash: Sha256::new(), diff_id: *diff_id, size })
    }

    /// The blobs that are known to unpack to a layer, those that can be opened by [`Self::open_blob`] first.
    pub(super) fn layer_blobs(&self, diff_id: &Digest) -> Result<Vec<LayerBlob>, ImagesError> {
        Ok(self.inner.db.read(|t| rows::blobs_of(t, diff_id))?)
    }

    /// A blob that was kept. What is read is checked by whoever reads it: the digest is its name.
    pub(super) fn open_blob(&self, digest: &Digest) -> Result<File, ImagesError> {
        let path = self.inner.store.blob_path(digest);
        Ok(File::open(&path).map_err(|e| FileError::new("open", path, e))?)
    }
}

fn damaged(diff_id: &Digest, source: &SkeletonError) -> ImagesError {
    ImagesError::LayerDamaged { diff_id: *diff_id, what: source.to_string() }
}

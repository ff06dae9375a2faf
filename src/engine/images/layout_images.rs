//! Images in folders with OCI layouts: taken in as a pull does it, and written as a save does it.

use std::path::Path;

use super::documents::{self, Blob, Document, DocumentError};
use super::layout::{Layout, LayoutError};
use super::load::LoadError;
use super::publish::Package;
use super::pull::{created, layer_blobs};
use super::rows::Record;
use super::save::{LayerContent, Outward, Saved};
use super::store::Staged;
use super::{Images, ImagesError};
use crate::model::{Compression, Digest, Packing, Platform};

/// The tag that goes without saying.
const USUAL: &str = "latest";

/// An image that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenIn {
    pub digest: Digest,
    /// It was not here before.
    pub is_new: bool,
}

impl Images {
    /// Takes an image of a layout into the store, without a name: that of a tag or a digest, or the only one, for `platform`.
    /// Guarantees: as for a pull. Blocks the thread.
    pub fn take_in(&self, folder: &Path, image: Option<&str>, platform: &Platform) -> Result<TakenIn, ImagesError> {
        let layout = Layout::open(folder)?;
        let candidates = layout.select(image, USUAL)?;
        let mut refused = None;
        for candidate in candidates {
            match self.take_in_one(&layout, &candidate, platform) {
                // Of one name there may be several, each for another platform.
                Err(ImagesError::Load(error)) if is_of_platform(&error) => refused = Some(ImagesError::Load(error)),
                result => return result,
            }
        }
        Err(refused.unwrap_or_else(|| LoadError::NoImages.into()))
    }

    fn take_in_one(&self, layout: &Layout, candidate: &Blob, platform: &Platform) -> Result<TakenIn, ImagesError> {
        let mut digest = candidate.digest;
        let wrong = |digest: Digest| move |source| LoadError::Document { name: digest.to_string(), source: Box::new(source) };
        let mut content = layout.document(&digest)?;
        let said = Some(candidate.media_type.as_str()).filter(|said| !said.is_empty());
        let mut parsed = documents::parse(&content, said).map_err(wrong(digest))?;
        if let Document::Index(index) = &parsed {
            digest = documents::select(index, platform).map_err(wrong(digest))?.digest;
            content = layout.document(&digest)?;
            parsed = documents::parse(&content, None).map_err(wrong(digest))?;
        }
        let Document::Manifest(manifest) = parsed else { return Err(wrong(digest)(DocumentError::Nested).into()) };
        let config_content = layout.document(&manifest.config.digest)?;
        let read = documents::configuration(&config_content, manifest.layers.len());
        let (config, diff_ids) = read.map_err(wrong(manifest.config.digest))?;
        documents::check_platform(&config, platform).map_err(wrong(manifest.config.digest))?;
        let is_new = !self.has(&digest)?;
        let record =
            Record { digest, config: manifest.config.digest, created: created(&config), layers: diff_ids, imported_from: None };
        let mut staged: Vec<Staged> = Vec::new();
        for (diff_id, blob) in record.layers.iter().zip(&manifest.layers) {
            if !self.has_layer(diff_id)? && staged.iter().all(|staged| staged.layer.diff_id != *diff_id) {
                staged.push(self.unpack_blob(layout, blob, *diff_id)?);
            }
        }
        let package = Package {
            blobs: layer_blobs(&record.layers, &manifest.layers),
            record,
            manifest: content,
            config: config_content,
            references: Vec::new(),
            members: Vec::new(),
            place: None,
        };
        // A layer that was here when it was looked for may have been removed since.
        if !self.publish_now(&package, &staged.iter().collect::<Vec<_>>())? {
            return Err(ImagesError::Missing(digest));
        }
        Ok(TakenIn { digest, is_new })
    }

    /// Writes an image into a folder with a layout, which is made if it is not there, and is what its names mean there from then on.
    /// Gives the digest that it has there. Blocks the thread.
    pub fn save_layout(&self, image: &Saved, packing: &Packing, folder: &Path) -> Result<Digest, ImagesError> {
        let layout = Layout::create(folder)?;
        let gathered = self.gather(image, packing)?;
        for outward in &gathered.images {
            self.save_outward(outward, &layout)?;
        }
        for document in &gathered.documents {
            layout.put(document)?;
        }
        layout.publish(&gathered.described)?;
        Ok(gathered.digest)
    }

    fn save_outward(&self, outward: &Outward, layout: &Layout) -> Result<(), ImagesError> {
        for layer in &outward.layers {
            if layout.has(&layer.blob.digest, layer.blob.size)? {
                continue;
            }
            match &layer.content {
                LayerContent::Packed(packed) => layout.take(&packed.digest, &packed.path)?,
                LayerContent::Kept => layout.take(&layer.blob.digest, &self.inner.store.blob_path(&layer.blob.digest))?,
                LayerContent::Tar => {
                    let plain = Packing { compression: Some(Compression::Uncompressed), ..Packing::default() };
                    let packed = self.pack(&layer.diff_id, &plain)?;
                    layout.take(&packed.digest, &packed.path)?;
                }
            }
        }
        layout.put(&self.inner.store.blob(&outward.config)?)?;
        layout.put(&outward.manifest)?;
        Ok(())
    }
}

fn is_of_platform(error: &LoadError) -> bool {
    let LoadError::Document { source, .. } = error else { return false };
    matches!(**source, DocumentError::WrongPlatform { .. } | DocumentError::NoPlatform { .. })
}

impl From<LayoutError> for ImagesError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(Box::new(error))
    }
}

//! What a reference means at its registry: asked without pulling anything. Knows nothing of when to ask.

use std::collections::BTreeMap;

use super::documents::{self, Blob, Document, DocumentError};
use super::pull::{PullOptions, fetch, of_registry, parse};
use super::registry::Registry;
use super::{Images, ImagesError};
use crate::model::{Digest, ImageRef, Platform};

/// What a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// What the reference names: an index, or the image itself.
    pub named: Digest,
    /// The image for the platform.
    pub digest: Digest,
    /// Bytes of its layers that are not on this host.
    pub bytes: u64,
}

impl Images {
    /// Asks the registry which image `reference` is for a platform, and what of it a pull with these options would bring.
    pub async fn look_up(&self, reference: &ImageRef, options: &PullOptions) -> Result<Resolution, ImagesError> {
        if let Some(id) = reference.id() {
            return Err(ImagesError::Id(id));
        }
        let keep = match options.keep_blobs {
            Some(keep) => keep,
            None => self.keeps_blobs()?,
        };
        let of_registry = |source| of_registry(reference, source);
        let of_document =
            |source: DocumentError| ImagesError::Document { reference: Box::new(reference.clone()), source: Box::new(source) };
        let registry = Registry::open(&self.inner.http, reference, options.credentials.as_ref()).map_err(of_registry)?;
        let wanted = options.platform.clone().unwrap_or_else(Platform::host);
        let mut raw = fetch(&registry, reference).await.map_err(of_registry)?;
        let named = raw.digest;
        let mut document = parse(&raw).map_err(of_document)?;
        if let Document::Index(index) = &document {
            let chosen = documents::select(index, &wanted).map_err(of_document)?;
            raw = registry.manifest_of_digest(chosen.digest).await.map_err(of_registry)?;
            document = parse(&raw).map_err(of_document)?;
        }
        let Document::Manifest(manifest) = document else { return Err(of_document(DocumentError::Nested)) };
        if !keep && self.is_whole(&raw.digest)? {
            return Ok(Resolution { named, digest: raw.digest, bytes: 0 });
        }
        // Layers are known here by what they unpack to, which only the configuration says.
        let content = registry.small_blob(&manifest.config).await.map_err(of_registry)?;
        let (config, diff_ids) = documents::configuration(&content, manifest.layers.len()).map_err(of_document)?;
        documents::check_platform(&config, &wanted).map_err(of_document)?;
        let layers: BTreeMap<Digest, &Blob> = diff_ids.into_iter().zip(&manifest.layers).collect();
        let mut bytes = 0u64;
        for (diff_id, blob) in layers {
            if !self.has_layer(&diff_id)? || keep && !self.keeps(&blob.digest)? {
                bytes = bytes.saturating_add(blob.size);
            }
        }
        Ok(Resolution { named, digest: raw.digest, bytes })
    }
}

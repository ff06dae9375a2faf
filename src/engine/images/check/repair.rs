//! What a check found damaged is brought again: out of the store itself where it has what is needed, else from where it was
//! pulled. Always by digest, so what comes is what was.

use std::fs::File;

use super::super::documents::Blob;
use super::super::layer::unpack_layer;
use super::super::progress::Meter;
use super::super::pull::of_registry;
use super::super::registry::Registry;
use super::super::rows::{self, LayerBlob};
use super::super::store::Staged;
use super::super::{Images, ImagesError, documents, manifests};
use super::{Part, Problem, check_blob, patch};
use crate::files::FileError;
use crate::model::{Digest, ImageRef, ProgressSink};

impl Images {
    pub(super) async fn repair(&self, problem: &Problem, progress: &ProgressSink) -> Result<(), ImagesError> {
        match problem.part {
            Part::Manifest => self.repair_manifest(problem.digest).await,
            Part::Config => self.repair_config(problem.digest).await,
            Part::Layer | Part::Skeleton => self.repair_layer(problem.digest, progress).await,
            Part::Completion => {
                let (images, chain_id) = (self.clone(), problem.digest);
                tokio::task::spawn_blocking(move || images.repair_completion(&chain_id)).await?
            }
            Part::Blob => self.repair_blob(problem.digest, progress).await,
        }
    }

    async fn repair_manifest(&self, digest: Digest) -> Result<(), ImagesError> {
        // One that was made here is made again.
        let (config, diff_ids) = self.content_of(&digest)?;
        let mut layers = Vec::new();
        for diff_id in &diff_ids {
            layers.extend(self.inner.db.read(|t| rows::tar_size(t, diff_id))?.map(|size| (*diff_id, size)));
        }
        if let Ok(config) = self.inner.store.blob(&config) {
            let made = manifests::of_tars(&config, &layers);
            if Digest::of(&made) == digest {
                return self.put_blob(digest, made).await;
            }
        }
        let mut failure = ImagesError::NoSource;
        for (registry, reference) in self.sources(&digest)? {
            match registry.manifest_of_digest(digest).await {
                Ok(raw) => return self.put_blob(digest, raw.content).await,
                Err(source) => failure = of_registry(&reference, source),
            }
        }
        Err(failure)
    }

    async fn repair_config(&self, digest: Digest) -> Result<(), ImagesError> {
        let mut failure = ImagesError::NoSource;
        for image in self.inner.db.read(|t| rows::by_config(t, &digest.hex()))? {
            let manifest = self.inner.store.blob(&image.digest).ok();
            let known = manifest.and_then(|content| match documents::parse(&content, None) {
                Ok(documents::Document::Manifest(manifest)) => Some(manifest.config),
                _ => None,
            });
            // Without its manifest, which is repaired first, the configuration has no source either.
            let Some(blob) = known else { continue };
            for (registry, reference) in self.sources(&image.digest)? {
                match registry.small_blob(&blob).await {
                    Ok(content) => return self.put_blob(digest, content).await,
                    Err(source) => failure = of_registry(&reference, source),
                }
            }
        }
        Err(failure)
    }

    async fn put_blob(&self, digest: Digest, content: Vec<u8>) -> Result<(), ImagesError> {
        if Digest::of(&content) != digest {
            return Err(ImagesError::Damaged { digest });
        }
        let images = self.clone();
        tokio::task::spawn_blocking(move || {
            let publishing = images.inner.store.publishing()?;
            publishing.blob(&digest, &content)?;
            Ok(publishing.sync()?)
        })
        .await?
    }

    async fn repair_layer(&self, diff_id: Digest, progress: &ProgressSink) -> Result<(), ImagesError> {
        let fresh = self.layer_again(diff_id, progress).await?;
        let images = self.clone();
        tokio::task::spawn_blocking(move || {
            let publishing = images.inner.store.publishing()?;
            let folder = images.inner.store.layer_path(&diff_id);
            if folder.is_dir() {
                publishing.skeleton(&fresh)?;
                patch::patch(&fresh.root(), &folder)?;
            } else {
                publishing.layer(&fresh)?;
            }
            publishing.sync()?;
            let layer = fresh.layer;
            images.inner.db.write(|t| rows::insert_layer(t, &layer, true))?;
            match images.check_layer(&diff_id)? {
                None => Ok(()),
                Some((_, what)) => Err(ImagesError::LayerDamaged { diff_id, what }),
            }
        })
        .await?
    }

    /// A layer, unpacked once more.
    async fn layer_again(&self, diff_id: Digest, progress: &ProgressSink) -> Result<Staged, ImagesError> {
        let mut failure = ImagesError::NoSource;
        for known in self.layer_blobs(&diff_id)? {
            if known.kept {
                let (images, kept) = (self.clone(), known.clone());
                match tokio::task::spawn_blocking(move || images.unpack_kept(&kept)).await? {
                    Ok(staged) => return Ok(staged),
                    Err(error) => failure = error,
                }
            }
            for (registry, reference) in self.sources(&known.digest)? {
                let blob = Blob { digest: known.digest, size: known.size, media_type: known.media_type.clone() };
                let mut meter = Meter::new(progress, blob.digest.short(), Some(blob.size));
                match self.fetch_layer(&registry, &reference, diff_id, &blob, false, &mut meter).await {
                    Ok(staged) => return Ok(staged),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    fn unpack_kept(&self, known: &LayerBlob) -> Result<Staged, ImagesError> {
        let path = self.inner.store.blob_path(&known.digest);
        let file = File::open(&path).map_err(|e| FileError::new("open", &path, e))?;
        let scratch = self.inner.store.scratch()?;
        let of_unpack = |source| ImagesError::Unpack { layer: known.digest.to_string(), source: Box::new(source) };
        let layer = unpack_layer(file, &scratch.root(), scratch.recorder()?, &self.limits()?).map_err(of_unpack)?;
        if layer.diff_id != known.diff_id {
            return Err(ImagesError::DiffId { blob: known.digest, expected: known.diff_id, found: layer.diff_id });
        }
        Ok(scratch.into_staged(layer, None))
    }

    /// A blob that is kept is fetched again. Where it cannot be had it is given up: the layer can do without.
    async fn repair_blob(&self, digest: Digest, progress: &ProgressSink) -> Result<(), ImagesError> {
        let Some(known) = self.inner.db.read(|t| rows::blob(t, &digest))? else { return Ok(()) };
        for (registry, reference) in self.sources(&digest)? {
            let blob = Blob { digest, size: known.size, media_type: known.media_type.clone() };
            let mut meter = Meter::new(progress, digest.short(), Some(known.size));
            let Ok(fresh) = self.fetch_layer(&registry, &reference, known.diff_id, &blob, true, &mut meter).await else {
                continue;
            };
            let images = self.clone();
            return tokio::task::spawn_blocking(move || {
                let publishing = images.inner.store.publishing()?;
                publishing.kept_blob(&fresh, &digest)?;
                publishing.sync()?;
                let path = images.inner.store.blob_path(&digest);
                check_blob(&path, &digest).map_err(|_| ImagesError::Damaged { digest })
            })
            .await?;
        }
        self.inner.db.write(|t| rows::forget_kept(t, &digest))?;
        let images = self.clone();
        tokio::task::spawn_blocking(move || images.recover()).await?
    }

    /// Where a blob or a manifest was seen, and can be asked for again.
    fn sources(&self, digest: &Digest) -> Result<Vec<(Registry, ImageRef)>, ImagesError> {
        let mut found = Vec::new();
        for place in self.inner.db.read(|t| rows::places(t, digest))? {
            let text = format!("{}/{}@{digest}", place.registry, place.repository);
            // What was pulled from had a name; should it not be one any more, it is of no use here.
            let Ok(reference) = text.parse::<ImageRef>() else { continue };
            let registry = Registry::open(&self.inner.http, &reference, None).map_err(|e| of_registry(&reference, e))?;
            found.push((registry, reference));
        }
        Ok(found)
    }
}

//! Reading a cache, and bringing a layer of it when its files are needed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::CacheError;
use super::document::{self, CACHE_CONFIG, CacheDocumentError, CachedLayer};
use crate::engine::images::documents::{self, Blob, Document, MAX_DOCUMENT};
use crate::engine::images::drafts::DraftLayer;
use crate::engine::images::layer::{Hashed, unpack_layer};
use crate::engine::images::layout::Layout;
use crate::engine::images::progress::Meter;
use crate::engine::images::pull::fetch;
use crate::engine::images::registry::{Given, Registry};
use crate::engine::images::store::Staged;
use crate::engine::images::{DocumentError, Images, ImagesError};
use crate::files::FileError;
use crate::model::build::CachePlace;
use crate::model::{Digest, ImageRef, Phase, Platform, ProgressSink};

/// The tag of a cache in a folder whose name is not said.
pub(super) const USUAL: &str = "latest";

/// A cache that was read, without its layers.
#[derive(Debug)]
pub struct ImportedCache {
    place: CachePlace,
    document: document::Document,
    blobs: Blobs,
}

/// Where its layers are.
#[derive(Debug)]
enum Blobs {
    Registry { registry: Box<Registry>, reference: Box<ImageRef> },
    Folder(Layout),
}

/// A layer of a cache, perhaps fetched by now.
#[derive(Debug)]
pub(in crate::engine::images) struct Pending {
    pub(super) cache: Arc<ImportedCache>,
    pub(super) layer: CachedLayer,
    fetched: OnceCell<Fetched>,
}

#[derive(Clone, Debug)]
pub(in crate::engine::images) enum Fetched {
    Stored(PathBuf),
    Made(Arc<Staged>),
}

impl Pending {
    pub(in crate::engine::images) fn fetched(&self) -> Option<&Fetched> {
        self.fetched.get()
    }

    pub(in crate::engine::images) fn place(&self) -> &CachePlace {
        self.cache.place()
    }
}

impl ImportedCache {
    pub const fn place(&self) -> &CachePlace {
        &self.place
    }

    /// How many steps it knows.
    pub fn len(&self) -> usize {
        self.document.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.document.steps.is_empty()
    }

    /// The layer that a step came to. Nothing of it is here yet.
    pub fn find(self: &Arc<Self>, key: &Digest) -> Option<DraftLayer> {
        let layer = self.document.steps.get(key)?.clone();
        let (diff_id, created) = (layer.diff_id, layer.created);
        let pending = Pending { cache: self.clone(), layer, fetched: OnceCell::new() };
        Some(DraftLayer::pending(diff_id, created, pending))
    }

    /// What a question about the files of layers was answered with.
    pub fn answer(&self, question: &Digest) -> Option<Digest> {
        self.document.answers.get(question).copied()
    }

    /// The repository that has its layers, if one has.
    pub(super) fn repository(&self) -> Option<&ImageRef> {
        match &self.blobs {
            Blobs::Registry { reference, .. } => Some(reference),
            Blobs::Folder(_) => None,
        }
    }

    /// The folder that has its layers, if one has.
    pub(super) fn layout(&self) -> Option<&Layout> {
        match &self.blobs {
            Blobs::Registry { .. } => None,
            Blobs::Folder(layout) => Some(layout),
        }
    }

    /// A small blob, checked.
    async fn blob(blobs: &Blobs, blob: &Blob) -> Result<Vec<u8>, CacheError> {
        if blob.size > MAX_DOCUMENT {
            return Err(CacheDocumentError::Shape("it is too long").into());
        }
        Ok(match blobs {
            Blobs::Registry { registry, .. } => registry.small_blob(blob).await?,
            Blobs::Folder(layout) => layout.document(&blob.digest)?,
        })
    }
}

impl Images {
    /// Reads a cache. Of an image that is no cache it is the one in its configuration, if it has one for `platform`.
    pub async fn open_cache(
        &self,
        place: &CachePlace,
        platform: &Platform,
        given: Option<&Given>,
    ) -> Result<ImportedCache, CacheError> {
        let (blobs, mut manifest, mut digest) = match place {
            CachePlace::Inline => return Err(CacheError::Inline),
            CachePlace::Registry { reference } => {
                let registry = Registry::open(&self.inner.http, reference, given)?;
                let raw = fetch(&registry, reference).await?;
                let reference = Box::new(reference.clone());
                (Blobs::Registry { registry: Box::new(registry), reference }, raw.content, raw.digest)
            }
            CachePlace::Local { path, name } => {
                let layout = Layout::open(path)?;
                let found = layout.select(name.as_deref(), USUAL)?;
                let digest = found.first().map(|blob| blob.digest).ok_or(CacheDocumentError::NoCache)?;
                let manifest = layout.document(&digest)?;
                (Blobs::Folder(layout), manifest, digest)
            }
        };
        let mut digests = vec![digest];
        let of_document = |_: DocumentError| CacheDocumentError::Shape("it is neither a cache nor an image");
        let parsed = loop {
            if let Some(config) = listed_config(&manifest)? {
                break Parsed::Cache(config);
            }
            match documents::parse(&manifest, None).map_err(of_document)? {
                Document::Manifest(manifest) if manifest.config.media_type == CACHE_CONFIG => {
                    break Parsed::Cache(manifest.config);
                }
                Document::Manifest(manifest) => break Parsed::Image(manifest),
                Document::Index(_) if digests.len() > 1 => {
                    return Err(CacheDocumentError::Shape("an index that leads to another index").into());
                }
                Document::Index(index) => {
                    let chosen = documents::select(&index, platform).map_err(|_| CacheDocumentError::NoCache)?;
                    manifest = match &blobs {
                        Blobs::Registry { registry, .. } => registry.manifest_of_digest(chosen.digest).await?.content,
                        Blobs::Folder(layout) => layout.document(&chosen.digest)?,
                    };
                    digest = chosen.digest;
                    digests.push(digest);
                }
            }
        };
        if let Blobs::Registry { registry, reference } = &blobs {
            self.verify(registry, reference, &digests, &[]).await?;
        }
        let document = match parsed {
            Parsed::Cache(config) => document::read(&ImportedCache::blob(&blobs, &config).await?)?,
            Parsed::Image(manifest) => {
                let content = ImportedCache::blob(&blobs, &manifest.config).await?;
                let (_, diff_ids) = documents::configuration(&content, manifest.layers.len()).map_err(of_document)?;
                let layers: Vec<(Digest, Blob)> = diff_ids.into_iter().zip(manifest.layers).collect();
                document::read_inline(&content, &layers)?
            }
        };
        Ok(ImportedCache { place: place.clone(), document, blobs })
    }

    /// Sees to it that the files of a layer are here: nothing to do for one that was made or found here. Several may ask at once.
    pub async fn bring(&self, layer: &DraftLayer, progress: &ProgressSink) -> Result<(), CacheError> {
        let Some(pending) = layer.pending_place() else { return Ok(()) };
        pending.fetched.get_or_try_init(|| self.bring_now(pending, progress)).await?;
        Ok(())
    }

    async fn bring_now(&self, pending: &Pending, progress: &ProgressSink) -> Result<Fetched, CacheError> {
        let CachedLayer { diff_id, blob, .. } = &pending.layer;
        let mut meter = Meter::new(progress, blob.digest.short(), Some(blob.size));
        if self.has_layer(diff_id)? {
            meter.enter(Phase::Exists, blob.size);
            return Ok(Fetched::Stored(self.inner.store.layer_path(diff_id)));
        }
        let staged = match &pending.cache.blobs {
            Blobs::Registry { registry, reference } => {
                self.fetch_layer(registry, reference, *diff_id, blob, false, &mut meter).await?
            }
            Blobs::Folder(layout) => {
                meter.enter(Phase::Unpacking, 0);
                let (images, layout, layer) = (self.clone(), layout.clone(), pending.layer.clone());
                tokio::task::spawn_blocking(move || images.unpack_blob(&layout, &layer.blob, layer.diff_id)).await??
            }
        };
        meter.enter(Phase::Done, blob.size);
        Ok(Fetched::Made(Arc::new(staged)))
    }

    /// A layer of a layout, unpacked, and checked against both of its digests. Blocks the thread.
    pub(in crate::engine::images) fn unpack_blob(
        &self,
        layout: &Layout,
        blob: &Blob,
        diff_id: Digest,
    ) -> Result<Staged, ImagesError> {
        let path = layout.blob_path(&blob.digest);
        let file = File::open(&path).map_err(|e| FileError::new("open", &path, e))?;
        let scratch = self.inner.store.scratch()?;
        let mut source = Hashed::new(file);
        let unpacked = unpack_layer(&mut source, &scratch.root(), scratch.recorder()?, &self.limits()?);
        // That it is another file than it should be explains whatever the unpacking says.
        io::copy(&mut source, &mut io::sink()).map_err(|e| FileError::new("read", &path, e))?;
        let found = source.digest();
        if found != blob.digest {
            return Err(ImagesError::Blob { path, expected: blob.digest, found });
        }
        let of_unpack = |source| ImagesError::Unpack { layer: blob.digest.to_string(), source: Box::new(source) };
        let layer = unpacked.map_err(of_unpack)?;
        if layer.diff_id != diff_id {
            return Err(ImagesError::DiffId { blob: blob.digest, expected: diff_id, found: layer.diff_id });
        }
        Ok(scratch.into_staged(layer, None))
    }
}

enum Parsed {
    Cache(Blob),
    Image(documents::Manifest),
}

/// The configuration of a cache that is written as an index: one of its entries, among the layers.
fn listed_config(manifest: &[u8]) -> Result<Option<Blob>, CacheDocumentError> {
    let value: Value = serde_json::from_slice(manifest)?;
    let Some(entries) = value.get("manifests").and_then(Value::as_array) else { return Ok(None) };
    let Some(entry) = entries.iter().find(|entry| entry["mediaType"] == CACHE_CONFIG) else { return Ok(None) };
    let digest = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
    let (digest, size) = digest.zip(entry["size"].as_u64()).ok_or(CacheDocumentError::Shape("an entry of it has no digest"))?;
    Ok(Some(Blob { digest, size, media_type: CACHE_CONFIG.to_owned() }))
}

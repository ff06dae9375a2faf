//! Writing a cache: its layers, then what names them. A layer that is elsewhere only, and is there already, is neither fetched nor
//! sent.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::document::{CACHE_CONFIG, CachedLayer};
use super::import::USUAL;
use super::{CacheError, write, write_inline};
use crate::engine::images::documents::{Blob, OCI_MANIFEST};
use crate::engine::images::drafts::{DraftLayer, Step};
use crate::engine::images::layout::Layout;
use crate::engine::images::load::OCI_NAME;
use crate::engine::images::push::{Push, Sent, neighbours_of};
use crate::engine::images::registry::{Given, Piece, RegistryError, Source, Target};
use crate::engine::images::rows::{self, LayerBlob};
use crate::engine::images::{Images, manifests, packed};
use crate::model::build::{CachePlace, CacheTo};
use crate::model::{Digest, ImageRef, Packing, ProgressSink};

/// Layers that are packed or sent at a time.
const PARALLEL: usize = 4;

/// What a cache is made of.
#[derive(Clone, Copy, Debug)]
struct Content<'a> {
    /// In the order in which they were done.
    steps: &'a [Step],
    answers: &'a BTreeMap<Digest, Digest>,
}

impl Images {
    /// Writes a cache of steps whose layers have been published, or are elsewhere.
    pub async fn export_cache(
        &self,
        steps: &[Step],
        answers: &BTreeMap<Digest, Digest>,
        to: &CacheTo,
        given: Option<&Given>,
        progress: &ProgressSink,
    ) -> Result<(), CacheError> {
        let content = Content { steps, answers };
        match &to.place {
            CachePlace::Inline => Err(CacheError::Inline),
            CachePlace::Registry { reference } => self.to_registry(content, reference, to.packing, given, progress).await,
            CachePlace::Local { path, name } => {
                let layout = {
                    let path = path.clone();
                    tokio::task::spawn_blocking(move || Layout::create(&path)).await??
                };
                self.to_folder(content, layout, name.as_deref(), to.packing, progress).await
            }
        }
    }

    /// Puts a cache of the layers of an image into its configuration.
    pub fn inline_cache(
        config: &mut serde_json::Map<String, Value>,
        layers: &[Digest],
        steps: &[Step],
        answers: &BTreeMap<Digest, Digest>,
    ) -> Result<(), CacheError> {
        let mut records = BTreeMap::new();
        for step in steps {
            if let Some(place) = layers.iter().position(|diff_id| *diff_id == step.layer.diff_id) {
                records.insert(step.key, (place, step.layer.created));
            }
        }
        Ok(write_inline(config, &records, answers)?)
    }

    async fn to_registry(
        &self,
        content: Content<'_>,
        reference: &ImageRef,
        packing: Packing,
        given: Option<&Given>,
        progress: &ProgressSink,
    ) -> Result<(), CacheError> {
        let settings = self.inner.http.settings().map_err(RegistryError::from)?;
        let there = settings.rewritten(reference);
        let mut claims = Vec::new();
        let mut outgoing = Vec::new();
        let mut apart = std::collections::BTreeSet::new();
        for layer in distinct(content.steps) {
            match layer.pending_place().filter(|_| !layer.is_here() && !packing.force) {
                Some(pending) => {
                    let from = pending.cache.repository().map(|source| settings.rewritten(source));
                    let from = from.filter(|from| from.0 == there.0 && from.1 != there.1).map(|(_, repository)| repository);
                    apart.extend(from.clone());
                    claims.push((layer, pending.layer.clone(), from));
                }
                None => outgoing.push(layer),
            }
        }
        let target = Target::open(&self.inner.http, reference, &apart, given)?;
        let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
        for (layer, cached, from) in claims {
            match target.claim(cached.blob.digest, from.as_deref()).await? {
                Some(_) => drop(blobs.insert(layer.diff_id, cached.blob)),
                None => outgoing.push(layer),
            }
        }
        self.fetch_missing(content.steps, &outgoing, progress).await?;
        let mut layers = Vec::new();
        for layer in outgoing {
            let size = self.layer_tar(&layer.diff_id)?.size();
            layers.push(self.outgoing_layer(manifests::plain_blob(layer.diff_id, size), reference)?);
        }
        let neighbours = neighbours_of(layers.iter());
        let target = if neighbours.is_empty() { target } else { Target::open(&self.inner.http, reference, &neighbours, given)? };
        let push = Push { images: self, reference, target, packing, progress };
        let sends: Vec<_> = layers.into_iter().map(|layer| push.layer(layer, &neighbours)).collect();
        let sent: Vec<Sent> = stream::iter(sends).buffer_unordered(PARALLEL).try_collect().await?;
        for Sent { diff_id, digest, size, media_type } in sent.iter().cloned() {
            blobs.insert(diff_id, Blob { digest, size, media_type });
        }
        let (document, manifest) = documents(content, &blobs)?;
        let piece =
            Piece { digest: Digest::of(&document), size: document.len() as u64, content: Source::Memory(document.into()) };
        push.target.blob(&piece, None, |_| {}).await?;
        let digest = Digest::of(&manifest);
        let name = reference.tag().map_or_else(|| USUAL.to_owned(), str::to_owned);
        push.target.manifest(&name, OCI_MANIFEST, &manifest).await?;
        Ok(self.remember(reference, digest, &sent)?)
    }

    async fn to_folder(
        &self,
        content: Content<'_>,
        layout: Layout,
        name: Option<&str>,
        packing: Packing,
        progress: &ProgressSink,
    ) -> Result<(), CacheError> {
        let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
        let mut outgoing = Vec::new();
        for layer in distinct(content.steps) {
            let pending = layer.pending_place().filter(|_| !layer.is_here() && !packing.force);
            let source = pending.and_then(|pending| Some((pending.cache.layout()?.clone(), pending.layer.blob.clone())));
            let Some((source, blob)) = source else {
                outgoing.push(layer);
                continue;
            };
            // From a folder to a folder, perhaps the same one. What is copied is checked where it has come to.
            let (layout, wanted) = (layout.clone(), blob.clone());
            let taken = tokio::task::spawn_blocking(move || {
                if layout.has(&wanted.digest, wanted.size)? {
                    return Ok(true);
                }
                if !source.has(&wanted.digest, wanted.size)? {
                    return Ok(false);
                }
                layout.take(&wanted.digest, &source.blob_path(&wanted.digest))?;
                layout.has(&wanted.digest, wanted.size)
            });
            if taken.await?? {
                blobs.insert(layer.diff_id, blob);
            } else {
                outgoing.push(layer);
            }
        }
        self.fetch_missing(content.steps, &outgoing, progress).await?;
        let packs = outgoing.into_iter().map(|layer| {
            let (images, layout, diff_id) = (self.clone(), layout.clone(), layer.diff_id);
            async move {
                let packed = tokio::task::spawn_blocking(move || images.packed_into(&layout, &diff_id, &packing)).await??;
                Ok::<_, CacheError>((diff_id, packed))
            }
        });
        let packed: Vec<(Digest, Blob)> =
            stream::iter(packs.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
        blobs.extend(packed);
        let (document, manifest) = documents(content, &blobs)?;
        let name = name.unwrap_or(USUAL).to_owned();
        let published = tokio::task::spawn_blocking(move || {
            layout.put(&document)?;
            let digest = layout.put(&manifest)?;
            let mut descriptor = manifests::descriptor(OCI_MANIFEST, &digest, manifest.len() as u64);
            descriptor["annotations"] = json!({OCI_NAME: name});
            layout.publish(&[descriptor])
        });
        Ok(published.await??)
    }

    /// Brings layers that are elsewhere only, and gives them rows, so that they can be packed like any other.
    async fn fetch_missing(&self, steps: &[Step], wanted: &[&DraftLayer], progress: &ProgressSink) -> Result<(), CacheError> {
        let missing: Vec<&DraftLayer> = wanted.iter().copied().filter(|layer| !layer.is_here()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let brings: Vec<_> = missing.iter().map(|layer| self.bring(layer, progress)).collect();
        stream::iter(brings).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
        let fetched = steps.iter().filter(|step| missing.iter().any(|layer| layer.diff_id == step.layer.diff_id));
        let fetched: Vec<Step> = fetched.filter(|step| step.layer.is_here()).cloned().collect();
        let images = self.clone();
        tokio::task::spawn_blocking(move || images.publish_build(&fetched, None)).await??;
        Ok(())
    }

    /// A layer as a blob of a layout: one that is known to be there, or a new one. Blocks the thread.
    pub(in crate::engine::images) fn packed_into(
        &self,
        layout: &Layout,
        diff_id: &Digest,
        packing: &Packing,
    ) -> Result<Blob, CacheError> {
        for known in self.layer_blobs(diff_id)?.iter().filter(|blob| packed::fits(blob, packing)) {
            if layout.has(&known.digest, known.size)? {
                return Ok(Blob { digest: known.digest, size: known.size, media_type: packed::of_oci(&known.media_type) });
            }
        }
        let packed = self.pack(diff_id, packing)?;
        layout.take(&packed.digest, &packed.path)?;
        let media_type = packed.media_type.to_owned();
        let blob = LayerBlob { diff_id: *diff_id, digest: packed.digest, size: packed.size, media_type, kept: false };
        let record = |t: &rusqlite::Transaction<'_>| {
            // It may have been removed meanwhile.
            if rows::has_layer(t, diff_id)? { rows::insert_blob(t, &blob) } else { Ok(()) }
        };
        self.inner.db.write(record).map_err(crate::engine::images::ImagesError::from)?;
        Ok(Blob { digest: blob.digest, size: blob.size, media_type: blob.media_type })
    }
}

/// The layers of steps, each once.
fn distinct(steps: &[Step]) -> Vec<&DraftLayer> {
    let all: BTreeMap<Digest, &DraftLayer> = steps.iter().map(|step| (step.layer.diff_id, &step.layer)).collect();
    all.into_values().collect()
}

/// The cache's document, and the manifest that leads to it and to its layers.
fn documents(content: Content<'_>, blobs: &BTreeMap<Digest, Blob>) -> Result<(Vec<u8>, Vec<u8>), CacheError> {
    let mut layers = Vec::with_capacity(blobs.len());
    let mut records = BTreeMap::new();
    for (place, (diff_id, blob)) in blobs.iter().enumerate() {
        let of_layer = content.steps.iter().filter(|step| step.layer.diff_id == *diff_id);
        let mut created = i64::MAX;
        for step in of_layer {
            created = created.min(step.layer.created);
            records.insert(step.key, (place, step.layer.created));
        }
        layers.push(CachedLayer { diff_id: *diff_id, created, blob: blob.clone() });
    }
    let document = write(&layers, &records, content.answers)?;
    let described = layers.iter().map(|layer| manifests::descriptor(&layer.blob.media_type, &layer.blob.digest, layer.blob.size));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": manifests::descriptor(CACHE_CONFIG, &Digest::of(&document), document.len() as u64),
        "layers": described.collect::<Vec<_>>(),
    });
    Ok((document, manifest.to_string().into_bytes()))
}

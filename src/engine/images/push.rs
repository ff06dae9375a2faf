//! A push: an image of the store into a repository. What the repository has is not sent; what a neighbour has is mounted;
//! a layer's blob that was kept goes as it came, and any other is made anew from the layer, compressed.
//!
//! Guarantees: the manifest is published last, so that whoever can see the image can pull all of it. Layers that have to
//! be made anew give the image another manifest, whose digest is told; its configuration stays.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::documents::{self, Blob};
use super::manifests;
use super::members::{self, Attested, Member, attest};
use super::packed::{Packed, fits};
use super::progress::Meter;
use super::registry::{Given, Piece, RegistryError, Source, Target, Written};
use super::rows::{self, LayerBlob, Place};
use super::{Images, ImagesError};
use crate::model::{Digest, ImageRef, Packing, Phase, ProgressSink};
use crate::sys::memory::TrimmedAfter;

/// Layers of one image that are sent at a time.
const PARALLEL: usize = 4;
/// A token for more neighbours than these is not asked for.
const MAX_NEIGHBOURS: usize = 8;

/// How an image is pushed.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Images for other platforms: what is published is an index of all.
    pub with: Vec<Digest>,
    /// All that is published, the image itself among it, with what is attested of each.
    pub members: Vec<Member>,
    /// Credentials that come with the request, and go before those that are stored here.
    pub credentials: Option<Given>,
    /// How layers are packed that are not there yet.
    pub packing: Packing,
    /// One image is published by its digest alone.
    pub by_digest: bool,
}

/// What a push has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of what the tag names now.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

/// An image that is on its way.
struct Outgoing {
    digest: Digest,
    manifest: Value,
    raw: Vec<u8>,
    config: Digest,
    layers: Vec<Layer>,
}

/// One layer of it: what the manifest calls it, and the blobs that are known to unpack to it.
#[derive(Clone)]
pub(super) struct Layer {
    diff_id: Digest,
    described: LayerBlob,
    /// With the repositories of the target's registry that have each.
    known: Vec<(LayerBlob, Vec<String>)>,
}

/// A layer as the repository has it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) diff_id: Digest,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
}

/// Where an image goes, with what all its parts need to know.
pub(super) struct Push<'a> {
    pub(super) images: &'a Images,
    pub(super) reference: &'a ImageRef,
    pub(super) target: Target,
    pub(super) packing: Packing,
    pub(super) progress: &'a ProgressSink,
}

impl Images {
    /// Pushes an image, or an index of several, to the reference's repository, and gives it the reference's tag there.
    /// Dropping the future abandons the push; what has been sent stays where it is, for the next one.
    pub async fn push(
        &self,
        digest: Digest,
        reference: &ImageRef,
        options: &PushOptions,
        progress: ProgressSink,
    ) -> Result<Pushed, ImagesError> {
        let _trimmed = TrimmedAfter;
        let fail = |source| of_push(reference, source);
        let mut members = options.members.clone();
        if members.is_empty() {
            members.push(Member::of(digest));
        }
        members.extend(options.with.iter().copied().map(Member::of));
        let outgoing = members.iter().map(|member| self.outgoing(member.digest, reference)).collect::<Result<Vec<_>, _>>()?;
        let neighbours = neighbours_of(outgoing.iter().flat_map(|image| &image.layers));
        let target = Target::open(&self.inner.http, reference, &neighbours, options.credentials.as_ref()).map_err(fail)?;
        let push = Push { images: self, reference, target, packing: options.packing, progress: &progress };
        let tag = match options.by_digest {
            true => None,
            false => Some(reference.tag().ok_or_else(|| ImagesError::NoTag { reference: Box::new(reference.clone()) })?),
        };
        if let ([image], false) = (outgoing.as_slice(), members::need_index(&members)) {
            return push.image(image, tag, &neighbours).await.map(|(pushed, _)| pushed);
        }
        let (mut entries, mut attested): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for (image, member) in outgoing.iter().zip(&members) {
            let (pushed, media_type) = push.image(image, None, &neighbours).await?;
            let platform = self.platform_of(&image.config)?;
            if entries.iter().any(|entry| entry["platform"] == platform) {
                let (reference, image) = (Box::new(reference.clone()), image.digest.to_string());
                return Err(ImagesError::SamePlatform { reference, image, platform: shown(&platform) });
            }
            entries.push(json!({
                "mediaType": media_type, "digest": pushed.digest, "size": pushed.size, "platform": platform,
            }));
            if !member.attestations.is_empty() {
                let name = members::package_url(reference, &shown(&platform));
                attested.push(push.attested(attest(&member.attestations, &pushed.digest, &[name])).await?);
            }
        }
        // What is attested comes after all images.
        entries.append(&mut attested);
        let index = json!({"schemaVersion": 2, "mediaType": documents::OCI_INDEX, "manifests": entries});
        let content = index.to_string().into_bytes();
        let name = tag.map_or_else(|| Digest::of(&content).to_string(), str::to_owned);
        push.target.manifest(&name, documents::OCI_INDEX, &content).await.map_err(fail)?;
        Ok(Pushed { digest: Digest::of(&content), size: content.len() as u64 })
    }

    /// Reads from the store what an image is made of.
    fn outgoing(&self, digest: Digest, reference: &ImageRef) -> Result<Outgoing, ImagesError> {
        let content = self.inner.db.read(|t| rows::content(t, &digest))?;
        let (config, diff_ids) = content.ok_or(ImagesError::Missing(digest))?;
        let raw = self.inner.store.blob(&digest)?;
        let damaged = || ImagesError::Damaged { digest };
        let manifest: Value = serde_json::from_slice(&raw).map_err(|_| damaged())?;
        let described = match documents::parse(&raw, None) {
            Ok(documents::Document::Manifest(manifest)) if manifest.layers.len() == diff_ids.len() => manifest.layers,
            _ => return Err(damaged()),
        };
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (diff_id, blob) in diff_ids.into_iter().zip(described) {
            let own = LayerBlob { diff_id, digest: blob.digest, size: blob.size, media_type: blob.media_type, kept: false };
            layers.push(self.outgoing_layer(own, reference)?);
        }
        Ok(Outgoing { digest, manifest, raw, config, layers })
    }

    /// A layer on its way, with all that is known to unpack to it. What the manifest names comes first: with it the manifest stays
    /// as it is.
    pub(super) fn outgoing_layer(&self, own: LayerBlob, reference: &ImageRef) -> Result<Layer, ImagesError> {
        let mut known = self.layer_blobs(&own.diff_id)?;
        let first = known.iter().position(|blob| blob.digest == own.digest).map(|at| known.remove(at));
        known.insert(0, first.unwrap_or_else(|| own.clone()));
        let known = known.into_iter().map(|blob| {
            let from = self.neighbours(&blob.digest, reference)?;
            Ok((blob, from))
        });
        let known = known.collect::<Result<_, ImagesError>>()?;
        Ok(Layer { diff_id: own.diff_id, described: own, known })
    }

    /// Other repositories of the same registry that a blob was seen in.
    fn neighbours(&self, digest: &Digest, reference: &ImageRef) -> Result<Vec<String>, ImagesError> {
        let settings = self.inner.http.settings()?;
        let (registry, repository) = settings.rewritten(reference);
        let places = self.inner.db.read(|t| rows::places(t, digest))?;
        let named = places.into_iter().filter_map(|place| format!("{}/{}", place.registry, place.repository).parse().ok());
        let there = named.map(|place: ImageRef| settings.rewritten(&place));
        Ok(there.filter(|(host, name)| *host == registry && *name != repository).map(|(_, name)| name).collect())
    }

    /// The platform of an image, as an index names it.
    pub(super) fn platform_of(&self, config: &Digest) -> Result<Value, ImagesError> {
        let content = self.inner.store.blob(config)?;
        let config: Value = serde_json::from_slice(&content).map_err(|_| ImagesError::Damaged { digest: *config })?;
        let fields = ["os", "architecture", "variant", "os.version"].into_iter();
        let given = fields.filter_map(|name| Some((name.to_owned(), config.get(name).filter(|v| !v.is_null())?.clone())));
        Ok(Value::Object(given.collect()))
    }

    /// Writes down where blobs are now, for later pushes to mount them from.
    pub(super) fn remember(&self, reference: &ImageRef, manifest: Digest, sent: &[Sent]) -> Result<(), ImagesError> {
        let place = Place { registry: reference.registry().to_owned(), repository: reference.repository().to_owned() };
        Ok(self.inner.db.write(|t| {
            rows::insert_place(t, &manifest, &place)?;
            for layer in sent {
                let Sent { diff_id, digest, size, media_type } = layer.clone();
                // An image that was removed meanwhile has taken its layers with it.
                if rows::has_layer(t, &diff_id)? {
                    rows::insert_blob(t, &LayerBlob { diff_id, digest, size, media_type, kept: false })?;
                    rows::insert_place(t, &digest, &place)?;
                }
            }
            Ok(())
        })?)
    }
}

impl Push<'_> {
    /// Sends an image, and publishes its manifest under a tag or else its digest. Also gives the manifest's type.
    async fn image(
        &self,
        image: &Outgoing,
        tag: Option<&str>,
        neighbours: &BTreeSet<String>,
    ) -> Result<(Pushed, String), ImagesError> {
        let images = self.images;
        // The same layer may be there several times; an empty one often is.
        let distinct: BTreeMap<Digest, &Layer> = image.layers.iter().map(|layer| (layer.diff_id, layer)).collect();
        let sends = distinct.into_values().map(|layer| self.layer(layer.clone(), neighbours));
        let sent: Vec<Sent> = stream::iter(sends.collect::<Vec<_>>()).buffer_unordered(PARALLEL).try_collect().await?;
        let config = images.inner.store.blob(&image.config)?;
        let piece = Piece { digest: image.config, size: config.len() as u64, content: Source::Memory(config.into()) };
        self.target.blob(&piece, None, |_| {}).await.map_err(|source| of_push(self.reference, source))?;

        let by_layer: BTreeMap<Digest, &Sent> = sent.iter().map(|layer| (layer.diff_id, layer)).collect();
        let media_type = image.manifest["mediaType"].as_str().unwrap_or(documents::OCI_MANIFEST).to_owned();
        let mut changed: Vec<(usize, Blob)> = Vec::new();
        for (place, layer) in image.layers.iter().enumerate() {
            let Some(sent) = by_layer.get(&layer.diff_id).filter(|sent| sent.digest != layer.described.digest) else { continue };
            let Sent { digest, size, media_type, .. } = (*sent).clone();
            changed.push((place, Blob { digest, size, media_type }));
        }
        let content = match changed.is_empty() {
            true => image.raw.clone(),
            false => manifests::with_blobs(&image.manifest, changed.iter().map(|(place, blob)| (*place, blob))),
        };
        let digest = Digest::of(&content);
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        self.target.manifest(&name, &media_type, &content).await.map_err(|source| of_push(self.reference, source))?;
        images.remember(self.reference, digest, &sent)?;
        Ok((Pushed { digest, size: content.len() as u64 }, media_type))
    }

    /// Sends a manifest of attestations, and gives its entry in the index.
    async fn attested(&self, attested: Attested) -> Result<Value, ImagesError> {
        let fail = |source| of_push(self.reference, source);
        for content in attested.blobs {
            let (digest, size) = (Digest::of(&content), content.len() as u64);
            let piece = Piece { digest, size, content: Source::Memory(content.into()) };
            self.target.blob(&piece, None, |_| {}).await.map_err(fail)?;
        }
        let name = Digest::of(&attested.manifest).to_string();
        self.target.manifest(&name, documents::OCI_MANIFEST, &attested.manifest).await.map_err(fail)?;
        Ok(attested.entry)
    }

    /// Sees to it that the repository has one layer, in the cheapest form.
    pub(super) async fn layer(&self, layer: Layer, neighbours: &BTreeSet<String>) -> Result<Sent, ImagesError> {
        let fail = |source| of_push(self.reference, source);
        let Layer { diff_id, described, known } = layer;
        let mut meter = Meter::new(self.progress, described.digest.short(), Some(described.size));
        meter.enter(Phase::Waiting, 0);
        let told = |blob: &LayerBlob| Sent { diff_id, digest: blob.digest, size: blob.size, media_type: blob.media_type.clone() };
        for (blob, from) in known.iter().filter(|(blob, _)| fits(blob, &self.packing)) {
            let from = from.iter().find(|from| neighbours.contains(*from)).map(String::as_str);
            if self.target.claim(blob.digest, from).await.map_err(fail)?.is_some() {
                meter.enter(Phase::Exists, blob.size);
                return Ok(told(blob));
            }
            let path = self.images.inner.store.blob_path(&blob.digest);
            if blob.kept && path.is_file() {
                let piece = Piece { digest: blob.digest, size: blob.size, content: Source::File(path) };
                self.upload(&piece, &mut meter).await?;
                return Ok(told(blob));
            }
        }
        meter.enter(Phase::Compressing, 0);
        let made = self.packed(diff_id).await?;
        let mut meter = Meter::new(self.progress, described.digest.short(), Some(made.size));
        let piece = Piece { digest: made.digest, size: made.size, content: Source::File(made.path.clone()) };
        self.upload(&piece, &mut meter).await?;
        Ok(Sent { diff_id, digest: made.digest, size: made.size, media_type: made.media_type.to_owned() })
    }

    async fn upload(&self, piece: &Piece, meter: &mut Meter) -> Result<(), ImagesError> {
        meter.enter(Phase::Uploading, 0);
        let written = self.target.blob(piece, None, |done| meter.moved(Phase::Uploading, done)).await;
        let phase = match written.map_err(|source| of_push(self.reference, source))? {
            Written::Existed | Written::Mounted => Phase::Exists,
            Written::Uploaded => Phase::Done,
        };
        meter.enter(phase, piece.size);
        Ok(())
    }

    async fn packed(&self, diff_id: Digest) -> Result<Packed, ImagesError> {
        let images = self.images.clone();
        let (reference, packing) = (self.reference.clone(), self.packing);
        tokio::task::spawn_blocking(move || {
            images.pack(&diff_id, &packing).map_err(|error| match error {
                ImagesError::NoSkeleton { diff_id } => ImagesError::NotPushable { reference: Box::new(reference), diff_id },
                error => error,
            })
        })
        .await?
    }
}

/// The repositories that blobs of these layers may be mounted from.
pub(super) fn neighbours_of<'l>(layers: impl Iterator<Item = &'l Layer>) -> BTreeSet<String> {
    let known = layers.flat_map(|layer| &layer.known);
    known.flat_map(|(_, from)| from.first().cloned()).take(MAX_NEIGHBOURS).collect()
}

pub(super) fn shown(platform: &Value) -> String {
    let parts = ["os", "architecture", "variant"].into_iter().filter_map(|name| platform[name].as_str());
    parts.collect::<Vec<_>>().join("/")
}

pub(super) fn of_push(reference: &ImageRef, source: RegistryError) -> ImagesError {
    ImagesError::Push { reference: Box::new(reference.clone()), source: Box::new(source) }
}

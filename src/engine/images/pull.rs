//! A pull: from a reference to an image in the store. All layers at once, each streamed from the network through hash
//! and decompression into its folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::image::ImageConfiguration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OnceCell, mpsc};

use super::documents::{self, Blob, Document, DocumentError, Manifest};
use super::layer::{ChannelReader, Kept, UnpackError, unpack_layer};
use super::progress::Meter;
use super::publish::Package;
use super::registry::{Download, Given, RawManifest, Registry, RegistryError, Trouble};
use super::rows::{LayerBlob, Place, Record};
use super::store::Staged;
use super::verify::{self, PublicKey, Rule};
use super::{Images, ImagesError, rows};
use crate::model::{Digest, ImageRef, Phase, Platform, ProgressSink};
use crate::sys::memory::TrimmedAfter;

/// Parts of a layer that may wait between the network and the disk. From a fast network each has some hundred kilobytes.
const AHEAD: usize = 8;
/// How often a pull goes on after somebody removed a layer that it had found here.
const ATTEMPTS: usize = 4;

/// A layer that is being fetched or has been, shared by all pulls that want it.
pub(super) type Shared = Arc<OnceCell<Staged>>;

/// How an image is pulled.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// What the image is called here; as it was asked for when absent.
    pub name: Option<ImageRef>,
    /// Where it has no such name, it is called by its digest too, so that what has the reference keeps it.
    pub pinned: bool,
    /// This host's when absent.
    pub platform: Option<Platform>,
    /// Whether to keep the layers' blobs, to push them again byte by byte; as the settings say when absent.
    pub keep_blobs: Option<bool>,
    /// One of these keys must have signed it, whatever the settings ask for besides. None: no key is asked for.
    pub verify: Vec<PublicKey>,
    /// Credentials that come with the request, and go before those that are stored here.
    pub credentials: Option<Given>,
}

impl Images {
    /// Pulls an image for `platform` (this host's by default) and gives it the reference.
    ///
    /// Guarantees: the image is whole, checked and on the disk when it becomes visible; before, nothing of it is. What
    /// is here already is not downloaded again. Dropping the future abandons the pull and cleans up.
    pub async fn pull(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
        progress: ProgressSink,
    ) -> Result<Digest, ImagesError> {
        self.pull_with(reference, &PullOptions { platform: platform.cloned(), ..PullOptions::default() }, progress).await
    }

    /// Like [`Self::pull`], with all that can be chosen.
    pub async fn pull_with(
        &self,
        reference: &ImageRef,
        options: &PullOptions,
        progress: ProgressSink,
    ) -> Result<Digest, ImagesError> {
        let _trimmed = TrimmedAfter;
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
        let mut digests = vec![raw.digest];
        let manifest = match parse(&raw).map_err(of_document)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let chosen = documents::select(&index, &wanted).map_err(of_document)?;
                raw = registry.manifest_of_digest(chosen.digest).await.map_err(of_registry)?;
                digests.push(raw.digest);
                match parse(&raw).map_err(of_document)? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(of_document(DocumentError::Nested)),
                }
            }
        };
        self.verify(&registry, reference, &digests, &options.verify).await?;
        let config_content = match self.blob_if_known(&raw.digest, &manifest.config.digest)? {
            Some(content) => content,
            None => registry.small_blob(&manifest.config).await.map_err(of_registry)?,
        };
        let (config, diff_ids) = documents::configuration(&config_content, manifest.layers.len()).map_err(of_document)?;
        documents::check_platform(&config, &wanted).map_err(of_document)?;
        let record = Record {
            digest: raw.digest,
            config: manifest.config.digest,
            created: created(&config),
            layers: diff_ids,
            imported_from: None,
        };
        let package = Arc::new(Package {
            blobs: layer_blobs(&record.layers, &manifest.layers),
            record,
            manifest: raw.content,
            config: config_content,
            references: vec![match &options.name {
                Some(name) => name.clone(),
                None if options.pinned => reference.pinned(reference.tag(), raw.digest),
                None => reference.clone(),
            }],
            members: Vec::new(),
            place: Some(Place { registry: reference.registry().to_owned(), repository: reference.repository().to_owned() }),
        });
        // What one attempt has fetched, the next one finds.
        let mut staged = Vec::new();
        for _ in 0..ATTEMPTS {
            staged.extend(self.stage(&registry, reference, &manifest, &package.record.layers, keep, &progress).await?);
            if self.publish(package.clone(), staged.clone()).await? {
                return Ok(package.record.digest);
            }
        }
        Err(ImagesError::Contended { reference: Box::new(reference.clone()) })
    }

    /// Checks the image's signatures against the settings' rules and the caller's keys.
    pub(super) async fn verify(
        &self,
        registry: &Registry,
        reference: &ImageRef,
        digests: &[Digest],
        keys: &[PublicKey],
    ) -> Result<(), ImagesError> {
        let mut rules = self.inner.http.settings()?.rules(reference);
        if !keys.is_empty() {
            rules.push(Rule { keys: keys.to_owned(), required: true, check_name: false });
        }
        verify::check(registry, reference, digests, &rules)
            .await
            .map_err(|source| ImagesError::Verify { reference: Box::new(reference.clone()), source: Box::new(source) })
    }

    /// The configuration of an image that is here, so that a pull of what is here asks for the manifest only.
    fn blob_if_known(&self, manifest: &Digest, config: &Digest) -> Result<Option<Vec<u8>>, ImagesError> {
        if self.inner.db.read(|t| rows::has_image(t, manifest))? {
            // A damaged one is simply fetched again.
            return Ok(self.inner.store.blob(config).ok());
        }
        Ok(None)
    }

    /// Fetches the layers that are not here.
    async fn stage(
        &self,
        registry: &Registry,
        reference: &ImageRef,
        manifest: &Manifest,
        diff_ids: &[Digest],
        keep: bool,
        progress: &ProgressSink,
    ) -> Result<Vec<Shared>, ImagesError> {
        // The same layer may be there several times; an empty one often is.
        let layers: BTreeMap<Digest, &Blob> = diff_ids.iter().copied().zip(&manifest.layers).collect();
        let mut missing = Vec::new();
        for (diff_id, blob) in layers {
            let mut meter = Meter::new(progress, blob.digest.short(), Some(blob.size));
            if self.has_layer(&diff_id)? && (!keep || self.keeps(&blob.digest)?) {
                meter.enter(Phase::Exists, blob.size);
            } else {
                meter.enter(Phase::Waiting, 0);
                // Its own, because a borrowed one in a stream's closure cannot be proven to go between threads.
                missing.push((diff_id, blob.clone(), meter));
            }
        }
        // The big ones first: they decide when all is done.
        missing.sort_by_key(|(_, blob, _)| std::cmp::Reverse(blob.size));
        let fetches =
            missing.into_iter().map(|(diff_id, blob, meter)| self.layer(registry, reference, diff_id, blob, keep, meter));
        stream::iter(fetches).buffer_unordered(self.inner.settings.parallel.max(1)).try_collect().await
    }

    /// Whether the layer is here, and can be made a tar again.
    pub(super) fn has_layer(&self, diff_id: &Digest) -> Result<bool, ImagesError> {
        let recorded = self.inner.db.read(|t| rows::tar_size(t, diff_id))?.is_some();
        let store = &self.inner.store;
        Ok(recorded && store.layer_path(diff_id).is_dir() && store.skeleton_path(diff_id).is_file())
    }

    /// Whether the store has this blob of a layer.
    pub(super) fn keeps(&self, digest: &Digest) -> Result<bool, ImagesError> {
        let known = self.inner.db.read(|t| rows::blob(t, digest))?;
        Ok(known.is_some_and(|blob| blob.kept) && self.inner.store.blob_path(digest).is_file())
    }

    /// One layer, fetched by this pull or by another one that is at it already.
    async fn layer(
        &self,
        registry: &Registry,
        reference: &ImageRef,
        diff_id: Digest,
        blob: Blob,
        keep: bool,
        mut meter: Meter,
    ) -> Result<Shared, ImagesError> {
        let shared = self.inner.fetching.join(diff_id, keep);
        let staged = shared.get_or_try_init(|| self.fetch_layer(registry, reference, diff_id, &blob, keep, &mut meter)).await;
        staged?;
        meter.enter(Phase::Done, blob.size);
        Ok(shared)
    }

    pub(super) async fn fetch_layer(
        &self,
        registry: &Registry,
        reference: &ImageRef,
        diff_id: Digest,
        blob: &Blob,
        keep: bool,
        meter: &mut Meter,
    ) -> Result<Staged, ImagesError> {
        let mut first = true;
        loop {
            let mut resumed = false;
            match self.attempt_layer(registry, reference, diff_id, blob, keep, first, meter, &mut resumed).await {
                // What was kept of an earlier download may be what was wrong, and is gone now; or what a mirror has sent.
                Err(ImagesError::Registry { source, .. })
                    if first && (resumed || registry.has_mirrors()) && matches!(*source, RegistryError::Digest { .. }) =>
                {
                    first = false;
                }
                result => return result,
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "two more than what it is an attempt at")]
    async fn attempt_layer(
        &self,
        registry: &Registry,
        reference: &ImageRef,
        diff_id: Digest,
        blob: &Blob,
        keep: bool,
        mirrors: bool,
        meter: &mut Meter,
        resumed: &mut bool,
    ) -> Result<Staged, ImagesError> {
        let scratch = self.inner.store.scratch()?;
        let (feed, parts) = mpsc::channel(AHEAD);
        let limits = self.limits()?;
        let kept = keep.then_some(blob.digest);
        // The folder belongs to the thread that fills it, so that it outlives a pull that is abandoned.
        let unpacking = tokio::task::spawn_blocking(move || {
            let source = Kept::new(ChannelReader::new(parts), kept.map(|_| scratch.blob()))?;
            let layer = unpack_layer(source, &scratch.root(), scratch.recorder()?, &limits)?;
            Ok::<_, UnpackError>(scratch.into_staged(layer, kept))
        });
        meter.enter(Phase::Downloading, 0);
        let mut download = Download::new(blob.clone(), feed);
        let growing = match self.inner.partials.take(&blob.digest, blob.size)? {
            Some(partial) => Some(partial.resume(&mut download, blob.size).await?),
            None => None,
        };
        *resumed = growing.as_ref().is_some_and(|growing| growing.had > 0);
        let downloaded = registry.blob(download, mirrors, |done| meter.moved(Phase::Downloading, done)).await;
        if downloaded.is_ok() {
            meter.enter(Phase::Unpacking, blob.size);
        }
        if let Some(growing) = growing {
            let worth = matches!(&downloaded, Err(error) if error.trouble() != Trouble::Untrue);
            growing.end(worth).await?;
        }
        let unpacked = unpacking.await?;
        // A download that went wrong explains whatever the unpacking says.
        downloaded.map_err(|source| of_registry(reference, source))?;
        let staged =
            unpacked.map_err(|source| ImagesError::Unpack { layer: blob.digest.to_string(), source: Box::new(source) })?;
        if staged.layer.diff_id != diff_id {
            return Err(ImagesError::DiffId { blob: blob.digest, expected: diff_id, found: staged.layer.diff_id });
        }
        Ok(staged)
    }
}

pub(super) async fn fetch(registry: &Registry, reference: &ImageRef) -> Result<RawManifest, RegistryError> {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => registry.manifest_of_digest(digest).await,
        (None, tag) => registry.manifest_of_tag(tag.unwrap_or("latest")).await,
    }
}

/// What is known of the layers' blobs.
pub(super) fn layer_blobs(diff_ids: &[Digest], layers: &[Blob]) -> Vec<LayerBlob> {
    let all = diff_ids.iter().zip(layers);
    let blobs = all.map(|(diff_id, blob)| LayerBlob {
        diff_id: *diff_id,
        digest: blob.digest,
        size: blob.size,
        media_type: blob.media_type.clone(),
        kept: false,
    });
    blobs.collect()
}

pub(super) fn of_registry(reference: &ImageRef, source: RegistryError) -> ImagesError {
    ImagesError::Registry { reference: Box::new(reference.clone()), source: Box::new(source) }
}

pub(super) fn parse(raw: &RawManifest) -> Result<Document, DocumentError> {
    documents::parse(&raw.content, raw.content_type.as_deref())
}

/// When the image was made; 1970 when it does not say.
pub(super) fn created(config: &ImageConfiguration) -> OffsetDateTime {
    let said = config.created().as_deref().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    said.unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

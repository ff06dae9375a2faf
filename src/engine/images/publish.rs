//! How content becomes an image: final names, one sync, then the rows in one transaction. And the way back: what no image
//! needs loses its rows first and then its place on the disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rusqlite::Transaction;
use tokio::sync::OnceCell;

use super::members::{self, Member};
use super::pull::Shared;
use super::rows::{self, LayerBlob, Place, Record};
use super::store::Staged;
use super::{Freed, Images, ImagesError, Live};
use crate::model::{Digest, ImageRef};

/// An image that is ready to be recorded, but for its layers.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) record: Record,
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
    /// What it is to be called.
    pub(super) references: Vec<ImageRef>,
    /// What these mean besides, where they do.
    pub(super) members: Vec<Member>,
    /// What its layers were unpacked from, where that is something else than their tars.
    pub(super) blobs: Vec<LayerBlob>,
    /// Where the manifest and the blobs are from.
    pub(super) place: Option<Place>,
}

/// A layer, and whether its blob is kept.
type Wanted = (Digest, bool);

/// Layers that pulls of this process are fetching, so that none is fetched twice at a time.
#[derive(Debug, Default)]
pub(super) struct Fetching(Mutex<HashMap<Wanted, Weak<OnceCell<Staged>>>>);

impl Fetching {
    /// The place of a layer. Whoever comes first fetches it, the others wait; if that fails, the next one tries.
    /// One that keeps its blob is another one.
    pub(super) fn join(&self, diff_id: Digest, keep: bool) -> Shared {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, place| place.strong_count() > 0);
        // A layer that has been published meanwhile has left its folder, and is no use to a later pull.
        let known = all.get(&(diff_id, keep)).and_then(Weak::upgrade);
        if let Some(place) = known.filter(|place| place.get().is_none_or(Staged::is_there)) {
            return place;
        }
        let place = Shared::default();
        all.insert((diff_id, keep), Arc::downgrade(&place));
        place
    }
}

impl Images {
    /// Publishes an image. False when a layer that was here is not any more: then nothing has been recorded.
    pub(super) async fn publish(&self, package: Arc<Package>, layers: Vec<Shared>) -> Result<bool, ImagesError> {
        let images = self.clone();
        tokio::task::spawn_blocking(move || {
            let staged = layers.iter().filter_map(|place| place.get());
            images.publish_now(&package, &staged.collect::<Vec<_>>())
        })
        .await?
    }

    pub(super) fn publish_now(&self, package: &Package, staged: &[&Staged]) -> Result<bool, ImagesError> {
        self.publish_with(Some(package), staged, |_| Ok(()))
    }

    /// Publishes an image, if any, and layers that it need not have. `further` is recorded with them.
    pub(super) fn publish_with(
        &self,
        package: Option<&Package>,
        staged: &[&Staged],
        further: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<bool, ImagesError> {
        let inner = &self.inner;
        let publishing = inner.store.publishing()?;
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        let of_image = package.iter().flat_map(|package| &package.record.layers);
        for diff_id in of_image.chain(staged.iter().map(|staged| &staged.layer.diff_id)).collect::<BTreeSet<_>>() {
            let found = staged.iter().find(|staged| staged.layer.diff_id == *diff_id && staged.is_there());
            let is_here = inner.db.read(|t| rows::has_layer(t, diff_id))? && inner.store.layer_path(diff_id).is_dir();
            match found {
                Some(staged) if is_here => again.push(*staged),
                Some(staged) => fresh.push(*staged),
                None if is_here => {}
                None => return Ok(false),
            }
        }
        // Before anything has its final name: what cannot be completed is refused, and nothing of it remains.
        let chain = package.map_or(Ok(Vec::new()), |package| self.complete(&package.record, staged))?;
        let mut kept = BTreeSet::new();
        for staged in fresh.iter().chain(&again) {
            if let Some(digest) = staged.kept {
                publishing.kept_blob(staged, &digest)?;
                kept.insert(digest);
            }
        }
        for staged in &again {
            publishing.skeleton(staged)?;
        }
        for staged in &fresh {
            publishing.layer(staged)?;
        }
        for link in &chain {
            if let (Some(scratch), Some(completion)) = (&link.made, link.completion) {
                publishing.completion(scratch, &completion.chain_id)?;
            }
        }
        if let Some(package) = package {
            publishing.blob(&package.record.config, &package.config)?;
            publishing.blob(&package.record.digest, &package.manifest)?;
        }
        publishing.sync()?;
        inner.db.write(|t| {
            for staged in &fresh {
                rows::insert_layer(t, &staged.layer, true)?;
            }
            for staged in &again {
                rows::insert_layer(t, &staged.layer, false)?;
            }
            further(t)?;
            let Some(package) = package else { return Ok(()) };
            for blob in &package.blobs {
                rows::insert_blob(t, &LayerBlob { kept: kept.contains(&blob.digest), ..blob.clone() })?;
            }
            if let Some(place) = &package.place {
                for digest in package.blobs.iter().map(|blob| &blob.digest).chain([&package.record.digest]) {
                    rows::insert_place(t, digest, place)?;
                }
            }
            let completions: Vec<_> = chain.iter().map(|link| link.completion).collect();
            rows::insert(t, &package.record, &completions, &package.references)?;
            package.references.iter().try_for_each(|reference| members::write(t, reference, &package.members))
        })?;
        Ok(true)
    }

    /// Removes an image with all its references, and the layers that no other image has. Whether a container still
    /// needs it is the caller's to know.
    pub fn remove(&self, digest: Digest) -> Result<Freed, ImagesError> {
        self.sweep(|_| Ok(vec![digest]))
    }

    /// The same, unless it is in `live`.
    pub fn remove_unless(&self, digest: Digest, live: impl FnOnce(&Transaction<'_>) -> Live) -> Result<Freed, ImagesError> {
        self.sweep(|t| Ok(if live(t)?.contains(&digest) { Vec::new() } else { vec![digest] }))
    }

    /// Removes the images that have no reference and are not in `live`, and all content that no image needs.
    pub fn collect(&self, live: impl FnOnce(&Transaction<'_>) -> Live) -> Result<Freed, ImagesError> {
        self.sweep(|t| {
            let live = live(t)?;
            Ok(rows::unreferenced(t)?.into_iter().filter(|digest| !live.contains(digest)).collect())
        })
    }

    /// Puts right what a crash has left: work in progress of dead processes, content without a row.
    pub fn recover(&self) -> Result<(), ImagesError> {
        self.inner.store.sweep_work()?;
        self.sweep(|_| Ok(Vec::new())).map(drop)
    }

    pub(super) fn sweep(
        &self,
        doomed: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<Vec<Digest>>,
    ) -> Result<Freed, ImagesError> {
        let publishing = self.inner.store.publishing()?;
        let (freed, names) = self.inner.db.write(|t| {
            let mut freed = Freed::default();
            for digest in doomed(t)? {
                freed.images += u64::from(rows::remove(t, &digest)?);
            }
            (freed.layers, freed.bytes) = rows::remove_unneeded_layers(t)?;
            Ok((freed, rows::names(t)?))
        })?;
        publishing.sweep(&names)?;
        Ok(freed)
    }
}

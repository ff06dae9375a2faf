//! What can go, and what it takes: images that nobody needs are pruned by filters, and the store is measured.
//! Who needs what is handed in.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Freed, Images, ImagesError, members, rows};
use crate::model::{Digest, ImageRef};

/// The images that somebody needs, as far as the database knows.
pub type Live = rusqlite::Result<BTreeSet<Digest>>;

/// Which images are pruned, of those that nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Those with names too.
    pub all: bool,
    /// Made before this.
    pub until: Option<OffsetDateTime>,
    pub labels: Vec<LabelFilter>,
}

/// `label=key[=value]`, or `label!=key[=value]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFilter {
    pub key: String,
    pub value: Option<String>,
    /// Those that do not have it.
    pub without: bool,
}

/// What a prune has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    pub images: Vec<PrunedImage>,
    /// Bytes of the layers, unpacked.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunedImage {
    pub digest: Digest,
    pub references: BTreeSet<ImageRef>,
}

/// What the images take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesUsage {
    /// Bytes of all layers, unpacked, and of the blobs that are kept.
    pub size: u64,
    /// Bytes that only images have which nobody needs.
    pub reclaimable: u64,
    pub images: Vec<ImageUsage>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUsage {
    pub digest: Digest,
    pub references: BTreeSet<ImageRef>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// Bytes of its layers.
    pub size: u64,
    /// Of these, what other images have too.
    pub shared: u64,
    /// Whether somebody needs it.
    pub active: bool,
}

impl LabelFilter {
    fn takes(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = labels.get(&self.key).is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found));
        has != self.without
    }
}

impl Images {
    /// Removes the images that are not in `live` and that the filter takes, and all content that no image needs. Blocks the
    /// thread.
    pub fn prune(&self, filter: &PruneFilter, live: impl FnOnce(&Transaction<'_>) -> Live) -> Result<Pruned, ImagesError> {
        let mut doomed = Vec::new();
        // Images for other platforms go with those that have the name, by whoever calls.
        let members = self.inner.db.read(members::all)?;
        for image in self.list()? {
            let old = filter.until.is_none_or(|until| image.created < until);
            let is_nameless = image.references.is_empty();
            let fits = old && (filter.all || is_nameless) && !(is_nameless && members.contains(&image.digest));
            if fits && (filter.labels.is_empty() || self.has_labels(&image.digest, &filter.labels)?) {
                doomed.push(PrunedImage { digest: image.digest, references: image.references });
            }
        }
        let mut images = Vec::new();
        let Freed { bytes, .. } = self.sweep(|t| {
            // Asked in the transaction that removes them: who begins to use one before is seen, and who comes after sees
            // that it has gone.
            let live = live(t)?;
            for image in doomed {
                // One that has got a name in the meantime is wanted by somebody.
                let wanted = rows::by_digest(t, &image.digest)?.is_none_or(|now| now.references != image.references);
                if !wanted && !live.contains(&image.digest) {
                    images.push(image);
                }
            }
            Ok(images.iter().map(|image| image.digest).collect())
        })?;
        Ok(Pruned { images, bytes })
    }

    fn has_labels(&self, digest: &Digest, filters: &[LabelFilter]) -> Result<bool, ImagesError> {
        let labels = self.labels_of(digest)?;
        Ok(filters.iter().all(|filter| filter.takes(&labels)))
    }

    /// What the images take on the disk, where `live` are those that somebody needs.
    pub fn usage(&self, live: &BTreeSet<Digest>) -> Result<ImagesUsage, ImagesError> {
        let (layers, kept, pairs) =
            self.inner.db.read(|t| Ok((rows::layers(t)?, rows::kept_blobs(t)?, rows::layers_of_images(t)?)))?;
        let mut sizes: BTreeMap<Digest, u64> = layers.into_iter().map(|(diff_id, size, _)| (diff_id, size)).collect();
        for blob in kept {
            *sizes.entry(blob.diff_id).or_default() += blob.size;
        }
        // A completion counts like a layer.
        sizes.extend(self.inner.db.read(rows::completions)?.into_iter().map(|done| (done.chain_id, done.size)));
        let mut of_image: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut needed = BTreeSet::new();
        for (image, layer) in pairs {
            if of_image.entry(image).or_default().insert(layer) {
                *users.entry(layer).or_default() += 1;
            }
            if live.contains(&image) {
                needed.insert(layer);
            }
        }
        let size_of = |layer: &Digest| sizes.get(layer).copied().unwrap_or(0);
        let mut usage = ImagesUsage { size: sizes.values().sum(), ..ImagesUsage::default() };
        usage.reclaimable = sizes.iter().filter(|(layer, _)| !needed.contains(layer)).map(|(_, size)| size).sum();
        for image in self.list()? {
            let layers = of_image.remove(&image.digest).unwrap_or_default();
            let shared = layers.iter().filter(|layer| users.get(layer).is_some_and(|count| *count > 1));
            usage.images.push(ImageUsage {
                digest: image.digest,
                references: image.references,
                created: image.created,
                size: layers.iter().map(size_of).sum(),
                shared: shared.map(size_of).sum(),
                active: live.contains(&image.digest),
            });
        }
        Ok(usage)
    }
}

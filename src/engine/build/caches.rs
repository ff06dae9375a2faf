//! Caches beside the store's own: those that a build takes steps from, and those that it writes. What is taken is known by its key like
//! any other step; its files are brought when a step that is really done needs them, or the result.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::BuildError;
use super::events::Events;
use super::layers::Layers;
use super::work::Work;
use crate::engine::images::{DraftLayer, Given, INLINE_OWN, INLINE_RECORDS, Images, ImportedCache, Step};
use crate::model::build::{BuildRequest, CachePlace};
use crate::model::{Digest, Platform};

/// Layers that are brought at a time.
const PARALLEL: usize = 4;

/// The caches that a build takes from.
#[derive(Debug, Default)]
pub(super) struct Caches {
    /// In the order in which they are asked.
    all: Mutex<Vec<Arc<ImportedCache>>>,
    /// What was found there, so that no layer is brought twice.
    found: Mutex<HashMap<Digest, DraftLayer>>,
    /// What was asked of layers' files, and answered; of which layers, by their chain id.
    answers: Mutex<BTreeMap<Digest, (Digest, String)>>,
}

impl Caches {
    /// Reads the caches that are asked for. One that cannot be had makes a build longer, and does not end it.
    pub(super) async fn open(
        images: &Images,
        request: &BuildRequest,
        platform: &Platform,
        given: &[Given],
        events: &Events,
    ) -> Self {
        let mut all = Vec::new();
        // Nothing would be taken from them.
        let places = request.cache_from.iter().filter(|_| !request.no_cache);
        for place in places.collect::<Vec<_>>() {
            let running = events.begin(format!("[internal] read the cache {place}"));
            match images.open_cache(place, platform, given_of(given, place)).await {
                Ok(cache) => all.push(Arc::new(cache)),
                Err(error) if error.is_missing() => events.warn(format!("there is no cache {place} yet")),
                Err(error) => events.warn(format!("the cache {place} is left out: {error}")),
            }
            running.done(false);
        }
        Self { all: Mutex::new(all), ..Self::default() }
    }

    /// The layer that a step came to.
    pub(super) fn find(&self, key: &Digest) -> Option<DraftLayer> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = all.iter().find_map(|cache| cache.find(key))?;
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shared = found.entry(layer.diff_id).or_insert_with(|| layer.clone()).clone();
        shared.created = layer.created;
        Some(shared)
    }

    fn answer(&self, question: &Digest) -> Option<Digest> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find_map(|cache| cache.answer(question))
    }

    fn note(&self, question: Digest, answer: Digest, layers: &Layers) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(question, (answer, layers.chain()));
    }

    /// What was answered; of the layers of a result only, where those are given. Without its files nobody comes to what a stage that
    /// is built again has.
    fn answered(&self, result: Option<&[Digest]>) -> BTreeMap<Digest, Digest> {
        let chains: Option<BTreeSet<String>> = result.map(Layers::chains);
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let of_result = |chain: &str| chains.as_ref().is_none_or(|chains| chains.contains(chain));
        let wanted = answers.iter().filter(|(_, (_, chain))| of_result(chain));
        wanted.map(|(question, (answer, _))| (*question, *answer)).collect()
    }

    /// Leaves out a cache from now on; false when that has been done.
    fn leave_out(&self, place: &CachePlace) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.retain(|cache| cache.place() != place);
        before != all.len()
    }

    /// What was brought has been published, or removed since.
    pub(super) fn begin_anew(&self) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The credentials for a cache.
fn given_of<'g>(given: &'g [Given], place: &CachePlace) -> Option<&'g Given> {
    match place {
        CachePlace::Registry { reference } => Given::of(given, reference),
        CachePlace::Local { .. } | CachePlace::Inline => None,
    }
}

impl Work {
    /// The answer to a question about the files of layers, if somebody has looked before: here, or whoever wrote a cache.
    pub(super) fn answer(&self, question: &Digest, layers: &Layers) -> Option<Digest> {
        // What a cache says is not remembered here: it is the word of whoever wrote it, for this build.
        let answer = self.known.answer(question).or_else(|| self.caches.answer(question))?;
        self.caches.note(*question, answer, layers);
        Some(answer)
    }

    /// Remembers what was found by a look at the files.
    pub(super) fn answered(&self, question: &Digest, answer: &Digest, layers: &Layers) {
        self.known.remember(question, answer);
        self.caches.note(*question, *answer, layers);
    }

    /// Sees to it that the files of all these layers are here.
    pub(super) async fn bring(&self, layers: &Layers) -> Result<(), BuildError> {
        let missing: Vec<&DraftLayer> = layers.missing().collect();
        let Some(place) = missing.iter().find_map(|layer| layer.cache()) else { return Ok(()) };
        let count = missing.len();
        let running = self
            .events
            .begin(format!("[internal] bring {count} layer{} of the cache {place}", if count == 1 { "" } else { "s" }));
        let progress = running.progress();
        let brings = missing.into_iter().map(|layer| {
            let progress = &progress;
            async move {
                let of_cache = |source| BuildError::CacheLayer {
                    place: Box::new(layer.cache().unwrap_or(CachePlace::Inline)),
                    source: Box::new(source),
                };
                self.images.bring(layer, progress).await.map_err(of_cache)
            }
        });
        let brings = brings.collect::<Vec<_>>();
        let brought = stream::iter(brings).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await;
        running.ended(brought, false).map(drop)
    }

    /// After a failure: whether the build can begin anew without the cache that it is of.
    pub(super) fn goes_on_without(&self, error: &BuildError) -> bool {
        let Some((place, cause)) = error.of_cache() else { return false };
        let left_out = self.caches.leave_out(place);
        if left_out {
            self.events.warn(format!("the cache {place} is left out from now on: {cause}"));
        }
        left_out
    }

    /// Takes what is a cache's out of an image's configuration, which may come from its base, and puts its own in where that is
    /// asked for.
    pub(super) fn configure_cache(&self, config: Vec<u8>, layers: &[Digest], done: &[Step]) -> Result<Vec<u8>, BuildError> {
        let inline = self.request.cache_to.iter().any(|to| to.place == CachePlace::Inline);
        let failed = |source| BuildError::CacheTo { place: Box::new(CachePlace::Inline), source: Box::new(source) };
        let mut image: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&config)
            .map_err(|error| failed(crate::engine::images::CacheDocumentError::from(error).into()))?;
        let had = image.shift_remove(INLINE_RECORDS).is_some() | image.shift_remove(INLINE_OWN).is_some();
        if !inline && !had {
            return Ok(config);
        }
        if inline {
            Images::inline_cache(&mut image, layers, done, &self.caches.answered(Some(layers))).map_err(failed)?;
        }
        Ok(serde_json::Value::Object(image).to_string().into_bytes())
    }

    /// Writes the caches that are asked for, of what was done for a result with these layers.
    pub(super) async fn export_caches(&self, done: &[Step], layers: &[Digest]) -> Result<(), BuildError> {
        let result: BTreeSet<&Digest> = layers.iter().collect();
        for to in self.request.cache_to.iter().filter(|to| to.place != CachePlace::Inline) {
            let steps: Vec<Step> = done.iter().filter(|step| to.all || result.contains(&step.layer.diff_id)).cloned().collect();
            let answers = self.caches.answered((!to.all).then_some(layers));
            let running = self.events.begin(format!("exporting the cache to {}", to.place));
            let given = given_of(&self.given, &to.place);
            let exported = self.images.export_cache(&steps, &answers, to, given, &running.progress()).await;
            match exported {
                Err(error) if to.ignore_error => {
                    running.done(false);
                    self.events.warn(format!("the cache is not written to {}: {error}", to.place));
                }
                exported => running
                    .ended(exported, false)
                    .map_err(|source| BuildError::CacheTo { place: Box::new(to.place.clone()), source: Box::new(source) })?,
            }
        }
        Ok(())
    }
}

//! Images from Dockerfiles.
//!
//! ```text
//! bytes → dockerfile (a syntax tree) → stages (a graph) → stage (one after the other of its instructions) → layers, an image
//! ```
//!
//! What is pure of it: the syntax tree, the expansion of variables, patterns, the graph of stages, what becomes of an image's
//! configuration, and the keys of steps. The rest mounts, copies, runs and seals. Stages that do not need each other are built at
//! the same time; one that nobody needs is not built.
//!
//! Guarantees: nothing of a build is visible before all that it says is on the disk; what a failed build had done is found by
//! the next one; one that is given up or killed leaves nothing that a recovery does not remove.

mod bases;
mod caches;
pub mod config;
mod copy;
pub mod dockerfile;
mod error;
mod events;
pub mod expand;
pub mod files;
mod glob;
pub mod ignore;
mod key;
mod layers;
mod mounts;
mod outputs;
pub mod permissions;
mod plan;
mod run;
mod sandbox;
mod stage;
pub mod stages;
mod stubs;
pub mod wildcard;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::io::AsyncRead;

pub use error::BuildError;

use self::events::Events;
use self::stage::StageDone;
use self::work::Work;
use crate::engine::containers::Containers;
use crate::engine::images::{BuiltImage, Given, Images, Step};
use crate::engine::networks::Networks;
use crate::model::build::{BuildOutput, BuildRequest, BuildSink};
use crate::model::{Digest, ImageRef};

/// What a build has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of the image's manifest, where an image was asked for.
    pub digest: Option<Digest>,
    /// What was pushed, and the digest that it has there: layers are packed there, so that it is another manifest.
    pub pushed: BTreeMap<ImageRef, Digest>,
}

/// The parts of the engine that builds use.
#[derive(Clone, Debug)]
pub struct Parts {
    pub images: Images,
    pub networks: Networks,
    pub containers: Containers,
    pub state_dir: PathBuf,
    /// Credentials of whoever asks, which go before those that are stored here.
    pub given: Vec<Given>,
}

/// A tar that comes with a request.
pub type Upload = Box<dyn AsyncRead + Send + Unpin>;

/// How often a build is begun again after somebody removed a layer that it had found.
const ATTEMPTS: usize = 3;

/// A stage that is built once, for all who need it.
type Building = Shared<BoxFuture<'static, Result<Arc<StageDone>, Arc<BuildError>>>>;

/// Builds an image. Dropping the future gives the build up.
///
/// # Errors
/// What is wrong with the Dockerfile, with its place; what a command ended with, and its last words; what the host refuses.
pub async fn build(parts: Parts, request: BuildRequest, upload: Option<Upload>, sink: BuildSink) -> Result<Built, BuildError> {
    let events = Events::new(sink);
    let work = Arc::new(plan::prepare(parts, request, upload, events).await?);
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        match attempt(&work).await {
            Ok(Some(built)) => return Ok(built),
            Ok(None) => attempts += 1,
            // What is done by now is found again, and each cache is left out once.
            Err(error) if work.goes_on_without(&error) => {}
            Err(error) => return Err(error),
        }
        work.caches.begin_anew();
    }
    Err(BuildError::Contended)
}

/// Builds once. `None` when something that was known has been removed meanwhile.
async fn attempt(work: &Arc<Work>) -> Result<Option<Built>, BuildError> {
    let target = work.stages.target;
    let mut building: BTreeMap<usize, Building> = BTreeMap::new();
    for index in work.stages.needed() {
        let needs: BTreeMap<usize, Building> =
            work.stages.needs_of(index).into_iter().filter_map(|need| Some((need, building.get(&need)?.clone()))).collect();
        let work = work.clone();
        let one = async move {
            let mut done = BTreeMap::new();
            for (need, stage) in needs {
                done.insert(need, stage.await?);
            }
            stage::build(work, index, done).await.map_err(Arc::new)
        };
        building.insert(index, one.boxed().shared());
    }
    let mut outcome = futures_util::future::try_join_all(building.values().cloned()).await.map(drop);
    if let (Ok(()), Some(stage)) = (&outcome, building.get(&target).and_then(Shared::peek).and_then(|stage| stage.as_ref().ok()))
    {
        // The result is whole here, whatever of it was found elsewhere.
        outcome = work.bring(&stage.layers).await.map_err(Arc::new);
    }
    let done = std::mem::take(&mut *work.done.lock().unwrap_or_else(PoisonError::into_inner));
    let closing = std::mem::take(&mut *work.closing.lock().unwrap_or_else(PoisonError::into_inner));
    let stage = match (outcome, building.remove(&target)) {
        (Ok(()), Some(stage)) => stage.await.map_err(own)?,
        (Err(error), _) => {
            drop(building);
            finish(closing).await;
            // What was done is kept all the same: the next build goes on from there.
            let images = work.images.clone();
            let kept = tokio::task::spawn_blocking(move || images.publish_build(&done, None)).await?;
            if let Err(error) = kept {
                tracing::warn!(%error, "the steps of a failed build are not kept");
            }
            save(work);
            return Err(own(error));
        }
        (Ok(()), None) => return Err(BuildError::Interrupted),
    };
    drop(building);
    let keeps = keeps_image(&work.request);
    let before = if keeps { Vec::new() } else { work.images.list()? };
    // Layers that are published move; what is mounted of them stays as it is.
    let files = match work.request.outputs.iter().any(outputs::needs_files) {
        true => {
            let (work, stage) = (work.clone(), stage.clone());
            Some(Arc::new(tokio::task::spawn_blocking(move || work.view(&stage.layers)).await??))
        }
        false => None,
    };
    let published = publish(work, &stage, &done).await;
    finish(closing).await;
    save(work);
    let Some(digest) = published? else { return Ok(None) };
    let mut pushed = BTreeMap::new();
    for output in &work.request.outputs {
        outputs::make(work, output, files.as_ref(), digest, &mut pushed).await?;
    }
    work.export_caches(&done, stage.layers.diff_ids()).await?;
    if let (Some(digest), false) = (digest, keeps || before.iter().any(|image| digest == Some(image.digest))) {
        // It was made for an archive only. Another one may have made the same meanwhile, and named it.
        let images = work.images.clone();
        tokio::task::spawn_blocking(move || images.collect_one(digest)).await??;
    }
    Ok(Some(Built { digest: digest.filter(|_| keeps), pushed }))
}

/// Whether an image is to be in the store afterwards.
fn keeps_image(request: &BuildRequest) -> bool {
    request.outputs.is_empty() || request.outputs.iter().any(|output| matches!(output, BuildOutput::Image { .. }))
}

/// Makes what was done visible: the steps, and the image, where one is wanted or an output is made of one.
async fn publish(work: &Arc<Work>, stage: &StageDone, done: &[Step]) -> Result<Option<Option<Digest>>, BuildError> {
    let wanted = work.request.outputs.is_empty() || work.request.outputs.iter().any(outputs::needs_image);
    let running = work.events.begin("exporting the image".to_owned());
    let mut image = stage.image.clone();
    for (name, value) in &work.request.labels {
        image.label(name, value);
    }
    let (config, created) = image.finish(stage.layers.diff_ids(), stage.layers.created(), work.request.epoch);
    let config = match work.configure_cache(config, stage.layers.diff_ids(), done) {
        Ok(config) => config,
        Err(error) => return running.ended(Err(error), false),
    };
    let built = BuiltImage {
        config,
        layers: stage.layers.diff_ids().to_vec(),
        created,
        references: if keeps_image(&work.request) { work.request.tags.clone() } else { Vec::new() },
        annotations: work.request.annotations.clone(),
        docker_types: work.request.docker_types,
    };
    let (images, done) = (work.images.clone(), done.to_vec());
    let published = tokio::task::spawn_blocking(move || images.publish_build(&done, wanted.then_some(built))).await?;
    Ok(running.ended(published, false)?.map(|digest| wanted.then_some(digest)))
}

/// Waits until what was closed in the background is closed.
async fn finish(closing: Vec<tokio::task::JoinHandle<()>>) {
    for one in closing {
        if let Err(error) = one.await {
            tracing::warn!(%error, "a sandbox was not closed");
        }
    }
}

/// Remembers what files of the host are known to have. Without it the next build reads them again.
fn save(work: &Work) {
    if let Err(error) = work.known.save() {
        tracing::warn!(%error, "the digests of files are not remembered");
    }
}

fn own(error: Arc<BuildError>) -> BuildError {
    Arc::try_unwrap(error).unwrap_or_else(BuildError::Shared)
}

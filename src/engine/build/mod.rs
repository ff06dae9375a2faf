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

mod agents;
mod attest;
mod bases;
mod caches;
pub mod config;
mod copy;
pub mod dockerfile;
mod emulation;
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
mod publish;
mod run;
mod sandbox;
mod sbom;
mod stage;
pub mod stages;
mod stubs;
mod told;
pub mod wildcard;
mod work;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use time::OffsetDateTime;
use tokio::io::AsyncRead;

pub use error::BuildError;

use self::events::Events;
use self::stage::StageDone;
use self::work::Work;
use crate::engine::containers::Containers;
use crate::engine::images::{Given, Images};
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
    let began = OffsetDateTime::now_utc();
    let all = plan::prepare(parts, request, upload, events).await?;
    let all: Vec<Arc<Work>> = all.into_iter().map(Arc::new).collect();
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        match attempt(&all, began).await {
            Ok(Some(built)) => return Ok(built),
            Ok(None) => attempts += 1,
            // What is done by now is found again, and each cache is left out once.
            Err(error) => {
                let without = all.iter().filter(|work| work.goes_on_without(&error)).count();
                if without == 0 {
                    return Err(error);
                }
            }
        }
        all.iter().for_each(|work| work.caches.begin_anew());
    }
    Err(BuildError::Contended)
}

/// Builds once, one platform after the other: so what they have in common is done once. `None` when something that was known has
/// been removed meanwhile.
async fn attempt(all: &[Arc<Work>], began: OffsetDateTime) -> Result<Option<Built>, BuildError> {
    let Some(first) = all.first() else { return Err(BuildError::Interrupted) };
    let mut finished = Vec::with_capacity(all.len());
    let mut failure = None;
    for work in all {
        match build_stages(work).await {
            Ok(stage) => finished.push(stage),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let done = std::mem::take(&mut *first.done.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(error) = failure {
        finish(all).await;
        // What was done is kept all the same: the next build goes on from there.
        let images = first.images.clone();
        let kept = tokio::task::spawn_blocking(move || images.publish_build(&done, None)).await?;
        if let Err(error) = kept {
            tracing::warn!(%error, "the steps of a failed build are not kept");
        }
        save(first);
        return Err(error);
    }
    let request = &first.request;
    let keeps = keeps_image(request);
    let before = if keeps { Vec::new() } else { first.images.list()? };
    let mut results = Vec::with_capacity(all.len());
    for (work, stage) in all.iter().zip(&finished) {
        // Layers that are published move; what is mounted of them stays as it is.
        let files = match request.outputs.iter().any(outputs::needs_files) || attest::needs_files(request) {
            true => {
                let (work, stage) = (work.clone(), stage.clone());
                Some(Arc::new(tokio::task::spawn_blocking(move || work.view(&stage.layers)).await??))
            }
            false => None,
        };
        results.push(Finished { work: work.clone(), stage: stage.clone(), files });
    }
    let published = match attest::attest(&results, began).await {
        Ok(attested) => publish::publish(&results, attested, &done).await,
        Err(error) => Err(error),
    };
    finish(all).await;
    save(first);
    let Some(published) = published? else { return Ok(None) };
    let mut pushed = BTreeMap::new();
    for output in &request.outputs {
        outputs::make(&results, output, &published, &mut pushed).await?;
    }
    let layers: Vec<Digest> = finished.iter().flat_map(|stage| stage.layers.diff_ids().iter().copied()).collect();
    first.export_caches(&done, &layers).await?;
    if !keeps {
        // They were made for an archive only. Another one may have made the same meanwhile, and named it.
        for digest in published.members.iter().map(|member| member.digest) {
            if !before.iter().any(|image| image.digest == digest) {
                let images = first.images.clone();
                tokio::task::spawn_blocking(move || images.collect_one(digest)).await??;
            }
        }
    }
    Ok(Some(Built { digest: published.image.filter(|_| keeps), pushed }))
}

/// What a build has come to for one platform.
struct Finished {
    work: Arc<Work>,
    stage: Arc<StageDone>,
    /// The root of the result, where an output needs its files.
    files: Option<Arc<OwnedFd>>,
}

/// Builds the stages of one platform that are needed, those that do not need each other at the same time. Gives the target.
async fn build_stages(work: &Arc<Work>) -> Result<Arc<StageDone>, BuildError> {
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
    let outcome = futures_util::future::try_join_all(building.values().cloned()).await;
    if let Err(error) = outcome {
        // Nobody else has it then.
        drop(building);
        return Err(own(error));
    }
    let Some(stage) = building.remove(&target) else { return Err(BuildError::Interrupted) };
    let stage = stage.await.map_err(own)?;
    // The result is whole here, whatever of it was found elsewhere.
    work.bring(&stage.layers).await?;
    Ok(stage)
}

/// Whether an image is to be in the store afterwards.
fn keeps_image(request: &BuildRequest) -> bool {
    request.outputs.is_empty() || request.outputs.iter().any(|output| matches!(output, BuildOutput::Image { .. }))
}

/// Waits until what was closed in the background is closed.
async fn finish(all: &[Arc<Work>]) {
    let take = |work: &Arc<Work>| std::mem::take(&mut *work.closing.lock().unwrap_or_else(PoisonError::into_inner));
    for one in all.iter().flat_map(take) {
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

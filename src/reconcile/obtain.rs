//! How an image comes to be on the host, and from there to other registries: the effects of its steps.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::io::AsyncReadExt;

use super::effects::{Context, EffectError, Told, not_desired};
use super::knowledge;
use crate::engine::images::{Given, Images, ImportConfig, ImportSource, LoadOptions, PublicKey, PullOptions};
use crate::engine::{self, Engine, EngineError};
use crate::files::FileError;
use crate::model::build::BuildSecret;
use crate::model::spec::{Build, Commit, ImageSource, ImageSpec, Pull};
use crate::model::{ImageRef, ProgressSink};
use crate::observed::{Answer, ContainerState, Made, Origin};
use crate::plan::{Action, Step, origin};

pub(super) async fn obtain(engine: &Engine, context: &Context, step: &Step, told: Told) -> Result<(), EffectError> {
    let image = context.desired.images.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
    if step.action == Action::Restore {
        return restore(engine, context, image);
    }
    match &image.source {
        ImageSource::Pull(source) => pull(engine, context, image, source, told.progress()).await,
        ImageSource::Build(source) => build(engine, context, image, source, told).await,
        ImageSource::Import { path, fingerprint, entrypoint, command, environment, working_dir, user } => {
            let config = ImportConfig {
                entrypoint: entrypoint.clone(),
                command: command.clone(),
                environment: environment.clone(),
                working_dir: working_dir.clone(),
                user: user.clone(),
                ..ImportConfig::default()
            };
            let source = ImportSource::Path(path.clone());
            let digest = engine.import(source, &image.reference, config, Some(*fingerprint), told.progress()).await?;
            let origin = Origin { origin: *fingerprint, digest };
            Ok(knowledge::record_origin(engine.db(), &context.desired.stack, &image.reference, origin)?)
        }
        ImageSource::Load { archive, reference, .. } => {
            load(engine, context, image, archive, reference.as_ref(), told.progress()).await
        }
        ImageSource::Commit(source) => commit(engine, context, step, image, source, told.progress()).await,
    }
}

/// Gives the name back to the image that it was in the generation which is brought back.
fn restore(engine: &Engine, context: &Context, image: &ImageSpec) -> Result<(), EffectError> {
    let reference = &image.reference;
    let Some(Answer::Held { digest }) = context.answers.get(reference) else {
        return Err(EffectError::NotDesired(reference.to_string()));
    };
    if !engine.has_whole_image(digest)? {
        return Err(EffectError::NotKept { reference: Box::new(reference.clone()), digest: *digest });
    }
    match engine.tag_image(&digest.to_string(), reference) {
        Err(EngineError::NoSuchImage { .. }) => {
            Err(EffectError::NotKept { reference: Box::new(reference.clone()), digest: *digest })
        }
        other => Ok(other?),
    }
}

/// Builds the image. What it is built of may be something else by now than when the manifests were read; then the next look
/// sees a change.
async fn build(engine: &Engine, context: &Context, image: &ImageSpec, source: &Build, told: Told) -> Result<(), EffectError> {
    let mut request = source.request(&image.reference);
    for (id, file) in &source.secrets {
        request.secrets.push(BuildSecret { id: id.clone(), content: secret(file).await? });
    }
    // As they are before: what becomes of them meanwhile is seen by the next look.
    let declared =
        |base: &&ImageRef| **base != image.reference && context.desired.images.values().any(|other| other.reference == **base);
    let mut bases = BTreeMap::new();
    for base in source.bases.iter().filter(declared) {
        if let Ok(here) = engine.image(base) {
            bases.insert(base.clone(), here.digest);
        }
    }
    let (sink, pass) = told.build();
    let passing = tokio::spawn(pass);
    let built = engine.build(request, context.given.clone(), None, sink).await;
    // All that is told of the build comes before its end.
    passing.await.map_err(|_| EngineError::Interrupted)?;
    // No output is named, so it is an image that is made.
    let digest = built?.digest.ok_or(EngineError::Interrupted)?;
    let origin = Origin { origin: origin::of_build(source, &bases), digest };
    let made = Made { build: source.clone(), bases };
    Ok(knowledge::record_build(engine.db(), &context.desired.stack, &image.reference, origin, &made)?)
}

/// More than any secret has.
const LONGEST_SECRET: u64 = 500 << 10;

async fn secret(file: &Path) -> Result<Vec<u8>, EffectError> {
    let fail = |e| EngineError::from(FileError::new("read", file, e));
    let mut content = Vec::new();
    let opened = tokio::fs::File::open(file).await.map_err(fail)?;
    opened.take(LONGEST_SECRET + 1).read_to_end(&mut content).await.map_err(fail)?;
    match content.len() as u64 > LONGEST_SECRET {
        true => Err(EffectError::LongSecret { file: file.to_owned() }),
        false => Ok(content),
    }
}

/// Loads the whole archive, and gives the image that is meant its name here.
async fn load(
    engine: &Engine,
    context: &Context,
    image: &ImageSpec,
    archive: &Path,
    reference: Option<&ImageRef>,
    progress: ProgressSink,
) -> Result<(), EffectError> {
    // It may be another one by now than when the manifests were read; then the next look sees a change.
    let found = {
        let archive = archive.to_owned();
        tokio::task::spawn_blocking(move || Images::fingerprint(&archive)).await.map_err(|_| EngineError::Interrupted)?
    };
    let fingerprint = found.map_err(EngineError::from)?;
    let file = tokio::fs::File::open(archive).await.map_err(|e| EngineError::from(FileError::new("open", archive, e)))?;
    let loaded = engine.load(Box::new(file), LoadOptions::default(), progress).await?;
    let wanted = reference.unwrap_or(&image.reference);
    let named = loaded.iter().find(|loaded| loaded.references.contains(wanted));
    let digest = match (named, loaded.as_slice()) {
        (Some(named), _) => named.digest,
        (None, [only]) if reference.is_none() => only.digest,
        (None, _) => {
            let names = loaded.iter().flat_map(|loaded| &loaded.references).map(ToString::to_string).collect::<Vec<_>>();
            return Err(EffectError::NotInArchive { archive: archive.to_owned(), wanted: Box::new(wanted.clone()), names });
        }
    };
    engine.tag_image(&digest.to_string(), &image.reference)?;
    let origin = Origin { origin: origin::of_load(fingerprint, reference), digest };
    Ok(knowledge::record_origin(engine.db(), &context.desired.stack, &image.reference, origin)?)
}

async fn commit(
    engine: &Engine,
    context: &Context,
    step: &Step,
    image: &ImageSpec,
    source: &Commit,
    progress: ProgressSink,
) -> Result<(), EffectError> {
    let container = context.desired.containers.get(&source.container).ok_or_else(|| not_desired(step))?;
    let name = &container.engine_name;
    let id = engine.find(name.as_str())?;
    match engine.state(&id)? {
        ContainerState::Exited { code: 0, error: None, .. } => {}
        ContainerState::Exited { code, .. } => {
            return Err(EffectError::Exited { name: name.clone(), code, expected: "0" });
        }
        ContainerState::Created | ContainerState::Running { .. } | ContainerState::Restarting { .. } | ContainerState::Lost => {
            return Err(EffectError::NotCompleted { name: name.clone() });
        }
    }
    let made_from = engine.containers().get(&id).map_err(EngineError::from)?.image_digest;
    let commit = engine::Commit {
        reference: Some(image.reference.clone()),
        changes: source.changes.clone(),
        author: source.author.clone(),
        message: source.message.clone(),
        pause: false,
        // What filled the image is not what runs in it.
        take_config: false,
    };
    let digest = engine.commit(&id, commit, progress).await?;
    let origin = Origin { origin: origin::of_commit(&container.spec, made_from, source), digest };
    Ok(knowledge::record_origin(engine.db(), &context.desired.stack, &image.reference, origin)?)
}

/// Pushes the image to one more place, unless that is what was pushed there last.
pub(super) async fn push(engine: &Engine, context: &Context, step: &Step, progress: ProgressSink) -> Result<(), EffectError> {
    let image = context.desired.images.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
    let target = image.push.iter().find(|target| target.to_string() == step.target).ok_or_else(|| not_desired(step))?;
    let (db, stack) = (engine.db(), &context.desired.stack);
    let digest = engine.image(&image.reference)?.digest;
    if knowledge::known(db, stack)?.pushed.get(target) == Some(&digest) {
        return Ok(());
    }
    engine.push_image(digest, &image.reference, target, Given::of(&context.given, target).cloned(), progress).await?;
    Ok(knowledge::record_push(db, stack, target, digest)?)
}

/// Pulls what the registry said that the reference means, whatever its tag means by now.
async fn pull(
    engine: &Engine,
    context: &Context,
    image: &ImageSpec,
    pull: &Pull,
    progress: ProgressSink,
) -> Result<(), EffectError> {
    let reference = &image.reference;
    let held;
    let from = match context.answers.get(reference) {
        Some(Answer::Is(resolved)) => &resolved.pinned,
        Some(Answer::Held { digest }) => {
            held = reference.pinned(None, *digest);
            &held
        }
        Some(Answer::Unknown { why }) => {
            return Err(EffectError::Unanswered { reference: Box::new(reference.clone()), why: why.clone() });
        }
        None => reference,
    };
    let keys = image.verify.iter().flat_map(|verify| &verify.keys);
    let options = PullOptions {
        pinned: false,
        name: Some(reference.clone()),
        platform: pull.platform.clone(),
        keep_blobs: pull.keep_blobs,
        verify: keys.map(|key| key.parse::<PublicKey>()).collect::<Result<_, _>>().map_err(EffectError::Key)?,
        credentials: Given::of(&context.given, reference).cloned(),
    };
    let digest = engine.pull_with(from, &options, progress).await?;
    if let Some(origin) = image.pulled_as() {
        let origin = Origin { origin, digest };
        knowledge::record_origin(engine.db(), &context.desired.stack, reference, origin)?;
    }
    Ok(())
}

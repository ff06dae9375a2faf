//! How an image comes to be on the host, and from there to other registries: the effects of its steps.

use super::effects::{Context, EffectError, not_desired};
use super::knowledge;
use crate::engine::Engine;
use crate::engine::images::{ImportConfig, ImportSource};
use crate::model::ProgressSink;
use crate::model::spec::{ImageSource, ImageSpec, Pull};
use crate::observed::{Answer, Origin};
use crate::plan::Step;

pub(super) async fn obtain(engine: &Engine, context: &Context, step: &Step, progress: ProgressSink) -> Result<(), EffectError> {
    let image = context.desired.images.get(&step.resource.name).ok_or_else(|| not_desired(step))?;
    match &image.source {
        ImageSource::Pull(source) => pull(engine, context, image, source, progress).await,
        ImageSource::Import { path, fingerprint, entrypoint, command, environment, working_dir, user } => {
            let config = ImportConfig {
                entrypoint: entrypoint.clone(),
                command: command.clone(),
                environment: environment.clone(),
                working_dir: working_dir.clone(),
                user: user.clone(),
            };
            let source = ImportSource::Path(path.clone());
            engine.import(source, &image.reference, config, Some(*fingerprint), progress).await?;
            Ok(())
        }
        ImageSource::Load { .. } | ImageSource::Commit(_) => Err(EffectError::Senseless { kind: step.resource.kind }),
    }
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
    let from = match context.answers.get(reference) {
        Some(Answer::Is(resolved)) => &resolved.pinned,
        Some(Answer::Unknown { why }) => {
            return Err(EffectError::Unanswered { reference: reference.clone(), why: why.clone() });
        }
        None => reference,
    };
    let digest = engine.pull_as(from, reference, pull.platform.as_ref(), progress).await?;
    if let Some(verify) = &image.verify {
        let origin = Origin { origin: verify.origin(), digest };
        knowledge::record_origin(engine.db(), &context.desired.stack, reference, origin)?;
    }
    Ok(())
}

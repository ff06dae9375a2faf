//! What a build has come to becomes visible: the steps, and the images, where some are wanted or an output is made of them.

use super::error::BuildError;
use super::{Finished, emulation, keeps_image, outputs};
use crate::engine::images::{Attestation, BuiltImage, Member, Step};
use crate::model::{Digest, Platform};

/// What is in the store now.
pub(super) struct Published {
    /// What the tags name: the image for this host, or the first.
    pub(super) image: Option<Digest>,
    /// All images in the order of the platforms, with what is attested of each.
    pub(super) members: Vec<Member>,
    /// What is attested of the results, in the order of the platforms, whether there are images or not.
    pub(super) attested: Vec<Vec<Attestation>>,
}

/// Publishes. `None` when something that was known has been removed meanwhile; then nothing has got a name.
pub(super) async fn publish(
    results: &[Finished],
    attested: Vec<Vec<Attestation>>,
    done: &[Step],
) -> Result<Option<Published>, BuildError> {
    let Some(Finished { work, .. }) = results.first() else { return Err(BuildError::Interrupted) };
    let request = &work.request;
    let wanted = request.outputs.is_empty() || request.outputs.iter().any(outputs::needs_image);
    let what = if results.len() > 1 { "exporting the images" } else { "exporting the image" };
    let running = work.events.begin(what.to_owned());
    let (images, names) = (work.images.clone(), if keeps_image(request) { request.tags.clone() } else { Vec::new() });
    let wanted = if wanted { results } else { &[] };
    let built = match wanted.iter().map(|result| image(result, done)).collect::<Result<Vec<_>, _>>() {
        Ok(built) => built,
        Err(error) => return running.ended(Err(error), false),
    };
    let mut done = done.to_vec();
    let named = results.iter().position(|result| emulation::is_native(&result.work.platform, &Platform::host())).unwrap_or(0);
    let work = move || {
        if built.is_empty() {
            let published = images.publish_build(&done, None)?;
            return Ok::<_, BuildError>(published.map(|_| Published { image: None, members: Vec::new(), attested }));
        }
        // The one with the names comes last, and with it the names of all.
        let mut digests: Vec<Option<Digest>> = vec![None; built.len()];
        let mut last = None;
        for (position, image) in built.into_iter().enumerate() {
            if position == named {
                last = Some(image);
                continue;
            }
            let Some(digest) = images.publish_build(&done, Some(image))? else { return Ok(None) };
            done.clear();
            digests[position] = Some(digest);
        }
        let Some(mut image) = last else { return Err(BuildError::Interrupted) };
        image.references = names;
        image.members = digests.iter().copied().zip(attested.iter().cloned()).collect();
        let Some(digest) = images.publish_build(&done, Some(image))? else { return Ok(None) };
        let members = digests.into_iter().zip(attested.clone());
        let members = members.map(|(other, attestations)| Member { digest: other.unwrap_or(digest), attestations }).collect();
        Ok(Some(Published { image: Some(digest), members, attested }))
    };
    let published = tokio::task::spawn_blocking(work).await?;
    running.ended(published, false)
}

/// The image of one platform, without names.
fn image(result: &Finished, done: &[Step]) -> Result<BuiltImage, BuildError> {
    let Finished { work, stage, .. } = result;
    let mut image = stage.image.clone();
    for (name, value) in &work.request.labels {
        image.label(name, value);
    }
    let (config, created) = image.finish(stage.layers.diff_ids(), stage.layers.created(), work.request.epoch);
    Ok(BuiltImage {
        config: work.configure_cache(config, stage.layers.diff_ids(), done)?,
        layers: stage.layers.diff_ids().to_vec(),
        created,
        references: Vec::new(),
        members: Vec::new(),
        annotations: work.request.annotations.clone(),
        docker_types: work.request.docker_types,
    })
}

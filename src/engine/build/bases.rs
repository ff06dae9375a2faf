//! The images that a build begins with and copies from: found here or pulled, until every trigger that they bring is known.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::config::Image;
use super::emulation::is_native;
use super::error::BuildError;
use super::events::Events;
use super::stages::{NeededImage, Stages, normal};
use super::work::{BaseKey, base_key};
use crate::engine::images::{Base, Given, Images, PullOptions};
use crate::model::{ImageRef, Platform};

/// Gets all images that the needed stages name, and puts the triggers of bases into the stages that begin with them.
pub(super) async fn resolve(
    images: &Images,
    stages: &mut Stages,
    pull: bool,
    given: &[Given],
    events: &Events,
    bases: &mut BTreeMap<BaseKey, Base>,
) -> Result<(), BuildError> {
    let mut triggered = std::collections::BTreeSet::new();
    loop {
        let needed = stages.images();
        for image in &needed {
            if let Entry::Vacant(place) = bases.entry(base_key(&image.reference, &image.platform)) {
                place.insert(get(images, &image.reference, &image.platform, pull, given, events).await?);
            }
        }
        // Triggers may need further stages and images.
        let fresh = needed.iter().find_map(|NeededImage { reference, platform, base_of, .. }| {
            let stage = (*base_of)?;
            (!triggered.contains(&stage)).then(|| (stage, base_key(reference, platform)))
        });
        let Some((stage, key)) = fresh else { return Ok(()) };
        triggered.insert(stage);
        let Some(base) = bases.get(&key) else { continue };
        let read = Image::of_base(&base.config, stages.stages[stage].platform.clone(), stages.escape);
        let place = stages.stages[stage].place;
        let (_, triggers) =
            read.map_err(|error| BuildError::Instruction(Box::new(stages.source().problem(place, error.to_string(), None))))?;
        if !triggers.is_empty() {
            stages.add_triggers(stage, &triggers)?;
        }
    }
}

/// An image that is here, or that is pulled. One with another platform than is asked for is no use.
pub(super) async fn get(
    images: &Images,
    reference: &ImageRef,
    platform: &Platform,
    pull: bool,
    given: &[Given],
    events: &Events,
) -> Result<Base, BuildError> {
    if !pull && let Some(base) = here(images, reference, platform)? {
        return Ok(base);
    }
    let host = Platform::host();
    let is_foreign = !is_native(platform, &host);
    let about = if is_foreign { format!(" for {platform}") } else { String::new() };
    let running = events.begin(format!("[internal] pull {reference}{about}"));
    let credentials = Given::of(given, reference).cloned();
    // The name is that of the image that runs here.
    let options = PullOptions { platform: Some(platform.clone()), pinned: is_foreign, credentials, ..PullOptions::default() };
    let pulled = images.pull_with(reference, &options, running.progress()).await;
    let digest = running.ended(pulled, false)?;
    Ok(images.base(digest)?)
}

/// What the store has of a name for a platform: the image itself, one of those that it means too, or one that a build has
/// pulled.
fn here(images: &Images, reference: &ImageRef, platform: &Platform) -> Result<Option<Base>, BuildError> {
    let named = images.find(reference)?.map(|image| image.digest);
    let members = images.members(reference)?.into_iter().map(|member| member.digest);
    let mut candidates: Vec<_> = named.into_iter().chain(members).collect();
    if reference.digest().is_none() && !is_native(platform, &Platform::host()) {
        let is_same =
            |known: &ImageRef| known.digest().is_some() && known.tag().is_some() && known.tagged() == reference.tagged();
        // The newest first.
        candidates.extend(
            images.list()?.into_iter().rev().filter(|image| image.references.iter().any(is_same)).map(|image| image.digest),
        );
    }
    for digest in candidates {
        let base = images.base(digest)?;
        if fits(&base, platform) {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

fn fits(base: &Base, wanted: &Platform) -> bool {
    let Ok(config) = serde_json::from_slice::<serde_json::Value>(&base.config) else { return false };
    let text = |key: &str| config.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let found = Platform {
        os: text("os"),
        architecture: text("architecture"),
        variant: Some(text("variant")).filter(|variant| !variant.is_empty()),
    };
    // Images made from scratch often leave it out.
    let (found, wanted) = (normal(found), normal(wanted.clone()));
    found.architecture.is_empty() || found.runs_on(&wanted)
}

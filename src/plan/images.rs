//! The pass over images: which are obtained, and where they are pushed. What an image will be is known before it is
//! obtained only where its registry was asked.

use std::collections::{BTreeMap, HashSet};

use crate::manifest::Desired;
use crate::model::spec::{Build, Commit, ImageSource, ImageSpec, Pull};
use crate::model::{Digest, ImageRef, Name, PullPolicy};
use crate::observed::{Answer, Container, Image, Origin};

use super::built;
use super::classes::changed;
use super::draft::Draft;
use super::order::OBTAIN;
use super::origin;
use super::step::{Action, Cause, Kind, Resource};
use super::steps::resource;

/// The field of a cause that tells of an image's digests.
pub(super) const DIGEST: &str = "digest";

pub(super) fn images(draft: &mut Draft<'_>) {
    for (name, image) in sources_first(draft.desired) {
        if let Some((action, causes)) = obtain(draft, image) {
            draft.add(action, resource(Kind::Image, name), &image.reference, None, causes);
        }
        push(draft, name, image);
    }
}

/// What an image will be once all steps so far are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    Is(Digest),
    /// Obtained by this step, which will tell.
    Open(Action),
    Absent,
}

pub(super) fn becomes(draft: &Draft<'_>, reference: &ImageRef) -> Becomes {
    let here = draft.image(reference).map(|image| image.digest);
    match OBTAIN.into_iter().find(|action| draft.has(Kind::Image, reference, *action)) {
        None => here.map_or(Becomes::Absent, Becomes::Is),
        Some(Action::Pull) => match draft.answer(reference) {
            Some(Answer::Is(resolved)) => Becomes::Is(resolved.digest),
            Some(Answer::Held { digest }) => Becomes::Is(*digest),
            // Such a pull fails, and nothing changes.
            Some(Answer::Unknown { .. }) => here.map_or(Becomes::Absent, Becomes::Is),
            // The same image, checked with other keys.
            None => here.map_or(Becomes::Open(Action::Pull), Becomes::Is),
        },
        Some(Action::Restore) => match draft.answer(reference) {
            Some(Answer::Held { digest }) => Becomes::Is(*digest),
            // Nothing else makes such a step.
            Some(Answer::Is(_) | Answer::Unknown { .. }) | None => here.map_or(Becomes::Absent, Becomes::Is),
        },
        Some(action) => Becomes::Open(action),
    }
}

/// Why the container must be made of another image than it was, though its spec names the same one.
pub(super) fn moved(draft: &Draft<'_>, old: &Container, reference: &ImageRef) -> Option<Cause> {
    match becomes(draft, reference) {
        Becomes::Is(digest) if digest != old.image_digest => {
            Some(changed(format!("image {reference}"), Some(old.image_digest.short()), Some(digest.short())))
        }
        Becomes::Is(_) | Becomes::Absent => None,
        Becomes::Open(action) => follows(draft, reference, action),
    }
}

/// Whether only the step that obtains the image will tell if it is another one than before.
pub(super) fn is_open(draft: &Draft<'_>, reference: &ImageRef) -> bool {
    matches!(becomes(draft, reference), Becomes::Open(_))
}

/// Which image a reference means when this plan is done, where that is known before.
pub(super) fn meant(draft: &Draft<'_>, reference: &ImageRef) -> Option<Digest> {
    match becomes(draft, reference) {
        Becomes::Is(digest) => Some(digest),
        Becomes::Absent | Becomes::Open(_) => None,
    }
}

fn follows(draft: &Draft<'_>, reference: &ImageRef, action: Action) -> Option<Cause> {
    let (name, _) = draft.desired.images.iter().find(|(_, image)| image.reference == *reference)?;
    let why = match action {
        Action::Pull => "is pulled",
        Action::Build => "is built",
        Action::Load => "is loaded",
        Action::Commit => "is committed",
        _ => "is imported",
    };
    Some(Cause::Follows { resource: resource(Kind::Image, name), why: why.to_owned() })
}

fn obtain(draft: &Draft<'_>, image: &ImageSpec) -> Option<(Action, Vec<Cause>)> {
    let here = draft.image(&image.reference);
    if let Some(Answer::Held { digest }) = draft.answer(&image.reference) {
        return held(draft, image, *digest, here);
    }
    if let (ImageSource::Build(build), Some(here)) = (&image.source, here) {
        return Some((Action::Build, rebuild(draft, image, build, here)?));
    }
    let (action, cause) = obtain_otherwise(draft, image, here)?;
    Some((action, vec![cause]))
}

/// The name goes back to the image that it was, whatever that was made of. Only one that is gone and came from a registry is asked
/// for there, by its digest.
fn held(draft: &Draft<'_>, image: &ImageSpec, digest: Digest, here: Option<&Image>) -> Option<(Action, Vec<Cause>)> {
    if here.is_some_and(|here| here.digest == digest) {
        return None;
    }
    let kept = draft.observed.images.iter().any(|image| image.digest == digest);
    let action = if !kept && matches!(image.source, ImageSource::Pull(_)) { Action::Pull } else { Action::Restore };
    if here.is_none() && lost(draft, &image.reference).is_some_and(|lost| lost.digest == digest) {
        return Some((action, vec![missing(draft, &image.reference)]));
    }
    Some((action, vec![changed(DIGEST.to_owned(), here.map(|here| here.digest.to_string()), Some(digest.to_string()))]))
}

fn obtain_otherwise(draft: &Draft<'_>, image: &ImageSpec, here: Option<&Image>) -> Option<(Action, Cause)> {
    match (&image.source, here) {
        (ImageSource::Pull(pull), _) => Some((Action::Pull, self::pull(draft, image, pull, here)?)),
        (ImageSource::Build(_), None) => Some((Action::Build, missing(draft, &image.reference))),
        (ImageSource::Import { .. }, None) => Some((Action::Import, missing(draft, &image.reference))),
        (ImageSource::Load { .. }, None) => Some((Action::Load, missing(draft, &image.reference))),
        // Two trees may be the same image, which then remembers only the one that it was made from last.
        (ImageSource::Import { fingerprint, .. }, Some(here)) if here.imported_from != Some(*fingerprint) => {
            let known = draft.observed.known.origins.get(&image.reference);
            let same = known == Some(&Origin { origin: *fingerprint, digest: here.digest });
            (!same).then(|| (Action::Import, source("spec.import.source", here.imported_from, *fingerprint)))
        }
        (ImageSource::Load { fingerprint: Some(fingerprint), reference, .. }, Some(here)) => {
            let wanted = origin::of_load(*fingerprint, reference.as_ref());
            Some((Action::Load, stale(draft, image, here, wanted, "spec.load.archive")?))
        }
        // An archive that is away cannot have changed.
        (ImageSource::Load { .. } | ImageSource::Import { .. } | ImageSource::Build(_), Some(_)) => None,
        (ImageSource::Commit(commit), here) => Some((Action::Commit, self::commit(draft, image, commit, here)?)),
    }
}

/// The image that a reference meant until the disk lost something of it.
fn lost<'a>(draft: &Draft<'a>, reference: &ImageRef) -> Option<&'a Image> {
    draft.observed.gone.iter().find(|image| image.references.contains(reference))
}

/// Why an image is obtained that is not there.
fn missing(draft: &Draft<'_>, reference: &ImageRef) -> Cause {
    match lost(draft, reference) {
        Some(_) => Cause::Drift { what: "the disk has lost layers of it".to_owned() },
        None => Cause::Missing,
    }
}

fn source(field: &str, old: Option<Digest>, new: Digest) -> Cause {
    changed(field.to_owned(), old.map(|digest| digest.short()), Some(new.short()))
}

/// The cause to make an image again that was made of something else, or is not the one that was made.
fn stale(draft: &Draft<'_>, image: &ImageSpec, here: &Image, wanted: Digest, field: &str) -> Option<Cause> {
    let known = draft.observed.known.origins.get(&image.reference);
    if known == Some(&(Origin { origin: wanted, digest: here.digest })) {
        return None;
    }
    Some(match known {
        Some(known) if known.origin == wanted => {
            Cause::Drift { what: format!("{} is another image than the one that was made", image.reference) }
        }
        known => source(field, known.map(|known| known.origin), wanted),
    })
}

/// The causes to build an image again: it is to be built otherwise, of other files, or on another base.
fn rebuild(draft: &Draft<'_>, image: &ImageSpec, build: &Build, here: &Image) -> Option<Vec<Cause>> {
    let mut bases = BTreeMap::new();
    for base in declared_bases(draft.desired, image, build) {
        match becomes(draft, base) {
            Becomes::Is(digest) => drop(bases.insert(base.clone(), digest)),
            Becomes::Open(action) => return follows(draft, base, action).map(|cause| vec![cause]),
            // Then the build says what is missing.
            Becomes::Absent => {}
        }
    }
    let wanted = origin::of_build(build, &bases);
    let known = draft.observed.known.origins.get(&image.reference);
    let field = match known {
        Some(known) if origin::is_built_so(known.origin, build) => "spec.build.context",
        _ => "spec.build",
    };
    let cause = stale(draft, image, here, wanted, field)?;
    let told = match (&cause, draft.observed.known.made.get(&image.reference)) {
        (Cause::Changed { .. }, Some(made)) => built::changes(made, build, &bases),
        _ => Vec::new(),
    };
    Some(if told.is_empty() { vec![cause] } else { told })
}

fn pull(draft: &Draft<'_>, image: &ImageSpec, pull: &Pull, here: Option<&Image>) -> Option<Cause> {
    // What may not be pulled is not planned; creating its containers says what is missing.
    if pull.policy == PullPolicy::Never {
        return None;
    }
    let Some(here) = here else { return Some(missing(draft, &image.reference)) };
    match draft.answer(&image.reference) {
        Some(Answer::Is(resolved)) if resolved.digest != here.digest => {
            return Some(changed(DIGEST.to_owned(), Some(here.digest.to_string()), Some(resolved.digest.to_string())));
        }
        Some(Answer::Unknown { why }) => return Some(Cause::Drift { what: why.clone() }),
        Some(Answer::Is(_) | Answer::Held { .. }) | None => {}
    }
    let field = if image.verify.is_some() { "spec.verify" } else { "spec.pull.keep_blobs" };
    stale(draft, image, here, image.pulled_as()?, field)
}

fn commit(draft: &Draft<'_>, image: &ImageSpec, commit: &Commit, here: Option<&Image>) -> Option<Cause> {
    let Some(here) = here else { return Some(missing(draft, &image.reference)) };
    // Validated: it is declared.
    let spec = &draft.desired.containers.get(&commit.container)?.spec;
    match becomes(draft, &spec.image) {
        Becomes::Is(digest) => stale(draft, image, here, origin::of_commit(spec, digest, commit), "spec.commit"),
        Becomes::Open(action) => follows(draft, &spec.image, action),
        Becomes::Absent => None,
    }
}

fn push(draft: &mut Draft<'_>, name: &Name, image: &ImageSpec) {
    // What is brought back is brought back here, and not at registries.
    if let Some(Answer::Held { .. }) = draft.answer(&image.reference) {
        return;
    }
    let becomes = becomes(draft, &image.reference);
    for target in &image.push {
        let last = draft.observed.known.pushed.get(target);
        let cause = match (becomes, last) {
            (Becomes::Is(digest), Some(last)) if digest == *last => continue,
            (Becomes::Is(digest), Some(last)) => changed(DIGEST.to_owned(), Some(last.to_string()), Some(digest.to_string())),
            (Becomes::Open(action), Some(_)) => follows(draft, &image.reference, action).unwrap_or(Cause::Missing),
            (_, None) | (Becomes::Absent, _) => Cause::Missing,
        };
        draft.add(Action::Push, resource(Kind::Image, name), target, None, vec![cause]);
    }
}

/// The bases of a build that the stack declares itself, which therefore come first.
pub(super) fn declared_bases<'a>(
    desired: &'a Desired,
    image: &ImageSpec,
    build: &'a Build,
) -> impl Iterator<Item = &'a ImageRef> {
    let own = image.reference.clone();
    let declared = move |base: &&ImageRef| **base != own && desired.images.values().any(|other| other.reference == **base);
    build.bases.iter().filter(declared)
}

/// The images, each after those that it is made of: the one that the container which it is committed from is made of, or those
/// that it is built on.
fn sources_first(desired: &Desired) -> Vec<(&Name, &ImageSpec)> {
    let by_reference: BTreeMap<&ImageRef, &Name> = desired.images.iter().map(|(name, image)| (&image.reference, name)).collect();
    let sources = |image: &ImageSpec| -> Vec<&Name> {
        match &image.source {
            ImageSource::Commit(commit) => {
                let container = desired.containers.get(&commit.container);
                container.and_then(|container| by_reference.get(&container.spec.image).copied()).into_iter().collect()
            }
            ImageSource::Build(build) => {
                declared_bases(desired, image, build).filter_map(|base| by_reference.get(base).copied()).collect()
            }
            ImageSource::Pull(_) | ImageSource::Load { .. } | ImageSource::Import { .. } => Vec::new(),
        }
    };
    let mut order = Vec::with_capacity(desired.images.len());
    let mut seen = HashSet::new();
    for start in desired.images.keys() {
        // Depth first without recursion: an image comes out when all that it is made of has. A circle ends where it began; the
        // graph tells of it.
        let mut open = vec![(start, false)];
        while let Some((name, done)) = open.pop() {
            let Some((name, image)) = desired.images.get_key_value(name) else { continue };
            if done {
                order.push((name, image));
            } else if seen.insert(name) {
                open.push((name, true));
                open.extend(sources(image).into_iter().map(|source| (source, false)));
            }
        }
    }
    order
}

/// The images with a commit step that are made of this container.
pub(super) fn committed_from(draft: &Draft<'_>, container: &Name) -> Vec<Resource> {
    let images = draft.desired.images.iter().filter(|(_, image)| match &image.source {
        ImageSource::Commit(commit) => commit.container == *container && draft.has(Kind::Image, &image.reference, Action::Commit),
        ImageSource::Pull(_) | ImageSource::Build(_) | ImageSource::Load { .. } | ImageSource::Import { .. } => false,
    });
    images.map(|(name, _)| resource(Kind::Image, name)).collect()
}

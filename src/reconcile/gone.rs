//! What is to come again where the disk has lost something of a pulled image: that very image, and not what its name means by now.
//! Nobody has asked for another one, and what runs of it stays as it is.

use std::collections::BTreeMap;

use super::knowledge::Lookup;
use crate::manifest::Desired;
use crate::model::spec::ImageSource;
use crate::model::{ImageRef, PullPolicy};
use crate::observed::{Answer, Observed};

/// Puts into `observed` which images their references mean, by what was answered `last`, else by their digests.
pub(super) fn again(desired: &Desired, observed: &mut Observed, last: &BTreeMap<ImageRef, Lookup>) {
    let Observed { gone, known, .. } = observed;
    for image in desired.images.values() {
        let Some(lost) = gone.iter().find(|lost| lost.references.contains(&image.reference)) else { continue };
        match &image.source {
            ImageSource::Pull(pull) if pull.policy != PullPolicy::Never => {}
            _ => continue,
        }
        let answered = last.get(&image.reference).and_then(|last| last.answer.as_ref()).map(|(resolved, _)| resolved);
        let answer = match answered.filter(|resolved| resolved.digest == lost.digest) {
            // With what the name was then, which may be what is signed.
            Some(resolved) => Answer::Is(resolved.clone()),
            None => Answer::Held { digest: lost.digest },
        };
        known.answers.entry(image.reference.clone()).or_insert(answer);
    }
}

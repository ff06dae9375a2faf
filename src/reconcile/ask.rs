//! Asks registries what references mean, before a plan is made: whom, is decided by the pull policies, by what the host has
//! and by what was answered before. Plans nothing and pulls nothing.
//!
//! Guarantee: a registry that is away costs nobody anything but the images that cannot be known without it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use time::OffsetDateTime;

use super::knowledge::Lookup;
use crate::engine::Engine;
use crate::engine::images::{Given, PullOptions};
use crate::manifest::Desired;
use crate::model::spec::{ImageSource, ImageSpec, Pull};
use crate::model::{Digest, ImageRef, PullPolicy};
use crate::observed::{Answer, Known, Observed, Origin, Resolved};
use crate::plan::origin::question;

/// How eager a look is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// For an apply or a plan that a user asks for, and for manifests that have changed: `always` asks too.
    Eagerly,
    /// To keep what is there: only what is due, or cannot be known otherwise.
    Due,
    /// To show what is known.
    Nothing,
}

/// What it takes when there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// The last answer, or what the host has, will do, where there is one.
    Wish,
    /// Without it the image is not known: its step says so and fails.
    Must,
}

/// Registries that are asked at a time.
const PARALLEL: usize = 8;
/// While the host is only kept as it is, nothing else of the stack waits longer than this.
const LONGEST: Duration = Duration::from_secs(20);
/// A wish that failed is not tried again before.
const PAUSE: time::Duration = time::Duration::minutes(5);

/// Puts into `observed` what references mean, by credentials that are given and by stored ones. Gives what was asked, to be recorded.
pub(super) async fn ask(
    engine: &Engine,
    desired: &Desired,
    observed: &mut Observed,
    last: &BTreeMap<ImageRef, Lookup>,
    ask: Ask,
    given: &[Given],
) -> BTreeMap<ImageRef, Lookup> {
    let now = OffsetDateTime::now_utc();
    let known: BTreeSet<ImageRef> = observed.known.answers.keys().cloned().collect();
    let mut questions = Vec::new();
    for image in desired.images.values() {
        let ImageSource::Pull(pull) = &image.source else { continue };
        // It is known already.
        if known.contains(&image.reference) {
            continue;
        }
        let last = last.get(&image.reference);
        let here = observed.images.iter().find(|i| i.references.contains(&image.reference)).map(|i| i.digest);
        match need(image, pull, here, observed.known.origins.get(&image.reference), last, ask, now) {
            Some(need) => questions.push((image, pull, need, here)),
            None => remember(image, pull, last, observed),
        }
    }
    // Each owns what it asks, so that the whole can go between threads.
    let answers: Vec<_> = questions
        .iter()
        .enumerate()
        .map(|(at, (image, pull, ..))| {
            let (engine, reference, pull) = (engine.clone(), image.reference.clone(), (*pull).clone());
            let given = Given::of(given, &reference).cloned();
            async move { (at, patiently(ask, &reference, one(&engine, &reference, &pull, given.as_ref())).await) }
        })
        .collect();
    let answers: Vec<_> = stream::iter(answers).buffer_unordered(PARALLEL).collect().await;
    let mut asked = BTreeMap::new();
    for (at, answer) in answers {
        let (image, pull, need, here) = questions[at];
        let reference = &image.reference;
        let question = question(reference, pull);
        let known = last.get(reference).filter(|last| last.question == question).and_then(|last| last.answer.clone());
        let answer = match answer {
            Ok(resolved) => {
                observed.known.answers.insert(reference.clone(), Answer::Is(resolved.clone()));
                Some((resolved, now))
            }
            Err(why) => {
                match (need, here) {
                    // Without it the pull would come to the same, after as long a wait.
                    (Need::Must, _) | (Need::Wish, None) => {
                        observed.known.answers.insert(reference.clone(), Answer::Unknown { why });
                    }
                    (Need::Wish, Some(_)) => {
                        tracing::warn!(%reference, %why, "the registry does not say whether there is a newer image");
                        remember(image, pull, last.get(reference), observed);
                    }
                }
                known
            }
        };
        asked.insert(reference.clone(), Lookup { question, answer, tried: now });
    }
    asked
}

/// The answers of a plan that was made before, to be recorded as those that the stack has been made by.
pub(super) fn given(desired: &Desired, known: &Known) -> BTreeMap<ImageRef, Lookup> {
    let now = OffsetDateTime::now_utc();
    let lookup = |image: &ImageSpec| {
        let (ImageSource::Pull(pull), Answer::Is(resolved)) = (&image.source, known.answers.get(&image.reference)?) else {
            return None;
        };
        let question = question(&image.reference, pull);
        Some((image.reference.clone(), Lookup { question, answer: Some((resolved.clone(), now)), tried: now }))
    };
    desired.images.values().filter_map(lookup).collect()
}

async fn patiently(
    ask: Ask,
    reference: &ImageRef,
    asked: impl Future<Output = Result<Resolved, String>>,
) -> Result<Resolved, String> {
    match ask {
        Ask::Eagerly => asked.await,
        Ask::Due | Ask::Nothing => tokio::time::timeout(LONGEST, asked)
            .await
            .unwrap_or_else(|_| Err(format!("{} does not answer in time", reference.registry()))),
    }
}

/// Whether the registry is to be asked.
fn need(
    image: &ImageSpec,
    pull: &Pull,
    here: Option<Digest>,
    origin: Option<&Origin>,
    last: Option<&Lookup>,
    ask: Ask,
    now: OffsetDateTime,
) -> Option<Need> {
    if ask == Ask::Nothing || pull.policy == PullPolicy::Never {
        return None;
    }
    // The plan shows what comes over the network, and the pull brings that very image.
    let Some(here) = here else { return Some(Need::Wish) };
    let pulled_so = |wanted| origin == Some(&Origin { origin: wanted, digest: here });
    if image.pulled_as().is_some_and(|wanted| !pulled_so(wanted)) {
        return Some(Need::Must);
    }
    if image.reference.digest().is_some() {
        return None;
    }
    let same = last.filter(|last| last.question == question(&image.reference, pull));
    if last.is_some() && same.is_none() {
        return Some(Need::Must);
    }
    let answer = same.and_then(|last| last.answer.as_ref());
    // Somebody has moved the name to another image, or nobody has asked before.
    let moved = answer.is_none_or(|(resolved, _)| resolved.digest != here);
    match pull.policy {
        _ if moved && pull.tag_policy.is_some() => Some(Need::Must),
        PullPolicy::Always => (moved || ask == Ask::Eagerly).then_some(Need::Must),
        PullPolicy::Every(span) => {
            let due = moved || answer.is_none_or(|(_, asked)| *asked + span.0 <= now);
            let failed = same.is_some_and(|last| answer.is_none_or(|(_, asked)| last.tried > *asked));
            let pausing = failed && ask == Ask::Due && same.is_some_and(|last| last.tried + PAUSE > now);
            (due && !pausing).then_some(Need::Wish)
        }
        PullPolicy::Missing | PullPolicy::Never => None,
    }
}

/// Where the policy follows the registry, its last answer holds until the next.
fn remember(image: &ImageSpec, pull: &Pull, last: Option<&Lookup>, observed: &mut Observed) {
    let follows = matches!(pull.policy, PullPolicy::Always | PullPolicy::Every(_)) || pull.tag_policy.is_some();
    let same = last.filter(|last| follows && last.question == question(&image.reference, pull));
    if let Some((resolved, _)) = same.and_then(|last| last.answer.clone()) {
        observed.known.answers.insert(image.reference.clone(), Answer::Is(resolved));
    }
}

async fn one(engine: &Engine, reference: &ImageRef, pull: &Pull, given: Option<&Given>) -> Result<Resolved, String> {
    let mut reference = reference.clone();
    if let Some(policy) = &pull.tag_policy {
        let tags = engine.tags(&reference, given).await.map_err(|error| error.to_string())?;
        let chosen = policy.choose(tags.iter().map(String::as_str));
        let chosen = chosen.ok_or_else(|| format!("no tag of {} fits {}", reference.repository(), policy.semver))?;
        reference = reference.with_tag(chosen).map_err(|error| error.to_string())?;
    }
    let options = PullOptions {
        platform: pull.platform.clone(),
        keep_blobs: pull.keep_blobs,
        credentials: given.cloned(),
        ..PullOptions::default()
    };
    let found = engine.resolve(&reference, &options).await.map_err(|error| error.to_string())?;
    let pinned = if reference.digest().is_some() { reference } else { reference.pinned(reference.tag(), found.named) };
    Ok(Resolved { pinned, digest: found.digest, bytes: found.bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::model::spec::Verify;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    /// The policy, the tag policy, whether the image is here, the last answer (its image and when), and when was tried.
    type Case = (&'static str, Option<&'static str>, bool, Option<(&'static [u8], i64)>, i64);

    #[test]
    fn who_is_asked() {
        const MUST: Option<Need> = Some(Need::Must);
        const WISH: Option<Need> = Some(Need::Wish);
        let now = 1_000_000;
        let cases: [(Case, [Option<Need>; 2]); 16] = [
            // What is asked eagerly, and what is due.
            (("missing", None, false, None, 0), [WISH, WISH]),
            (("missing", None, true, None, 0), [None, None]),
            (("missing", None, true, Some((b"other", 0)), 0), [None, None]),
            (("never", None, false, None, 0), [None, None]),
            (("always", None, false, Some((b"here", now)), now), [WISH, WISH]),
            (("always", None, true, None, 0), [MUST, MUST]),
            (("always", None, true, Some((b"here", now - 1)), now - 1), [MUST, None]),
            (("always", None, true, Some((b"other", now - 1)), now - 1), [MUST, MUST]),
            (("every_1h", None, true, None, 0), [WISH, WISH]),
            (("every_1h", None, true, Some((b"here", now - 3599)), now - 3599), [None, None]),
            (("every_1h", None, true, Some((b"here", now - 3600)), now - 3600), [WISH, WISH]),
            (("every_1h", None, true, Some((b"other", now - 1)), now - 1), [WISH, WISH]),
            // It was due and failed a minute ago.
            (("every_1h", None, true, Some((b"here", now - 3700)), now - 60), [WISH, None]),
            (("every_1h", None, true, Some((b"here", now - 3700)), now - 301), [WISH, WISH]),
            (("missing", Some("~1"), true, None, 0), [MUST, MUST]),
            (("missing", Some("~1"), true, Some((b"here", 0)), 0), [None, None]),
        ];
        for ((policy, range, here, answer, tried), wanted) in cases {
            let tag_policy = range.map(|range| crate::model::TagPolicy { semver: range.parse().unwrap() });
            let pull = Pull { policy: policy.parse().unwrap(), tag_policy, ..Pull::default() };
            let reference: ImageRef = "nginx".parse().unwrap();
            let image = ImageSpec::new(reference.clone(), ImageSource::Pull(pull.clone()));
            let resolved = |image: &[u8]| Resolved { pinned: reference.clone(), digest: Digest::of(image), bytes: 0 };
            let last = answer.map(|(image, asked)| Lookup {
                question: question(&reference, &pull),
                answer: Some((resolved(image), at(asked))),
                tried: at(tried),
            });
            let here = here.then(|| Digest::of(b"here"));
            for (ask, wanted) in [Ask::Eagerly, Ask::Due].into_iter().zip(wanted) {
                let found = need(&image, &pull, here, None, last.as_ref(), ask, at(now));
                assert_eq!(found, wanted, "{policy} {range:?} {ask:?} {last:?}");
            }
            assert_eq!(need(&image, &pull, here, None, last.as_ref(), Ask::Nothing, at(now)), None);
        }
    }

    #[test]
    fn another_question_needs_another_answer_and_so_do_other_keys() {
        let reference: ImageRef = "nginx:1".parse().unwrap();
        let mut pull = Pull { policy: PullPolicy::Every(Span::seconds(60)), ..Pull::default() };
        let here = Digest::of(b"here");
        let resolved = Resolved { pinned: reference.clone(), digest: here, bytes: 0 };
        let last = Lookup { question: question(&reference, &pull), answer: Some((resolved, at(1000))), tried: at(1000) };
        let mut image = ImageSpec::new(reference, ImageSource::Pull(pull.clone()));
        let find = |image: &ImageSpec, pull: &Pull, origin: Option<&Origin>| {
            need(image, pull, Some(here), origin, Some(&last), Ask::Due, at(1001))
        };
        assert_eq!(find(&image, &pull, None), None);
        pull.platform = Some("linux/arm64".parse().unwrap());
        assert_eq!(find(&image, &pull, None), Some(Need::Must));
        pull.platform = None;
        image.verify = Some(Verify { keys: ["k".to_owned()].into() });
        assert_eq!(find(&image, &pull, None), Some(Need::Must));
        let checked = Origin { origin: image.pulled_as().unwrap(), digest: here };
        assert_eq!(find(&image, &pull, Some(&checked)), None);
        image.reference = image.reference.at(here);
        assert_eq!(find(&image, &pull, Some(&Origin { digest: Digest::of(b"x"), ..checked })), Some(Need::Must));
        assert_eq!(find(&image, &pull, Some(&checked)), None);
    }
}

//! What images that are made on the host come from, as digests: an image whose origin is still the same is not made again.

use std::collections::BTreeMap;

use crate::model::spec::{Build, Commit, ContainerSpec, Pull, ResourceLimits};
use crate::model::{Digest, ImageRef, RestartPolicy};

/// Of an archive: its content, and which of its images is meant.
pub fn of_load(fingerprint: Digest, reference: Option<&ImageRef>) -> Digest {
    match reference {
        None => fingerprint,
        Some(reference) => Digest::of(format!("{fingerprint} {reference}").as_bytes()),
    }
}

/// Of a container that has completed: what it was made of, and what is said of the image. What can change while a container
/// stays as it is leaves no trace in its files, and does not count.
pub fn of_commit(container: &ContainerSpec, image: Digest, commit: &Commit) -> Digest {
    let mut spec = container.clone();
    spec.restart = RestartPolicy::No;
    spec.limits = ResourceLimits::default();
    spec.depends_on.clear();
    spec.depends_beyond.clear();
    // Plain data always has a JSON form.
    let spec = serde_json::to_string(&spec).unwrap_or_default();
    let Commit { container, changes, author, message } = commit;
    Digest::of(format!("{container} {image} {spec} {changes:?} {author:?} {message:?}").as_bytes())
}

/// Of a build: in the first half how it is built, in the second one of what, the bases that the stack declares among it. So it
/// can be told which of both has changed.
pub fn of_build(build: &Build, bases: &BTreeMap<ImageRef, Digest>) -> Digest {
    let mut bytes = *described(build).bytes();
    let files = build.fingerprint.map(|digest| digest.to_string()).unwrap_or_default();
    let bases: Vec<String> = bases.iter().map(|(reference, digest)| format!("{reference} {digest}")).collect();
    bytes[16..].copy_from_slice(&Digest::of(format!("{files} {}", bases.join(" ")).as_bytes()).bytes()[..16]);
    Digest::from_bytes(bytes)
}

/// Whether what came of this origin was built as this build says, of whatever files.
pub fn is_built_so(origin: Digest, build: &Build) -> bool {
    origin.bytes()[..16] == described(build).bytes()[..16]
}

fn described(build: &Build) -> Digest {
    // Plain data always has a JSON form.
    Digest::of(serde_json::to_string(&build.without_files()).unwrap_or_default().as_bytes())
}

/// What is asked of a registry: another question needs an answer of its own, whatever the last answer's age.
pub fn question(reference: &ImageRef, pull: &Pull) -> Digest {
    let platform = pull.platform.as_ref().map(ToString::to_string);
    let range = pull.tag_policy.as_ref().map(|policy| policy.semver.to_string());
    Digest::of(format!("{reference} {platform:?} {range:?}").as_bytes())
}

//! Images: those that are declared, each with the fingerprint of what it is made of; those that are declared with the container
//! that they are built for; and those that are only named, which are pulled.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::manifest::declared::{Container, ContainerBuild, Declared, Image, Resource};
use crate::manifest::desired::Desired;
use crate::manifest::problem::{Place, Problems};
use crate::manifest::{Fingerprint, Found, Source};
use crate::model::spec::{ImageSource, ImageSpec, Pull};
use crate::model::{Digest, ImageRef, Name, Platform, PullPolicy};

use super::secrets::Secrets;
use super::{Places, once};

/// Declares the images that are built for a container, each under the container's name.
pub(super) fn declare_builds(stack: &Name, declared: &mut Declared, problems: &mut Problems) {
    for container in &mut declared.containers {
        let Some(ContainerBuild { read, reference }) = container.body.build.take() else { continue };
        let reference = match reference {
            Some(reference) => reference,
            None => match format!("{stack}-{}", container.name).to_lowercase().parse() {
                Ok(reference) => reference,
                Err(_) => {
                    let message = format!("`{stack}-{}` is not an image reference", container.name);
                    problems.error_hint(container.at, message, "give the container an `image`");
                    continue;
                }
            },
        };
        container.body.spec.image = reference.clone();
        let spec = ImageSpec::new(reference, ImageSource::Build(Box::new(read.build)));
        let body = Image { spec, source_at: read.at, secrets: read.secrets };
        let (name, at) = (container.name.clone(), container.at);
        declared.images.push(Resource { name, at, engine_name: None, external: false, body });
    }
}

/// Gives where the source of each image stands.
pub(super) fn images(
    images: Vec<Resource<Image>>,
    secrets: &Secrets<'_>,
    fingerprint: &Fingerprint,
    places: &mut Places,
    desired: &mut Desired,
    problems: &mut Problems,
    watched: &mut Vec<PathBuf>,
) -> BTreeMap<Name, Place> {
    let mut references: HashMap<ImageRef, Name> = HashMap::new();
    let mut sources = BTreeMap::new();
    for Resource { name, at, body: Image { mut spec, source_at, secrets: named }, .. } in images {
        once("image", &name, at, places, problems);
        if let Some(other) = references.insert(spec.reference.clone(), name.clone())
            && other != name
        {
            problems.error(at, format!("the images `{other}` and `{name}` have the same reference `{}`", spec.reference));
        }
        let path = match &mut spec.source {
            ImageSource::Import { path, .. } | ImageSource::Load { archive: path, .. } => Some(path.clone()),
            ImageSource::Build(build) => {
                secrets.give(named, build, problems);
                match fingerprint(Source::Build(build)) {
                    Ok(Found { fingerprint, bases, files }) => {
                        let is_here = build.folders().next().is_some();
                        build.fingerprint = is_here.then_some(fingerprint);
                        build.bases = bases;
                        build.files = files;
                    }
                    Err(error) => problems.error(source_at, error.to_string()),
                }
                None
            }
            ImageSource::Pull(_) | ImageSource::Commit(_) => None,
        };
        if let Some(path) = path {
            watched.push(path.clone());
            // An archive on a stick may be away while the image that was loaded from it is used.
            let away = matches!(spec.source, ImageSource::Load { .. }) && !path.exists();
            if matches!(spec.source, ImageSource::Load { .. }) && path.is_dir() {
                let hint = "pack it: `tar -C FOLDER -cf archive.tar .` makes an archive of an OCI layout";
                problems.error_hint(source_at, format!("{} is a folder", path.display()), hint);
                continue;
            }
            match fingerprint(Source::Path(&path)) {
                Ok(found) => spec.source = with_fingerprint(spec.source, found.fingerprint),
                Err(_) if away => {
                    let message = format!("the archive {} is not there now", path.display());
                    problems.warn(source_at, message, Some("the image is not loaded again until it is".to_owned()));
                }
                Err(error) => {
                    problems.error(source_at, format!("the source {} cannot be read: {error}", path.display()));
                }
            }
        }
        sources.insert(name.clone(), source_at);
        desired.images.insert(name, spec);
    }
    sources
}

/// Puts the fingerprint in. What the image's configuration is to be is part of it, because a change of that makes another
/// image just as a change of the source does.
fn with_fingerprint(image: ImageSource, digest: Digest) -> ImageSource {
    match image {
        ImageSource::Import { path, entrypoint, command, environment, working_dir, user, .. } => {
            let plain =
                entrypoint.is_none() && command.is_none() && environment.is_empty() && working_dir.is_none() && user.is_none();
            let fingerprint = if plain {
                digest
            } else {
                Digest::of(format!("{digest} {entrypoint:?} {command:?} {environment:?} {working_dir:?} {user:?}").as_bytes())
            };
            ImageSource::Import { path, fingerprint, entrypoint, command, environment, working_dir, user }
        }
        ImageSource::Load { archive, reference, .. } => ImageSource::Load { archive, fingerprint: Some(digest), reference },
        other @ (ImageSource::Pull(_) | ImageSource::Build(_) | ImageSource::Commit(_)) => other,
    }
}

/// What containers ask of images, by reference.
pub(super) type Wanted = BTreeMap<ImageRef, Request>;

pub(super) struct Request {
    at: Place,
    policy: Option<(PullPolicy, Place)>,
    platform: Option<(Platform, Place)>,
}

pub(super) fn note_image(container: &Container, wanted: &mut Wanted, problems: &mut Problems) {
    let reference = container.spec.image.clone();
    let request = wanted.entry(reference).or_insert(Request { at: container.image_at, policy: None, platform: None });
    if let Some((policy, at)) = container.pull_policy {
        // Where containers disagree, the image is asked for as often as the most eager of them wants.
        let eager = |policy| match policy {
            PullPolicy::Always => (3, Default::default()),
            PullPolicy::Every(span) => (2, std::cmp::Reverse(span)),
            PullPolicy::Missing => (1, Default::default()),
            PullPolicy::Never => (0, Default::default()),
        };
        request.policy = request.policy.filter(|(known, _)| eager(*known) >= eager(policy)).or(Some((policy, at)));
    }
    if let Some((platform, at)) = &container.platform {
        match &request.platform {
            Some((known, first)) if known != platform => {
                let hint = format!("it is `{known}` in {}", problems.show(*first));
                problems.error_hint(*at, "containers of one image want different platforms", hint);
            }
            _ => request.platform = Some((platform.clone(), *at)),
        }
    }
}

/// An image that a container names and no manifest declares is pulled.
pub(super) fn undeclared_images(wanted: Wanted, desired: &mut Desired, problems: &mut Problems) {
    let declared: HashMap<ImageRef, Name> =
        desired.images.iter().map(|(name, image)| (image.reference.clone(), name.clone())).collect();
    for (reference, Request { at, policy, platform }) in wanted {
        if let Some(image) = declared.get(&reference) {
            let clash = [("pull_policy", policy.map(|(_, at)| at)), ("platform", platform.map(|(_, at)| at))];
            for (field, at) in clash {
                if let Some(at) = at {
                    let hint = format!("say it in the `pull` of the Image `{image}`");
                    problems.error_hint(at, format!("`{field}` is for images that no manifest declares"), hint);
                }
            }
            continue;
        }
        let name = pulled_name(&reference, |name| desired.images.contains_key(name));
        let Some(name) = name else {
            problems.error(at, format!("`{reference}` does not make a name: declare the image in a manifest"));
            continue;
        };
        let pull = Pull {
            policy: policy.map(|(policy, _)| policy).unwrap_or_default(),
            platform: platform.map(|(platform, _)| platform),
            ..Pull::default()
        };
        desired.images.insert(name, ImageSpec::new(reference, ImageSource::Pull(pull)));
    }
}

/// What an image is called that nobody declares: its reference in the letters of names, with a number where that is taken.
pub fn pulled_name(reference: &ImageRef, taken: impl Fn(&Name) -> bool) -> Option<Name> {
    let base: String = reference
        .to_string()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(120)
        .collect();
    let free = (1..).find_map(|number| {
        let text = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        match text.parse::<Name>() {
            Ok(name) if !taken(&name) => Some(Some(name)),
            Ok(_) => None,
            Err(_) => Some(None),
        }
    });
    free.flatten()
}

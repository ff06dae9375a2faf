//! How an image was built, as a predicate of SLSA. What was secret is not in it: of secrets there are the names, of addresses not
//! the passwords, and of arguments not what is a secret too.
//!
//! Sources: SLSA, "Provenance" v1 and v0.2; BuildKit's "SLSA definitions", whose names for what SLSA leaves open are used here, but
//! for its definitions of steps, which setpoint has not: with `mode=max` there are the instructions instead.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::build::dockerfile::{Command, Network, RunMount};
use crate::engine::build::error::BuildError;
use crate::engine::build::stages::is_proxy;
use crate::engine::build::work::Work;
use crate::engine::images::{Attestation, package_url};
use crate::model::build::{BuildNetwork, ContextSource, DockerfileSource, Provenance, Slsa};
use crate::model::{ImageRef, Platform};
use crate::sys;

const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const OLD_BUILD_TYPE: &str = "https://mobyproject.org/buildkit@v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const OLD_PREDICATE: &str = "https://slsa.dev/provenance/v0.2";
/// Shorter ones are found everywhere by chance.
const SHORTEST_SECRET: usize = 4;

/// Something that was fetched for a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine::build) struct Material {
    pub(in crate::engine::build) uri: String,
    /// The kind of digest, and its digits; `None` where it is not known.
    pub(in crate::engine::build) digest: Option<(&'static str, String)>,
}

impl Material {
    fn said(&self) -> Value {
        match &self.digest {
            Some((kind, digits)) => json!({"uri": self.uri, "digest": {*kind: digits}}),
            None => json!({"uri": self.uri}),
        }
    }
}

/// One run of a build.
pub(super) struct Run {
    pub(super) id: String,
    pub(super) began: OffsetDateTime,
    pub(super) ended: OffsetDateTime,
}

/// What a build is known by, which is no other's.
pub(super) fn invocation() -> Result<String, BuildError> {
    let bytes: [u8; 16] = sys::random_bytes().map_err(BuildError::step("make a name of the build"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn provenance(work: &Work, wanted: &Provenance, run: &Run) -> Attestation {
    let request = parameters(work, wanted.max);
    let materials = materials(work);
    let is_local = |context: &ContextSource| {
        matches!(context, ContextSource::Folder(_) | ContextSource::Layout { .. } | ContextSource::Upload)
    };
    let contexts = std::iter::once(&work.request.context).chain(work.request.contexts.values());
    let is_whole = !contexts.into_iter().any(is_local) && materials.iter().all(|material| material.digest.is_some());
    let source = config_source(work);
    let said: Vec<Value> = materials.iter().map(Material::said).collect();
    let has_all_parameters = wanted.max || work.request.arguments.is_empty() && work.request.labels.is_empty();
    let mut metadata = Map::new();
    if wanted.max {
        metadata.insert(
            "source".to_owned(),
            json!({"infos": [{
                "filename": source["path"],
                "language": "Dockerfile",
                "data": STANDARD.encode(without_secrets(work, &work.stages.source().text())),
            }]}),
        );
    }
    let builder = json!({"id": wanted.builder_id.clone().unwrap_or_default()});
    let platform = Platform::host().to_string();
    let (began, ended) = (moment(run.began), moment(run.ended));
    let (predicate_type, predicate) = match wanted.version {
        Slsa::V1 => {
            let mut internal = json!({"builderPlatform": platform});
            if wanted.max {
                internal["buildConfig"] = json!({"steps": steps(work)});
            }
            let predicate = json!({
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"configSource": source, "request": request},
                    "internalParameters": internal,
                    "resolvedDependencies": said,
                },
                "runDetails": {
                    "builder": builder,
                    "metadata": {
                        "invocationId": run.id,
                        "startedOn": began,
                        "finishedOn": ended,
                        "buildkit_metadata": metadata,
                        "buildkit_hermetic": is_hermetic(work),
                        "buildkit_completeness": {"request": has_all_parameters, "resolvedDependencies": is_whole},
                        "buildkit_reproducible": wanted.reproducible,
                    },
                },
            });
            (PREDICATE, predicate)
        }
        Slsa::V02 => {
            let mut config = source.clone();
            if let Some(path) = config.as_object_mut().and_then(|config| config.shift_remove("path")) {
                config["entryPoint"] = path;
            }
            let mut predicate = json!({
                "builder": builder,
                "buildType": OLD_BUILD_TYPE,
                "invocation": {"configSource": config, "parameters": request, "environment": {"platform": platform}},
                "materials": said,
                "metadata": {
                    "buildInvocationID": run.id,
                    "buildStartedOn": began,
                    "buildFinishedOn": ended,
                    "completeness": {"parameters": has_all_parameters, "environment": true, "materials": is_whole},
                    "reproducible": wanted.reproducible,
                    "https://mobyproject.org/buildkit@v1#hermetic": is_hermetic(work),
                    "https://mobyproject.org/buildkit@v1#metadata": metadata,
                },
            });
            if wanted.max {
                predicate["buildConfig"] = json!({"steps": steps(work)});
            }
            (OLD_PREDICATE, predicate)
        }
    };
    Attestation { predicate_type: predicate_type.to_owned(), predicate }
}

/// What was asked for. Without `max`, nothing of it that somebody may have thought of as their own.
fn parameters(work: &Work, max: bool) -> Value {
    let request = &work.request;
    let mut arguments = Map::new();
    let mut say = |key: String, value: &str| drop(arguments.insert(key, without_secrets(work, value).into()));
    if let Some(target) = &request.target {
        say("target".to_owned(), target);
    }
    if let Some(path) = dockerfile(work) {
        say("filename".to_owned(), &path);
    }
    if !request.platforms.is_empty() {
        say("platform".to_owned(), &work.platform.to_string());
    }
    for (name, source) in &request.contexts {
        say(format!("context:{name}"), &shown(source));
    }
    match request.network {
        BuildNetwork::Default => {}
        BuildNetwork::None => say("force-network-mode".to_owned(), "none"),
        BuildNetwork::Host => say("force-network-mode".to_owned(), "host"),
    }
    if max {
        for (name, value) in request.arguments.iter().filter(|(name, _)| !is_proxy(name)) {
            say(format!("build-arg:{name}"), value);
        }
        for (name, value) in &request.labels {
            say(format!("label:{name}"), value);
        }
    }
    let mut said = json!({"frontend": "dockerfile.v0", "args": arguments});
    if matches!(request.context, ContextSource::Folder(_) | ContextSource::Upload) {
        said["locals"] = json!([{"name": "context"}, {"name": "dockerfile"}]);
    }
    if max {
        let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
        for run in work.stages.needed().into_iter().flat_map(|index| &work.stages.stages[index].steps) {
            let Command::Run(run) = &run.instruction.command else { continue };
            for mount in &run.mounts {
                // What cannot be read without the stage's variables is called by them.
                match mount.resolve(&mut |text: &str| Ok(text.to_owned())) {
                    Ok(RunMount::Secret { id, required, .. }) => drop(secrets.insert((id, !required))),
                    Ok(RunMount::Ssh { id, required, .. }) => drop(agents.insert((id, !required))),
                    Ok(RunMount::Bind { .. } | RunMount::Cache { .. } | RunMount::Tmpfs { .. }) | Err(_) => {}
                }
            }
        }
        let all = |found: BTreeSet<(String, bool)>| -> Vec<Value> {
            found.into_iter().map(|(id, optional)| json!({"id": id, "optional": optional})).collect()
        };
        said["secrets"] = all(secrets).into();
        said["ssh"] = all(agents).into();
    }
    said
}

/// The instructions of the stages that were needed, as they are written.
fn steps(work: &Work) -> Vec<Value> {
    let mut found = Vec::new();
    for index in work.stages.needed() {
        let stage = &work.stages.stages[index];
        for step in &stage.steps {
            let text = without_secrets(work, &step.instruction.text);
            found.push(json!({
                "stage": stage.name.clone().unwrap_or_else(|| index.to_string()),
                "platform": stage.platform,
                "line": step.instruction.place.line,
                "instruction": text,
            }));
        }
    }
    found
}

/// Images, repositories and files that the build was given.
fn materials(work: &Work) -> Vec<Material> {
    let mut found = BTreeSet::new();
    for ((reference, platform), base) in &work.bases {
        let Ok(reference) = reference.parse::<ImageRef>() else { continue };
        let digest = Some(("sha256", base.image.hex().to_string()));
        found.insert(Material { uri: package_url(&reference, platform), digest });
    }
    let fetched = work.materials.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.extend(fetched.iter().cloned());
    found.into_iter().collect()
}

/// Where the Dockerfile is from.
fn config_source(work: &Work) -> Value {
    let mut said = Map::new();
    match &work.request.context {
        ContextSource::Git(_) | ContextSource::Url(_) => {
            let fetched = work.materials.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let uri = shown(&work.request.context);
            if let Some(Value::Object(material)) = fetched.iter().find(|one| one.uri == uri).map(Material::said) {
                said.extend(material);
            }
        }
        ContextSource::Folder(_)
        | ContextSource::Image(_)
        | ContextSource::Layout { .. }
        | ContextSource::Upload
        | ContextSource::Nothing => {}
    }
    if let Some(path) = dockerfile(work) {
        said.insert("path".to_owned(), path.into());
    }
    Value::Object(said)
}

fn dockerfile(work: &Work) -> Option<String> {
    match &work.request.dockerfile {
        DockerfileSource::InContext(path) => Some(path.clone().unwrap_or_else(|| "Dockerfile".to_owned())),
        // Where it is on this host is nobody's business.
        DockerfileSource::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        DockerfileSource::Text { .. } => None,
    }
}

/// A context without passwords.
pub(in crate::engine::build) fn shown(source: &ContextSource) -> String {
    match source {
        ContextSource::Folder(_) | ContextSource::Upload => "local".to_owned(),
        ContextSource::Layout { .. } => "oci-layout".to_owned(),
        ContextSource::Git(text) | ContextSource::Url(text) => without_user(text),
        ContextSource::Image(reference) => format!("docker-image://{reference}"),
        ContextSource::Nothing => String::new(),
    }
}

/// An address without who is let in by it.
pub(in crate::engine::build) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// A text with stars in the place of secrets that the build was given.
fn without_secrets(work: &Work, text: &str) -> String {
    let mut text = text.to_owned();
    for secret in &work.request.secrets {
        let Ok(secret) = std::str::from_utf8(secret.content.trim_ascii()) else { continue };
        if secret.len() >= SHORTEST_SECRET && text.contains(secret) {
            text = text.replace(secret, "****");
        }
    }
    text
}

/// Whether no command of the build could reach a network.
fn is_hermetic(work: &Work) -> bool {
    let mut runs = work.stages.needed().into_iter().flat_map(|index| &work.stages.stages[index].steps);
    runs.all(|step| match &step.instruction.command {
        Command::Run(run) => match run.network {
            Network::None => true,
            Network::Default => work.request.network == BuildNetwork::None,
            Network::Host => false,
        },
        _ => true,
    })
}

fn moment(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_passwords() {
        for (url, expected) in [
            ("https://me:secret@example.com/a.git#main", "https://example.com/a.git#main"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("https://example.com?x=a@b", "https://example.com?x=a@b"),
            ("git@example.com:a.git", "git@example.com:a.git"),
        ] {
            assert_eq!(without_user(url), expected);
        }
    }
}

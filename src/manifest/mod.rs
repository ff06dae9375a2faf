//! Desired state: manifests and compose files, parsed, defaulted, resolved and validated.
//!
//! ```text
//! files → tree (YAML with places) → interpolate → document | compose → declared → resolve → Desired
//! ```
//!
//! Guarantees: all problems of all files are told at once, each with its place; a hostile file is an error within a
//! second; what comes out satisfies [`Desired`]'s guarantees. Values may hold variables, as in Compose, in manifests and
//! compose files alike: those of a file `.env` in the stack's folder, and over them those that the caller gives.
//!
//! Refuses to know: what the host has, and how anything here is made real.

mod addresses;
mod builds;
mod compose;
mod confine;
mod connections;
mod container;
mod contents;
mod declared;
pub mod desired;
mod document;
mod fields;
mod files;
mod health;
mod images;
mod interpolate;
mod lifecycle;
mod limits;
mod logging;
mod mounts;
pub mod print;
mod problem;
mod reader;
mod resolve;
mod resources;
mod schema;
mod sharing;
mod tree;
mod updates;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use desired::{Desired, Placed};
pub use problem::{LoadErrors, Problem};
pub use resolve::pulled_name;
pub use schema::schemas;

use crate::model::spec::Build;
use crate::model::{Digest, ImageRef, Name};

use compose::project::{Part, Project, Reading};
use declared::{Declared, Replicas};
use problem::{Place, Problems};
use reader::Reader;
use tree::{Node, Value};

/// The variable with the profiles whose containers are wanted, separated by commas; `*` is all.
pub const PROFILES: &str = "COMPOSE_PROFILES";

/// What an image is made of on this host, and has to be looked at to find out whether it has changed.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A tar or a folder that is imported, or an archive that is loaded.
    Path(&'a Path),
    /// The folders and the Dockerfile of a build.
    Build(&'a Build),
}

/// What a load depends on beside the files.
pub struct LoadOptions<'a> {
    /// The stack's name, over all that the files say.
    pub stack: Option<Name>,
    /// Variables for `${VAR}` and for environment variables without a value, over those of `.env`.
    pub environment: BTreeMap<String, String>,
    /// Further compose files, each laid over those before it.
    pub over: Vec<PathBuf>,
    /// How many there are to be of containers, over what the files say.
    pub scale: BTreeMap<Name, u32>,
    /// Looks at what an image is made of.
    pub fingerprint: &'a Fingerprint,
}

/// What was found at a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub fingerprint: Digest,
    /// The images that a Dockerfile begins with and copies from, as far as it can be read.
    pub bases: BTreeSet<ImageRef>,
    /// What the fingerprint is of, by the names by which changes are told.
    pub files: BTreeMap<String, String>,
}

impl From<Digest> for Found {
    fn from(fingerprint: Digest) -> Self {
        Self { fingerprint, bases: BTreeSet::new(), files: BTreeMap::new() }
    }
}

pub type Fingerprint = dyn Fn(Source<'_>) -> Result<Found, Box<dyn std::error::Error + Send + Sync>>;

/// A stack that was loaded without an error.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub desired: Desired,
    /// What else the files say, for whoever writes them anew.
    pub origins: print::Origins,
    /// What is doubtful, but no error.
    pub warnings: Vec<Problem>,
    /// Every file and folder that was read, and whose change may change the stack. Absolute.
    pub watched: Vec<PathBuf>,
}

/// Loads the stack at `path`: a folder of manifests, a manifest file, a folder with a compose file, or a compose file.
///
/// The stack's name is, in this order: the option; the compose file's `name` or the name of the manifest of kind `Stack`;
/// the folder's name in lower case, without what a stack's name cannot have.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Loaded, LoadErrors> {
    let mut problems = Problems::default();
    let mut watched = Vec::new();
    let (desired, origins) = match read_all(path, options, &mut problems, &mut watched) {
        Some(read) if !problems.any() => read,
        _ => return Err(problems.into_errors()),
    };
    watched.sort();
    watched.dedup();
    Ok(Loaded { desired, origins, warnings: problems.into_warnings(), watched })
}

/// The name of a stack whose manifests do not give one: that of their folder. `None` when it does not make a name.
pub fn default_stack_name(path: &Path) -> Option<Name> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    stack_name(&folder.file_name()?.to_string_lossy())
}

fn read_all(
    path: &Path,
    options: &LoadOptions<'_>,
    problems: &mut Problems,
    watched: &mut Vec<PathBuf>,
) -> Option<(Desired, print::Origins)> {
    let sources = files::discover(path, problems, watched)?;
    let variables = files::variables(&sources.folder, &options.environment, problems, watched);
    let mut declared = Declared::default();
    // Paths are shown as the user wrote them.
    let shown = |file: &PathBuf| match file.file_name() {
        Some(name) if path.is_dir() => path.join(name),
        _ => path.to_owned(),
    };
    let is_project = match sources.files.as_slice() {
        [one] => files::is_compose_name(one) || !options.over.is_empty() || files::begins_as_compose(one),
        _ => false,
    };
    if is_project {
        let mut parts: Vec<_> =
            sources.files.iter().chain(&sources.over).map(|file| Part { path: file.clone(), shown: shown(file) }).collect();
        for over in &options.over {
            let full = std::path::absolute(over).map_or_else(|_| over.clone(), |path| reader::clean(&path));
            parts.push(Part { path: full, shown: over.clone() });
        }
        let project = Project { folder: sources.folder.clone(), parts, variables: variables.clone() };
        Reading::new(problems, watched, &mut declared).project(&project);
    } else {
        if let Some(over) = options.over.first() {
            let file = problems.file(over, "");
            let hint = "name a compose file first, or put the manifests into one folder";
            problems.error_hint(Place::whole(file), "only compose files are laid over each other", hint);
        }
        for file in &sources.files {
            watched.push(file.clone());
            let Some((_, mut documents)) = files::read_documents(file, &shown(file), problems) else { continue };
            for document in &mut documents {
                if let Some(at) = tree::first_mark(document) {
                    problems.error_hint(at, "only in compose files do `!reset` and `!override` have a meaning", "remove the tag");
                }
                tree::settle(document);
                interpolate::interpolate(document, &variables, problems);
                let mut reader = Reader { problems, base: sources.folder.clone(), variables: &variables, watched };
                document::read(&mut reader, document, &mut declared);
            }
        }
    }
    let stack = options
        .stack
        .clone()
        .or_else(|| declared.stack.as_ref().map(|(name, _)| name.clone()))
        .or_else(|| stack_name(&sources.folder.file_name()?.to_string_lossy()));
    let Some(stack) = stack else {
        let file = problems.file(path, "");
        let hint = "give it with `--stack`, or in a manifest of kind Stack";
        problems.error_hint(Place::whole(file), "the stack has no name, and its folder's name does not make one", hint);
        return None;
    };
    let profiles = variables.get(PROFILES).map(|text| text.split(',').map(|name| name.trim().to_owned()).collect());
    for (name, count) in &options.scale {
        match declared.containers.iter_mut().find(|container| container.name == *name) {
            Some(container) => container.body.replicas = Some(Replicas { count: *count, at: container.at }),
            None => {
                let file = problems.file(path, "");
                let hint = problem::did_you_mean(name.as_str(), declared.containers.iter().map(|c| c.name.as_str()))
                    .unwrap_or_else(|| "`--scale` is for containers of this stack".to_owned());
                problems.error_hint(Place::whole(file), format!("there is no container `{name}` to scale"), hint);
            }
        }
    }
    resolve::resolve(stack, declared, &profiles.unwrap_or_default(), options.fingerprint, problems, watched)
}

/// Whether a document is a compose file's, where the file's name does not say so.
fn is_compose(document: &Node) -> bool {
    let Value::Map(entries) = &document.value else { return false };
    let has = |name: &str| entries.iter().any(|(key, _)| key.text == name);
    has("services") && !has("apiVersion")
}

/// A stack's name made of a folder's: in lower case, letters, digits, `-` and `_` only.
pub fn stack_name(text: &str) -> Option<Name> {
    let kept: String = text.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    kept.trim_start_matches(['-', '_']).parse().ok()
}

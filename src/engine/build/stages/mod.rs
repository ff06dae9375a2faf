//! From the tree of a Dockerfile to its stages: what each begins with, what it takes from others, which of them a target needs,
//! and which images must be had. Pulls, builds and runs nothing.
//! Source: Dockerfile reference, "FROM", "ARG", "COPY --from", "ONBUILD"; BuildKit for what is said nowhere.

mod error;
mod graph;
mod platforms;
mod scope;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use error::{StageCause, StageErrors, StageFault};
pub use graph::plan;
pub use platforms::normal;
pub use scope::{Globals, Scope, is_proxy, proxies};

use crate::engine::build::dockerfile::{Instruction, Place, SourceText};
use crate::model::{ImageRef, Platform};

/// What a build was asked for beside its Dockerfile.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// A stage by its name or number; else it is the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// What builds.
    pub build_platform: Platform,
    /// What the image is for.
    pub target_platform: Platform,
    /// The names of `--build-context`: they stand before stages and images of the same name.
    pub contexts: BTreeSet<String>,
}

impl BuildSettings {
    /// Those of a build on this host, for the first of its platforms.
    pub fn on_this_host<'c>(
        target: Option<&String>,
        arguments: &BTreeMap<String, String>,
        platforms: &[Platform],
        contexts: impl IntoIterator<Item = &'c String>,
    ) -> Self {
        let host = Platform::host();
        Self {
            target: target.cloned(),
            arguments: arguments.clone(),
            target_platform: platforms.first().cloned().unwrap_or_else(|| host.clone()),
            build_platform: host,
            contexts: contexts.into_iter().cloned().collect(),
        }
    }
}

/// The stages of a Dockerfile, and what they need of each other.
#[derive(Clone, Debug)]
pub struct Stages {
    pub stages: Vec<Stage>,
    /// Which of them is asked for.
    pub target: usize,
    /// The ARGs before the first FROM and the predefined ones.
    pub globals: Globals,
    /// The file's escape character, for whoever replaces variables.
    pub escape: char,
    /// Build arguments that no ARG asks for.
    pub unused_arguments: Vec<String>,
    settings: BuildSettings,
    source: SourceText,
}

#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number; as stages refer to earlier ones only, also its place in the order of building.
    pub index: usize,
    pub name: Option<String>,
    /// Its FROM.
    pub place: Place,
    pub base: Source,
    /// What the base is for; also that of a base which is a stage.
    pub platform: Platform,
    /// What is done, triggers of the base first.
    pub steps: Vec<Step>,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An earlier stage.
    Stage(usize),
    Image(ImageRef),
    /// Nothing at all.
    Scratch,
    /// One of the contexts that the build was given, by its name.
    Context(String),
}

/// An instruction of a stage.
#[derive(Clone, Debug)]
pub struct Step {
    pub instruction: Instruction,
    /// What `COPY --from` names: one; what the mounts of RUN name: one a mount. `None` is the build context, or nothing, for
    /// mounts that have no source.
    pub from: Vec<Option<Source>>,
    /// Whether it is a trigger of the base.
    pub is_trigger: bool,
}

/// An image that must be had before the build can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededImage {
    pub reference: ImageRef,
    pub platform: Platform,
    /// Where the file names it first.
    pub place: Place,
    /// The stage whose base it is, where it is one.
    pub base_of: Option<usize>,
}

impl Stages {
    /// The stages that the target needs and the target itself, in an order in which they can be built.
    pub fn needed(&self) -> Vec<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![self.target];
        while let Some(index) = open.pop() {
            if needed.insert(index) {
                open.extend(self.stages[index].needs());
            }
        }
        needed.into_iter().collect()
    }

    /// The other stages that a stage takes something from.
    pub fn needs_of(&self, index: usize) -> BTreeSet<usize> {
        self.stages[index].needs().filter(|need| *need != index).collect()
    }

    /// The images that the needed stages begin with and copy from. One that several name is there once for each stage that
    /// begins with it, and once if it is only copied from.
    pub fn images(&self) -> Vec<NeededImage> {
        let mut found: Vec<NeededImage> = Vec::new();
        let stages: Vec<&Stage> = self.needed().into_iter().map(|index| &self.stages[index]).collect();
        for stage in &stages {
            if let Source::Image(reference) = &stage.base {
                let (reference, platform, place) = (reference.clone(), stage.platform.clone(), stage.place);
                found.push(NeededImage { reference, platform, place, base_of: Some(stage.index) });
            }
        }
        for stage in stages {
            for step in &stage.steps {
                for source in step.from.iter().flatten() {
                    let Source::Image(reference) = source else { continue };
                    let platform = &self.settings.target_platform;
                    if !found.iter().any(|image| image.reference == *reference && image.platform == *platform) {
                        let (reference, platform, place) = (reference.clone(), platform.clone(), step.instruction.place);
                        found.push(NeededImage { reference, platform, place, base_of: None });
                    }
                }
            }
        }
        found
    }

    /// What a stage was given on the command line, for the ARGs in it.
    pub fn arguments(&self) -> &BTreeMap<String, String> {
        &self.settings.arguments
    }

    /// What is wrong at a place of the Dockerfile, to be shown to who wrote it.
    pub fn source(&self) -> &SourceText {
        &self.source
    }
}

impl Stage {
    /// Whether a context of its own name is taken instead of it.
    fn is_replaced(&self) -> bool {
        matches!(&self.base, Source::Context(context) if self.name.as_ref() == Some(context))
    }

    /// The stages that it takes something from, itself among them if that is what the file says.
    fn needs(&self) -> impl Iterator<Item = usize> {
        let steps = self.steps.iter().flat_map(|step| step.from.iter().flatten());
        std::iter::once(&self.base).chain(steps).filter_map(|source| match source {
            Source::Stage(index) => Some(*index),
            _ => None,
        })
    }
}

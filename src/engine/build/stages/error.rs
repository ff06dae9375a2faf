//! What can be wrong with the stages of a Dockerfile.

use std::fmt;

use crate::engine::build::dockerfile::{DockerfileErrors, Place, SourceText};
use crate::engine::build::expand::ExpandError;
use crate::model::reference::InvalidReference;
use crate::model::{Problem, did_you_mean};

/// All that is wrong, in the order of the file's lines. Never empty.
#[derive(Debug)]
pub struct StageErrors {
    pub faults: Vec<StageFault>,
}

/// One thing that is wrong, and how it is shown.
#[derive(Debug)]
pub struct StageFault {
    pub cause: StageCause,
    pub problem: Problem,
}

impl fmt::Display for StageErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.faults.iter().map(|fault| fault.problem.render(false)).collect();
        f.write_str(&texts.join("\n\n"))
    }
}

impl std::error::Error for StageErrors {}

#[derive(Debug, thiserror::Error)]
pub enum StageCause {
    #[error("there is no stage `{name}` to build")]
    Target { name: String, known: Vec<String> },
    #[error("there is no stage number {number}")]
    Number { number: String, stages: usize },
    #[error("{0}")]
    Expand(#[from] ExpandError),
    #[error("`{text}` is nothing once its variables are replaced")]
    Blank { text: String, unset: Vec<String>, known: Vec<String> },
    #[error("{source}")]
    Reference { source: InvalidReference, near: Option<String> },
    #[error("{text:?} is not a platform")]
    Platform { text: String },
    #[error("a stage cannot take anything from itself")]
    Itself,
    #[error("the stage `{name}` comes later, and a stage can take from earlier ones only")]
    Later { name: String },
    #[error("the stages need each other: {}", path.join(" → "))]
    Cycle { path: Vec<String> },
    #[error("the base has the trigger {text:?}, which cannot be read: {source}")]
    Trigger { text: String, source: Box<DockerfileErrors> },
}

impl StageCause {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Target { name, known } => did_you_mean(name, known.iter().map(String::as_str)).unwrap_or_else(|| {
                if known.is_empty() { "no stage has a name".to_owned() } else { format!("there are {}", known.join(", ")) }
            }),
            Self::Number { stages, .. } => match stages {
                1 => "there is one stage, number 0".to_owned(),
                stages => format!("there are {stages}, from 0 to {}", stages - 1),
            },
            Self::Expand(error) => error.hint()?,
            Self::Blank { unset, known, .. } => {
                let name = unset.first()?;
                did_you_mean(name, known.iter().map(String::as_str)).unwrap_or_else(|| {
                    format!("declare `ARG {name}` before the first FROM, with a default or `--build-arg {name}=…`")
                })
            }
            Self::Reference { near, .. } => near.clone()?,
            Self::Platform { .. } => "such as linux/amd64 or linux/arm64".to_owned(),
            Self::Itself | Self::Later { .. } => "put what is needed in an earlier stage".to_owned(),
            Self::Cycle { .. } => "put what they share in an earlier stage".to_owned(),
            Self::Trigger { .. } => return None,
        })
    }
}

/// A cause and its place, before it is known what is shown there.
#[derive(Debug)]
pub(super) struct At {
    pub(super) place: Place,
    pub(super) cause: StageCause,
}

impl At {
    pub(super) fn new(place: Place, cause: StageCause) -> Self {
        Self { place, cause }
    }
}

pub(super) fn errors(mut found: Vec<At>, source: &SourceText) -> StageErrors {
    found.sort_by_key(|at| at.place);
    let fault = |at: At| StageFault { problem: source.problem(at.place, at.cause.to_string(), at.cause.hint()), cause: at.cause };
    StageErrors { faults: found.into_iter().map(fault).collect() }
}

//! What can be wrong with a Dockerfile, and what is only doubtful.

use std::fmt;

use super::mounts::MountError;
use super::syntax::{KEYWORDS, Place, SourceText};
use crate::engine::build::expand::ExpandError;
use crate::engine::build::ignore::IgnoreError;
use crate::model::signal::InvalidSignal;
use crate::model::{Problem, did_you_mean};

/// All that is wrong with a Dockerfile, in the order of its lines. Never empty.
#[derive(Debug)]
pub struct DockerfileErrors {
    pub faults: Vec<Fault>,
}

/// One thing that is wrong, and how it is shown.
#[derive(Debug)]
pub struct Fault {
    pub cause: Cause,
    pub problem: Problem,
}

impl fmt::Display for DockerfileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.faults.iter().map(|fault| fault.problem.render(false)).collect();
        f.write_str(&texts.join("\n\n"))
    }
}

impl std::error::Error for DockerfileErrors {}

/// What is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Cause {
    #[error("the file has no instructions")]
    Empty,
    #[error("there is no FROM, so there is nothing to build")]
    NoStage,
    #[error("{} stands before the first FROM, where only ARG may", keyword.to_uppercase())]
    BeforeFrom { keyword: String },
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the line goes on, and nothing follows")]
    NothingContinued,
    #[error("the directive `{name}` is given twice")]
    DirectiveTwice { name: String },
    #[error("{value:?} cannot be the escape character")]
    EscapeDirective { value: String },
    #[error("`{keyword}` is not an instruction")]
    Instruction { keyword: String },
    #[error("{instruction} has no flag `--{flag}`")]
    Flag { instruction: &'static str, flag: String, known: Vec<&'static str> },
    #[error("the flag `--{flag}` is given twice")]
    FlagTwice { flag: String },
    #[error("the flag `--{flag}` needs a value")]
    FlagValue { flag: String },
    #[error("the flag `--{flag}` is `true` or `false`, and not {value:?}")]
    FlagSwitch { flag: String, value: String },
    #[error("`--{flag}={value}`: {why}")]
    FlagContent { flag: &'static str, value: String, why: String, hint: Option<String> },
    #[error("`--{flag}` cannot have variables")]
    FlagVariable { flag: &'static str },
    #[error("the JSON array has something in it that is not a string")]
    NotStrings,
    #[error("{instruction} needs {needs}")]
    Arguments { instruction: &'static str, needs: &'static str },
    #[error("{instruction}: {word:?} has no `=`")]
    NoEquals { instruction: &'static str, word: String },
    #[error("{instruction}: a name is empty")]
    EmptyName { instruction: &'static str },
    #[error("{name:?} cannot be the name of a stage")]
    StageName { name: String },
    #[error("the heredoc `{name}` is not closed")]
    HeredocUnclosed { name: String },
    #[error("the name of a heredoc: {0}")]
    HeredocName(ExpandError),
    #[error("a heredoc cannot be a destination")]
    HeredocDestination,
    #[error("the heredoc `{name}` is announced, and is none of the sources")]
    HeredocAdrift { name: String },
    #[error("`--mount`: {0}")]
    Mount(#[from] MountError),
    #[error("`--exclude`: {0}")]
    Exclude(IgnoreError),
    #[error(transparent)]
    Signal(#[from] InvalidSignal),
    #[error("ONBUILD cannot have {keyword}")]
    Trigger { keyword: &'static str },
    #[error("a trigger is one instruction, and here is another")]
    SecondTrigger,
}

impl Cause {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty | Self::NoStage => "begin with `FROM image`, or with `FROM scratch` for an empty image".into(),
            Self::BeforeFrom { .. } => "put it below a FROM".into(),
            Self::NotUtf8 => "save the file as UTF-8".into(),
            Self::NothingContinued => "remove the escape character at the end of the line".into(),
            Self::EscapeDirective { .. } => "it is `\\` or `` ` ``".into(),
            Self::Instruction { keyword } => did_you_mean(keyword, KEYWORDS).or_else(|| {
                let after = "if it belongs to the line above, that one must end in the escape character (`\\`)";
                Some(after.to_owned())
            })?,
            Self::Flag { flag, known, instruction } => {
                did_you_mean(flag, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
                    [] => format!("{instruction} has no flags"),
                    known => format!("there are --{}", known.join(", --")),
                })
            }
            Self::FlagTwice { .. } | Self::DirectiveTwice { .. } => "remove one of them".into(),
            Self::FlagValue { flag } => format!("write `--{flag}=…`"),
            Self::FlagSwitch { flag, .. } => format!("write `--{flag}`, or `--{flag}=false`"),
            Self::FlagContent { hint, .. } => hint.clone()?,
            Self::FlagVariable { .. } => {
                "give the image a stage of its own: `FROM $IMAGE AS name`, with ARG before the first FROM".into()
            }
            Self::NotStrings => "put each in double quotes".into(),
            Self::NoEquals { .. } => "write name=value, and quotes around a value with blanks".into(),
            Self::StageName { .. } => "it begins with a letter and has letters, digits, `-`, `_` and `.`".into(),
            Self::HeredocUnclosed { name } => format!("a line with nothing but `{name}` closes it"),
            Self::HeredocName(error) => error.hint()?,
            Self::HeredocDestination => "the last argument is where the files go".into(),
            Self::HeredocAdrift { .. } => "write `<<NAME` as one word, without blanks in it".into(),
            Self::Mount(error) => error.hint()?,
            Self::Trigger { .. } | Self::Exclude(_) | Self::Signal(_) | Self::SecondTrigger => return None,
            Self::Arguments { instruction: "SHELL", .. } => "such as SHELL [\"/bin/bash\", \"-c\"]".into(),
            Self::Arguments { .. } | Self::EmptyName { .. } => return None,
        })
    }
}

/// A cause and its place, before it is known what is shown there.
#[derive(Debug)]
pub(super) struct At {
    pub(super) place: Place,
    pub(super) cause: Cause,
}

impl At {
    pub(super) fn new(place: Place, cause: Cause) -> Self {
        Self { place, cause }
    }

    pub(super) fn fault(self, source: &SourceText) -> Fault {
        let problem = source.problem(self.place, self.cause.to_string(), self.cause.hint());
        Fault { cause: self.cause, problem }
    }
}

/// What a Dockerfile may have and should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// An empty line within an instruction.
    BlankContinuation,
    /// `MAINTAINER`, which is LABEL's now.
    Maintainer,
    /// `ENV name value`, `LABEL name value`.
    LegacyPair,
}

/// What is doubtful, and how it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub doubt: Doubt,
    pub problem: Problem,
}

impl Warning {
    pub(super) fn new(source: &SourceText, place: Place, doubt: Doubt) -> Self {
        let (message, hint) = match doubt {
            Doubt::BlankContinuation => ("an empty line within an instruction", "remove it, or put a `#` on it"),
            Doubt::Maintainer => ("MAINTAINER is deprecated", "write LABEL org.opencontainers.image.authors=…"),
            Doubt::LegacyPair => ("a name and a value without `=` between them", "write name=value"),
        };
        Self { doubt, problem: source.problem(place, message.to_owned(), Some(hint.to_owned())) }
    }
}

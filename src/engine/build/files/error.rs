//! What can go wrong with files that are copied, each with the source it went wrong with, and what to do about it.

use std::fmt;

use crate::engine::build::glob::GlobError;
use crate::engine::build::ignore::IgnoreError;
use crate::files::FileError;

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("source {0}")]
    Pattern(GlobError),
    #[error("{file}: {source}")]
    Rules { file: String, source: IgnoreError },
    #[error("{word:?} is not in {tree}")]
    Missing { word: String, tree: String, near: Option<String> },
    #[error("{word:?} is in {tree}, but left out by {rules}")]
    Ignored { word: String, tree: String, rules: String },
    #[error("nothing in {tree} matches {}", listed(words))]
    NoMatch { words: Vec<String>, tree: String, rules: Option<String> },
    #[error("{count} files are copied to {destination:?}, which is not said to be a folder")]
    Several { count: usize, destination: String },
    #[error("{path:?} is a folder there, and {name:?} of {tree} is none")]
    FolderInTheWay { path: String, name: String, tree: String },
    #[error("{path:?} is there and no folder, and {name:?} of {tree} is to be in it or to become one")]
    NoFolderInTheWay { path: String, name: String, tree: String },
    #[error("{path:?} is a folder in one of the sources and none in another")]
    Clash { path: String },
    #[error("{path:?} in {tree} was exchanged for something else while it was read")]
    Exchanged { path: String, tree: String },
    #[error("{path:?} in {tree}: more than {limit} folders in each other")]
    Deep { path: String, tree: String, limit: usize },
    #[error("{path:?} in {tree}: more than {limit} symbolic links on the way")]
    Links { path: String, tree: String, limit: usize },
    #[error("{path:?} in {tree} is no folder")]
    NoFolder { path: String, tree: String },
    #[error("{path:?} in {tree} has {size} bytes; at most {limit} are read")]
    TooLong { path: String, tree: String, size: u64, limit: u64 },
    #[error("the destination {destination:?} {why}")]
    Destination { destination: String, why: &'static str },
    #[error("a thread that read files ended before its work")]
    Worker,
}

impl FilesError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { near: Some(near), .. } => near.clone(),
            Self::Missing { word, .. } if word.split('/').any(|part| part == "..") => {
                "paths are taken from the root of what is copied from, and `..` does not lead out of it".to_owned()
            }
            Self::Ignored { word, rules, .. } => {
                format!("a line `!{}` at the end of {rules} keeps it", word.trim_start_matches('/'))
            }
            Self::NoMatch { rules: Some(rules), .. } => format!("there is something, but {rules} leaves it out"),
            Self::Several { destination, .. } => format!("write `{destination}/`"),
            Self::Exchanged { .. } => "build again, while nobody changes it".to_owned(),
            Self::Rules { .. } | Self::Pattern(_) => {
                "patterns have `*`, `?` and `[a-z]`; a `\\` before one of these makes it an ordinary character".to_owned()
            }
            _ => return None,
        })
    }
}

fn listed(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// Something that was done otherwise than one might think, and is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Sockets, and of contexts devices and pipes.
    NotCopied { path: String, what: &'static str },
    /// Its content is not the one that was hashed.
    Changed { path: String },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCopied { path, what } => write!(f, "{path} is {what}, and is not copied"),
            Self::Changed { path } => write!(f, "{path} was changed while it was copied"),
        }
    }
}

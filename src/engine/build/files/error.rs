//! What can go wrong with files that are copied, each with the source it went wrong with, and what to do about it.

use std::{fmt, io};

use crate::engine::build::glob::GlobError;
use crate::engine::build::ignore::IgnoreError;
use crate::engine::images::ImagesError;
use crate::files::FileError;
use crate::files::tree::TreeError;

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
    #[error("{name}: {source}")]
    Archive { name: String, source: TreeError },
    #[error("{name}: {source}")]
    Stream { name: String, source: io::Error },
    #[error("{name} is empty")]
    Empty { name: String },
    #[error("{name} is neither a tar nor a Dockerfile")]
    NoContext { name: String },
    #[error(transparent)]
    Fetch(Box<ImagesError>),
    #[error("{url}: its content has the checksum {found}, and {expected} was expected")]
    Checksum { url: String, expected: String, found: String },
    #[error("{url} says no name for the file, and the destination is a folder")]
    NoName { url: String },
    #[error("{text:?} is no source of Git: {why}")]
    GitSource { text: String, why: String },
    #[error("there is no program `git` on this host, and {url} is fetched by it")]
    NoGit { url: String },
    #[error("{action} {url}: {said}")]
    Git { action: &'static str, url: String, said: String },
    #[error("{url} has no branch, tag or commit {reference:?}")]
    NoReference { url: String, reference: String },
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
            Self::NoGit { .. } => "install git, or give a folder or a tar".to_owned(),
            Self::NoName { .. } => "write the destination with the file's name".to_owned(),
            Self::Git { said, .. } if said.contains("terminal prompts disabled") || said.contains("Permission denied") => {
                "the repository needs a login; fetch it yourself and give the folder".to_owned()
            }
            Self::Git { said, .. } if said.contains("Host key verification failed") => {
                "the host is not among those that root's ssh knows: add it with ssh-keyscan".to_owned()
            }
            Self::Git { said, .. } if said.contains("transport") && said.contains("not allowed") => {
                "repositories are fetched by https, http, ssh and git".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<ImagesError> for FilesError {
    fn from(error: ImagesError) -> Self {
        Self::Fetch(Box::new(error))
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

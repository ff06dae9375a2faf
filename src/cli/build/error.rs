//! Why the arguments of a build are not a build.

use std::path::PathBuf;

use crate::cli::spec::SpecError;
use crate::files::FileError;
use crate::model::build_words::InvalidWords;

#[derive(Debug, thiserror::Error)]
pub enum BuildArgsError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{flag} {value:?}: {source}")]
    Words { flag: &'static str, value: String, source: InvalidWords },
    #[error("read standard input: {0}")]
    Input(std::io::Error),
    #[error("the context and the Dockerfile cannot both come from standard input")]
    BothFromInput,
    #[error("a context comes from standard input, which is a terminal")]
    Terminal,
    #[error("there is nothing on standard input")]
    NoInput,
    #[error("standard input is a Dockerfile, and --file names another one")]
    InputIsDockerfile,
    #[error("standard input is no archive, and no Dockerfile either: it is not UTF-8")]
    InputIsNothing,
    #[error("there is no folder {}", path.display())]
    NoFolder { path: PathBuf },
    #[error("{} is not a folder", path.display())]
    NotAFolder { path: PathBuf },
    #[error("there is no file {}", path.display())]
    NoDockerfile { path: PathBuf },
    #[error("an image that is pushed needs a name")]
    PushWithoutName,
    #[error("--progress tty: standard error is not a terminal")]
    NoTerminal,
    #[error("only one output can go to standard output")]
    TwoToOutput,
    #[error("--ssh {id}: {} is a file, and not the socket of an agent", path.display())]
    KeyFile { id: String, path: PathBuf },
    #[error("--ssh {id}: there is no agent: SSH_AUTH_SOCK is not set")]
    NoAgent { id: String },
    #[error("--secret {id}: the variable {variable} is not set")]
    NoVariable { id: String, variable: String },
    #[error("--secret {id}: {} has more than {} KiB", path.display(), limit >> 10)]
    LongSecret { id: String, path: PathBuf, limit: u64 },
    #[error("{flag} {id} is given twice")]
    Twice { flag: &'static str, id: String },
    #[error("SOURCE_DATE_EPOCH is {value:?}, and not a number of seconds since 1970")]
    Epoch { value: String },
    #[error("{what} is not a Dockerfile that is here, so that it cannot be checked")]
    NotChecked { what: String },
}

impl BuildArgsError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Spec(error) => error.hint().map(str::to_owned),
            Self::Words { source, .. } => source.hint.clone(),
            Self::BothFromInput => Some("give the folder, or the Dockerfile, by its path".to_owned()),
            Self::Terminal => {
                Some("send a tar: `tar -c . | setpoint build -`, or a Dockerfile: `setpoint build - < Dockerfile`".into())
            }
            Self::NoInput => Some("send a tar of the context, or a Dockerfile".to_owned()),
            Self::InputIsDockerfile => Some("leave --file out, or send a tar of the context".to_owned()),
            Self::NoFolder { path } | Self::NotAFolder { path } if path.is_file() => {
                Some("the context is a folder; name the Dockerfile with --file".to_owned())
            }
            Self::NoTerminal => Some("use --progress plain".to_owned()),
            Self::PushWithoutName => Some("name it with --tag REGISTRY/REPOSITORY:TAG".to_owned()),
            Self::KeyFile { path, .. } => {
                Some(format!("give the key to an agent: `ssh-add {}`, and --ssh default", path.display()))
            }
            Self::NoAgent { .. } => {
                Some("start one with `eval $(ssh-agent)`, or name its socket: --ssh default=SOCKET".to_owned())
            }
            Self::NotChecked { .. } => Some("name it with --file".to_owned()),
            _ => None,
        }
    }
}

/// What is said of a flag's value that cannot be read.
pub(super) fn words<T>(flag: &'static str, value: &str, result: Result<T, InvalidWords>) -> Result<T, BuildArgsError> {
    result.map_err(|source| BuildArgsError::Words { flag, value: value.to_owned(), source })
}

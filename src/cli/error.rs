//! What a command ends with when it does not succeed: the message, a hint where there is one, and the exit code.

use std::io;
use std::path::PathBuf;

use super::spec::SpecError;
use crate::client::ClientError;
use crate::engine::EngineError;
use crate::engine::images::RegistryError;
use crate::engine::rootless::RootlessError;
use crate::files::FileError;
use crate::model::reference::InvalidReference;
use crate::model::{Name, Protocol, RestartPolicy, Signal};

#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The engine sees the content only, not where it comes from.
    #[error("import {}: {source}", path.display())]
    Import { path: PathBuf, source: ClientError },
    #[error(transparent)]
    Engine(Box<EngineError>),
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Manifests that are not right; the text shows each place.
    #[error("{rendered}")]
    Manifests { rendered: String },
    /// Nobody reads what is written any more.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
    #[error("read standard input: {0}")]
    Input(io::Error),
    #[error("encode the output: {0}")]
    Encode(serde_json::Error),
    #[error("nobody answers at {}", path.display())]
    NoDaemon { path: PathBuf },
    #[error("--log-level: {why}")]
    LogLevel { why: String },
    #[error("--{option} {}: it is not a path from the root of the file system", path.display())]
    RelativeRoot { option: &'static str, path: PathBuf },
    #[error("start the asynchronous runtime: {0}")]
    Runtime(io::Error),
    #[error("handle signals: {0}")]
    Signals(io::Error),
    #[error("find the current folder: {0}")]
    Surroundings(io::Error),
    #[error("the saved plan {} is not understood: {source}", path.display())]
    SavedPlan { path: PathBuf, source: serde_json::Error },
    #[error("the saved plan is for stack {saved}, not {asked}")]
    OtherStack { saved: Name, asked: Name },
    #[error(transparent)]
    Docker(#[from] super::docker::DockerError),
    #[error("there is no container that could be adopted")]
    NothingToAdopt,
    #[error("the manifest of {name} does not say all that the container is: it is not adopted")]
    NotDescribed { name: Name },
    #[error("{text:?} makes no stack's name")]
    NoStackName { text: String },
    #[error(transparent)]
    Print(#[from] crate::manifest::print::PrintError),
    #[error("{} is there already", path.display())]
    FileThere { path: PathBuf },
    #[error("find the folder {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("there is no {what} {name:?}")]
    NotFound { what: &'static str, name: String },
    #[error("an archive is not for a terminal")]
    ArchiveToTerminal,
    #[error("there is no archive on standard input, which is a terminal")]
    ArchiveFromTerminal,
    #[error("{name}: all tags are asked for, so that none can be named")]
    TagAndAllTags { name: String },
    #[error("--filter: {0}")]
    Filter(#[from] super::select::InvalidFilter),
    #[error("--format: {0}")]
    Format(#[from] super::template::TemplateError),
    #[error("{0}")]
    Registry(Box<RegistryError>),
    #[error(transparent)]
    Reference(InvalidReference),
    #[error("a user and a password are needed, and there is no terminal to ask for them")]
    NoPassword,
    #[error("--cidfile {}: {source}", path.display())]
    CidFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Build(Box<super::build::BuildArgsError>),
    #[error(transparent)]
    Upload(#[from] super::build::upload::UploadError),
    #[error(transparent)]
    Copy(#[from] super::commands::CopyError),
    #[error("port {port}/{} of container {name} is not published", .protocol.as_str())]
    NotPublished { port: u16, protocol: Protocol, name: String },
    #[error("{text:?} is not a port of a container: expected PORT[/tcp|/udp]")]
    PortOfContainer { text: String },
    #[error("--pids-limit {number}: it is no number of processes")]
    PidsLimit { number: i64 },
    #[error("there are no links between containers")]
    NoLinks,
    #[error("one can attach to one container at a time only")]
    AttachToSeveral,
    #[error("--tty: standard input is not a terminal")]
    NotATerminal,
    #[error("--rm and --restart {policy} exclude each other")]
    RemovedAndRestarted { policy: RestartPolicy },
    #[error("this removes all containers, networks and images of the instance")]
    NotForced,
    #[error(transparent)]
    Change(#[from] crate::model::change::InvalidChange),
    /// All that there is to say has been said.
    #[error("exit code {0}")]
    Exit(i32),
    #[error("ended by {0}")]
    Interrupted(Signal),
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl CliError {
    /// Whether this is only a reader of the output that has gone, such as `head`.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) | Self::Import { source: error, .. } => error.hint(),
            Self::Engine(error) => error.hint().or_else(|| root_hint(!rustix::process::geteuid().is_root())),
            Self::File(error) => root_hint(error.source.kind() == io::ErrorKind::PermissionDenied),
            Self::NoDaemon { .. } => Some(
                "start `setpoint daemon`, or name the instance's folders with --state-dir and --run-dir to work without one"
                    .into(),
            ),
            Self::NotForced => Some("add --force if that is what you want; volumes stay unless you add --volumes too".into()),
            Self::ArchiveToTerminal => Some("use -o FILE, or send it on to a file or a command".into()),
            Self::ArchiveFromTerminal => Some("use -i FILE, or `setpoint load < FILE`".into()),
            Self::Registry(error) => error.hint(),
            Self::Spec(error) => error.hint().map(Into::into),
            Self::Filter(error) => error.hint(),
            Self::Format(error) => error.hint(),
            Self::Copy(error) => error.hint(),
            Self::Build(error) => error.hint(),
            Self::NoLinks => Some("containers of one network find each other by name; `network rm` removes a network".into()),
            Self::NoPassword => Some("give them with --username and --password-stdin".into()),
            Self::NothingToAdopt => Some("`setpoint ps -a` lists them; those of a stack have their manifests already".into()),
            Self::NoStackName { .. } => Some("give it with --stack".into()),
            Self::Docker(super::docker::DockerError::Connect { .. }) => Some("say where it listens: --from docker=SOCKET".into()),
            Self::FileThere { .. } => Some("name a new folder, or move away what is there".into()),
            Self::Print(crate::manifest::print::PrintError::Secret(_) | crate::manifest::print::PrintError::Config(_)) => {
                Some("give it a `file`".into())
            }
            Self::NotATerminal => Some("use -i without -t when the input is a file or a pipe".into()),
            Self::SavedPlan { .. } => Some("make it again with `setpoint plan PATH --out FILE`".into()),
            _ => None,
        }
    }

    /// The exit code; `otherwise` where the error has none of its own: 1, or 125 for commands that pass another's code on.
    pub fn exit_code(&self, otherwise: i32) -> i32 {
        match self {
            Self::Exit(code) => *code,
            Self::Interrupted(signal) => 128 + signal.number(),
            Self::Client(error) => error.refused().and_then(|body| body.exit_code).unwrap_or(otherwise),
            Self::Engine(error) => error.exit_code().unwrap_or(otherwise),
            _ => otherwise,
        }
    }
}

fn root_hint(lacking: bool) -> Option<String> {
    lacking.then(|| "setpoint needs root: try again as root".into())
}

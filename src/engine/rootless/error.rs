//! Why an ordinary user cannot have containers here, each with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::files::FileError;

#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    #[error(
        "the program {program} is not there, without which an ordinary user has no containers; install the package {package}"
    )]
    ProgramMissing { program: &'static str, package: &'static str },
    #[error(
        "user {user} has no subordinate ids in {file}, which the users in containers are to be; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    )]
    NoIds { user: String, file: &'static str },
    #[error("{program} could not give the namespace its users: {said}")]
    Mapping { program: &'static str, said: String },
    #[error("run {program}: {source}")]
    Run { program: &'static str, source: io::Error },
    #[error("make a user namespace: {source}{}", reason.map(|reason| format!("; {reason}")).unwrap_or_default())]
    Namespace { source: io::Error, reason: Option<&'static str> },
    #[error("the kernel is {found}, and an ordinary user's overlays need 5.11; newer kernels have them")]
    OldKernel { found: String },
    #[error("the run-time folder {} is not this user's alone; log in with a session, which sets XDG_RUNTIME_DIR, or use --run-dir", path.display())]
    ForeignRunDir { path: PathBuf },
    #[error("there is no folder for this user's data: neither XDG_DATA_HOME nor HOME is set; use --state-dir")]
    NoHome,
    #[error("slirp4netns, which connects this user's network, ended at once: {said}")]
    Slirp { said: String },
    #[error("tell slirp4netns what to pass on: {source}")]
    SlirpSocket { source: io::Error },
    #[error("slirp4netns does not pass {protocol} port {port} on: {said}")]
    Forward { protocol: &'static str, port: u16, said: String },
    #[error("slirp4netns answers what is not understood: {text:?}")]
    SlirpAnswer { text: String },
    #[error("{action} this user's namespaces: {source}")]
    Keeper { action: &'static str, source: io::Error },
    #[error("the process that keeps this user's namespaces did not start: {said}")]
    NotStarted { said: String },
    #[error("the process that keeps this user's namespaces is gone ({}); stop the daemon, and any further command starts it again", folder.display())]
    KeeperGone { folder: PathBuf },
    #[error("join this user's {what} namespace: {source}")]
    Join { what: &'static str, source: io::Error },
    #[error("execute this program once more: {0}")]
    Execute(io::Error),
    #[error("{} is not understood: {source}", path.display())]
    Format { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

//! Arguments of the commands about stacks.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};

use crate::model::Name;

/// Which manifests.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("manifests").required(true).multiple(true).args(["path", "file"]))]
pub struct StackFiles {
    /// A folder of manifests, one manifest, or a compose file; `apply` takes a plan that `plan --out` saved, too
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// A compose file; each further one is laid over those before it
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// A profile whose containers are wanted, too; `*` is all
    #[arg(long, value_name = "NAME")]
    pub profile: Vec<String>,
    /// The stack's name [default: what the manifests say, else the folder's name]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// How many there are to be of a container, over what the manifests say
    #[arg(long, value_name = "CONTAINER=NUMBER", value_parser = scale)]
    pub scale: Vec<(Name, u32)>,
}

/// `web=3`.
fn scale(text: &str) -> Result<(Name, u32), String> {
    let (name, number) = text.split_once('=').ok_or("expected CONTAINER=NUMBER, such as web=3")?;
    let number = number.parse().ok().filter(|number| *number <= MOST_REPLICAS);
    let number = number.ok_or_else(|| format!("the number is from 0 to {MOST_REPLICAS}"))?;
    Ok((name.parse().map_err(|error: crate::model::id::InvalidName| error.to_string())?, number))
}

const MOST_REPLICAS: u32 = 1000;

impl StackFiles {
    /// The first file or folder, and those that are laid over it.
    pub fn split(&self) -> (&Path, &[PathBuf]) {
        match (&self.path, self.file.as_slice()) {
            (Some(path), over) => (path, over),
            (None, [first, over @ ..]) => (first, over),
            // The grammar asks for one of the two.
            (None, []) => (Path::new("."), &[]),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pub files: StackFiles,
    /// Print the resolved stack as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    #[command(flatten)]
    pub files: StackFiles,
    /// Write one file a manifest into this folder, with paths relative to it, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct AdoptArgs {
    /// By name or id [default: all that run and belong to no stack]
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// Whose containers, where they are not setpoint's: docker, or docker=SOCKET
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    pub from: Option<PathBuf>,
    /// Write the manifests into this folder; containers of setpoint's become the stack's
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The stack's name [default: that of the folder]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
}

/// `docker=/var/run/docker.sock`.
fn engine(text: &str) -> Result<PathBuf, String> {
    match text.split_once('=').unwrap_or((text, crate::cli::docker::SOCKET)) {
        ("docker", socket) if !socket.is_empty() => Ok(socket.trim_start_matches("unix://").into()),
        _ => Err("expected docker or docker=SOCKET".to_owned()),
    }
}

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub files: StackFiles,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Save the plan, so that `apply FILE` does exactly this or refuses
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// In place of manifests: what a rollback to this generation would do
    #[arg(long, value_name = "GENERATION", group = "manifests", conflicts_with_all = ["path", "file", "profile"])]
    pub to: Option<u64>,
}

/// The commands about what stacks were before.
#[derive(Debug, Subcommand)]
pub enum StackCommand {
    /// List what was applied: generations, newest first
    History(StackHistoryArgs),
    /// Show what differs between two generations, field by field
    Diff(StackDiffArgs),
    /// Make the host what an earlier generation was, and hold it there
    Rollback(RollbackArgs),
}

#[derive(Clone, Debug, Args)]
pub struct StackHistoryArgs {
    /// Only of this stack
    #[arg(value_name = "STACK")]
    pub stack: Option<Name>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct StackDiffArgs {
    /// The one generation
    #[arg(value_name = "A")]
    pub from: u64,
    /// The other one
    #[arg(value_name = "B")]
    pub to: u64,
    /// Of this stack [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It becomes a new generation, and is held: the daemon applies the stack's source again once that says something \
                        else than now, and `apply` ends the hold at once. Images are those that the generation had, whatever their \
                        tags mean by now; the network is not needed."
)]
pub struct RollbackArgs {
    /// The generation [default: the last one before the current one that was applied]
    #[arg(value_name = "GENERATION")]
    pub generation: Option<u64>,
    /// Of this stack [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print one JSON event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    // The path may be a plan that `plan --out` saved, too.
    #[command(flatten)]
    pub files: StackFiles,
    /// Print one JSON event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DestroyArgs {
    /// The manifests whose stack is meant
    #[arg(value_name = "PATH", required_unless_present = "stack")]
    pub path: Option<PathBuf>,
    /// The stack's name; enough without the manifests
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Remove its volumes too, with all their data
    #[arg(long)]
    pub volumes: bool,
    /// Print one JSON event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Write one file a kind into this folder, instead of all to stdout
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

//! Arguments of the commands about networks, volumes, the instance and the daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::store::DfArgs;
use crate::model::Name;

#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct QuietListArgs {
    /// Print only names
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ResourceNames {
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum NetworkCommand {
    /// List networks
    #[command(visible_alias = "list")]
    Ls(QuietListArgs),
    /// Show all that is known of networks, as JSON
    Inspect(ResourceNames),
    /// Remove networks that no container uses
    #[command(visible_alias = "remove")]
    Rm(ResourceNames),
}

#[derive(Clone, Debug, Subcommand)]
pub enum VolumeCommand {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(QuietListArgs),
    /// Show all that is known of volumes, as JSON
    Inspect(ResourceNames),
    /// Create volumes
    Create {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<Name>,
        /// Label them
        #[arg(short, long, value_name = "KEY=VALUE")]
        label: Vec<String>,
    },
    /// Remove volumes that no container uses, with all their data
    #[command(visible_alias = "remove")]
    Rm(ResourceNames),
}

#[derive(Clone, Debug, Subcommand)]
pub enum SystemCommand {
    /// Remove all containers, networks and images of this instance
    Reset(ResetArgs),
    /// Show what images, containers and volumes take on the disk
    Df(DfArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ResetArgs {
    /// Yes, really
    #[arg(short, long)]
    pub force: bool,
    /// Remove volumes too, with all their data
    #[arg(long)]
    pub volumes: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// A folder of manifests or a compose file to watch and keep applied; may be given several times
    #[arg(long = "source", value_name = "PATH")]
    pub sources: Vec<PathBuf>,
    /// The stack's name, where there is one source [default: what its manifests say, else the folder's name]
    #[arg(long, value_name = "NAME", requires = "sources")]
    pub stack: Option<Name>,
}

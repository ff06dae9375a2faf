//! Arguments of the commands that look into containers, attach to them or change them.

use clap::{Args, Subcommand};

use super::store::{CommitArgs, ExportArgs};
use super::{
    CreateArgs, ExecArgs, InspectContainersArgs, KillArgs, LogsArgs, NamesArgs, PsArgs, RestartArgs, RmArgs, RunArgs, StopArgs,
};
use crate::cli::detach::DetachKeys;

/// How the terminal is left and signals are treated, wherever a command has a container's streams.
#[derive(Clone, Debug, Args)]
pub struct ProxyArgs {
    /// The keys by which the terminal is left while the container goes on [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
}

#[derive(Clone, Debug, Args)]
pub struct AttachArgs {
    /// Do not hand standard input on
    #[arg(long)]
    pub no_stdin: bool,
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// A container's name, id or the beginning of its id
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
pub struct StartArgs {
    /// Show what it prints, pass signals on, and exit as it does
    #[arg(short, long)]
    pub attach: bool,
    /// Hand standard input on too
    #[arg(short, long)]
    pub interactive: bool,
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// All commands about containers, as a group.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Attach to the standard streams of a running container
    Attach(AttachArgs),
    /// Make an image of what a container has changed
    Commit(CommitArgs),
    /// Create a container without starting it
    Create(Box<CreateArgs>),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Write a container's file system as a tar
    Export(ExportArgs),
    /// Show all that is known of containers, as JSON
    Inspect(InspectContainersArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Show what a container printed
    Logs(LogsArgs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(PsArgs),
    /// Let containers stand still
    Pause(NamesArgs),
    /// Stop containers and start them again
    Restart(RestartArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Create and start a container
    Run(Box<RunArgs>),
    /// Start containers
    Start(StartArgs),
    /// Stop containers: their stop signal, then SIGKILL
    Stop(StopArgs),
    /// Let containers go on that stand still
    Unpause(NamesArgs),
    /// Wait until containers exit, and print their exit codes
    Wait(NamesArgs),
}

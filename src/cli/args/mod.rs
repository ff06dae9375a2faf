//! The command line's grammar. Knows names, help and types of arguments, and nothing of what they do.

mod build;
mod confine;
mod container;
mod health;
mod image;
mod resource;
mod run;
mod stack;
mod store;
mod story;
mod verbs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use build::{BuildArgs, BuildLimitArgs, BuilderCommand, CachePruneArgs, CacheUsageArgs, ProgressWhen, RefusedBuildArgs};
pub use confine::{ConfineArgs, LimitArgs, ReachArgs, RefusedArgs};
pub use container::{
    ExecArgs, InspectArgs, InspectContainersArgs, InspectType, KillArgs, LogsArgs, NamesArgs, PsArgs, RestartArgs, RmArgs,
    StopArgs,
};
pub use health::{HealthArgs, OnFailure};
pub use image::{ImagesArgs, ImportArgs, LoginArgs, LogoutArgs, Named, PullArgs, PushArgs, RmiArgs, SearchArgs};
pub use resource::{DaemonArgs, ListArgs, NetworkCommand, QuietListArgs, ResetArgs, SystemCommand, VolumeCommand};
pub use run::{CreateArgs, PullWhen, RunArgs, SpecArgs, StandardStream};
pub use stack::{
    AdoptArgs, ApplyArgs, ConvertArgs, DestroyArgs, PlanArgs, RollbackArgs, SchemaArgs, StackCommand, StackDiffArgs, StackFiles,
    StackHistoryArgs, ValidateArgs,
};

pub use story::{EventsArgs, StatusArgs, WaitArgs, WaitCondition, WhyArgs};

pub use store::{
    CheckArgs, CommitArgs, DfArgs, ExportArgs, HistoryArgs, ImageCommand, ImageInspectArgs, LoadArgs, PruneArgs, SaveArgs,
    SaveFormat, TagArgs,
};

pub use verbs::{
    AttachArgs, ContainerCommand, ContainerPruneArgs, CpArgs, NameArgs, PortArgs, ProxyArgs, RenameArgs, StartArgs, StatsArgs,
    TopArgs, UpdateArgs,
};

use crate::model::Instance;

/// Turns YAML manifests into running containers on this host, and keeps the host that way.
///
/// Manifests are files of `kind: Container`, `Image`, `Network`, `Volume` and `Config`, or a compose file. `setpoint apply DIR`
/// makes the host what they say; `setpoint daemon` keeps it so. The verbs for single containers are those of Docker.
#[derive(Debug, Parser)]
#[command(name = "setpoint", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes, before or after its name.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where images, volumes and the database are kept
    #[arg(long, global = true, value_name = "DIR", env = "SETPOINT_STATE_DIR", default_value = Instance::DEFAULT_STATE_DIR, hide_env_values = true)]
    pub state_dir: PathBuf,
    /// Where sockets and other state of this boot are kept
    #[arg(long, global = true, value_name = "DIR", env = "SETPOINT_RUN_DIR", default_value = Instance::DEFAULT_RUN_DIR, hide_env_values = true)]
    pub run_dir: PathBuf,
    /// The daemon's socket [default: setpoint.sock in the run dir]. Without a daemon, the command does the work itself
    #[arg(long, global = true, value_name = "PATH", env = "SETPOINT_SOCKET", hide_env_values = true)]
    pub socket: Option<PathBuf>,
    /// What goes to the log on stderr: error, warn, info, debug, trace, or directives such as `setpoint::engine=debug`
    #[arg(long, global = true, value_name = "LEVEL", env = "SETPOINT_LOG", hide_env_values = true)]
    pub log_level: Option<String>,
    /// When to use colours; NO_COLOR is obeyed
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = false)]
    pub color: When,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    // ---- stacks
    /// Make the host what the manifests say
    Apply(ApplyArgs),
    /// Show what an apply would do: exit code 0 nothing, 2 changes, 1 error
    Plan(PlanArgs),
    /// Check manifests without looking at the host
    Validate(ValidateArgs),
    /// Print a compose file as manifests; variables are replaced by what they are now
    Convert(ConvertArgs),
    /// Write manifests of what runs here, in setpoint or in Docker, which become a stack
    Adopt(AdoptArgs),
    /// Show how stacks stand: in sync, healthy, and what differs
    Status(StatusArgs),
    /// Make the host what an earlier generation of a stack was, and hold it there
    Rollback(RollbackArgs),
    /// What stacks were before: history, diff, rollback
    #[command(subcommand)]
    Stack(StackCommand),
    /// Show why a resource of a stack is as it is: what it waits for, and what was done to it for which reason
    Why(WhyArgs),
    /// Show what was done to stacks, step by step
    Events(EventsArgs),
    /// Remove what a stack has made; volumes only when asked
    Destroy(DestroyArgs),
    /// Print the JSON Schemas of manifests, for editors
    Schema(SchemaArgs),
    /// Watch manifests, keep the host as they say, and answer on the socket
    Daemon(DaemonArgs),

    // ---- containers
    /// Create and start a container
    Run(Box<RunArgs>),
    /// Create a container without starting it
    Create(Box<CreateArgs>),
    /// List containers
    Ps(PsArgs),
    /// Show what a container printed
    Logs(LogsArgs),
    /// Run a command in a running container
    Exec(ExecArgs),
    /// Show all that is known of containers, images, networks or volumes, as JSON
    Inspect(InspectArgs),
    /// Attach to the standard streams of a running container
    Attach(AttachArgs),
    /// Start containers
    Start(StartArgs),
    /// Stop containers: their stop signal, then SIGKILL
    Stop(StopArgs),
    /// Stop containers and start them again
    Restart(RestartArgs),
    /// Send a signal to containers
    Kill(KillArgs),
    /// Remove containers
    Rm(RmArgs),
    /// Let containers stand still
    Pause(NamesArgs),
    /// Let containers go on that stand still
    Unpause(NamesArgs),
    /// Copy files out of a container or into one
    Cp(CpArgs),
    /// Show what a container has changed of its image's files
    Diff(NameArgs),
    /// Show where the ports of a container are published
    Port(PortArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Show what containers use of the host, again and again
    Stats(StatsArgs),
    /// Show the processes of a container
    Top(TopArgs),
    /// Change limits and restart policies of containers, of running ones too
    Update(UpdateArgs),
    /// Wait until containers exit, and print their exit codes; or, with --for, until something is as it should be
    Wait(WaitArgs),
    /// All commands about containers, as a group
    #[command(subcommand)]
    Container(ContainerCommand),

    // ---- images
    /// Build an image of a Dockerfile
    Build(Box<BuildArgs>),
    /// All commands about builds, as a group
    #[command(subcommand, visible_alias = "buildx")]
    Builder(BuilderCommand),
    /// List images
    Images(ImagesArgs),
    /// Get an image from its registry
    Pull(PullArgs),
    /// Put an image into its registry
    Push(PushArgs),
    /// Search a registry for images
    Search(SearchArgs),
    /// Log in to a registry
    Login(LoginArgs),
    /// Forget the password of a registry
    Logout(LogoutArgs),
    /// Make an image from a root file system
    Import(ImportArgs),
    /// Remove images
    Rmi(RmiArgs),

    /// Write images to an archive
    Save(SaveArgs),
    /// Make images of an archive
    Load(LoadArgs),
    /// Make an image of what a container has changed
    Commit(CommitArgs),
    /// Write a container's file system as a tar
    Export(ExportArgs),
    /// Show how an image came about
    History(HistoryArgs),
    /// Give an image one more name
    Tag(TagArgs),
    /// Check all that is kept of images: exit code 0 all is well, 1 something is damaged
    Check(CheckArgs),
    /// All commands about images, as a group
    #[command(subcommand)]
    Image(ImageCommand),

    // ---- the rest
    /// List, inspect and remove networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// List, inspect, create and remove volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Care for the whole instance
    #[command(subcommand)]
    System(SystemCommand),
    /// Show what this instance is, and what its host lets it do
    Info(ListArgs),
    /// Show the version of this program and of the daemon
    Version(ListArgs),
}

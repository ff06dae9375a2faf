//! Arguments of the commands that look into containers, attach to them or change them.

use clap::{Args, Subcommand};

use super::store::{CommitArgs, ExportArgs};
use super::{
    CreateArgs, ExecArgs, InspectContainersArgs, KillArgs, LogsArgs, NamesArgs, PsArgs, RestartArgs, RmArgs, RunArgs, StopArgs,
    WaitArgs,
};
use crate::cli::detach::DetachKeys;
use crate::cli::format::Format;
use crate::cli::select::Filter;
use crate::model::spec::{IdList, SwapLimit};
use crate::model::{ByteSize, Cpus, Name, RestartPolicy};
use crate::wire::verbs::Limit;

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
    #[arg(long, hide = true)]
    pub checkpoint: Option<String>,
    #[arg(long, hide = true)]
    pub checkpoint_dir: Option<String>,
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
    /// Copy files out of a container or into one
    Cp(CpArgs),
    /// Create a container without starting it
    Create(Box<CreateArgs>),
    /// Show what a container has changed of its image's files
    Diff(NameArgs),
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
    /// Show where the ports of a container are published
    Port(PortArgs),
    /// Remove containers that do not run and belong to no stack
    Prune(ContainerPruneArgs),
    /// Give a container another name
    Rename(RenameArgs),
    /// Stop containers and start them again
    Restart(RestartArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Create and start a container
    Run(Box<RunArgs>),
    /// Start containers
    Start(StartArgs),
    /// Show what containers use of the host, again and again
    Stats(StatsArgs),
    /// Stop containers: their stop signal, then SIGKILL
    Stop(StopArgs),
    /// Show the processes of a container
    Top(TopArgs),
    /// Let containers go on that stand still
    Unpause(NamesArgs),
    /// Change limits and restart policies of containers, of running ones too
    Update(UpdateArgs),
    /// Wait until containers exit, and print their exit codes; or, with --for, until something is as it should be
    Wait(WaitArgs),
}

#[derive(Clone, Debug, Args)]
#[command(
    override_usage = "setpoint cp [OPTIONS] CONTAINER:PATH PATH|-\n       setpoint cp [OPTIONS] PATH|- CONTAINER:PATH",
    after_help = "`-` stands for a tar on standard output or input. A folder that ends in `/.` is copied without itself: what is in it."
)]
pub struct CpArgs {
    /// Keep owners, groups and all permissions
    #[arg(short, long)]
    pub archive: bool,
    /// Follow the link that the source is
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Do not say what was copied
    #[arg(short, long)]
    pub quiet: bool,
    /// What is copied
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where it goes
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
}

#[derive(Clone, Debug, Args)]
pub struct NameArgs {
    /// A container's name, id or the beginning of its id
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Clone, Debug, Args)]
#[command(override_usage = "setpoint top NAME [PS OPTIONS]")]
pub struct TopArgs {
    /// The container's name or id, then arguments of ps(1) instead of `-ef`
    #[arg(value_name = "NAME", trailing_var_arg = true, allow_hyphen_values = true, required = true, num_args = 1..)]
    pub rest: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct PortArgs {
    /// A container's name, id or the beginning of its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Only this port of the container: PORT[/PROTOCOL]
    #[arg(value_name = "PORT")]
    pub port: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct RenameArgs {
    /// A container's name, id or the beginning of its id
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Its name from now on
    #[arg(value_name = "NEW NAME")]
    pub new: Name,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "memory", "memory_reservation", "memory_swap", "cpus", "cpu_shares", "cpu_quota", "cpu_period", "cpuset_cpus", "cpuset_mems",
    "blkio_weight", "pids_limit", "restart", "cpu_rt_period", "cpu_rt_runtime", "kernel_memory",
]))]
pub struct UpdateArgs {
    /// At most so much memory, such as 512m; 0 lifts the limit
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// At most so many processors, such as 0.5; 0 lifts the limit
    #[arg(long, value_name = "NUMBER", value_parser = cpus)]
    pub cpus: Option<Limit<Cpus>>,
    /// What its memory is pressed down to when the host has little; 0 lifts that
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<ByteSize>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<SwapLimit>,
    /// Its weight when processors are scarce; 0 makes it usual again
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,
    /// Microseconds of a processor in each period; 0 lifts the limit
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<u64>,
    /// The period of --cpu-quota; 0 makes it usual again
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// The processors that it may use, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<IdList>,
    /// The memory nodes that it may use, such as 0
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<IdList>,
    /// Its weight when disks are busy, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    #[command(flatten)]
    pub refused: RefusedOfUpdate,
    /// At most so many processes; -1 lifts the limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// When to start it again: no, always, unless-stopped, on-failure[:MAX]
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<RestartPolicy>,
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// What Docker's has and this has not.
#[derive(Clone, Debug, Default, Args)]
pub struct RefusedOfUpdate {
    #[arg(long, hide = true)]
    pub cpu_rt_period: Option<String>,
    #[arg(long, hide = true)]
    pub cpu_rt_runtime: Option<String>,
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
}

fn cpus(text: &str) -> Result<Limit<Cpus>, String> {
    if text.parse::<f64>().is_ok_and(|number| number == 0.0) {
        return Ok(Limit::None);
    }
    text.parse().map(Limit::At).map_err(|e: crate::model::size::InvalidCpus| e.to_string())
}

#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub all: bool,
    /// Look once, and print that
    #[arg(long)]
    pub no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
    /// How to print: table, table TEMPLATE, json or a template of Go
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Names, ids or beginnings of ids [default: all that run]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ContainerPruneArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Only these: until=TIME (a time, or so long ago as `24h`), label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    pub filter: Vec<Filter>,
}

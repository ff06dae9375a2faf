//! The grammar of the OCI command line: that of runc, which is what engines speak.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::engine::runtime::oci::DEFAULT_ROOT;
use crate::model::Span;

/// Runs bundles of the OCI Runtime Specification, as engines such as Podman and containerd ask for it.
#[derive(Debug, Parser)]
#[command(name = "setpoint oci", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Oci {
    /// Where containers are recorded
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_ROOT)]
    pub(super) root: PathBuf,
    /// A file that errors and warnings are appended to
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// How they are written there
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
    /// Say more
    #[arg(long, global = true)]
    pub(super) debug: bool,
    /// Let systemd make the cgroups
    #[arg(long, global = true)]
    pub(super) systemd_cgroup: bool,
    /// Whether cgroups that may not be made are done without; they never are here
    #[arg(long, value_name = "auto|false|true", default_value = "auto")]
    pub(super) rootless: String,
    /// A program for checkpoints, which there are none of
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub(super) criu: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: OciCommand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum OciCommand {
    /// Create a container: all of it but its program
    Create(CreateArgs),
    /// Run the program of a created container
    Start(IdArgs),
    /// Print how a container stands
    State(IdArgs),
    /// Send a signal to a container's process
    Kill(KillArgs),
    /// Remove a container that has stopped
    Delete(DeleteArgs),
    /// Run a further process in a container
    Exec(Box<ExecArgs>),
    /// List the processes of a container
    Ps(PsArgs),
    /// Print what a container uses, again and again, and when its memory did not suffice
    Events(EventsArgs),
    /// Stop the processes of a container in their tracks
    Pause(IdArgs),
    /// Let them go on
    Resume(IdArgs),
    /// Change the resources of a container
    Update(Box<UpdateArgs>),
    /// List containers
    List(ListArgs),
    /// Create and start a container, and wait for it
    Run(RunArgs),
    /// Print what this runtime can do
    Features,
    /// Write a specification to begin with
    Spec(SpecArgs),
    /// Not supported
    #[command(hide = true)]
    Checkpoint(RestArgs),
    /// Not supported
    #[command(hide = true)]
    Restore(RestArgs),
}

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct RestArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    pub(super) id: String,
    /// The folder with config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// A socket that the terminal is sent to
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    /// A file that the process's number is written to
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Move the root instead of pivoting: for hosts whose root is in memory
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// The container has the caller's session keyring, and no new one
    #[arg(long)]
    pub(super) no_new_keyring: bool,
    /// A socket that a descriptor of the process is sent to
    #[arg(long, value_name = "SOCKET")]
    pub(super) pidfd_socket: Option<PathBuf>,
    /// Pass so many descriptors on, from number 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) create: CreateArgs,
    /// Do not wait for the container
    #[arg(short, long)]
    pub(super) detach: bool,
    /// Do not remove the container when it has ended
    #[arg(long)]
    pub(super) keep: bool,
    /// Leave orphans of the container to the host; they always are
    #[arg(long)]
    pub(super) no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(super) struct KillArgs {
    pub(super) id: String,
    /// By name or number
    #[arg(default_value = "SIGTERM")]
    pub(super) signal: String,
    /// To all processes of the container
    #[arg(short, long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    pub(super) id: String,
    /// Kill it first if it runs; no error if it does not exist
    #[arg(short, long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    pub(super) id: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
    /// A file with the whole process, as in config.json
    #[arg(short, long, value_name = "FILE")]
    pub(super) process: Option<PathBuf>,
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<PathBuf>,
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(super) env: Vec<String>,
    #[arg(short, long)]
    pub(super) tty: bool,
    /// By number
    #[arg(short, long, value_name = "UID[:GID]")]
    pub(super) user: Option<String>,
    #[arg(short = 'g', long, value_name = "GID")]
    pub(super) additional_gids: Vec<u32>,
    /// Do not wait for the process
    #[arg(short, long)]
    pub(super) detach: bool,
    #[arg(long, value_name = "SOCKET")]
    pub(super) console_socket: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// An SELinux label
    #[arg(long, value_name = "LABEL")]
    pub(super) process_label: Option<String>,
    /// An AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub(super) apparmor: Option<String>,
    #[arg(long)]
    pub(super) no_new_privs: bool,
    /// A capability beside those of the container
    #[arg(short, long, value_name = "CAP")]
    pub(super) cap: Vec<String>,
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// A socket that a descriptor of the process is sent to
    #[arg(long, value_name = "SOCKET")]
    pub(super) pidfd_socket: Option<PathBuf>,
    /// A cgroup below the container's, of all controllers or of some of cgroup v1
    #[arg(long, value_name = "[CONTROLLERS:]PATH")]
    pub(super) cgroup: Vec<String>,
    /// Also when the container is paused
    #[arg(long)]
    pub(super) ignore_paused: bool,
}

#[derive(Debug, Args)]
pub(super) struct PsArgs {
    pub(super) id: String,
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(super) format: ListFormat,
    /// Options of ps(1); -ef by default
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) ps: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    pub(super) id: String,
    /// The time between two lines
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(super) interval: Span,
    /// One line, and no more
    #[arg(long)]
    pub(super) stats: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(super) format: ListFormat,
    /// Names only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    pub(super) id: String,
    /// A file with resources as in config.json, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(super) resources: Option<PathBuf>,
    #[arg(long)]
    pub(super) blkio_weight: Option<u16>,
    #[arg(long, alias = "cpu-shares")]
    pub(super) cpu_share: Option<u64>,
    #[arg(long)]
    pub(super) cpu_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) cpu_quota: Option<i64>,
    #[arg(long)]
    pub(super) cpu_burst: Option<u64>,
    #[arg(long)]
    pub(super) cpu_rt_period: Option<u64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) cpu_rt_runtime: Option<i64>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) cpu_idle: Option<i64>,
    #[arg(long)]
    pub(super) cpuset_cpus: Option<String>,
    #[arg(long)]
    pub(super) cpuset_mems: Option<String>,
    /// Bytes, also as 5k, 5m, 5g; -1 is unlimited
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory_reservation: Option<String>,
    /// Memory and swap together
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory_swap: Option<String>,
    #[arg(long, allow_hyphen_values = true)]
    pub(super) pids_limit: Option<i64>,
    /// Refused: kernels count it as memory
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(super) kernel_memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(super) kernel_memory_tcp: Option<String>,
    /// Refused: there is no Resource Director Technology here
    #[arg(long, hide = true)]
    pub(super) l3_cache_schema: Option<String>,
    #[arg(long, hide = true)]
    pub(super) mem_bw_schema: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SpecArgs {
    /// Where config.json is written
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// One for an ordinary user: in a user namespace whose root is the caller
    #[arg(long)]
    pub(super) rootless: bool,
}

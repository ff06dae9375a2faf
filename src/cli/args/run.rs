//! Arguments of `run` and `create`: Docker's names for what a container is to be.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ProxyArgs;
use super::confine::{ConfineArgs, LimitArgs, ReachArgs, RefusedArgs};
use super::health::HealthArgs;
use crate::model::{ByteSize, Cpus, Name, RestartPolicy, Signal};

#[derive(Clone, Debug, Args)]
#[command(override_usage = "setpoint run [OPTIONS] IMAGE [COMMAND] [ARG]...", disable_help_flag = true)]
pub struct RunArgs {
    /// Print the container's id and leave it running
    #[arg(short, long)]
    pub detach: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// Attach to this stream only: stdin, stdout or stderr; may be given several times
    #[arg(short, long, value_name = "STREAM", value_enum, ignore_case = true, conflicts_with = "detach")]
    pub attach: Vec<StandardStream>,
    #[command(flatten)]
    pub proxy: ProxyArgs,
    #[command(flatten)]
    pub spec: SpecArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StandardStream {
    Stdin,
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, Args)]
#[command(override_usage = "setpoint create [OPTIONS] IMAGE [COMMAND] [ARG]...", disable_help_flag = true)]
pub struct CreateArgs {
    /// Remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// As for `run`. Here it says nothing: who attaches later says to what
    #[arg(short, long, value_name = "STREAM", value_enum, ignore_case = true)]
    pub attach: Vec<StandardStream>,
    #[command(flatten)]
    pub spec: SpecArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PullWhen {
    Always,
    #[default]
    Missing,
    Never,
}

#[derive(Clone, Debug, Args)]
pub struct SpecArgs {
    /// The container's name [default: the engine chooses one]
    #[arg(long, value_name = "NAME")]
    pub name: Option<Name>,
    /// Write its id to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// When to get the image from its registry
    #[arg(long, value_name = "WHEN", value_enum, default_value = "missing")]
    pub pull: PullWhen,
    /// Do not show how the pull goes
    #[arg(short, long)]
    pub quiet: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    /// Set a variable of its environment; without a value, to what it is here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Replace the image's entrypoint; an empty one removes it
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// The folder that its command starts in
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Run as this user[:group], by name or number
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Its host name [default: its short id]
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Label it
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,

    /// Mount a volume by its name or a path of the host: [SOURCE:]TARGET[:ro]
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Mount in the long form: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Mount a file system in memory: TARGET[:size=64m,mode=1777,uid=0,exec]
    #[arg(long, value_name = "TARGET")]
    pub tmpfs: Vec<String>,
    /// Make its root file system read-only
    #[arg(long)]
    pub read_only: bool,

    /// Publish a port: [[IP:]HOST:]CONTAINER[/udp]
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Join a network by its name, `host`, `none` or `container:NAME`; may be given several times
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// A further name of it in its networks
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Its address in its network
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// Its IPv6 address in its network
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<Ipv6Addr>,
    /// A line of its /etc/hosts: NAME:ADDRESS; the address host-gateway is the host's
    #[arg(long, value_name = "HOST")]
    pub add_host: Vec<String>,

    /// When to start it again: no, always, unless-stopped, on-failure[:MAX]
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub restart: RestartPolicy,
    /// The signal that asks it to stop [default: the image's, else SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// Seconds between its stop signal and SIGKILL [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<u64>,

    /// Where its output is recorded: file, journald or none
    #[arg(long, value_name = "DRIVER", default_value = "file")]
    pub log_driver: String,
    /// An option of the log driver: max-size, max-file, tag, labels
    #[arg(long, value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,

    /// At most so much memory, such as 512m
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<ByteSize>,
    /// At most so many processors, such as 0.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<Cpus>,
    /// At most so many processes: 2048 by default, -1 for any number
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// A resource limit of its processes: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// A kernel parameter of its namespaces
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub cap_drop: Vec<String>,

    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub confine: ConfineArgs,
    #[command(flatten)]
    pub reach: ReachArgs,
    #[command(flatten)]
    pub refused: RefusedArgs,

    #[command(flatten)]
    pub health: HealthArgs,

    /// Keep its standard input open, and hand ours on where it is attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// The image, then the command and its arguments; options after the image belong to the command
    #[arg(value_name = "IMAGE", trailing_var_arg = true, required = true, num_args = 1..)]
    pub rest: Vec<String>,
}

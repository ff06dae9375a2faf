//! Arguments of the commands about single containers, but `run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::detach::DetachKeys;
use crate::cli::format::Format;
use crate::cli::select::Filter;
use crate::cli::time::When;
use crate::model::Signal;

#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub all: bool,
    /// Show only these: id, name, label, status, health, ancestor, network, volume, exited, before, since, publish, expose
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
    /// How to print: table, table TEMPLATE, json or a template of Go
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    pub format: Option<Format>,
    /// Show the last N that were created, of all [default: all]
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub last: Option<i64>,
    /// Show the one that was created last, of all
    #[arg(short, long)]
    pub latest: bool,
    /// Print only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Show how much is on the disk
    #[arg(short, long)]
    pub size: bool,
    /// Print JSON, with all that is known
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    pub no_trunc: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// A container's name, id or the beginning of its id, or STACK/NAME for a service over all of its containers
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on with what it prints from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N", value_parser = tail)]
    pub tail: Option<Tail>,
    /// Only lines since then: a time (2026-01-02T15:04:05Z), a duration ago (10m) or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Only lines until then
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Begin each line with its time
    #[arg(short, long)]
    pub timestamps: bool,
    /// Begin each line with the tag and labels that its logging names
    #[arg(long)]
    pub details: bool,
    /// Only lines that match a regular expression; of the last N with --tail
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<String>,
    /// Print JSON, an object a line: container, stream, time, level and message
    #[arg(long, conflicts_with_all = ["timestamps", "details"])]
    pub json: bool,
}

/// How many lines from the end; `None` is all of them.
pub(super) type Tail = Option<usize>;

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(None),
        number => number.parse().map(Some).map_err(|_| "expected a number of lines or `all`".into()),
    }
}

#[derive(Clone, Debug, Args)]
#[command(override_usage = "setpoint exec [OPTIONS] NAME COMMAND [ARG]...")]
pub struct ExecArgs {
    /// Hand standard input on
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Leave it running, and do not wait for it
    #[arg(short, long)]
    pub detach: bool,
    /// The keys by which the terminal is left while the command goes on [default: ctrl-p,ctrl-q]
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<DetachKeys>,
    /// Give it every capability
    #[arg(long)]
    pub privileged: bool,
    /// Set a variable of its environment; without a value, to what it is here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
    /// Read variables from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Run as this user[:group], by name or number
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Run in this folder of the container
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The container's name or id, then the command and its arguments
    #[arg(value_name = "NAME", trailing_var_arg = true, required = true, num_args = 2..)]
    pub rest: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// How to print: json, or a template of Go
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Of containers: how much is on the disk, too
    #[arg(short, long)]
    pub size: bool,
    /// What to look for [default: the first of these that there is]
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub kind: Option<InspectType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InspectType {
    Container,
    Image,
    Network,
    Volume,
}

#[derive(Clone, Debug, Args)]
pub struct NamesArgs {
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Seconds before SIGKILL; -1 waits for ever [default: the container's own grace period]
    #[arg(short = 't', long = "timeout", visible_alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    pub seconds: Option<i64>,
    /// The signal that asks it to stop [default: the container's own]
    #[arg(short, long, value_name = "SIGNAL")]
    pub signal: Option<Signal>,
}

#[derive(Clone, Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    pub stop: StopArgs,
}

#[derive(Clone, Debug, Args)]
pub struct InspectContainersArgs {
    /// How to print: json, or a template of Go
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// How much is on the disk, too
    #[arg(short, long)]
    pub size: bool,
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct KillArgs {
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    pub signal: Signal,
}

#[derive(Clone, Debug, Args)]
pub struct RmArgs {
    /// Names, ids or beginnings of ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Kill it first, where it runs; be content where it is not there
    #[arg(short, long)]
    pub force: bool,
    /// Remove the volumes that it has without a name for them too, with their data
    #[arg(short, long)]
    pub volumes: bool,
    /// Refused: there are no links; containers of a network find each other by name
    #[arg(short, long, hide = true)]
    pub link: bool,
}

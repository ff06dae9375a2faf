//! Arguments of the commands about single containers, but `run`.

use clap::{Args, ValueEnum};

use crate::cli::time::When;
use crate::model::Signal;

#[derive(Clone, Debug, Args)]
pub struct PsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub all: bool,
    /// Print only ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Print JSON
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
    /// Set a variable of its environment; without a value, to what it is here
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub env: Vec<String>,
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
    /// Seconds before SIGKILL [default: the container's own grace period]
    #[arg(short = 't', long = "time", alias = "timeout", value_name = "SECONDS")]
    pub seconds: Option<u64>,
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
}

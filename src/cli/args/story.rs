//! Arguments of the commands that tell how stacks stand and what became of them, and of `wait`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::cli::time::When;
use crate::model::{Name, Span};

#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Only this stack
    #[arg(value_name = "STACK")]
    pub stack: Option<Name>,
    /// Go on, and show it again whenever something is different
    #[arg(short, long)]
    pub watch: bool,
    /// Print JSON; with --watch, one value a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// NAME, KIND/NAME, STACK/NAME or STACK/KIND/NAME
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    /// Of this stack
    #[arg(long, value_name = "NAME")]
    pub stack: Option<Name>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct EventsArgs {
    /// Only of this stack
    #[arg(value_name = "STACK")]
    pub stack: Option<Name>,
    /// Only steps that began since then: a time (2026-01-02T15:04:05Z), a duration ago (10m) or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Only steps that began until then
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Go on with the steps that are yet to come
    #[arg(short, long, conflicts_with = "until")]
    pub watch: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Without --for, it waits until containers exit, and prints their exit codes.")]
pub struct WaitArgs {
    /// Containers by their names or ids; with --for also STACK/NAME, KIND/NAME or STACK/KIND/NAME, and for conditions stacks
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Wait for this: running, healthy, completed, exited, removed, synced, or a stack's condition=TYPE[=true|false]
    #[arg(long = "for", value_name = "CONDITION")]
    pub condition: Option<WaitCondition>,
    /// With --for: fail when it does not hold within this time; 0 looks once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = timeout, requires = "condition")]
    pub timeout: Duration,
    /// With --for: resources of this stack
    #[arg(long, value_name = "NAME", requires = "condition")]
    pub stack: Option<Name>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    text.parse::<Span>().map(|span| span.0).map_err(|e| e.to_string())
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitCondition {
    /// It runs.
    Running,
    /// It runs, and its health check says that it is well, where it has one.
    Healthy,
    /// It has exited with 0.
    Completed,
    /// It has exited.
    Exited,
    /// It is not there.
    Removed,
    /// It is as its manifest says.
    Synced,
    /// A condition of a stack is so.
    Of { kind: String, status: bool },
}

impl FromStr for WaitCondition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "running" => Self::Running,
            "healthy" => Self::Healthy,
            "completed" => Self::Completed,
            "exited" => Self::Exited,
            "removed" | "delete" => Self::Removed,
            "synced" => Self::Synced,
            other => {
                let Some(condition) = other.strip_prefix("condition=") else {
                    return Err("expected running, healthy, completed, exited, removed, synced or condition=TYPE".into());
                };
                let (kind, status) = condition.split_once('=').unwrap_or((condition, "true"));
                let status = match status.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(format!("{status:?} is neither true nor false")),
                };
                let kinds = ["Ready", "Reconciling", "Stalled", "Healthy", "Held"];
                let known = kinds.into_iter().find(|known| known.eq_ignore_ascii_case(kind));
                let kind =
                    known.ok_or_else(|| format!("there is no condition {kind:?}: expected one of {}", kinds.join(", ")))?;
                Self::Of { kind: kind.to_owned(), status }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_kubectl_reads_them() {
        let of = |kind: &str, status| Ok(WaitCondition::Of { kind: kind.into(), status });
        for (text, expected) in [
            ("healthy", Ok(WaitCondition::Healthy)),
            ("delete", Ok(WaitCondition::Removed)),
            ("condition=Ready", of("Ready", true)),
            ("condition=stalled=False", of("Stalled", false)),
        ] {
            assert_eq!(text.parse::<WaitCondition>(), expected, "{text}");
        }
        for wrong in ["", "ready", "condition=Nothing", "condition=Ready=maybe"] {
            assert!(wrong.parse::<WaitCondition>().is_err(), "{wrong}");
        }
        assert_eq!(
            (timeout("90"), timeout("1m30s"), timeout("0")),
            (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(90)), Ok(Duration::ZERO))
        );
        assert!(timeout("-1").is_err() && timeout("soon").is_err());
    }
}

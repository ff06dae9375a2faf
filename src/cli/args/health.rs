//! Arguments of `run` and `create` about a container's health: Docker's names, and Podman's where Docker has none.

use clap::{Args, ValueEnum};

use crate::model::Span;
use crate::model::spec::{HttpTarget, TcpTarget};

#[derive(Clone, Debug, Default, Args)]
pub struct HealthArgs {
    /// A line for its shell that exits 0 when it is well
    #[arg(long, value_name = "COMMAND", group = "probe")]
    pub health_cmd: Option<String>,
    /// Ask here from inside its network, such as http://localhost:8080/healthz; 200 to 399 is well
    #[arg(long, value_name = "URL", group = "probe")]
    pub health_http: Option<HttpTarget>,
    /// Connect here from inside its network: PORT or ADDRESS:PORT
    #[arg(long, value_name = "PORT", group = "probe")]
    pub health_tcp: Option<TcpTarget>,
    /// Time between checks [default: 30s]
    #[arg(long, value_name = "DURATION", requires = "probe")]
    pub health_interval: Option<Span>,
    /// How long a check may take [default: 30s]
    #[arg(long, value_name = "DURATION", requires = "probe")]
    pub health_timeout: Option<Span>,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "NUMBER", requires = "probe")]
    pub health_retries: Option<u32>,
    /// Time after its start in which failures do not count [default: 0s]
    #[arg(long, value_name = "DURATION", requires = "probe")]
    pub health_start_period: Option<Span>,
    /// Time between checks in the start period [default: 5s]
    #[arg(long, value_name = "DURATION", requires = "probe")]
    pub health_start_interval: Option<Span>,
    /// What to do when it is unhealthy [default: none]
    #[arg(long, value_name = "ACTION", value_enum, requires = "probe")]
    pub health_on_failure: Option<OnFailure>,
    /// A line for its shell that must succeed once before anything else is checked
    #[arg(long, value_name = "COMMAND", group = "startup_probe", requires = "probe")]
    pub health_startup_cmd: Option<String>,
    /// Ask here until it succeeds before anything else is checked
    #[arg(long, value_name = "URL", group = "startup_probe", requires = "probe")]
    pub health_startup_http: Option<HttpTarget>,
    /// Connect here until it succeeds before anything else is checked
    #[arg(long, value_name = "PORT", group = "startup_probe", requires = "probe")]
    pub health_startup_tcp: Option<TcpTarget>,
    /// Time between startup checks [default: 1s]
    #[arg(long, value_name = "DURATION", requires = "startup_probe")]
    pub health_startup_interval: Option<Span>,
    /// How long a startup check may take [default: 30s]
    #[arg(long, value_name = "DURATION", requires = "startup_probe")]
    pub health_startup_timeout: Option<Span>,
    /// Startup failures in a row that make it unhealthy [default: 60]
    #[arg(long, value_name = "NUMBER", requires = "startup_probe")]
    pub health_startup_retries: Option<u32>,
    /// No health check, not even the image's
    #[arg(long, conflicts_with_all = ["probe", "startup_probe"])]
    pub no_healthcheck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    None,
    Restart,
}

//! From the flags about a container's health to how it is checked.

use crate::cli::args::{HealthArgs, OnFailure};
use crate::model::spec::{Healthcheck, HttpTarget, OnUnhealthy, Probe, Startup, TcpTarget};

/// `None` leaves it to the image.
pub(super) fn healthcheck(args: &HealthArgs) -> Option<Healthcheck> {
    if args.no_healthcheck {
        return Some(Healthcheck::new(Probe::None));
    }
    let test = probe(args.health_cmd.as_ref(), args.health_http.as_ref(), args.health_tcp.as_ref())?;
    let defaults = Healthcheck::new(test);
    let startup = probe(args.health_startup_cmd.as_ref(), args.health_startup_http.as_ref(), args.health_startup_tcp.as_ref());
    let startup = startup.map(Startup::new).map(|defaults| Startup {
        interval: args.health_startup_interval.unwrap_or(defaults.interval),
        timeout: args.health_startup_timeout.unwrap_or(defaults.timeout),
        retries: args.health_startup_retries.unwrap_or(defaults.retries),
        ..defaults
    });
    Some(Healthcheck {
        interval: args.health_interval.unwrap_or(defaults.interval),
        timeout: args.health_timeout.unwrap_or(defaults.timeout),
        retries: args.health_retries.unwrap_or(defaults.retries),
        start_period: args.health_start_period.unwrap_or_default(),
        start_interval: args.health_start_interval.unwrap_or(defaults.start_interval),
        on_unhealthy: match args.health_on_failure {
            None | Some(OnFailure::None) => OnUnhealthy::None,
            Some(OnFailure::Restart) => OnUnhealthy::Restart,
        },
        startup,
        ..defaults
    })
}

/// The one that is given: no more than one of them is.
fn probe(command: Option<&String>, http: Option<&HttpTarget>, tcp: Option<&TcpTarget>) -> Option<Probe> {
    let command = command.map(|line| Probe::Shell(line.clone()));
    command.or_else(|| http.map(|target| Probe::Http(target.clone()))).or_else(|| tcp.map(|target| Probe::Tcp(target.clone())))
}

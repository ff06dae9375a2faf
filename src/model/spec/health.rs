//! How a monitor finds out whether its container is well, and what it does when it is not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{Span, serde_as_text};

/// The checks of a container's health. The defaults are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    pub test: Probe,
    pub interval: Span,
    pub timeout: Span,
    pub retries: u32,
    /// Failures within this time after the start do not count.
    pub start_period: Span,
    /// The interval during `start_period`.
    pub start_interval: Span,
    #[serde(default)]
    pub on_unhealthy: OnUnhealthy,
    /// What must have succeeded once before `test` is tried at all. `start_period` begins then.
    #[serde(default)]
    pub startup: Option<Startup>,
}

impl Healthcheck {
    pub const INTERVAL: Span = Span::seconds(30);
    pub const TIMEOUT: Span = Span::seconds(30);
    pub const RETRIES: u32 = 3;
    pub const START_INTERVAL: Span = Span::seconds(5);

    /// This test with every default.
    pub fn new(test: Probe) -> Self {
        Self {
            test,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            retries: Self::RETRIES,
            start_period: Span::default(),
            start_interval: Self::START_INTERVAL,
            on_unhealthy: OnUnhealthy::None,
            startup: None,
        }
    }

    /// The same checks, their lines of a shell as commands of the image's own `shell` where it has one.
    #[must_use]
    pub fn with_shell(self, shell: Option<&[String]>) -> Self {
        let startup = self.startup.map(|startup| Startup { test: startup.test.with_shell(shell), ..startup });
        Self { test: self.test.with_shell(shell), startup, ..self }
    }
}

/// A check that tells when a container has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Startup {
    pub test: Probe,
    pub interval: Span,
    pub timeout: Span,
    /// Failures in a row after which it is unhealthy without ever having started.
    pub retries: u32,
}

impl Startup {
    pub const INTERVAL: Span = Span::seconds(1);
    pub const RETRIES: u32 = 60;

    /// This test with every default.
    pub const fn new(test: Probe) -> Self {
        Self { test, interval: Self::INTERVAL, timeout: Healthcheck::TIMEOUT, retries: Self::RETRIES }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnhealthy {
    /// It is said, and left to others.
    #[default]
    None,
    /// It is stopped and started again, whatever its restart policy.
    Restart,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// No check, not even the image's.
    None,
    /// A command's arguments, run in the container: healthy when it exits 0.
    Command(Vec<String>),
    /// A line for the container's `/bin/sh -c`.
    Shell(String),
    /// A request in the container's network namespace: healthy when the answer's status is 200 to 399.
    Http(HttpTarget),
    /// A connection in the container's network namespace: healthy when it is accepted.
    Tcp(TcpTarget),
}

impl Probe {
    fn with_shell(self, shell: Option<&[String]>) -> Self {
        match (self, shell) {
            (Self::Shell(line), Some(shell)) => Self::Command(shell.iter().cloned().chain([line]).collect()),
            (probe, _) => probe,
        }
    }
}

/// Where an HTTP probe asks. Written `http://HOST[:PORT][/PATH]` or `PORT[/PATH]`; the host is an address or `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpTarget {
    pub at: TcpTarget,
    /// With the leading slash, and the query.
    pub path: String,
}

/// Where a TCP probe connects. Written `[HOST:]PORT`; the host is an address or `localhost`, which it is unless given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpTarget {
    pub host: ProbeHost,
    pub port: u16,
}

/// The host of a probe. No names: a monitor resolves none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeHost {
    Localhost,
    Address(IpAddr),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTarget {
    #[error("{text:?} is not a place to connect to: expected PORT or HOST:PORT")]
    Tcp { text: String },
    #[error("{text:?} is not a place to ask: expected http://HOST:PORT/PATH or PORT/PATH")]
    Http { text: String },
    #[error("the host of a probe is an address or `localhost`, not {host:?}: the probe is made from within the container")]
    Host { host: String },
    #[error("probes do not speak https: use a command, such as [CMD, wget, -q, --spider, {url:?}]")]
    Https { url: String },
}

impl TcpTarget {
    pub const fn address(&self) -> SocketAddr {
        match self.host {
            ProbeHost::Localhost => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port),
            ProbeHost::Address(address) => SocketAddr::new(address, self.port),
        }
    }

    fn of_url(authority: &str) -> Result<Self, InvalidTarget> {
        // A host alone has the port of its scheme; the last colon within brackets belongs to an address.
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port { authority.parse() } else { format!("{authority}:80").parse() }
    }
}

impl FromStr for TcpTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| InvalidTarget::Tcp { text: text.chars().take(60).collect() })?;
        Ok(Self { host: host.parse()?, port })
    }
}

impl FromStr for ProbeHost {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if text == "localhost" || text.is_empty() {
            return Ok(Self::Localhost);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(Self::Address).map_err(|_| InvalidTarget::Host { host: text.chars().take(60).collect() })
    }
}

impl FromStr for HttpTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let shown = || text.chars().take(100).collect::<String>();
        if text.starts_with("https://") {
            return Err(InvalidTarget::Https { url: shown() });
        }
        let (rest, whole) = text.strip_prefix("http://").map_or((text, false), |rest| (rest, true));
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        // What goes into a line of a request must not be able to end it.
        if path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) || (whole && authority.is_empty()) {
            return Err(InvalidTarget::Http { text: shown() });
        }
        let at = if whole { TcpTarget::of_url(authority) } else { authority.parse() };
        let at = at.map_err(|error| match error {
            InvalidTarget::Tcp { .. } => InvalidTarget::Http { text: shown() },
            other => other,
        })?;
        Ok(Self { at, path: path.to_owned() })
    }
}

impl fmt::Display for ProbeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost => f.write_str("localhost"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for TcpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.at, self.path)
    }
}

serde_as_text!(
    TcpTarget,
    "^([^:]*:|\\[.*\\]:)?[0-9]+$",
    "Where to connect: PORT or HOST:PORT; the host is an address or localhost"
);
serde_as_text!(HttpTarget, "^(http://.+|[0-9]+(/.*)?)$", "Where to ask: http://HOST:PORT/PATH or PORT/PATH");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_in_all_their_forms() {
        for (text, shown, address) in [
            ("8080", "localhost:8080", "127.0.0.1:8080"),
            ("localhost:80", "localhost:80", "127.0.0.1:80"),
            ("10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:80", "[::1]:80", "[::1]:80"),
        ] {
            let target: TcpTarget = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.address().to_string().as_str()), (shown, address));
            assert_eq!(shown.parse::<TcpTarget>().unwrap(), target);
        }
        for (text, shown) in [
            ("8080", "http://localhost:8080/"),
            ("8080/a?b=c", "http://localhost:8080/a?b=c"),
            ("http://127.0.0.1/x", "http://127.0.0.1:80/x"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("http://[::1]/", "http://[::1]:80/"),
        ] {
            let target: HttpTarget = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(shown.parse::<HttpTarget>().unwrap(), target);
        }
        for bad in ["", "0", "65536", "x", "web:80", "80:"] {
            assert!(bad.parse::<TcpTarget>().is_err(), "{bad}");
        }
        for bad in ["", "/x", "http://", "http://web/", "https://localhost/", "80/a b", "80/a\r\nX: y", "ftp://localhost/"] {
            assert!(bad.parse::<HttpTarget>().is_err(), "{bad}");
        }
    }
}

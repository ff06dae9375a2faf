//! Published ports: one container port made reachable at one host address and port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transport protocol of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Protocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// One published port. `host_port: None` asks for a free one at start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host address it is published at; `None` is all of them, and an unspecified one is all of its family.
    pub host_ip: Option<IpAddr>,
    pub host_port: Option<u16>,
    pub container_port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a port mapping: {why}")]
pub struct InvalidPort {
    text: String,
    why: &'static str,
}

impl PortMapping {
    /// Parses Docker's short form, `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]`; ranges give one mapping a port. An IPv6 address
    /// is in brackets, or stands as it is where both ports are said.
    ///
    /// # Errors
    /// When the text is not of that form, a port is 0 or over 65535, or two ranges differ in length.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, InvalidPort> {
        let invalid = |why| InvalidPort { text: text.chars().take(80).collect(), why };
        let (rest, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some(_) => return Err(invalid("the protocol is `tcp` or `udp`")),
        };
        let (before, container) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((before, container)) => (Some(before), container),
        };
        let (ip, host) = match before.map(|before| before.rsplit_once(':')) {
            None => (None, None),
            Some(None) => (None, before),
            Some(Some((ip, host))) => (Some(ip), Some(host)),
        };
        let host_ip = match ip.filter(|ip| !ip.is_empty()) {
            None => None,
            Some(ip) => Some(host_address(ip).map_err(invalid)?),
        };
        let range = |text: &str| -> Result<(u16, u16), InvalidPort> {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            let port = |text: &str| {
                text.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(|| invalid("a port is a number from 1 to 65535"))
            };
            let (from, to) = (port(from)?, port(to)?);
            if from > to { Err(invalid("a range ends before it starts")) } else { Ok((from, to)) }
        };
        let (from, to) = range(container)?;
        let host = match host.filter(|host| !host.is_empty()) {
            None => None,
            Some(host) => {
                let (first, last) = range(host)?;
                if last - first != to - from {
                    return Err(invalid("the two ranges differ in length"));
                }
                Some(first)
            }
        };
        Ok((from..=to)
            .map(|port| Self { host_ip, host_port: host.map(|first| first + (port - from)), container_port: port, protocol })
            .collect())
    }
}

/// The address that a port is published at.
fn host_address(text: &str) -> Result<IpAddr, &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip: IpAddr = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| "what is in brackets is not an IPv6 address")?,
        None => text.parse().map_err(|_| "the host address is not an IP address; IPv6 addresses are written in brackets")?,
    };
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            Err("an address of a link alone is not enough: publish at another address, or at none")
        }
        IpAddr::V6(ip) if ip.is_multicast() || ip.to_ipv4_mapped().is_some() => {
            Err("the host address is not one of a host in IPv6")
        }
        ip => Ok(ip),
    }
}

impl PortMapping {
    /// The same of a container without IPv6: all of the host's IPv4 addresses are all that lead to it.
    #[must_use]
    pub fn at_all_of_ipv4(self) -> Self {
        let host_ip = self.host_ip.filter(|ip| !(ip.is_ipv4() && ip.is_unspecified()));
        Self { host_ip, ..self }
    }
}

/// Whether two addresses at which the same port is published mean one place.
pub fn places_overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (None, _) | (_, None) => true,
        (Some(one), Some(other)) => {
            one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
        }
    }
}

impl FromStr for PortMapping {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        let mut all = Self::parse_all(text)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(InvalidPort { text: text.to_owned(), why: "a range stands where one port is expected" }),
        }
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            None => {}
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
        }
        match (self.host_port, self.host_ip) {
            (Some(port), _) => write!(f, "{port}:")?,
            (None, Some(_)) => f.write_str(":")?,
            (None, None) => {}
        }
        write!(f, "{}", self.container_port)?;
        if self.protocol == Protocol::Udp { f.write_str("/udp") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        for (text, printed) in [
            ("80", "80"),
            ("8080:80", "8080:80"),
            ("8080:80/tcp", "8080:80"),
            ("53:53/udp", "53:53/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80"),
            ("127.0.0.1::80", "127.0.0.1::80"),
            ("0.0.0.0:1:2", "0.0.0.0:1:2"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("[::]::80/udp", "[::]::80/udp"),
            ("[fd00:0::7]:1:2", "[fd00::7]:1:2"),
            ("::1:8080:80", "[::1]:8080:80"),
        ] {
            let port: PortMapping = text.parse().unwrap();
            assert_eq!(port.to_string(), printed);
            assert_eq!(printed.parse::<PortMapping>().unwrap(), port);
        }
        let range = PortMapping::parse_all("3000-3002:4000-4002").unwrap();
        assert_eq!(range.iter().map(ToString::to_string).collect::<Vec<_>>(), ["3000:4000", "3001:4001", "3002:4002"]);
        for bad in [
            "",
            "0",
            "65536",
            "1:2:3:4",
            "a",
            "80/sctp",
            "1-2:3-5",
            "2-1",
            "x:1:2",
            "[::1]:2",
            "[1.2.3.4]:1:2",
            "[fe80::1]:1:2",
            "[::ffff:1.2.3.4]:1:2",
            "[::1:1:2",
        ] {
            assert!(PortMapping::parse_all(bad).is_err(), "{bad}");
        }
        let place = |text: &str| text.parse::<PortMapping>().unwrap().host_ip;
        for (one, other, overlap) in [
            ("1:2", "[::1]:1:2", true),
            ("0.0.0.0:1:2", "127.0.0.1:1:2", true),
            ("0.0.0.0:1:2", "[::]:1:2", false),
            ("[::1]:1:2", "[::]:1:2", true),
            ("[::1]:1:2", "[fd00::1]:1:2", false),
        ] {
            assert_eq!(places_overlap(place(one), place(other)), overlap, "{one} {other}");
        }
    }
}

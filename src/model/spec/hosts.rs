//! Addresses by which a container is reached, and reaches others.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::model::{PortMapping, Protocol};

/// An address in `/etc/hosts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAddress {
    Ip(IpAddr),
    /// Whatever address the host has for the container: `host-gateway`.
    Gateway,
}

/// An address of a network link: `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

/// A port that a container has: `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exposed {
    pub port: u16,
    pub protocol: Protocol,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not {what}")]
pub struct InvalidAddress {
    text: String,
    what: &'static str,
}

fn invalid(text: &str, what: &'static str) -> InvalidAddress {
    InvalidAddress { text: text.chars().take(80).collect(), what }
}

impl FromStr for HostAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text == "host-gateway" {
            return Ok(Self::Gateway);
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(Self::Ip).map_err(|_| invalid(text, "an IP address, nor `host-gateway`"))
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Gateway => f.write_str("host-gateway"),
        }
    }
}

impl FromStr for MacAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let wrong = || invalid(text, "an address of a link, such as 02:42:ac:11:00:02");
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let mut bytes = [0; 6];
        if parts.len() != bytes.len() || parts.iter().any(|part| part.len() != 2) {
            return Err(wrong());
        }
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if bytes[0] & 1 == 1 {
            return Err(invalid(text, "an address of one link: its lowest bit of the first byte says that it is a group's"));
        }
        if bytes == [0; 6] { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Exposed {
    /// `PORT[-PORT][/PROTOCOL]`.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, InvalidAddress> {
        let wrong = || invalid(text, "a container's port, such as 80, 8000-8010 or 53/udp");
        if text.contains(':') {
            return Err(wrong());
        }
        let mappings = PortMapping::parse_all(text).map_err(|_| wrong())?;
        Ok(mappings.into_iter().map(|m| Self { port: m.container_port, protocol: m.protocol }).collect())
    }
}

impl FromStr for Exposed {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match Self::parse_all(text)?.as_slice() {
            [one] => Ok(*one),
            _ => Err(invalid(text, "one port")),
        }
    }
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.as_str())
    }
}

crate::model::serde_as_text!(
    HostAddress,
    "^(host-gateway|[0-9a-fA-F.:]+|\\[[0-9a-fA-F.:]+\\])$",
    "An IP address or host-gateway"
);
crate::model::serde_as_text!(MacAddress, "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$", "A link's address");
crate::model::serde_as_text!(Exposed, "^[0-9]+(/(tcp|udp))?$", "A container's port, such as 80/tcp");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        for text in ["10.0.0.1", "fd00::1", "host-gateway"] {
            assert_eq!(text.parse::<HostAddress>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]".parse::<HostAddress>().unwrap().to_string(), "::1");
        assert_eq!("02-42-AC-11-00-02".parse::<MacAddress>().unwrap().to_string(), "02:42:ac:11:00:02");
        assert_eq!("53/udp".parse::<Exposed>().unwrap().to_string(), "53/udp");
        assert_eq!(Exposed::parse_all("80-82").unwrap().len(), 3);
        for bad in ["01:42:ac:11:00:02", "00:00:00:00:00:00", "02:42", "xx:42:ac:11:00:02"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
        assert!("8080:80".parse::<Exposed>().is_err() && "0".parse::<Exposed>().is_err());
        assert!("gateway".parse::<HostAddress>().is_err());
    }
}

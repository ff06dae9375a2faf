//! IPv6 in a network: its subnet, and which addresses of it containers may have.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a network with IPv6 has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv6Spec {
    /// `None` lets the engine choose a free one.
    pub subnet: Option<Subnet6>,
    /// The host's address; the subnet's first unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv6Addr>,
    /// Where addresses are taken from that nobody has chosen; the whole subnet unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Subnet6>,
    /// Addresses that no container gets, by what has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, Ipv6Addr>,
}

impl Ipv6Spec {
    /// Bytes that each link of it carries at least; the kernel takes IPv6 from a link of less. Source: RFC 8200, 5.
    pub const LEAST_MTU: u32 = 1280;

    /// The host's address in the network, which has this subnet.
    pub fn gateway_in(&self, subnet: Subnet6) -> Ipv6Addr {
        self.gateway.unwrap_or_else(|| subnet.gateway())
    }

    /// Whether a container may have this address.
    pub fn is_host(&self, subnet: Subnet6, address: Ipv6Addr) -> bool {
        subnet.is_inside(address) && address != self.gateway_in(subnet) && self.aux_addresses.values().all(|aux| *aux != address)
    }

    /// The addresses of containers that choose none, of which there may be very many.
    pub fn pool(&self, subnet: Subnet6) -> impl Iterator<Item = Ipv6Addr> {
        let range = self.ip_range.unwrap_or(subnet);
        range.all().filter(move |address| self.is_host(subnet, *address))
    }
}

/// An IPv6 subnet: the network's address (host bits zero) and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet6 {
    address: Ipv6Addr,
    prefix: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is not an IPv6 subnet: expected a network of single hosts' addresses with a prefix from 16 to 124, such as `fd00:5::/64`"
)]
pub struct InvalidSubnet6 {
    text: String,
}

impl Subnet6 {
    /// `None` when it is no subnet that containers can have: host bits are set, or the addresses are a group's, a link's own or
    /// without a meaning in networks.
    pub fn new(address: Ipv6Addr, prefix: u8) -> Option<Self> {
        let subnet = Self { address, prefix };
        // Source: IANA's registry of IPv6 address space; the first 256th has the unspecified, loopback and mapped addresses.
        let is_usual = address.octets()[0] != 0 && !address.is_multicast() && !address.is_unicast_link_local();
        ((16..=124).contains(&prefix) && is_usual && u128::from(address) & !subnet.mask() == 0).then_some(subnet)
    }

    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The gateway: the first address after the one that means any router.
    pub fn gateway(self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.address) + 1)
    }

    pub fn contains(self, ip: Ipv6Addr) -> bool {
        u128::from(ip) & self.mask() == u128::from(self.address)
    }

    pub fn overlaps(self, other: Subnet6) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Any of its addresses but the first, which means any of its routers (RFC 4291, 2.6.1).
    pub fn is_inside(self, address: Ipv6Addr) -> bool {
        self.contains(address) && address != self.address
    }

    fn all(self) -> impl Iterator<Item = Ipv6Addr> {
        let first = u128::from(self.address);
        (first..=first | !self.mask()).map(Ipv6Addr::from)
    }

    fn mask(self) -> u128 {
        u128::MAX << (128 - u32::from(self.prefix))
    }
}

impl FromStr for Subnet6 {
    type Err = InvalidSubnet6;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet6> {
        let parsed = text.split_once('/').and_then(|(address, prefix)| Self::new(address.parse().ok()?, prefix.parse().ok()?));
        parsed.ok_or_else(|| InvalidSubnet6 { text: text.chars().take(60).collect() })
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

crate::model::serde_as_text!(Subnet6, "^[0-9a-fA-F:.]+/[0-9]+$", "An IPv6 subnet, such as fd00:5::/64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let subnet: Subnet6 = "fd00:5::/64".parse().unwrap();
        assert_eq!(subnet.to_string(), "fd00:5::/64");
        assert_eq!(subnet.gateway().to_string(), "fd00:5::1");
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let plain = Ipv6Spec::default();
        let first: Vec<String> = plain.pool(subnet).take(2).map(|address| address.to_string()).collect();
        assert_eq!(first, ["fd00:5::2", "fd00:5::3"]);
        assert!(subnet.contains(address("fd00:5::ffff:ffff:ffff:ffff")) && !subnet.contains(address("fd00:5:0:1::")));
        assert!(!plain.is_host(subnet, address("fd00:5::")) && !plain.is_host(subnet, address("fd00:5::1")));
        let spec = Ipv6Spec {
            gateway: Some(address("fd00:5::9")),
            ip_range: "fd00:5::8/124".parse().ok().or_else(|| "fd00:5::/124".parse().ok()),
            aux_addresses: BTreeMap::from([("router".into(), address("fd00:5::2"))]),
            ..plain
        };
        let pool: Vec<u8> = spec.pool(subnet).map(|address| address.octets()[15]).collect();
        assert_eq!(pool, [1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]);
        assert!(subnet.overlaps("fd00::/16".parse().unwrap()) && !subnet.overlaps("fd00:6::/64".parse().unwrap()));
        for bad in [
            "",
            "fd00::1/64",
            "fd00::",
            "fd00::/125",
            "fd00::/8",
            "::/64",
            "fe80::/64",
            "ff02::/16",
            "10.0.0.0/24",
            "::ffff:1.2.3.0/120",
        ] {
            assert!(bad.parse::<Subnet6>().is_err(), "{bad}");
        }
    }
}

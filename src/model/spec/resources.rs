//! What networks, volumes, configs and secrets are to be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{BridgeOptions, Elsewhere, Ipv6Spec};
use crate::model::Digest;

/// A bridge network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// `address/prefix`; `None` lets the engine choose a free one.
    pub subnet: Option<Subnet>,
    /// Without a way out of the host.
    pub internal: bool,
    pub labels: BTreeMap<String, String>,
    /// The host's address; the subnet's first unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Where addresses are taken from that nobody has chosen; the whole subnet unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Subnet>,
    /// Addresses that no container gets, by what has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux_addresses: BTreeMap<String, Ipv4Addr>,
    /// Its containers have IPv6 addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Spec>,
    /// They have no IPv4 addresses, and `ipv6` is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ipv6_only: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub driver_opts: BridgeOptions,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl NetworkSpec {
    /// The host's address in the network, which has this subnet.
    pub fn gateway_in(&self, subnet: Subnet) -> Ipv4Addr {
        self.gateway.unwrap_or_else(|| subnet.gateway())
    }

    /// Whether a container may have this address.
    pub fn is_host(&self, subnet: Subnet, address: Ipv4Addr) -> bool {
        subnet.is_inside(address) && address != self.gateway_in(subnet) && self.aux_addresses.values().all(|aux| *aux != address)
    }

    /// The addresses of containers that choose none.
    pub fn pool(&self, subnet: Subnet) -> impl Iterator<Item = Ipv4Addr> {
        let in_range = move |address: &Ipv4Addr| self.ip_range.is_none_or(|range| range.contains(*address));
        subnet.inside().filter(in_range).filter(move |address| self.is_host(subnet, *address))
    }
}

/// A named volume on the host's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    pub labels: BTreeMap<String, String>,
}

/// A file's content, brought into containers. Its digest is what is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigSpec {
    /// Base64 in JSON, because content need not be text.
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
    /// It is the content of this one, of another stack: empty until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Elsewhere>,
}

impl ConfigSpec {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }
}

/// The same of what nobody is to see: it is in memory only where a container has it, and is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSpec {
    /// Base64 in JSON, because content need not be text.
    #[serde(with = "base64_bytes")]
    pub content: Vec<u8>,
    /// It is the content of this one, of another stack: empty until that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<Elsewhere>,
}

impl SecretSpec {
    pub fn digest(&self) -> Digest {
        Digest::of(&self.content)
    }
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSpec { .. }")
    }
}

/// An IPv4 subnet: the network's address (host bits zero) and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    address: Ipv4Addr,
    prefix: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a subnet: expected an IPv4 network with a prefix from 8 to 30, such as `10.5.0.0/24`")]
pub struct InvalidSubnet {
    text: String,
}

impl Subnet {
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The gateway: the first address.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) + 1)
    }

    pub fn contains(self, ip: Ipv4Addr) -> bool {
        u32::from(ip) & self.mask() == u32::from(self.address)
    }

    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// All addresses but the network's and the broadcast address.
    pub fn inside(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = u32::from(self.address);
        (first + 1..first + !self.mask()).map(Ipv4Addr::from)
    }

    pub fn is_inside(self, address: Ipv4Addr) -> bool {
        let first = u32::from(self.address);
        (first + 1..first + !self.mask()).contains(&u32::from(address))
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }
}

impl std::str::FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = || InvalidSubnet { text: text.chars().take(60).collect() };
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: Ipv4Addr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().ok().filter(|p| (8..=30).contains(p)).ok_or_else(invalid)?;
        let subnet = Self { address, prefix };
        if u32::from(address) & !subnet.mask() == 0 { Ok(subnet) } else { Err(invalid()) }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

crate::model::serde_as_text!(Subnet, "^[0-9.]+/[0-9]+$", "An IPv4 subnet, such as 10.5.0.0/24");

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets() {
        let subnet: Subnet = "10.5.0.0/24".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 5, 0, 1));
        let plain = NetworkSpec::default();
        assert_eq!(plain.pool(subnet).count(), 253);
        assert_eq!(plain.pool(subnet).last(), Some(Ipv4Addr::new(10, 5, 0, 254)));
        let aux = Ipv4Addr::new(10, 5, 0, 66);
        let spec = NetworkSpec {
            gateway: Some(Ipv4Addr::new(10, 5, 0, 65)),
            ip_range: "10.5.0.64/29".parse().ok(),
            aux_addresses: BTreeMap::from([("router".into(), aux)]),
            ..plain
        };
        let pool: Vec<u8> = spec.pool(subnet).map(|address| address.octets()[3]).collect();
        assert_eq!(pool, [64, 67, 68, 69, 70, 71]);
        assert!(spec.is_host(subnet, Ipv4Addr::new(10, 5, 0, 1)) && !spec.is_host(subnet, aux));
        assert!(!spec.is_host(subnet, Ipv4Addr::new(10, 5, 0, 255)));
        assert!(subnet.overlaps("10.0.0.0/8".parse().unwrap()));
        assert!(!subnet.overlaps("10.5.1.0/24".parse().unwrap()));
        for bad in ["", "10.5.0.1/24", "10.5.0.0", "10.5.0.0/33", "10.5.0.0/31", "x/24"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}

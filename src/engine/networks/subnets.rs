//! Which addresses are free: a subnet for a network, an address for a container. Pure; knows no kernel and no database.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Digest;
use crate::model::spec::{Subnet, Subnet6};

/// A range of addresses that somebody uses, and who.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub address: IpAddr,
    pub prefix: u8,
    pub by: String,
}

impl Taken {
    fn overlaps(&self, subnet: Range) -> bool {
        let shorter = u32::from(self.prefix.min(subnet.prefix));
        match (self.address, subnet.address) {
            // What is shifted out altogether leaves nothing that could differ.
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (u32::from(one) ^ u32::from(other)).checked_shr(32 - shorter).unwrap_or_default() == 0
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                (u128::from(one) ^ u128::from(other)).checked_shr(128 - shorter).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

/// A subnet of either family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    address: IpAddr,
    prefix: u8,
}

impl From<Subnet> for Range {
    fn from(subnet: Subnet) -> Self {
        Self { address: subnet.address().into(), prefix: subnet.prefix() }
    }
}

impl From<Subnet6> for Range {
    fn from(subnet: Subnet6) -> Self {
        Self { address: subnet.address().into(), prefix: subnet.prefix() }
    }
}

/// Who of `taken` overlaps `subnet`.
pub(super) fn conflict(subnet: impl Into<Range>, taken: &[Taken]) -> Option<&str> {
    let subnet = subnet.into();
    taken.iter().find(|t| t.overlaps(subnet)).map(|t| t.by.as_str())
}

/// The first free /64 of a /48.
pub(super) fn choose6(unique_local: u64, taken: &[Taken]) -> Option<Subnet6> {
    (0..1u128 << 16)
        .filter_map(|number| Subnet6::new(Ipv6Addr::from(u128::from(unique_local) << 80 | number << 64), 64))
        .find(|subnet| conflict(*subnet, taken).is_none())
}

/// The first free /24 of `pool`, beginning at a place that differs by instance, so that instances that start at the
/// same time seldom want the same.
pub(super) fn choose(pool: Subnet, tag: &str, taken: &[Taken]) -> Option<Subnet> {
    let count = 1u32 << (24 - pool.prefix().min(24));
    let start = if tag.is_empty() {
        0
    } else {
        let hex = Digest::of(tag.as_bytes()).hex();
        u32::from_str_radix(&hex[..8], 16).unwrap_or(0) % count
    };
    (0..count)
        .map(|i| u32::from(pool.address()) + ((start + i) % count) * 256)
        .filter_map(|base| format!("{}/24", Ipv4Addr::from(base)).parse().ok())
        .find(|subnet| conflict(*subnet, taken).is_none())
}

/// The lowest address of `pool` that nobody has.
pub(super) fn free_address<A: Ord>(mut pool: impl Iterator<Item = A>, used: &BTreeSet<A>) -> Option<A> {
    pool.find(|ip| !used.contains(ip))
}

/// Locally administered, and the same whenever an address is given again: neighbours' caches stay true. Of IPv6 the end is
/// what differs within a network; a second byte of its own keeps them apart from those of IPv4.
pub(super) fn mac(ip: IpAddr) -> [u8; 6] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [0x02, 0x73, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [0x02, 0x74, a, b, c, d]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Taken {
        let (address, prefix) = text.split_once('/').unwrap();
        Taken { address: address.parse().unwrap(), prefix: prefix.parse().unwrap(), by: text.into() }
    }

    #[test]
    fn free_subnets_avoid_what_overlaps_either_way() {
        let pool: Subnet = "10.210.0.0/16".parse().unwrap();
        assert_eq!(choose(pool, "", &[]).unwrap().to_string(), "10.210.0.0/24");
        let used = [taken("10.210.0.7/32"), taken("10.210.1.0/24"), taken("10.210.2.0/23")];
        assert_eq!(choose(pool, "", &used).unwrap().to_string(), "10.210.4.0/24");
        assert_eq!(choose(pool, "", &[taken("10.0.0.0/8")]), None);
        let one = choose(pool, "abcdef", &[]).unwrap();
        assert!(pool.contains(one.address()) && one != choose(pool, "012345", &[]).unwrap());
        let last: Vec<Taken> = (0..255).map(|i| taken(&format!("10.210.{i}.0/24"))).collect();
        assert_eq!(choose(pool, "abcdef", &last).unwrap().to_string(), "10.210.255.0/24");
        assert_eq!(conflict("10.1.0.0/16".parse::<Subnet>().unwrap(), &[taken("0.0.0.0/0")]), Some("0.0.0.0/0"));
    }

    #[test]
    fn addresses() {
        let subnet: Subnet = "10.5.0.0/30".parse().unwrap();
        let spec = crate::model::spec::NetworkSpec::default();
        let first = free_address(spec.pool(subnet), &BTreeSet::new()).unwrap();
        assert_eq!(first.to_string(), "10.5.0.2");
        assert_eq!(free_address(spec.pool(subnet), &BTreeSet::from([first])), None);
        assert_eq!(mac(first.into())[0] & 3, 2, "locally administered and of one station");
    }

    #[test]
    fn unique_local_subnets() {
        let id = 0xfd00_1122_3344;
        assert_eq!(choose6(id, &[]).unwrap().to_string(), "fd00:1122:3344::/64");
        let used = [taken("fd00:1122:3344::/64"), taken("fd00:1122:3344:1::7/128"), taken("0.0.0.0/0")];
        assert_eq!(choose6(id, &used).unwrap().to_string(), "fd00:1122:3344:2::/64");
        assert_eq!(choose6(id, &[taken("fd00::/8")]), None);
        assert_eq!(conflict("fd00::/64".parse::<Subnet6>().unwrap(), &[taken("::/0")]), Some("::/0"));
    }
}

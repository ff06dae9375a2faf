//! Which addresses are free: a subnet for a network, an address for a container. Pure; knows no kernel and no database.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::Digest;
use crate::model::spec::Subnet;

/// A range of addresses that somebody uses, and who.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub by: String,
}

impl Taken {
    fn overlaps(&self, subnet: Subnet) -> bool {
        let shorter = u32::from(self.prefix.min(subnet.prefix()));
        let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
        u32::from(self.address) & mask == u32::from(subnet.address()) & mask
    }
}

/// Who of `taken` overlaps `subnet`.
pub(super) fn conflict(subnet: Subnet, taken: &[Taken]) -> Option<&str> {
    taken.iter().find(|t| t.overlaps(subnet)).map(|t| t.by.as_str())
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
pub(super) fn free_address(mut pool: impl Iterator<Item = Ipv4Addr>, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    pool.find(|ip| !used.contains(ip))
}

/// Locally administered, and the same whenever an address is given again: neighbours' caches stay true.
pub(super) fn mac(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x02, 0x73, a, b, c, d]
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
        assert_eq!(conflict("10.1.0.0/16".parse().unwrap(), &[taken("0.0.0.0/0")]), Some("0.0.0.0/0"));
    }

    #[test]
    fn addresses() {
        let subnet: Subnet = "10.5.0.0/30".parse().unwrap();
        let spec = crate::model::spec::NetworkSpec::default();
        let first = free_address(spec.pool(subnet), &BTreeSet::new()).unwrap();
        assert_eq!(first.to_string(), "10.5.0.2");
        assert_eq!(free_address(spec.pool(subnet), &BTreeSet::from([first])), None);
        assert_eq!(mac(first)[0] & 3, 2, "locally administered and of one station");
    }
}

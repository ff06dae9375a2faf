//! What a container sees of its networks: its addresses and its way out, as the kernel tells of the namespace of its process.
//! Source: proc(5), `/proc/pid/net`; a file that cannot be read belongs to a process that has ended.

use std::fs;
use std::net::Ipv4Addr;

use super::attach::way_out;
use super::observe::Live;
use super::rows::{Lease, NetworkRow};
use crate::sys;

/// `None` when the container has the address of its lease.
pub(super) fn address_fault(network: &NetworkRow, lease: &Lease, live: &Live) -> Option<String> {
    let table = read(live, "fib_trie")?;
    let fault = || format!("it lacks its address {} in network {}", lease.address, network.name);
    (!has_address(&table, lease.address) && is_still(live)).then(fault)
}

/// `None` when the container's default route leads where it is to lead.
pub(super) fn route_fault(networks: &[&NetworkRow], live: &Live) -> Option<String> {
    let gateway = way_out(networks)?.gateway();
    let table = read(live, "route")?;
    match default_gateway(&table) {
        Some(found) if found == gateway => None,
        _ if !is_still(live) => None,
        Some(found) => Some(format!("its default route leads to {found} instead of {gateway}")),
        None => Some(format!("its default route to {gateway} is gone")),
    }
}

/// A file of its namespace; `None` when it has ended.
fn read(live: &Live, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/net/{name}", live.pid)).ok()
}

/// Whether what was read is of the container's process, and not of another one with its number. The kernel takes a while to tell,
/// so only a fault is worth the question.
fn is_still(live: &Live) -> bool {
    sys::process_start_ticks(live.pid).is_ok_and(|ticks| ticks == live.started_ticks)
}

/// Whether a table of routes has this address as one of the host's own: a line with the address, and after it one that says so.
fn has_address(table: &str, address: Ipv4Addr) -> bool {
    let wanted = address.to_string();
    let mut here = false;
    for line in table.lines() {
        let line = line.trim_start();
        if let Some(leaf) = line.strip_prefix("|-- ") {
            here = leaf == wanted;
        } else if here && line.starts_with("/32 host LOCAL") {
            return true;
        }
    }
    false
}

/// The gateway of the default route: numbers in hexadecimal, as they are in memory.
fn default_gateway(table: &str) -> Option<Ipv4Addr> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (destination, gateway) = (fields.next()?, fields.next()?);
        if destination != "00000000" || gateway == "00000000" {
            return None;
        }
        Some(Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.88.0.0\n        /24 link UNICAST\n\
                    Local:\n           |-- 10.88.0.2\n              /32 host LOCAL\n        |-- 10.88.0.255\n           /32 link BROADCAST\n";
        let has = |text: &str| has_address(trie, text.parse().unwrap());
        assert_eq!((has("10.88.0.2"), has("10.88.0.255"), has("10.88.0.0"), has("10.88.0.20")), (true, false, false, false));
        let routes = "Iface\tDestination\tGateway \tFlags\neth0\t0000580A\t00000000\t0001\neth0\t00000000\t0100580A\t0003\n";
        let little = u32::from_ne_bytes([1, 0, 0, 0]) == 1;
        if little {
            assert_eq!(default_gateway(routes), Some(Ipv4Addr::new(10, 88, 0, 1)));
        }
        assert_eq!(default_gateway("Iface\n"), None);
    }
}

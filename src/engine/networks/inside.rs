//! What a container sees of its networks: its addresses and its way out, as the kernel tells of the namespace of its process.
//! Source: proc(5), `/proc/pid/net`; a file that cannot be read belongs to a process that has ended.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::observe::Live;
use super::rows::{Lease, NetworkRow};
use crate::sys;

/// `None` when the container has the addresses of its lease.
pub(super) fn address_fault(network: &NetworkRow, lease: &Lease, live: &Live) -> Option<String> {
    lease.addresses().find_map(|ip| {
        let has = match ip {
            IpAddr::V4(ip) => has_address(&read(live, "fib_trie")?, ip),
            IpAddr::V6(ip) => has_address6(&read(live, "if_inet6")?, ip),
        };
        (!has && is_still(live)).then(|| format!("it lacks its address {ip} in network {}", network.name))
    })
}

/// `None` when a link that has a name of its own has it.
pub(super) fn name_fault(network: &NetworkRow, lease: &Lease, live: &Live) -> Option<String> {
    let name = lease.interface.as_ref()?;
    lacks_link(name, live).then(|| format!("its link into network {} is not called {name}", network.name))
}

/// Whether a container that runs has no link of this name.
pub(super) fn lacks_link(name: &str, live: &Live) -> bool {
    let has =
        |table: &str| table.lines().any(|line| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    read(live, "dev").is_some_and(|table| !has(&table)) && is_still(live)
}

/// `None` when the container's default route leads where it is to lead.
pub(super) fn route_fault(gateway: IpAddr, live: &Live) -> Option<String> {
    let found = match gateway {
        IpAddr::V4(_) => default_gateway(&read(live, "route")?).map(IpAddr::V4),
        IpAddr::V6(_) => default_gateway6(&read(live, "ipv6_route")?).map(IpAddr::V6),
    };
    match found {
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

/// Whether a table of addresses has this one: a line of it has the address, the link's number, the prefix, the scope, flags and the
/// link's name. Numbers are in hexadecimal.
fn has_address6(table: &str, address: Ipv6Addr) -> bool {
    table.lines().any(|line| line.split_ascii_whitespace().next().and_then(number) == Some(address))
}

/// The gateway of the default route. A line has destination and prefix, source and prefix, the gateway and the rest. A container's
/// own refusal of all that has no route is such a line too, without a gateway.
fn default_gateway6(table: &str) -> Option<Ipv6Addr> {
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (destination, prefix, gateway) = (fields.next()?, fields.next()?, fields.nth(2)?);
        let gateway = number(gateway)?;
        (prefix == "00" && number(destination)?.is_unspecified() && !gateway.is_unspecified()).then_some(gateway)
    })
}

fn number(hexadecimal: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(hexadecimal, 16).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes_of_ipv6() {
        let addresses =
            "00000000000000000000000000000001 01 80 10 80       lo\nfd000001000000000000000000000002 02 40 00 82     eth0\n";
        let has = |text: &str| has_address6(addresses, text.parse().unwrap());
        assert_eq!((has("fd00:1::2"), has("fd00:1::3"), has("::1")), (true, false, true));
        let zero = "0".repeat(32);
        let on_link =
            format!("fd000001000000000000000000000000 40 {zero} 00 {zero} 00000100 00000003 00000000 00000001     eth0\n");
        let default =
            format!("{zero} 00 {zero} 00 fd000001000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n");
        let refused = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
        assert_eq!(default_gateway6(&(on_link.clone() + &default + &refused)), "fd00:1::1".parse().ok());
        assert_eq!(default_gateway6(&(on_link + &refused)), None);
    }

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

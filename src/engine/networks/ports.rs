//! Which host ports containers get. A port counts as free when no row has it and the host lets it be bound; the packet
//! filter would otherwise take a port away from the host's own process without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use super::error::NetworkError;
use super::outside;
use super::rows::{Published, Rows};
use crate::model::{ContainerId, PortMapping, Protocol};

/// How often a port that the kernel offers may turn out to be published already.
const ATTEMPTS: u32 = 64;

/// The port of the DNS server, which listens at every gateway.
const DNS: u16 = 53;

/// A host port for each of `wanted`. `former` are those the container had: an unchosen port stays what it was. Where the networks
/// are `apart` from the host's, a port is of all its addresses, however it is published.
pub(super) fn assign(
    rows: &Rows,
    former: &[Published],
    container: &ContainerId,
    address: Ipv4Addr,
    wanted: &BTreeSet<PortMapping>,
    apart: bool,
) -> Result<Vec<Published>, NetworkError> {
    let probe = |rows: &Rows, one: &Published| probe(rows, one, apart);
    let mut chosen: Vec<Published> = Vec::with_capacity(wanted.len());
    // Fixed ports first, so that a free choice does not take one of them.
    let (fixed, open): (Vec<_>, Vec<_>) = wanted.iter().partition(|m| m.host_port.is_some());
    for mapping in fixed.into_iter().chain(open) {
        let make = |host_port| Published {
            container: container.clone(),
            protocol: mapping.protocol,
            host_ip: mapping.host_ip,
            host_port,
            container_port: mapping.container_port,
            address,
        };
        let published = match mapping.host_port {
            Some(port) => {
                let one = make(port);
                if let Some(holder) = holder(&one, rows.published.iter().chain(&chosen), apart) {
                    return Err(NetworkError::PortPublished {
                        port,
                        protocol: one.protocol,
                        by: name_of(rows, container, holder),
                    });
                }
                probe(rows, &one)?;
                one
            }
            None => {
                let before = former.iter().find(|p| {
                    (p.protocol, p.host_ip, p.container_port) == (mapping.protocol, mapping.host_ip, mapping.container_port)
                });
                let kept = before
                    .map(|p| make(p.host_port))
                    .filter(|one| holder(one, rows.published.iter().chain(&chosen), apart).is_none() && probe(rows, one).is_ok());
                match kept {
                    Some(one) => one,
                    None => choose(rows, &chosen, make, apart)?,
                }
            }
        };
        chosen.push(published);
    }
    Ok(chosen)
}

fn choose(rows: &Rows, chosen: &[Published], make: impl Fn(u16) -> Published, apart: bool) -> Result<Published, NetworkError> {
    let blank = make(0);
    let mut last = 0;
    for _ in 0..ATTEMPTS {
        let at = blank.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
        last = try_bind(blank.protocol, at, 0).map_err(|source| refused(&blank, source))?;
        let one = make(last);
        if holder(&one, rows.published.iter().chain(chosen), apart).is_none() {
            return Ok(one);
        }
    }
    Err(NetworkError::PortPublished { port: last, protocol: blank.protocol, by: "containers, as all that was tried".to_owned() })
}

/// Who has this port already: all addresses and any single one exclude each other.
fn holder<'a>(one: &Published, mut among: impl Iterator<Item = &'a Published>, apart: bool) -> Option<&'a Published> {
    among.find(|p| {
        p.protocol == one.protocol
            && p.host_port == one.host_port
            && (apart || p.host_ip.is_none() || one.host_ip.is_none() || p.host_ip == one.host_ip)
    })
}

fn name_of(rows: &Rows, own: &ContainerId, holder: &Published) -> String {
    if holder.container == *own {
        return "this container itself, by another of its ports".to_owned();
    }
    let short = holder.container.short();
    let name = rows.leases_of(&holder.container).flat_map(|l| &l.names).find(|n| n.as_str() != short);
    match name {
        Some(name) => format!("container {name} ({short})"),
        None => format!("container {short}"),
    }
}

/// Whether the host has the port free.
fn probe(rows: &Rows, one: &Published, apart: bool) -> Result<(), NetworkError> {
    match one.host_ip {
        Some(ip) => try_bind(one.protocol, ip, one.host_port),
        None if one.host_port != DNS || apart => try_bind(one.protocol, Ipv4Addr::UNSPECIFIED, one.host_port),
        // Our own DNS server has the port at the gateways, where it keeps it; everywhere else it must be free.
        None => host_addresses(rows).and_then(|all| {
            all.into_iter().try_for_each(|ip| try_bind(one.protocol, ip, DNS).map(drop))?;
            Ok(DNS)
        }),
    }
    .map(drop)
    .map_err(|source| refused(one, source))
}

fn refused(one: &Published, source: io::Error) -> NetworkError {
    match (source.kind(), one.host_ip) {
        (io::ErrorKind::AddrInUse, _) => {
            let (protocol, port) = (one.protocol, one.host_port);
            let by = outside::on_host(move || process_at(protocol, port)).ok().flatten();
            NetworkError::PortInUse { port, protocol, by }
        }
        (io::ErrorKind::PermissionDenied, _) => NetworkError::PortPrivileged { port: one.host_port, protocol: one.protocol },
        (_, ip) => NetworkError::PortAddress {
            ip: ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
            port: one.host_port,
            protocol: one.protocol,
            source,
        },
    }
}

/// Whether the host has it free, and which port it was.
fn try_bind(protocol: Protocol, ip: Ipv4Addr, port: u16) -> io::Result<u16> {
    outside::on_host(move || bind_for_a_moment(protocol, ip, port)).map_err(io::Error::other)?
}

fn bind_for_a_moment(protocol: Protocol, ip: Ipv4Addr, port: u16) -> io::Result<u16> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    // A monitor that another thread spawns at this moment would inherit it otherwise, and keep the port for years.
    let socket: OwnedFd = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if protocol == Protocol::Tcp {
        // Connections of a former listener that still time out are no obstacle.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddrV4::new(ip, port))?;
    if protocol == Protocol::Tcp {
        listen(&socket, 1)?;
    }
    let bound = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok(bound.port())
}

fn host_addresses(rows: &Rows) -> io::Result<Vec<Ipv4Addr>> {
    let kernel = super::kernel::Kernel::open().map_err(io::Error::other)?;
    let gateways: BTreeSet<Ipv4Addr> = rows.networks.iter().map(|n| n.gateway()).collect();
    let all = kernel.addresses().map_err(io::Error::other)?;
    Ok(all.into_iter().map(|a| a.ip).filter(|ip| !gateways.contains(ip)).collect())
}

/// `name (pid 7)` of the process that has the port, where that can be found out.
fn process_at(protocol: Protocol, port: u16) -> Option<String> {
    let inodes: BTreeSet<String> = ["", "6"]
        .into_iter()
        .flat_map(|family| sockets(&format!("/proc/thread-self/net/{}{family}", protocol.as_str()), protocol, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let mut by_pid = BTreeMap::new();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = descriptors.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| {
                let target = target.to_string_lossy();
                target.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')).is_some_and(|inode| inodes.contains(inode))
            })
        });
        if has {
            by_pid.insert(pid, fs::read_to_string(process.path().join("comm")).unwrap_or_default());
        }
    }
    by_pid.into_iter().next().map(|(pid, name)| format!("{} (pid {pid})", name.trim()))
}

/// The inodes of the sockets that have `port` as their local one and wait for peers.
fn sockets(table: &str, protocol: Protocol, port: u16) -> Vec<String> {
    const TCP_LISTEN: &str = "0A";
    let text = fs::read_to_string(table).unwrap_or_default();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1)?.rsplit_once(':')?.1;
            let fits = u16::from_str_radix(local, 16).is_ok_and(|p| p == port)
                && (protocol == Protocol::Udp || fields.get(3) == Some(&TCP_LISTEN));
            fits.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn id(byte: u8) -> ContainerId {
        ContainerId::from_random([byte; 32])
    }

    fn wanted(texts: &[&str]) -> BTreeSet<PortMapping> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn conflicts_say_who() {
        let ip = Ipv4Addr::new(10, 0, 0, 2);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = listener.local_addr().unwrap().port();
        let mut rows = Rows::default();

        let error = assign(&rows, &[], &id(1), ip, &wanted(&[&format!("{busy}:80")]), false).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assign(&rows, &[], &id(1), ip, &wanted(&[&format!("{busy}:80/udp")]), false).unwrap();

        let error = assign(&rows, &[], &id(1), ip, &wanted(&["192.0.2.77:8080:80"]), false).unwrap_err().to_string();
        assert!(error.contains("192.0.2.77"), "{error}");

        rows.published = assign(&rows, &[], &id(1), ip, &wanted(&["80", "81"]), false).unwrap();
        let taken = rows.published[0].host_port;
        assert_ne!(taken, rows.published[1].host_port);
        for text in [format!("{taken}:80"), format!("127.0.0.1:{taken}:80")] {
            let error = assign(&rows, &[], &id(2), ip, &wanted(&[&text]), false).unwrap_err().to_string();
            assert!(error.contains(id(1).short()), "{error}");
        }
        let error = assign(&Rows::default(), &[], &id(2), ip, &wanted(&["127.0.0.1:7001:80", "7001:81"]), false).unwrap_err();
        assert!(error.to_string().contains("itself"), "{error}");

        let again = assign(&Rows::default(), &rows.published, &id(1), ip, &wanted(&["80"]), false).unwrap();
        assert_eq!(again[0].host_port, rows.published.iter().find(|p| p.container_port == 80).unwrap().host_port);
    }
}

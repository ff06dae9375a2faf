//! Which host ports containers get. A port counts as free when no row has it and the host lets it be bound; the packet
//! filter would otherwise take a port away from the host's own process without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt};

use super::error::NetworkError;
use super::outside;
use super::rows::{Published, Rows};
use crate::model::{ContainerId, PortMapping, Protocol, places_overlap};

/// How often a port that the kernel offers may turn out to be published already.
const ATTEMPTS: u32 = 64;

/// The port of the DNS server, which listens at every gateway.
const DNS: u16 = 53;

/// Whom published ports lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct To<'a> {
    pub container: &'a ContainerId,
    /// `None` where its networks have none of this family.
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    /// Where the host publishes what says no address.
    pub binding: Option<Ipv4Addr>,
}

impl To<'_> {
    /// What a port that is published at `host_ip` leads to.
    fn at(&self, host_ip: Option<IpAddr>, apart: bool) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), NetworkError> {
        match host_ip {
            None if apart && self.address.is_none() => Err(NetworkError::PortApartOfIpv6),
            None => Ok((self.address, self.address6)),
            Some(ip @ IpAddr::V4(_)) if self.address.is_none() => Err(NetworkError::PortFamily { ip }),
            Some(IpAddr::V4(_)) => Ok((self.address, None)),
            Some(ip @ IpAddr::V6(_)) if apart => Err(NetworkError::PortApart { ip }),
            // Who calls by IPv6 is led to IPv4 where there is nothing else.
            Some(IpAddr::V6(_)) if self.address6.is_none() => Ok((self.address, None)),
            Some(IpAddr::V6(_)) => Ok((None, self.address6)),
        }
    }
}

/// A host port for each of `wanted`. `former` are those the container had: an unchosen port stays what it was. Where the networks
/// are `apart` from the host's, a port is of all its addresses, however it is published.
pub(super) fn assign(
    rows: &Rows,
    former: &[Published],
    to: To<'_>,
    wanted: &BTreeSet<PortMapping>,
    apart: bool,
) -> Result<Vec<Published>, NetworkError> {
    let probe = |rows: &Rows, one: &Published| probe(rows, one, apart);
    let mut chosen: Vec<Published> = Vec::with_capacity(wanted.len());
    // Fixed ports first, so that a free choice does not take one of them.
    let (fixed, open): (Vec<_>, Vec<_>) = wanted.iter().partition(|m| m.host_port.is_some());
    for mapping in fixed.into_iter().chain(open) {
        let host_ip = mapping.host_ip.or(to.binding.map(IpAddr::V4));
        let (address, address6) = to.at(host_ip, apart)?;
        let make = |host_port| Published {
            container: to.container.clone(),
            protocol: mapping.protocol,
            host_ip,
            host_port,
            container_port: mapping.container_port,
            address,
            address6,
        };
        let published = match mapping.host_port {
            Some(port) => {
                let one = make(port);
                if let Some(holder) = holder(&one, rows.published.iter().chain(&chosen), apart) {
                    return Err(NetworkError::PortPublished {
                        port,
                        protocol: one.protocol,
                        by: name_of(rows, to.container, holder),
                    });
                }
                probe(rows, &one)?;
                one
            }
            None => {
                let wanted = (mapping.protocol, host_ip, mapping.container_port);
                let before = former.iter().find(|p| (p.protocol, p.host_ip, p.container_port) == wanted);
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
        let at = places(&blank, apart).next().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        last = try_bind(blank.protocol, at, 0).map_err(|source| refused(&blank, source))?;
        let one = make(last);
        // It was free at the first place only.
        let elsewhere = || places(&one, apart).skip(1).all(|at| try_bind(one.protocol, at, last).is_ok());
        if holder(&one, rows.published.iter().chain(chosen), apart).is_none() && elsewhere() {
            return Ok(one);
        }
    }
    Err(NetworkError::PortPublished { port: last, protocol: blank.protocol, by: "containers, as all that was tried".to_owned() })
}

/// Who has this port already: all addresses and any single one exclude each other.
fn holder<'a>(one: &Published, mut among: impl Iterator<Item = &'a Published>, apart: bool) -> Option<&'a Published> {
    among
        .find(|p| p.protocol == one.protocol && p.host_port == one.host_port && (apart || places_overlap(p.host_ip, one.host_ip)))
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
    let free_at = |ip: IpAddr| {
        if !ip.is_unspecified() || one.host_port != DNS || apart {
            return try_bind(one.protocol, ip, one.host_port).map(drop);
        }
        // Our own DNS server has the port at the gateways, where it keeps it; everywhere else it must be free.
        let all = host_addresses(rows, ip.is_ipv6())?;
        all.into_iter().try_for_each(|ip| try_bind(one.protocol, ip, DNS).map(drop))
    };
    places(one, apart).try_for_each(free_at).map_err(|source| refused(one, source))
}

/// Where on the host a port is published: at one address, or at all of the families that it leads on.
fn places(one: &Published, apart: bool) -> impl Iterator<Item = IpAddr> {
    let any4 = (one.host_ip.is_none() && (one.address.is_some() || apart)).then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let any6 = (one.host_ip.is_none() && one.address6.is_some() && !apart).then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    one.host_ip.into_iter().chain(any4).chain(any6)
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
            ip: ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            port: one.host_port,
            protocol: one.protocol,
            source,
        },
    }
}

/// Whether the host has it free, and which port it was.
fn try_bind(protocol: Protocol, ip: IpAddr, port: u16) -> io::Result<u16> {
    outside::on_host(move || bind_for_a_moment(protocol, ip, port)).map_err(io::Error::other)?
}

fn bind_for_a_moment(protocol: Protocol, ip: IpAddr, port: u16) -> io::Result<u16> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    // A monitor that another thread spawns at this moment would inherit it otherwise, and keep the port for years.
    let family = if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket: OwnedFd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if ip.is_ipv6() {
        // Whether IPv4 has the port free is asked by itself.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections of a former listener that still time out are no obstacle.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    match bind(&socket, &SocketAddr::new(ip, port)) {
        // Where all who have it allow that, it is this instance that has it, and leads callers to a container.
        Err(Errno::ADDRINUSE) if ip.is_ipv6() => {
            sockopt::set_socket_reuseport(&socket, true)?;
            bind(&socket, &SocketAddr::new(ip, port))?;
        }
        bound => bound?,
    }
    if protocol == Protocol::Tcp {
        listen(&socket, 1)?;
    }
    let bound = SocketAddr::try_from(getsockname(&socket)?)?;
    Ok(bound.port())
}

fn host_addresses(rows: &Rows, ipv6: bool) -> io::Result<Vec<IpAddr>> {
    let kernel = super::kernel::Kernel::open().map_err(io::Error::other)?;
    let gateways: BTreeSet<IpAddr> = rows.networks.iter().filter_map(|n| n.names_at()).collect();
    let all = kernel.addresses(ipv6).map_err(io::Error::other)?;
    // An address of a link alone cannot be bound without naming the link, and nothing is published at it alone.
    let is_bound = |ip: &IpAddr| ip.is_ipv6() == ipv6 && !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    Ok(all.into_iter().map(|a| a.ip).filter(|ip| is_bound(ip) && !gateways.contains(ip)).collect())
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
        let (one, two) = (id(1), id(2));
        let to = |container| To { container, address: Some(Ipv4Addr::new(10, 0, 0, 2)), address6: None, binding: None };
        let (one, two) = (to(&one), to(&two));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = listener.local_addr().unwrap().port();
        let mut rows = Rows::default();

        let error = assign(&rows, &[], one, &wanted(&[&format!("{busy}:80")]), false).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assign(&rows, &[], one, &wanted(&[&format!("{busy}:80/udp")]), false).unwrap();

        let error = assign(&rows, &[], one, &wanted(&["192.0.2.77:8080:80"]), false).unwrap_err().to_string();
        assert!(error.contains("192.0.2.77"), "{error}");

        rows.published = assign(&rows, &[], one, &wanted(&["80", "81"]), false).unwrap();
        let taken = rows.published[0].host_port;
        assert_ne!(taken, rows.published[1].host_port);
        for text in [format!("{taken}:80"), format!("127.0.0.1:{taken}:80")] {
            let error = assign(&rows, &[], two, &wanted(&[&text]), false).unwrap_err().to_string();
            assert!(error.contains(id(1).short()), "{error}");
        }
        let error = assign(&Rows::default(), &[], two, &wanted(&["127.0.0.1:7001:80", "7001:81"]), false).unwrap_err();
        assert!(error.to_string().contains("itself"), "{error}");

        let again = assign(&Rows::default(), &rows.published, one, &wanted(&["80"]), false).unwrap();
        assert_eq!(again[0].host_port, rows.published.iter().find(|p| p.container_port == 80).unwrap().host_port);

        let led = assign(&Rows::default(), &[], one, &wanted(&["[::1]::80"]), false).unwrap();
        assert_eq!((led[0].address, led[0].address6), (one.address, None));
    }

    #[test]
    fn both_families() {
        let container = id(1);
        let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
        let to = To { container: &container, address: Some(Ipv4Addr::new(10, 0, 0, 2)), address6: Some(six), binding: None };
        let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
        let busy = listener.local_addr().unwrap().port();
        for (text, free) in [
            (format!("{busy}:80"), false),
            (format!("[::]:{busy}:80"), false),
            (format!("[::1]:{busy}:80"), false),
            (format!("0.0.0.0:{busy}:80"), true),
            (format!("127.0.0.1:{busy}:80"), true),
        ] {
            let given = assign(&Rows::default(), &[], to, &wanted(&[&text]), false);
            assert_eq!(given.is_ok(), free, "{text}: {given:?}");
        }
        let given = assign(&Rows::default(), &[], to, &wanted(&["80", "[::1]::81", "127.0.0.1::82"]), false).unwrap();
        let led: Vec<_> = given.iter().map(|p| (p.container_port, p.address.is_some(), p.address6.is_some())).collect();
        assert_eq!(
            led.iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([&(80, true, true), &(81, false, true), &(82, true, false)])
        );
        assert!(assign(&Rows::default(), &[], To { address: None, ..to }, &wanted(&["127.0.0.1::82"]), false).is_err());
        assert!(assign(&Rows::default(), &[], to, &wanted(&["[::1]::81"]), true).is_err());
    }
}

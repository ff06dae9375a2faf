//! A network's life: its row, its bridge and what the kernel must be told about it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::error::NetworkError;
use super::kernel::{Kernel, Link};
use super::observe::Live;
use super::rows::{self, NetworkRow, Rows};
use super::subnets::{self, Taken};
use super::{Inner, Result, ipv6, nft, outside};
use crate::files::{self, FileError};
use crate::model::spec::{Ipv6Spec, NetworkSpec, Subnet};
use crate::model::{Digest, Name, Owner};
use crate::observed;

const POOL: &str = "10.210.0.0/16";
const POOL_VARIABLE: &str = "SETPOINT_SUBNET_POOL";
/// Ethernet's, where the host's way out does not ask for less.
const MTU: u32 = 1500;
/// What every link of IPv4 carries (RFC 791).
const MTU_OF_IPV4: u32 = 576;

impl Inner {
    pub(super) fn create(&self, name: &Name, owner: Option<Owner>, spec: &NetworkSpec) -> Result<observed::Network> {
        let _lock = self.lock()?;
        let mut rows = self.rows()?;
        let kernel = Kernel::open()?;
        let row = match rows.network(name) {
            Some(row) => {
                same(row, owner.as_ref(), spec)?;
                row.clone()
            }
            None => {
                let row = self.choose(&kernel, &rows, name, owner, spec)?;
                rows::insert_network(&self.db, &row)?;
                rows.networks.push(row.clone());
                row
            }
        };
        self.restore(&kernel, &row, &rows)?;
        files::failpoint("bridge made")?;
        self.publish_zone(&rows)?;
        Ok(self.seen(&row, Vec::new()))
    }

    /// The network's bridge, put back where it is gone, and then the packet filter with it: after a reboot both are. The
    /// caller holds the lock.
    pub(super) fn restore(&self, kernel: &Kernel, network: &NetworkRow, rows: &Rows) -> Result<Link> {
        let there = kernel.link(&self.instance.bridge(&network.id))?.is_some();
        let bridge = self.ensure_bridge(kernel, network)?;
        if !there {
            outside::rebuild(&self.instance, rows)?;
        }
        Ok(bridge)
    }

    fn choose(&self, kernel: &Kernel, rows: &Rows, name: &Name, owner: Option<Owner>, spec: &NetworkSpec) -> Result<NetworkRow> {
        let id = loop {
            let bytes = crate::sys::random_bytes().map_err(|source| NetworkError::Kernel {
                step: "read",
                object: "random bytes".to_owned(),
                source,
            })?;
            let id = Digest::from_bytes(bytes).hex();
            if rows.networks.iter().all(|n| self.instance.bridge(&n.id) != self.instance.bridge(&id)) {
                break id;
            }
        };
        let has_ipv6 = spec.ipv6.is_some();
        let mut taken = taken(kernel, rows, has_ipv6)?;
        if outside::is_apart(&self.instance) {
            // What the host reaches is to be reached from here as well.
            taken.extend(outside::on_host(move || taken_by_host(&Kernel::open()?, has_ipv6))??);
        }
        let refused = |subnet: String, by: &str| NetworkError::SubnetTaken { name: name.clone(), subnet, by: by.to_owned() };
        let subnet = match spec.subnet {
            _ if spec.ipv6_only => None,
            Some(subnet) => match subnets::conflict(subnet, &taken) {
                Some(by) => return Err(refused(subnet.to_string(), by)),
                None => Some(subnet),
            },
            None => {
                let pool = pool()?;
                Some(subnets::choose(pool, self.instance.tag(), &taken).ok_or(NetworkError::PoolEmpty { pool })?)
            }
        };
        let subnet6 = match &spec.ipv6 {
            None => None,
            Some(six) => {
                ipv6::require(name)?;
                Some(match six.subnet {
                    Some(subnet) => match subnets::conflict(subnet, &taken) {
                        Some(by) => return Err(refused(subnet.to_string(), by)),
                        None => subnet,
                    },
                    None => subnets::choose6(rows::unique_local(&self.db)?, &taken)
                        .ok_or(NetworkError::Pool6Empty { name: name.clone() })?,
                })
            }
        };
        Ok(NetworkRow { id, name: name.clone(), owner, spec: spec.clone(), subnet, subnet6 })
    }

    /// Makes the bridge and all that belongs to it, or what is missing of it.
    pub(super) fn ensure_bridge(&self, kernel: &Kernel, row: &NetworkRow) -> Result<Link> {
        let name = self.instance.bridge(&row.id);
        let Some((first, _)) = row.gateways().next() else {
            return Err(NetworkError::NoSubnet { name: row.name.clone() });
        };
        if row.subnet6.is_some() {
            // After a start of the host it may be another kernel.
            ipv6::require(&row.name)?;
        }
        let link = match kernel.link(&name)? {
            Some(link) => link,
            None => {
                let least = if row.subnet6.is_some() { Ipv6Spec::LEAST_MTU } else { MTU_OF_IPV4 };
                let mtu = match row.spec.driver_opts.mtu {
                    Some(mtu) => mtu,
                    None => mtu(kernel)?,
                };
                kernel.add_bridge(&name, subnets::mac(first), mtu.max(least), self.group())?;
                // Before it comes up, so that no address of another family is ever announced.
                match row.subnet6 {
                    None => sysctl("ipv6", &name, "disable_ipv6", "1")?,
                    Some(_) => ipv6::prepare(&name)?,
                }
                kernel.link(&name)?.ok_or_else(|| NetworkError::Kernel {
                    step: "find the new bridge",
                    object: name.clone(),
                    source: std::io::ErrorKind::NotFound.into(),
                })?
            }
        };
        if let Some(mtu) = row.spec.driver_opts.mtu.filter(|mtu| *mtu != link.mtu) {
            kernel.set_mtu(link.index, &name, mtu)?;
        }
        if row.subnet6.is_some() {
            ipv6::prepare(&name)?;
        }
        if let (Some(gateway), Some(subnet)) = (row.gateway(), row.subnet) {
            kernel.add_address(link.index, &name, gateway.into(), subnet.prefix())?;
        }
        // Published ports of the host's loopback are answered through the bridge; the filter guards what that opens.
        sysctl("ipv4", &name, "route_localnet", "1")?;
        if !row.spec.internal && row.subnet.is_some() {
            let all = PathBuf::from("/proc/sys/net/ipv4/ip_forward");
            if files::read_to_string(&all)?.trim() == "0" {
                std::fs::write(&all, "1").map_err(|e| FileError::new("write", &all, e))?;
            }
        }
        sysctl("ipv4", &name, "forwarding", "1")?;
        if !link.up {
            kernel.set_up(link.index, &name)?;
        }
        if let (Some(gateway), Some(subnet)) = (row.gateway6(), row.subnet6) {
            // A link that is down keeps none of IPv6.
            kernel.add_address(link.index, &name, gateway.into(), subnet.prefix())?;
            if !row.spec.internal {
                ipv6::forward()?;
            }
        }
        Ok(link)
    }

    pub(super) fn remove(&self, name: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let mut rows = self.rows()?;
        let Some(row) = rows.network(name).cloned() else { return Ok(()) };
        let users: BTreeSet<String> =
            rows.leases.iter().filter(|l| l.network == row.id).map(|l| l.container.short().to_owned()).collect();
        if !users.is_empty() {
            return Err(NetworkError::InUse { name: name.clone(), containers: users.into_iter().collect() });
        }
        // The row last: as long as it is there, a removal that was interrupted can be repeated.
        Kernel::open()?.delete_link(&self.instance.bridge(&row.id))?;
        files::failpoint("bridge gone")?;
        rows.networks.retain(|n| n.id != row.id);
        if rows.networks.is_empty() {
            outside::remove(&self.instance)?;
        } else {
            outside::rebuild(&self.instance, &rows)?;
        }
        if row.subnet6.is_some() && rows.networks.iter().all(|n| n.subnet6.is_none()) {
            nft::remove6(&self.instance)?;
        }
        self.publish_zone(&rows)?;
        Ok(rows::delete_network(&self.db, &row.id)?)
    }

    pub(super) fn repair_network(&self, name: &Name, live: &[Live]) -> Result<()> {
        let lock = self.lock()?;
        let rows = self.rows()?;
        let row = rows.network(name).ok_or_else(|| NetworkError::Unknown { name: name.clone() })?;
        let kernel = Kernel::open()?;
        let bridge = self.ensure_bridge(&kernel, row)?;
        for lease in rows.leases.iter().filter(|l| l.network == row.id && live.iter().any(|c| c.id == l.container)) {
            let host_link = self.instance.host_link(&lease.container, lease.link);
            // A link that is not there at all is the container's own fault, and repaired with it.
            let Some(link) = kernel.link(&host_link)? else { continue };
            if link.controller != Some(bridge.index) || !link.up {
                kernel.set_controller(link.index, &host_link, bridge.index, row.spec.driver_opts.isolated)?;
            }
            if link.carrier {
                kernel.settle(&host_link)?;
                kernel.settle(&bridge.name)?;
            }
        }
        self.publish_zone(&rows)?;
        let gateways = Self::names_in_use(&rows);
        drop(lock);
        if gateways.is_empty() { Ok(()) } else { self.dns.ensure(&gateways) }
    }

    pub(super) fn repair_firewall(&self) -> Result<()> {
        let _lock = self.lock()?;
        let rows = self.rows()?;
        if rows.networks.is_empty() { outside::remove(&self.instance) } else { outside::rebuild(&self.instance, &rows) }
    }
}

/// Whether the network that is there is the one that is asked for.
fn same(row: &NetworkRow, owner: Option<&Owner>, spec: &NetworkSpec) -> Result<()> {
    if row.owner.as_ref() != owner {
        let owner = row.owner.as_ref().map(|o| format!("stack {}", o.stack));
        return Err(NetworkError::NotYours { name: row.name.clone(), owner });
    }
    let differs = |field, old: String, new: String| Err(NetworkError::Differs { name: row.name.clone(), field, old, new });
    let subnet = |s: Option<Subnet>| s.map_or_else(|| "chosen by setpoint".to_owned(), |s| s.to_string());
    if row.spec.subnet != spec.subnet {
        return differs("subnet", subnet(row.spec.subnet), subnet(spec.subnet));
    }
    if row.spec.internal != spec.internal {
        return differs("internal", row.spec.internal.to_string(), spec.internal.to_string());
    }
    if (row.spec.ipv6_only, &row.spec.ipv6) != (spec.ipv6_only, &spec.ipv6) {
        let said = |spec: &NetworkSpec| match &spec.ipv6 {
            None => "off".to_owned(),
            Some(six) => {
                let subnet = six.subnet.map_or_else(|| "a subnet chosen by setpoint".to_owned(), |subnet| subnet.to_string());
                if spec.ipv6_only { format!("{subnet}, without IPv4") } else { subnet }
            }
        };
        return differs("IPv6", said(&row.spec), said(spec));
    }
    if row.spec.driver_opts != spec.driver_opts {
        return differs("driver_opts", format!("{:?}", row.spec.driver_opts.pairs()), format!("{:?}", spec.driver_opts.pairs()));
    }
    if row.spec.labels != spec.labels {
        return differs("labels", format!("{:?}", row.spec.labels), format!("{:?}", spec.labels));
    }
    Ok(())
}

/// All ranges that the host or a network uses.
fn taken(kernel: &Kernel, rows: &Rows, ipv6: bool) -> Result<Vec<Taken>> {
    let of = |n: &NetworkRow, address: IpAddr, prefix: u8| Taken {
        address,
        prefix,
        by: format!("network {} ({address}/{prefix})", n.name),
    };
    let four = rows.networks.iter().filter_map(|n| n.subnet.map(|subnet| of(n, subnet.address().into(), subnet.prefix())));
    let six = rows.networks.iter().filter_map(|n| n.subnet6.map(|subnet| of(n, subnet.address().into(), subnet.prefix())));
    Ok(four.chain(six).chain(taken_by_host(kernel, ipv6)?).collect())
}

/// Those of the links and routes that the kernel has in one network namespace.
fn taken_by_host(kernel: &Kernel, ipv6: bool) -> Result<Vec<Taken>> {
    let names: std::collections::BTreeMap<u32, String> =
        kernel.links()?.into_iter().map(|link| (link.index, link.name)).collect();
    let name = |index: u32| names.get(&index).map_or("?", String::as_str);
    let addresses = kernel.addresses(ipv6)?.into_iter().map(|a| Taken {
        address: a.ip,
        prefix: a.prefix,
        by: format!("the host's address {}/{} on {}", a.ip, a.prefix, name(a.link)),
    });
    let mut routes = kernel.routes()?;
    if ipv6 {
        routes.extend(kernel.routes6()?);
    }
    let routes = routes.into_iter().filter(|r| r.prefix > 0).map(|r| Taken {
        address: r.destination,
        prefix: r.prefix,
        by: format!(
            "the host's route to {}/{}{}",
            r.destination,
            r.prefix,
            r.link.map_or(String::new(), |l| format!(" by {}", name(l)))
        ),
    });
    Ok(addresses.chain(routes).collect())
}

fn pool() -> Result<Subnet> {
    let text = std::env::var(POOL_VARIABLE).unwrap_or_else(|_| POOL.to_owned());
    let pool: Subnet = text.parse().map_err(NetworkError::Pool)?;
    if pool.prefix() > 24 { Err(NetworkError::PoolSmall { pool }) } else { Ok(pool) }
}

/// That of the link of the default route: packets of containers leave by it.
fn mtu(kernel: &Kernel) -> Result<u32> {
    let out = kernel.routes()?.into_iter().find(|r| r.prefix == 0).and_then(|r| r.link);
    let links = kernel.links()?;
    Ok(links.into_iter().find(|l| Some(l.index) == out).map_or(MTU, |l| l.mtu).clamp(MTU_OF_IPV4, MTU))
}

/// A setting of one link, in the network namespace of the calling thread. A family that the kernel lacks needs none.
pub(super) fn sysctl(family: &str, link: &str, key: &str, value: &str) -> Result<()> {
    let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{link}/{key}"));
    match files::read_if_there(&path)? {
        None if family == "ipv6" => Ok(()),
        Some(now) if now.trim_ascii() == value.as_bytes() => Ok(()),
        _ => Ok(std::fs::write(&path, value).map_err(|e| FileError::new("write", &path, e))?),
    }
}

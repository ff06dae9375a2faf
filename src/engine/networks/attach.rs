//! A container's way into its networks and out again: leases, ports, names, and a namespace with links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use super::bridge::sysctl;
use super::error::NetworkError;
use super::kernel::{Kernel, Veth};
use super::observe::Live;
use super::rows::{self, Lease, NetworkRow, Published, Rows};
use super::{Inner, Result, inside, ipv6, lease, outside, ports, subnets};
use crate::files::failpoint;
use crate::model::{ContainerId, Name, PortMapping};
use crate::observed::Endpoint;
use crate::sys::netns;

/// How a container is to be attached to one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    pub network: Name,
    /// All names that it answers to there.
    pub names: BTreeSet<String>,
    pub ipv4_address: Option<Ipv4Addr>,
    pub ipv6_address: Option<Ipv6Addr>,
    /// What its link is called in the container, where it has a name of its own.
    pub interface: Option<String>,
    /// Of the link; derived from its address unless given.
    pub mac: Option<[u8; 6]>,
}

/// What a container got.
#[derive(Debug)]
pub struct Attached {
    /// Its network namespace, which lives as long as this or a process refers to it.
    pub netns: OwnedFd,
    pub given: Given,
}

/// What a container has of its networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub endpoints: BTreeMap<Name, Endpoint>,
    /// With the host ports that were chosen.
    pub ports: BTreeSet<PortMapping>,
    /// For its `resolv.conf`. Empty without networks.
    pub nameservers: Vec<IpAddr>,
}

/// Which numbers a container's links get, in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// In the order of the networks.
    Anew,
    /// Those of networks that it is in already stay, and new ones come after them.
    Kept,
}

/// What is written down for a container.
pub(super) struct Reserved {
    /// All rows as they are now.
    pub(super) rows: Rows,
    /// What it had before.
    pub(super) former: Vec<Lease>,
    /// By the numbers of their links.
    pub(super) leases: Vec<Lease>,
    published: Vec<Published>,
}

impl Reserved {
    fn networks(&self) -> impl Iterator<Item = &NetworkRow> {
        self.leases.iter().filter_map(|lease| self.rows.network_by_id(&lease.network))
    }

    pub(super) fn given(&self) -> Given {
        let networks: Vec<&NetworkRow> = self.networks().collect();
        let main = main(&networks, |_| true);
        Given {
            endpoints: endpoints(&self.rows, &self.leases),
            ports: self.published.iter().map(Published::mapping).collect(),
            nameservers: main.and_then(NetworkRow::names_at).into_iter().collect(),
        }
    }
}

impl Inner {
    pub(super) fn attach(&self, container: &ContainerId, joins: &[Join], ports: &BTreeSet<PortMapping>) -> Result<Attached> {
        if joins.is_empty() {
            return if ports.is_empty() { isolated() } else { Err(NetworkError::PortsWithoutNetwork) };
        }
        let home = netns::current().map_err(entering)?;
        self.connect(container, joins, ports).map_err(|error| {
            let undone = netns::enter(home)
                .map_err(entering)
                .and_then(|()| self.release(container))
                .and_then(|links| Self::delete_links(&links));
            match undone {
                Ok(()) => error,
                Err(undoing) => NetworkError::Several(vec![error, undoing]),
            }
        })
    }

    fn connect(&self, container: &ContainerId, joins: &[Join], ports: &BTreeSet<PortMapping>) -> Result<Attached> {
        let reserved = {
            let _lock = self.lock()?;
            self.reserve(container, joins, ports, Numbers::Anew)?
        };
        let host = Kernel::open()?;
        self.ready(&host, &reserved)?;
        let Reserved { rows, leases, .. } = &reserved;
        let namespace = netns::create().map_err(|source| NetworkError::Kernel {
            step: "create",
            object: "a network namespace".to_owned(),
            source,
        })?;
        for lease in leases {
            // What an earlier start left, whose namespace is not gone yet.
            host.delete_link(&self.instance.host_link(container, lease.link))?;
        }
        self.link_up(&host, &namespace, rows, leases, joins.first().and_then(|join| join.mac))?;
        failpoint("links made")?;
        Ok(Attached { netns: namespace, given: reserved.given() })
    }

    /// Makes sure that the networks are there which somebody is to be connected with, and that somebody answers for names.
    pub(super) fn ready(&self, host: &Kernel, reserved: &Reserved) -> Result<()> {
        let mut gateways: Vec<IpAddr> = Vec::new();
        for network in reserved.networks() {
            if host.link(&self.instance.bridge(&network.id))?.is_none() {
                let _lock = self.lock()?;
                self.restore(host, network, &self.rows()?)?;
            }
            gateways.extend(network.names_at());
        }
        self.dns.ensure(&gateways)
    }

    /// Decides, and writes down, what the container gets; then tells filter and DNS. The caller has the lock.
    pub(super) fn reserve(
        &self,
        container: &ContainerId,
        joins: &[Join],
        ports: &BTreeSet<PortMapping>,
        numbers: Numbers,
    ) -> Result<Reserved> {
        let before = self.rows()?;
        let former: Vec<Lease> = before.leases_of(container).cloned().collect();
        let former_ports: Vec<Published> = before.published_by(container).cloned().collect();
        let mut rows = before.without(|id| id == container);

        let leases = lease::lease(&rows, &former, container, joins, numbers)?;
        let networks: Vec<&NetworkRow> = leases.iter().filter_map(|lease| rows.network_by_id(&lease.network)).collect();
        if !former_ports.is_empty() {
            outside::give_back(&self.instance, &rows)?;
        }
        let to = reached(&leases, &networks, container);
        let published = ports::assign(&rows, &former_ports, to, ports, outside::is_apart(&self.instance))?;
        rows::replace(&self.db, container, &leases, &published)?;
        rows.leases.extend(leases.iter().cloned());
        rows.published.extend(published.iter().cloned());

        if !former_ports.is_empty() {
            outside::rebuild(&self.instance, &rows)?;
        } else if !published.is_empty() {
            outside::publish(&self.instance, &rows, &published)?;
        }
        self.publish_zone(&rows)?;
        Ok(Reserved { rows, former, leases, published })
    }

    /// Makes the links of `leases` that are not there. The calling thread ends up in `namespace`.
    pub(super) fn link_up(
        &self,
        host: &Kernel,
        namespace: &OwnedFd,
        rows: &Rows,
        leases: &[Lease],
        mac: Option<[u8; 6]>,
    ) -> Result<()> {
        // On the host, so before this thread is elsewhere.
        for lease in leases {
            self.add_link(host, namespace, rows, lease, mac)?;
        }
        netns::enter(namespace).map_err(entering)?;
        let inside = Kernel::open()?;
        if let Some(lo) = inside.link("lo")? {
            inside.set_up(lo.index, "lo")?;
        }
        for lease in leases {
            let name = lease.inner_name();
            let Some(network) = rows.network_by_id(&lease.network) else { continue };
            match network.subnet6 {
                None => sysctl("ipv6", &name, "disable_ipv6", "1")?,
                Some(_) => ipv6::prepare(&name)?,
            }
            let link = inside.link(&name)?.ok_or_else(|| NetworkError::Kernel {
                step: "find in the container link",
                object: name.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })?;
            let add = |ip: IpAddr| match network.prefix_for(ip) {
                Some(prefix) => inside.add_address(link.index, &name, ip, prefix),
                None => Ok(()),
            };
            lease.address.map_or(Ok(()), |ip| add(ip.into()))?;
            inside.set_up(link.index, &name)?;
            // A link that is down keeps none of IPv6.
            lease.address6.map_or(Ok(()), |ip| add(ip.into()))?;
        }
        let networks: Vec<&NetworkRow> = leases.iter().filter_map(|lease| rows.network_by_id(&lease.network)).collect();
        for gateway in ways_out(&networks) {
            inside.set_default_route(gateway)?;
        }
        for lease in leases {
            // In this order: the bridge comes up with its first link.
            host.settle(&self.instance.host_link(&lease.container, lease.link))?;
            host.settle(&self.instance.bridge(&lease.network))?;
        }
        Ok(())
    }

    fn add_link(&self, host: &Kernel, namespace: &OwnedFd, rows: &Rows, lease: &Lease, mac: Option<[u8; 6]>) -> Result<()> {
        let network = rows.network_by_id(&lease.network);
        let Some(network) = network else { return Ok(()) };
        let name = self.instance.bridge(&network.id);
        let bridge = match host.link(&name)? {
            Some(bridge) => bridge,
            // It went a moment ago. The packet filter, which is all that is left of it, is as it should be.
            None => self.ensure_bridge(host, network)?,
        };
        let host_name = self.instance.host_link(&lease.container, lease.link);
        if let Some(link) = host.link(&host_name)? {
            if link.carrier {
                return host.set_controller(link.index, &host_name, bridge.index, network.spec.driver_opts.isolated);
            }
            // Down in the container, or what is there is no link into it: made anew.
            host.delete_link(&host_name)?;
        }
        host.add_veth(&Veth {
            host_name: &host_name,
            controller: bridge.index,
            group: self.group(),
            mtu: network.spec.driver_opts.mtu.unwrap_or(bridge.mtu),
            isolated: network.spec.driver_opts.isolated,
            namespace: namespace.as_fd(),
            inner_name: &lease.inner_name(),
            inner_mac: mac
                .or_else(|| lease.addresses().next().map(subnets::mac))
                .ok_or_else(|| NetworkError::NoSubnet { name: network.name.clone() })?,
        })
    }

    /// Takes back rows, ports and names, and returns the links that are left to be deleted: by their numbers, because the next
    /// start of the container gives its links the same names.
    pub(super) fn release(&self, container: &ContainerId) -> Result<Vec<u32>> {
        let _lock = self.lock()?;
        let rows = self.rows()?;
        let names: Vec<String> = rows.leases_of(container).map(|l| self.instance.host_link(container, l.link)).collect();
        let published: Vec<Published> = rows.published_by(container).cloned().collect();
        let mut links = Vec::new();
        if !names.is_empty() {
            let host = Kernel::open()?;
            for name in &names {
                links.extend(host.link(name)?.map(|link| link.index));
            }
        }
        if names.is_empty() && published.is_empty() {
            return Ok(links);
        }
        let rows = rows.without(|id| id == container);
        let mut errors = Vec::new();
        if !published.is_empty() {
            errors.extend(outside::withdraw(&self.instance, &rows, &published).err());
        }
        errors.extend(self.publish_zone(&rows).err());
        // Rows last: while they are there, the rest can be repeated.
        if errors.is_empty() {
            rows::release(&self.db, [container])?;
        }
        NetworkError::gather(errors).map(|()| links)
    }

    /// Makes a container known by one name instead of another.
    pub(super) fn rename(&self, container: &ContainerId, from: &Name, to: &Name) -> Result<()> {
        let _lock = self.lock()?;
        let mut rows = self.rows()?;
        let mut changed = false;
        for lease in rows.leases.iter_mut().filter(|lease| lease.container == *container) {
            if lease.names.remove(from.as_str()) {
                lease.names.insert(to.to_string());
                rows::rename(&self.db, lease)?;
                changed = true;
            }
        }
        if changed { self.publish_zone(&rows) } else { Ok(()) }
    }

    pub(super) fn delete_links(links: &[u32]) -> Result<()> {
        if links.is_empty() {
            return Ok(());
        }
        let host = Kernel::open()?;
        NetworkError::gather(links.iter().filter_map(|link| host.delete_numbered_link(*link).err()).collect())
    }

    pub(super) fn repair_container(&self, live: &Live) -> Result<()> {
        let lock = self.lock()?;
        let rows = self.rows()?;
        let leases: Vec<Lease> = rows.leases_of(&live.id).cloned().collect();
        if leases.is_empty() {
            return Ok(());
        }
        // It has ended meanwhile, and the next start makes its links.
        let Some(namespace) = namespace_of(live)? else { return Ok(()) };
        let host = Kernel::open()?;
        for lease in leases.iter().filter(|lease| inside::lacks_link(&lease.inner_name(), live)) {
            // It has another name in the container, and is made anew.
            host.delete_link(&self.instance.host_link(&lease.container, lease.link))?;
        }
        self.publish_zone(&rows)?;
        self.link_up(&host, &namespace, &rows, &leases, live.mac)?;
        drop(lock);
        Ok(())
    }
}

/// The network namespace of a container that runs; `None` when it has ended meanwhile.
pub(super) fn namespace_of(live: &Live) -> Result<Option<OwnedFd>> {
    netns::of_identified(live.pid, live.started_ticks).map_err(|source| NetworkError::Kernel {
        step: "open the network namespace of container",
        object: live.id.short().to_owned(),
        source,
    })
}

/// A namespace with nothing but a loopback.
fn isolated() -> Result<Attached> {
    let namespace = netns::create().map_err(|source| NetworkError::Kernel {
        step: "create",
        object: "a network namespace".to_owned(),
        source,
    })?;
    netns::enter(&namespace).map_err(entering)?;
    let inside = Kernel::open()?;
    if let Some(lo) = inside.link("lo")? {
        inside.set_up(lo.index, "lo")?;
    }
    Ok(Attached { netns: namespace, given: Given::default() })
}

pub(super) fn entering(source: std::io::Error) -> NetworkError {
    NetworkError::Kernel { step: "enter", object: "a network namespace".to_owned(), source }
}

/// The network whose gateway is the default route: the first that leads anywhere, of those that are so.
fn way_out<'a>(networks: &[&'a NetworkRow], is_so: fn(&NetworkRow) -> bool) -> Option<&'a NetworkRow> {
    networks.iter().copied().find(|n| !n.spec.internal && is_so(n))
}

/// The gateways of the default routes: one of each family, where there is one.
pub(super) fn ways_out(networks: &[&NetworkRow]) -> impl Iterator<Item = IpAddr> {
    let four = way_out(networks, has_ipv4).and_then(|n| n.gateway().map(IpAddr::V4));
    let six = way_out(networks, has_ipv6).and_then(|n| n.gateway6().map(IpAddr::V6));
    four.into_iter().chain(six)
}

/// Where published ports of a container lead that has these of the leases. Answers leave by the default route, so that is where.
pub(super) fn reached<'c>(leases: &[Lease], networks: &[&NetworkRow], container: &'c ContainerId) -> ports::To<'c> {
    let of = |network: &NetworkRow| leases.iter().find(|l| l.network == network.id && l.container == *container);
    ports::To {
        container,
        address: main(networks, has_ipv4).and_then(|n| of(n)?.address),
        address6: main(networks, has_ipv6).and_then(|n| of(n)?.address6),
        binding: main(networks, has_ipv4).and_then(|n| n.spec.driver_opts.host_binding),
    }
}

/// The network by which a container is reached from elsewhere.
fn main<'a>(networks: &[&'a NetworkRow], is_so: fn(&NetworkRow) -> bool) -> Option<&'a NetworkRow> {
    way_out(networks, is_so).or_else(|| networks.iter().copied().find(|n| is_so(n)))
}

const fn has_ipv4(network: &NetworkRow) -> bool {
    network.subnet.is_some()
}

const fn has_ipv6(network: &NetworkRow) -> bool {
    network.subnet6.is_some()
}

pub(super) fn endpoints(rows: &Rows, leases: &[Lease]) -> BTreeMap<Name, Endpoint> {
    let endpoint = |l: &Lease| Endpoint { address: l.address, ipv6_address: l.address6, aliases: l.names.clone() };
    leases.iter().filter_map(|l| Some((rows.network_by_id(&l.network)?.name.clone(), endpoint(l)))).collect()
}

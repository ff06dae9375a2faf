//! One look at what the kernel has of networks: one dump of links, one of addresses and one of the packet filter,
//! however many containers there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::attach::ways_out;
use super::kernel::{Address, Kernel, Link};
use super::rows::{NetworkRow, Published, Rows};
use super::{Inner, Result, inside, ipv6, outside};
use crate::files;
use crate::model::{ContainerId, Name, PortMapping};
use crate::observed::{self, Endpoint};

/// A container that runs, and the process whose network namespace is the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub id: ContainerId,
    pub pid: i32,
    /// The address that its one link is to have, where it is not derived from the network's.
    pub mac: Option<[u8; 6]>,
    /// In ticks since the boot: a number alone may mean another process by now.
    pub started_ticks: u64,
    /// Whether what it sees of its networks is looked at, because it cannot change that by itself.
    pub inside: bool,
}

/// What a look has seen of the host that the next one need not look at where the kernel tells of no change.
#[derive(Debug)]
pub struct Seen {
    links: BTreeMap<String, Link>,
    addresses: Vec<Address>,
    /// Whether those of IPv6 are among them.
    ipv6: bool,
    rows: Arc<Rows>,
    firewall: Option<String>,
}

impl Seen {
    /// The names of the links, and their groups.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        self.links.values().map(|link| (link.name.as_str(), link.group))
    }
}

/// What was seen before, and what of it still holds.
#[derive(Clone, Debug)]
pub struct Known {
    pub seen: Arc<Seen>,
    pub links: bool,
    pub filter: bool,
}

/// What a look has seen.
#[derive(Clone, Debug)]
pub struct Look {
    pub seen: Arc<Seen>,
    pub networks: Vec<observed::Network>,
    /// Of the live containers: the networks they have a working link into.
    pub endpoints: BTreeMap<ContainerId, BTreeMap<Name, Endpoint>>,
    pub ports: BTreeMap<ContainerId, BTreeSet<PortMapping>>,
    /// Only containers that have faults.
    pub network_faults: BTreeMap<ContainerId, Vec<String>>,
    /// The numbers that the kernel has for the namespaces of live containers.
    pub namespaces: BTreeMap<ContainerId, i32>,
    /// What of the packet filter differs; `None` when it is whole.
    pub firewall: Option<String>,
}

impl Inner {
    pub(super) fn observe(&self, live: &[Live], known: Option<&Known>) -> Result<Look> {
        let seen = self.see(self.rows_seen()?, known)?;
        let Seen { links, addresses, rows, firewall, .. } = &*seen;
        let closely: BTreeMap<&ContainerId, &Live> = live.iter().filter(|l| l.inside).map(|l| (&l.id, l)).collect();
        let live: BTreeSet<&ContainerId> = live.iter().map(|l| &l.id).collect();
        let used: BTreeSet<&str> = rows.leases.iter().map(|l| l.network.as_str()).collect();

        let mut look = Look {
            networks: Vec::new(),
            endpoints: BTreeMap::new(),
            ports: BTreeMap::new(),
            network_faults: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            firewall: firewall.clone(),
            seen: Arc::clone(&seen),
        };
        for network in &rows.networks {
            let mut faults = self.bridge_faults(network, links, addresses)?;
            if let Some(gateway) = network.names_at().filter(|_| used.contains(network.id.as_str())) {
                faults.extend(self.dns.fault(gateway)?);
            }
            look.networks.push(self.seen(network, faults));
        }
        for lease in rows.leases.iter().filter(|l| live.contains(&l.container)) {
            let Some(network) = rows.network_by_id(&lease.network) else { continue };
            let link = links.get(&self.instance.host_link(&lease.container, lease.link));
            if let Some(number) = link.and_then(|link| link.leads_to) {
                look.namespaces.insert(lease.container.clone(), number);
            }
            let fault = self.link_fault(network, link, links);
            let fault = fault.or_else(|| inside::address_fault(network, lease, closely.get(&lease.container)?));
            let fault = fault.or_else(|| inside::name_fault(network, lease, closely.get(&lease.container)?));
            match fault {
                Some(fault) => look.network_faults.entry(lease.container.clone()).or_default().push(fault),
                None => {
                    let endpoint =
                        Endpoint { address: lease.address, ipv6_address: lease.address6, aliases: lease.names.clone() };
                    look.endpoints.entry(lease.container.clone()).or_default().insert(network.name.clone(), endpoint);
                }
            }
        }
        for live in closely.values() {
            let networks: Vec<&NetworkRow> =
                rows.leases_of(&live.id).filter_map(|lease| rows.network_by_id(&lease.network)).collect();
            let faults: Vec<String> = ways_out(&networks).filter_map(|gateway| inside::route_fault(gateway, live)).collect();
            if !faults.is_empty() {
                look.network_faults.entry(live.id.clone()).or_default().extend(faults);
            }
        }
        for port in rows.published.iter().filter(|p| live.contains(&p.container)) {
            look.ports.entry(port.container.clone()).or_default().insert(Published::mapping(port));
        }
        Ok(look)
    }

    /// What of the host is not known from before.
    fn see(&self, rows: Arc<Rows>, known: Option<&Known>) -> Result<Arc<Seen>> {
        let ipv6 = rows.networks.iter().any(|network| network.subnet6.is_some());
        let links_of = known.filter(|known| known.links && known.seen.ipv6 == ipv6).map(|known| &known.seen);
        let filter_of = known
            .filter(|known| known.filter && (Arc::ptr_eq(&known.seen.rows, &rows) || known.seen.rows == rows))
            .map(|known| &known.seen);
        if let (Some(seen), Some(_)) = (links_of, filter_of) {
            return Ok(Arc::clone(seen));
        }
        let (links, addresses) = match links_of {
            Some(seen) => (seen.links.clone(), seen.addresses.clone()),
            None => {
                let kernel = Kernel::open()?;
                (kernel.links()?.into_iter().map(|l| (l.name.clone(), l)).collect(), kernel.addresses(ipv6)?)
            }
        };
        let firewall = match filter_of {
            Some(seen) => seen.firewall.clone(),
            None => outside::differences(&self.instance, &rows)?,
        };
        Ok(Arc::new(Seen { links, addresses, ipv6, rows, firewall }))
    }

    fn bridge_faults(&self, network: &NetworkRow, links: &BTreeMap<String, Link>, addresses: &[Address]) -> Result<Vec<String>> {
        let name = self.instance.bridge(&network.id);
        let Some(bridge) = links.get(&name) else { return Ok(vec![format!("bridge {name} is gone")]) };
        let mut faults = Vec::new();
        if !bridge.up {
            faults.push(format!("bridge {name} is down"));
        }
        if let Some(mtu) = network.spec.driver_opts.mtu.filter(|mtu| *mtu != bridge.mtu) {
            faults.push(format!("bridge {name} has the MTU {} instead of {mtu}", bridge.mtu));
        }
        for (gateway, prefix) in network.gateways() {
            if !addresses.iter().any(|a| a.link == bridge.index && a.ip == gateway && a.prefix == prefix) {
                faults.push(format!("bridge {name} lacks its address {gateway}/{prefix}"));
            }
        }
        for key in ["forwarding", "route_localnet"] {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/{key}");
            let value = files::read_if_there(path.as_ref())?;
            // A bridge that vanishes between the two looks is seen at the next.
            if value.is_some_and(|value| value.trim_ascii() != b"1") {
                faults.push(format!("setting {key} of bridge {name} is off"));
            }
        }
        if network.subnet6.is_some() {
            let value = files::read_if_there(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6").as_ref())?;
            if value.is_some_and(|value| value.trim_ascii() != b"0") {
                faults.push(format!("IPv6 of bridge {name} is off"));
            }
            if !network.spec.internal && !ipv6::forwards()? {
                faults.push("the host does not forward IPv6 (net.ipv6.conf.all.forwarding)".to_owned());
            }
        }
        Ok(faults)
    }

    /// `None` when the container's link works.
    fn link_fault(&self, network: &NetworkRow, link: Option<&Link>, links: &BTreeMap<String, Link>) -> Option<String> {
        let bridge = links.get(&self.instance.bridge(&network.id));
        let Some(link) = link else { return Some(format!("its link into network {} is gone", network.name)) };
        if bridge.is_none_or(|bridge| link.controller != Some(bridge.index)) {
            Some(format!("its link into network {} is not on the network's bridge", network.name))
        } else if !link.up {
            Some(format!("its link into network {} is down on the host", network.name))
        } else if !link.carrier {
            Some(format!("its link into network {} is down in the container", network.name))
        } else if link.isolated != network.spec.driver_opts.isolated {
            let is = if link.isolated { "does not reach the others" } else { "reaches the others" };
            Some(format!("its link into network {} {is}", network.name))
        } else {
            None
        }
    }
}

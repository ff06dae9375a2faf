//! Which addresses of its networks a container gets, and which numbers its links have. Pure; knows no kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::attach::{Join, Numbers};
use super::error::NetworkError;
use super::rows::{Lease, NetworkRow, Rows};
use super::{Result, subnets};
use crate::model::ContainerId;

/// More links than this have no name on the host.
const LINKS: usize = 16;

/// An address for each join: the one that is asked for, the one of a former start, or the first that is free. In the order of
/// their links' numbers.
pub(super) fn lease(
    rows: &Rows,
    former: &[Lease],
    container: &ContainerId,
    joins: &[Join],
    numbers: Numbers,
) -> Result<Vec<Lease>> {
    if joins.len() > LINKS {
        return Err(NetworkError::TooMany);
    }
    let mut leases: Vec<Lease> = Vec::with_capacity(joins.len());
    for (join, number) in joins.iter().zip(0u8..) {
        let name = || join.network.clone();
        let network = rows.network(&join.network).ok_or_else(|| NetworkError::Unknown { name: name() })?;
        if leases.iter().any(|l| l.network == network.id) {
            return Err(NetworkError::Twice { network: name() });
        }
        let before = former.iter().find(|l| l.network == network.id);
        let four = Choice {
            network,
            subnet: network.subnet,
            asked: join.ipv4_address,
            before: before.and_then(|l| l.address),
            holders: holders(rows, network, |l| l.address),
        };
        let address = four.make(
            |subnet, address| network.spec.is_host(subnet, address),
            |subnet, used| subnets::free_address(network.spec.pool(subnet), used),
        )?;
        let spec = network.spec.ipv6.clone().unwrap_or_default();
        let six = Choice {
            network,
            subnet: network.subnet6,
            asked: join.ipv6_address,
            before: before.and_then(|l| l.address6),
            holders: holders(rows, network, |l| l.address6),
        };
        let address6 = six.make(
            |subnet, address| spec.is_host(subnet, address),
            |subnet, used| subnets::free_address(spec.pool(subnet), used),
        )?;
        let link = match numbers {
            Numbers::Anew => number,
            Numbers::Kept => match former.iter().find(|lease| lease.network == network.id) {
                Some(lease) => lease.link,
                None => new_number(former, &leases),
            },
        };
        leases.push(Lease {
            network: network.id.clone(),
            container: container.clone(),
            address,
            address6,
            names: join.names.clone(),
            link,
            interface: join.interface.clone(),
        });
    }
    leases.sort_by_key(|lease| lease.link);
    name_links(&mut leases)?;
    Ok(leases)
}

/// Makes sure that each link has a name of its own: one that asks for none gives way to one that asks for what it would be called.
fn name_links(leases: &mut [Lease]) -> Result<()> {
    let mut taken = BTreeSet::new();
    for name in leases.iter().filter_map(|lease| lease.interface.clone()) {
        if let Some(name) = taken.replace(name) {
            return Err(NetworkError::LinkNameTwice { name });
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let numbered: Vec<String> = leases.iter().filter(|lease| lease.interface.is_none()).map(Lease::inner_name).collect();
    let is_asked_for: BTreeSet<String> = taken.clone();
    taken.extend(numbered);
    for lease in leases.iter_mut().filter(|lease| lease.interface.is_none()) {
        if is_asked_for.contains(&lease.inner_name()) {
            lease.interface = (0..).map(|number: u32| format!("eth{number}")).find(|name| !taken.contains(name));
            taken.extend(lease.interface.clone());
        }
    }
    Ok(())
}

/// A number for one more link: above all others, so that the way out stays where it is, or else any that nobody has.
fn new_number(former: &[Lease], leases: &[Lease]) -> u8 {
    let used: BTreeSet<u8> = former.iter().chain(leases).map(|lease| lease.link).collect();
    let above = used.last().map_or(0, |last| last + 1);
    if usize::from(above) < LINKS { above } else { (0..).find(|number| !used.contains(number)).unwrap_or(above) }
}

/// The addresses of one family that containers have in a network.
fn holders<'a, A: Ord>(rows: &'a Rows, network: &NetworkRow, has: fn(&Lease) -> Option<A>) -> BTreeMap<A, &'a ContainerId> {
    rows.leases.iter().filter(|l| l.network == network.id).filter_map(|l| Some((has(l)?, &l.container))).collect()
}

/// What an address of one family is chosen by.
struct Choice<'a, S, A> {
    network: &'a NetworkRow,
    /// `None`: the network has none of this family.
    subnet: Option<S>,
    asked: Option<A>,
    /// What the container had before.
    before: Option<A>,
    holders: BTreeMap<A, &'a ContainerId>,
}

impl<S: Copy, A: Copy + Ord + Into<IpAddr>> Choice<'_, S, A> {
    fn make(self, is_host: impl Fn(S, A) -> bool, free: impl FnOnce(S, &BTreeSet<A>) -> Option<A>) -> Result<Option<A>> {
        let name = || self.network.name.clone();
        let Some(subnet) = self.subnet else {
            let Some(address) = self.asked.map(Into::into) else { return Ok(None) };
            return Err(NetworkError::NoFamily { network: name(), address, family: family(address) });
        };
        if let Some(address) = self.asked {
            if !is_host(subnet, address) {
                let subnet = self.network.ranges();
                return Err(NetworkError::AddressOutside { network: name(), address: address.into(), subnet });
            }
            return match self.holders.get(&address) {
                Some(holder) => {
                    let container = holder.short().to_owned();
                    Err(NetworkError::AddressTaken { network: name(), address: address.into(), container })
                }
                None => Ok(Some(address)),
            };
        }
        let kept = self.before.filter(|address| is_host(subnet, *address) && !self.holders.contains_key(address));
        if kept.is_some() {
            return Ok(kept);
        }
        let used = self.holders.keys().copied().collect();
        match free(subnet, &used) {
            None => Err(NetworkError::Full { network: name(), subnet: self.network.ranges() }),
            chosen => Ok(chosen),
        }
    }
}

pub(super) const fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

//! Which addresses a network has: `ipam` and the two families.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::model::spec::{Ipv6Spec, NetworkSpec, Subnet, Subnet6};

use super::fields;
use super::reader::{Fields, Reader};
use super::tree::Node;

/// A subnet of either family.
trait Range: Copy + PartialEq + Display + FromStr<Err: Display> {
    type Address: Copy + PartialEq + Display + FromStr<Err: Display>;

    fn first(self) -> Self::Address;
    fn has(self, address: Self::Address) -> bool;
    fn covers(self, other: Self) -> bool;
}

impl Range for Subnet {
    type Address = Ipv4Addr;

    fn first(self) -> Ipv4Addr {
        self.gateway()
    }

    fn has(self, address: Ipv4Addr) -> bool {
        self.is_inside(address)
    }

    fn covers(self, other: Self) -> bool {
        self.contains(other.address()) && other.prefix() >= self.prefix()
    }
}

impl Range for Subnet6 {
    type Address = Ipv6Addr;

    fn first(self) -> Ipv6Addr {
        self.gateway()
    }

    fn has(self, address: Ipv6Addr) -> bool {
        self.is_inside(address)
    }

    fn covers(self, other: Self) -> bool {
        self.contains(other.address()) && other.prefix() >= self.prefix()
    }
}

/// Which families a network has, and what `ipam` says of each.
pub(super) fn addresses(reader: &mut Reader, f: &Fields, spec: &mut NetworkSpec) {
    let mut flag = |name| f.get(name).and_then(|node| Some((reader.boolean(node)?, node.at)));
    let (four, six) = (flag("enable_ipv4"), flag("enable_ipv6").map(|(on, _)| on));
    spec.ipv6 = six.filter(|on| *on).map(|_| Ipv6Spec::default());
    spec.ipv6_only = four.is_some_and(|(on, _)| !on);
    if let Some(node) = f.get("ipam") {
        // Who gives it a subnet of IPv6 has said that it has IPv6.
        ipam(reader, node, spec, six != Some(false));
    }
    if let (Some((false, at)), None) = (four, &spec.ipv6) {
        reader.error_hint(at, "a network without IPv4 needs IPv6", "add `enable_ipv6: true`");
    }
}

fn ipam(reader: &mut Reader, node: &Node, spec: &mut NetworkSpec, may_have_ipv6: bool) {
    let Some(f) = reader.fields(node, &fields::IPAM) else { return };
    if let Some(node) = f.get("driver") {
        reader.choice(node, &[("default", ())]);
    }
    for node in f.get("config").map(|node| reader.list(node)).unwrap_or_default() {
        let Some(f) = reader.fields(node, &fields::IPAM_CONFIG) else { continue };
        let Some(subnet) = f.get("subnet") else {
            for name in ["gateway", "ip_range", "aux_addresses"] {
                if let Some(node) = f.get(name) {
                    // Of which family it is nobody says.
                    let is_form = if name == "aux_addresses" { reader.map(node).is_some() } else { reader.text(node).is_some() };
                    if !is_form {
                        continue;
                    }
                    reader.error_hint(f.place(name), format!("`{name}` needs a subnet"), "give the network its `subnet`");
                }
            }
            continue;
        };
        let Some(text) = reader.text(subnet) else { continue };
        let again = |reader: &mut Reader, family: &str| {
            let hint = "a network has one subnet of IPv4 and one of IPv6 at most: remove this one";
            reader.error_hint(node.at, format!("the network has a subnet of {family} already"), hint);
        };
        if text.contains(':') {
            let Some(Told { subnet: range, gateway, ip_range, aux_addresses }) = told::<Subnet6>(reader, &f, subnet) else {
                continue;
            };
            let six = Ipv6Spec { subnet: Some(range), gateway, ip_range, aux_addresses };
            if !may_have_ipv6 {
                reader.error_hint(subnet.at, "the network has no IPv6", "remove `enable_ipv6: false`, or the subnet");
            } else if spec.ipv6.as_ref().is_some_and(|six| six.subnet.is_some()) {
                again(reader, "IPv6");
            } else {
                spec.ipv6 = Some(six);
            }
        } else {
            let Some(told) = told::<Subnet>(reader, &f, subnet) else { continue };
            if spec.ipv6_only {
                reader.error_hint(subnet.at, "the network has no IPv4", "remove `enable_ipv4: false`, or the subnet");
            } else if spec.subnet.is_some() {
                again(reader, "IPv4");
            } else {
                (spec.subnet, spec.gateway, spec.ip_range) = (Some(told.subnet), told.gateway, told.ip_range);
                spec.aux_addresses = told.aux_addresses;
            }
        }
    }
}

/// What is said of one subnet.
struct Told<R: Range> {
    subnet: R,
    gateway: Option<R::Address>,
    ip_range: Option<R>,
    aux_addresses: BTreeMap<String, R::Address>,
}

fn told<R: Range>(reader: &mut Reader, f: &Fields, node: &Node) -> Option<Told<R>> {
    let subnet = reader.parse::<R>(node);
    let gateway = f.get("gateway").and_then(|node| Some((reader.parse::<R::Address>(node)?, node.at)));
    let range = f.get("ip_range").and_then(|node| Some((reader.parse::<R>(node)?, node.at)));
    let aux = f.get("aux_addresses").and_then(|node| reader.map(node)).unwrap_or_default().iter();
    let aux: Vec<_> =
        aux.filter_map(|(key, node)| Some((key.text.clone(), reader.parse::<R::Address>(node)?, node.at))).collect();
    let subnet = subnet?;
    let hint = format!("the subnet is {subnet}");
    for (address, at) in gateway.into_iter().chain(aux.iter().map(|(_, address, at)| (*address, *at))) {
        if !subnet.has(address) {
            reader.error_hint(at, format!("{address} is not an address of the subnet"), hint.clone());
        }
    }
    if let Some((range, at)) = range.filter(|(range, _)| !subnet.covers(*range)) {
        reader.error_hint(at, format!("{range} is not within the subnet"), hint);
    }
    // What is as usual is not said.
    Some(Told {
        subnet,
        gateway: gateway.map(|(address, _)| address).filter(|address| *address != subnet.first()),
        ip_range: range.map(|(range, _)| range).filter(|range| *range != subnet),
        aux_addresses: aux.into_iter().map(|(name, address, _)| (name, address)).collect(),
    })
}

//! Links, addresses and routes of one network namespace, by netlink. Synchronous on purpose: whoever needs it runs on a
//! thread of its own, which may change its namespace. Knows nothing of networks and containers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
    LinkMessage, State,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime::Runtime;

use super::error::NetworkError;

/// A netlink socket in the network namespace that the thread was in when it opened it; it stays there.
pub(super) struct Kernel {
    runtime: Runtime,
    handle: Handle,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    /// The other end is up too.
    pub carrier: bool,
    /// The kernel has taken note of it: a bridge forwards to the link from then on.
    pub operational: bool,
    pub controller: Option<u32>,
    pub group: u32,
    pub mtu: u32,
    /// The number that the kernel has here for the namespace of its other end.
    pub leads_to: Option<i32>,
    /// Its bridge passes nothing from it to others that are isolated as well.
    pub isolated: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Address {
    pub link: u32,
    pub ip: IpAddr,
    pub prefix: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub destination: IpAddr,
    pub prefix: u8,
    pub link: Option<u32>,
}

/// One end on the host, the other in a container.
pub(super) struct Veth<'a> {
    pub host_name: &'a str,
    pub controller: u32,
    pub group: u32,
    pub mtu: u32,
    /// It does not reach other such links of its bridge.
    pub isolated: bool,
    pub namespace: BorrowedFd<'a>,
    pub inner_name: &'a str,
    pub inner_mac: [u8; 6],
}

impl Kernel {
    pub(super) fn open() -> Result<Self, NetworkError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(NetworkError::Netlink)?;
        let handle = {
            let _inside = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Netlink)?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    pub(super) fn links(&self) -> Result<Vec<Link>, NetworkError> {
        let dump = self.handle.link().get().set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]).execute();
        let messages: Vec<LinkMessage> = self.wait("list", "links", dump.try_collect())?;
        Ok(messages.into_iter().map(link).collect())
    }

    pub(super) fn link(&self, name: &str) -> Result<Option<Link>, NetworkError> {
        let mut answer = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        match self.runtime.block_on(answer.try_next()) {
            Ok(message) => Ok(message.map(link)),
            Err(e) if is(&e, libc::ENODEV) => Ok(None),
            Err(e) => Err(failed("look up link", name, e)),
        }
    }

    /// Those of IPv4, and those of IPv6 where they are asked for.
    pub(super) fn addresses(&self, ipv6: bool) -> Result<Vec<Address>, NetworkError> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = if ipv6 { AddressFamily::Unspec } else { AddressFamily::Inet };
        let messages: Vec<_> = self.wait("list", "addresses", request.execute().try_collect())?;
        Ok(messages
            .into_iter()
            .filter_map(|message| {
                // Of IPv6 the kernel names the other end only where there is one, and of IPv4 always.
                let local = message.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(ip) | AddressAttribute::Address(ip @ IpAddr::V6(_)) => Some(*ip),
                    _ => None,
                });
                local.map(|ip| Address { link: message.header.index, ip, prefix: message.header.prefix_len })
            })
            .collect())
    }

    /// Unicast IPv4 routes of all tables but those to the host's own addresses.
    pub(super) fn routes(&self) -> Result<Vec<Route>, NetworkError> {
        self.routes_of(RouteMessageBuilder::<Ipv4Addr>::new().table_id(0).build(), Ipv4Addr::UNSPECIFIED.into())
    }

    /// The same of IPv6.
    pub(super) fn routes6(&self) -> Result<Vec<Route>, NetworkError> {
        self.routes_of(RouteMessageBuilder::<Ipv6Addr>::new().table_id(0).build(), Ipv6Addr::UNSPECIFIED.into())
    }

    fn routes_of(&self, all: RouteMessage, everywhere: IpAddr) -> Result<Vec<Route>, NetworkError> {
        let family = all.header.address_family;
        let messages: Vec<_> = self.wait("list", "routes", self.handle.route().get(all).execute().try_collect())?;
        Ok(messages
            .into_iter()
            .filter(|m| m.header.kind == RouteType::Unicast && m.header.address_family == family)
            .map(|message| {
                let mut route = Route { destination: everywhere, prefix: message.header.destination_prefix_length, link: None };
                for attribute in message.attributes {
                    match attribute {
                        RouteAttribute::Destination(RouteAddress::Inet(ip)) => route.destination = ip.into(),
                        RouteAttribute::Destination(RouteAddress::Inet6(ip)) => route.destination = ip.into(),
                        RouteAttribute::Oif(index) => route.link = Some(index),
                        _ => {}
                    }
                }
                route
            })
            .collect())
    }

    /// A bridge that is down.
    pub(super) fn add_bridge(&self, name: &str, mac: [u8; 6], mtu: u32, group: u32) -> Result<(), NetworkError> {
        let message = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Bridge)
            .name(name)
            .address(mac.to_vec())
            .mtu(mtu)
            .link_group(group)
            .build();
        self.wait("create bridge", name, self.handle.link().add(message).execute())
    }

    /// In one message, so the kernel makes the pair whole or not at all. The inner end is down: it cannot come up before
    /// the pair is one.
    pub(super) fn add_veth(&self, veth: &Veth<'_>) -> Result<(), NetworkError> {
        let inner = LinkMessageBuilder::<LinkUnspec>::new()
            .name(veth.inner_name)
            .setns_by_fd(veth.namespace.as_raw_fd())
            .address(veth.inner_mac.to_vec())
            .mtu(veth.mtu)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(veth.host_name)
            .controller(veth.controller)
            .link_group(veth.group)
            .mtu(veth.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner)))
            .up()
            .build();
        self.wait("create link", veth.host_name, self.handle.link().add(message).execute())?;
        self.set_port(veth.host_name, veth.isolated)
    }

    /// Waits until a link passes packets: one whose both ends are up, or a bridge that has such a one. The kernel sees to
    /// that by itself a little later, mostly at once and after a second at worst; what is sent before is lost. New
    /// kernels see to it when they are asked.
    pub(super) fn settle(&self, name: &str) -> Result<(), NetworkError> {
        let deadline = Instant::now() + Duration::from_millis(1200);
        let mut pause = Duration::from_micros(100);
        while self.link(name)?.is_some_and(|link| !link.operational) && Instant::now() < deadline {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Lets a bridge send a packet out where it came in. A container that reaches itself by a published port needs it
    /// where bridged packets pass the packet filter (`bridge-nf-call-iptables`).
    fn set_port(&self, name: &str, isolated: bool) -> Result<(), NetworkError> {
        let message = LinkMessageBuilder::<LinkBridgePort>::default()
            .name(name)
            .set_port_kind(InfoPortKind::Bridge)
            .hairpin(true)
            .isolated(isolated)
            .build();
        self.wait("set up the bridge port of link", name, self.handle.link().set_port(message).execute())
    }

    pub(super) fn set_up(&self, index: u32, name: &str) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.wait("bring up link", name, self.handle.link().set(message).execute())
    }

    pub(super) fn set_mtu(&self, index: u32, name: &str, mtu: u32) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        self.wait("set the MTU of link", name, self.handle.link().set(message).execute())
    }

    pub(super) fn set_controller(&self, index: u32, name: &str, controller: u32, isolated: bool) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index).controller(controller).up().build();
        self.wait("attach to its bridge link", name, self.handle.link().set(message).execute())?;
        self.set_port(name, isolated)
    }

    /// What is not there is deleted already.
    pub(super) fn delete_link(&self, name: &str) -> Result<(), NetworkError> {
        self.delete(LinkUnspec::new_with_name(name).build(), name)
    }

    /// The same of exactly this link, whatever has its name by now.
    pub(super) fn delete_numbered_link(&self, index: u32) -> Result<(), NetworkError> {
        self.delete(LinkUnspec::new_with_index(index).build(), &format!("number {index}"))
    }

    fn delete(&self, link: LinkMessage, called: &str) -> Result<(), NetworkError> {
        match self.runtime.block_on(self.handle.link().del_with_message(link).execute()) {
            Err(e) if !is(&e, libc::ENODEV) => Err(failed("delete link", called, e)),
            _ => Ok(()),
        }
    }

    /// What is there is added already. An IPv6 address is used at once, without asking whether somebody else has it: who has
    /// which is decided here.
    pub(super) fn add_address(&self, index: u32, name: &str, ip: IpAddr, prefix: u8) -> Result<(), NetworkError> {
        let mut request = self.handle.address().add(index, ip, prefix);
        if ip.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        match self.runtime.block_on(request.execute()) {
            Err(e) if !is(&e, libc::EEXIST) => Err(failed("add an address to link", name, e)),
            _ => Ok(()),
        }
    }

    /// In the place of another one, if there is any.
    pub(super) fn set_default_route(&self, gateway: IpAddr) -> Result<(), NetworkError> {
        let message = match gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).build(),
        };
        self.wait("set the default route by", &gateway.to_string(), self.handle.route().add(message).replace().execute())
    }

    fn wait<T>(
        &self,
        step: &'static str,
        object: &str,
        work: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, NetworkError> {
        self.runtime.block_on(work).map_err(|e| failed(step, object, e))
    }
}

fn link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        operational: false,
        controller: None,
        group: 0,
        mtu: 0,
        leads_to: None,
        isolated: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::OperState(state) => link.operational = state == State::Up,
            LinkAttribute::Group(group) => link.group = group,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkNetNsId(number) => link.leads_to = Some(number),
            LinkAttribute::LinkInfo(all) => link.isolated = all.iter().any(is_isolated),
            _ => {}
        }
    }
    link
}

fn is_isolated(info: &LinkInfo) -> bool {
    let LinkInfo::PortData(InfoPortData::BridgePort(all)) = info else { return false };
    all.contains(&InfoBridgePort::Isolated(true))
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code().abs() == errno)
}

fn failed(step: &'static str, object: &str, error: rtnetlink::Error) -> NetworkError {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    };
    NetworkError::Kernel { step, object: object.to_owned(), source }
}

//! Links of the host that a bundle wants in the container's network namespace (`linux.netDevices`): each is moved with its
//! lasting addresses, given its new name and raised. What comes of it afterwards is the namespace's own matter.
//!
//! # Guarantees
//! A name that the container has already is refused before anything moves, and [`Moved::give_back`] brings back what was moved.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::LinuxNetDevice;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::super::failure::{At, Failure, Stage};
use crate::sys::netns;

/// What has been moved, and where it was before.
#[derive(Debug)]
pub(super) struct Moved {
    home: OwnedFd,
    container: OwnedFd,
    /// The names in the container and on the host.
    names: Vec<(String, String)>,
}

/// Moves links of the caller's network namespace into that of a process.
///
/// # Assumptions
/// The calling process has one thread.
pub(super) fn move_all(devices: &HashMap<String, LinuxNetDevice>, pid: i32) -> Result<Moved, Failure> {
    let stage = Stage::MoveNetDevice;
    let mut moved =
        Moved { home: netns::current().at(stage, "")?, container: netns::of_process(pid).at(stage, "")?, names: Vec::new() };
    let mut sorted: Vec<_> = devices.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, device) in sorted {
        let wanted = device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| name.clone());
        match transfer(name, &wanted, moved.home.as_fd(), moved.container.as_fd()) {
            Ok(given) => moved.names.push((given, name.clone())),
            Err(source) => {
                let about = if *name == wanted { name.clone() } else { format!("{name} as {wanted}") };
                moved.give_back();
                return Err(Failure::new(stage, about, source));
            }
        }
    }
    Ok(moved)
}

impl Moved {
    /// Brings all back: the container came to nothing.
    pub(super) fn give_back(self) {
        for (inner, outer) in &self.names {
            // A virtual one is gone with the namespace, and a physical one comes back by itself, if this fails.
            drop(transfer(inner, outer, self.container.as_fd(), self.home.as_fd()));
        }
    }
}

/// Moves one link, and gives the name that it has then: of a template with `%d` the kernel makes one.
fn transfer(name: &str, wanted: &str, from: BorrowedFd<'_>, into: BorrowedFd<'_>) -> io::Result<String> {
    let here = Route::open(from)?;
    let there = Route::open(into)?;
    let link = here.link(name)?.ok_or(Errno::NODEV)?;
    let addresses = here.lasting_addresses(link.header.index)?;
    let before = there.links()?;
    let template = wanted.split_once("%d");
    if template.is_none() && before.iter().any(|other| name_of(other) == wanted) {
        return Err(Errno::EXIST.into());
    }
    let mut change = LinkMessage::default();
    change.header.index = link.header.index;
    change.attributes = vec![LinkAttribute::NetNsFd(into.as_raw_fd()), LinkAttribute::IfName(wanted.to_owned())];
    here.change(RouteNetlinkMessage::SetLink(change), 0)?;

    let known: HashSet<u32> = before.iter().map(|other| other.header.index).collect();
    let is_it = |other: &LinkMessage| match template {
        None => name_of(other) == wanted,
        Some((front, back)) => {
            let name = name_of(other);
            !known.contains(&other.header.index) && name.starts_with(front) && name.ends_with(back)
        }
    };
    let arrived = there.links()?.into_iter().find(is_it).ok_or(Errno::NODEV)?;
    for address in addresses {
        there.add_address(address, arrived.header.index)?;
    }
    let mut up = LinkMessage::default();
    up.header.index = arrived.header.index;
    up.header.flags = LinkFlags::Up;
    up.header.change_mask = LinkFlags::Up;
    there.change(RouteNetlinkMessage::SetLink(up), 0)?;
    Ok(name_of(&arrived).to_owned())
}

fn name_of(link: &LinkMessage) -> &str {
    link.attributes
        .iter()
        .find_map(|a| if let LinkAttribute::IfName(name) = a { Some(name.as_str()) } else { None })
        .unwrap_or("")
}

/// Questions to the kernel about one network namespace.
struct Route(Socket);

impl Route {
    fn open(namespace: BorrowedFd<'_>) -> io::Result<Self> {
        netns::within(namespace, || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            Ok(Self(socket))
        })
    }

    fn link(&self, name: &str) -> io::Result<Option<LinkMessage>> {
        Ok(self.links()?.into_iter().find(|link| name_of(link) == name))
    }

    fn links(&self) -> io::Result<Vec<LinkMessage>> {
        let answers = self.ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.into_iter().filter_map(|a| if let RouteNetlinkMessage::NewLink(l) = a { Some(l) } else { None }).collect())
    }

    /// Those that somebody has given it for good, and that are of use beyond the link.
    fn lasting_addresses(&self, index: u32) -> io::Result<Vec<AddressMessage>> {
        let answers = self.ask(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        let addresses =
            answers.into_iter().filter_map(|a| if let RouteNetlinkMessage::NewAddress(a) = a { Some(a) } else { None });
        Ok(addresses
            .filter(|address| {
                let header = &address.header;
                header.index == index
                    && header.scope == AddressScope::Universe
                    && header.flags.contains(AddressHeaderFlags::Permanent)
            })
            .collect())
    }

    fn add_address(&self, old: AddressMessage, index: u32) -> io::Result<()> {
        let mut new = AddressMessage::default();
        new.header = old.header;
        new.header.index = index;
        // That it was tested for duplicates says nothing about where it is now.
        let passing = AddressFlags::Tentative | AddressFlags::Dadfailed;
        new.header.flags -= AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
        new.attributes = old
            .attributes
            .into_iter()
            .filter_map(|attribute| match attribute {
                AddressAttribute::Flags(flags) => Some(AddressAttribute::Flags(flags - passing)),
                kept @ (AddressAttribute::Address(_)
                | AddressAttribute::Local(_)
                | AddressAttribute::Broadcast(_)
                | AddressAttribute::RoutePriority(_)) => Some(kept),
                // A label begins with the old name, and the rest is the kernel's to say.
                _ => None,
            })
            .collect();
        self.change(RouteNetlinkMessage::NewAddress(new), NLM_F_CREATE | NLM_F_EXCL)
    }

    fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_ACK | flags).map(drop)
    }

    /// Sends one request, and gives all that is answered until the end of it is.
    fn ask(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = 1;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (packet, _) = self.0.recv_from_full()?;
            let mut rest = packet.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
                let length = usize::try_from(answer.header.length).unwrap_or(0).next_multiple_of(4);
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    // An error of zero: what was asked for is done.
                    NetlinkPayload::Error(_) => return Ok(answers),
                    NetlinkPayload::Overrun(_) => return Err(Errno::OVERFLOW.into()),
                    _ => {}
                }
                rest = rest.get(length.max(16)..).unwrap_or_default();
            }
        }
    }
}

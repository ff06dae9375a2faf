//! Word of changes from the kernel, for who knows how things were: of links, addresses and routes of the host and of every network
//! namespace that has a number here, and of the packet filter. A namespace has a number as soon as a link leads into it.
//! Source: netlink(7), `NETLINK_LISTEN_ALL_NSID`.
//!
//! What the kernel tells is there to be read as soon as the change is: who reads all that there is knows of every change up to then.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rtnetlink::sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::thread::CapabilitySet;

use super::error::NetworkError;
use super::said::{Links, Marks, messages};
use super::{Result, outside};
use crate::model::Instance;

/// Links, IPv4 addresses, IPv4 routes, IPv6 addresses and IPv6 routes, as the kernel numbers the groups. Of routes those in the
/// namespaces of containers count.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// Changes of nftables.
const FILTER_GROUPS: [u32; 1] = [7];

/// Bytes that the kernel keeps for who has not read yet: many containers may start at once.
const ROOM: usize = 4 << 20;

/// The sockets that are told.
pub struct Word {
    routes: Socket,
    filter: Socket,
    /// Whether it is told of every namespace.
    tells_all: bool,
    marks: Marks,
    /// What was said of the host's links before.
    links: Links,
}

/// In what something has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// In the namespaces with these numbers; `None` when it was too much to tell: in any of them.
    pub namespaces: Option<BTreeSet<i32>>,
    /// In the host's links or addresses. That a link is as it was is said often, and is no change.
    pub host: bool,
    /// In the host's packet filter.
    pub filter: bool,
    /// In what of all that on the host is this instance's, or may be: somebody should look.
    pub ours: bool,
}

impl Word {
    /// Begins to listen where the networks are.
    pub(super) fn open(instance: &Instance) -> Result<Self> {
        if !outside::is_apart(instance) {
            return Self::open_here(instance);
        }
        // A socket stays in the namespace that it was made in, and so does a thread.
        let instance = instance.clone();
        let thread = std::thread::Builder::new().name("networks".to_owned());
        let work = thread.spawn(move || {
            outside::go_in(&instance)?;
            Self::open_here(&instance)
        });
        work.map_err(NetworkError::Thread)?.join().map_err(|_| NetworkError::Panicked)?
    }

    fn open_here(instance: &Instance) -> Result<Self> {
        let may = rustix::thread::capabilities(None).map_err(|e| NetworkError::Netlink(e.into()))?.effective;
        let tells_all = may.contains(CapabilitySet::NET_BROADCAST) && !outside::is_apart(instance);
        let open = |protocol, groups: &[u32], all: bool| {
            let mut socket = Socket::new(protocol)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            // As much as this is not everybody's; with less it is told more often that it was too much.
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap_or_default();
            if all {
                socket.set_listen_all_namespaces(true)?;
            }
            groups.iter().try_for_each(|group| socket.add_membership(*group))?;
            Ok(socket)
        };
        let both = open(NETLINK_ROUTE, &GROUPS, tells_all).and_then(|routes| {
            let filter = open(NETLINK_NETFILTER, &FILTER_GROUPS, false)?;
            Ok(Self { routes, filter, tells_all, marks: Marks::of(instance), links: Links::default() })
        });
        both.map_err(NetworkError::Netlink)
    }

    /// Whether it is told of every namespace: an ordinary user is not, nor is who lacks the capability for it.
    pub const fn tells_all(&self) -> bool {
        self.tells_all
    }

    /// Takes all that was told since the last time.
    pub fn take(&mut self) -> io::Result<Told> {
        let Self { routes, filter, marks, links, .. } = self;
        let mut told = Told { namespaces: Some(BTreeSet::new()), ..Told::default() };
        each(routes, |whose| match whose {
            Whose::Namespace(number) => {
                if let Some(numbers) = &mut told.namespaces {
                    numbers.insert(number);
                }
            }
            // Each message is taken note of.
            Whose::Own(text) => messages(text).filter(|(kind, said)| !links.knows(*kind, said)).for_each(|(kind, said)| {
                told.host = true;
                told.ours = told.ours || marks.is_ours(kind, said);
            }),
            Whose::Lost => (told.namespaces, told.host, told.ours) = (None, true, true),
        })?;
        each(filter, |whose| {
            told.filter = true;
            told.ours |= match whose {
                Whose::Own(text) => messages(text).any(|(_, said)| marks.is_named(said)),
                Whose::Namespace(_) => false,
                Whose::Lost => true,
            };
        })?;
        Ok(told)
    }

    /// Descriptors that are ready when there is something to take.
    pub fn wakes(&self) -> [BorrowedFd<'_>; 2] {
        [self.routes.as_fd(), self.filter.as_fd()]
    }
}

/// Of which namespace a message tells.
enum Whose<'a> {
    Namespace(i32),
    /// That of the socket, and the messages.
    Own(&'a [u8]),
    /// There was no room for it.
    Lost,
}

/// Takes all messages that there are.
fn each(socket: &Socket, mut tell: impl FnMut(Whose<'_>)) -> io::Result<()> {
    // As much as the kernel puts into one datagram.
    let mut text = vec![0u8; 32 << 10];
    loop {
        let mut whose = cmsg_space!(i32);
        let mut parts = [IoSliceMut::new(&mut text)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut whose), MsgFlags::empty()) {
            Ok(message) => {
                let length = message.bytes;
                let number = message.cmsgs().map_err(io::Error::from)?.find_map(|said| match said {
                    ControlMessageOwned::Unknown(said) if said.cmsg_header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID => {
                        Some(i32::from_ne_bytes(said.data_bytes.get(..4)?.try_into().ok()?))
                    }
                    _ => None,
                });
                match number {
                    Some(number) => tell(Whose::Namespace(number)),
                    None => tell(Whose::Own(&text[..length])),
                }
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => tell(Whose::Lost),
            Err(e) => return Err(e.into()),
        }
    }
}

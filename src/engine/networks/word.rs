//! Word from the network namespaces of containers: the kernel tells one socket of changes of links, addresses and routes in every
//! namespace that has a number here, and says in which. A namespace has one as soon as a link leads into it.
//! Source: netlink(7), `NETLINK_LISTEN_ALL_NSID`.
//!
//! What the kernel tells is there to be read as soon as the change is: who reads all that there is knows of every change up to then.

use std::collections::BTreeSet;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use rustix::thread::CapabilitySet;

use super::error::NetworkError;
use super::{Result, outside};
use crate::model::Instance;

/// Links, IPv4 addresses, IPv4 routes, IPv6 addresses and IPv6 routes, as the kernel numbers the groups.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];

/// Bytes that the kernel keeps for who has not read yet: many containers may start at once.
const ROOM: usize = 4 << 20;

/// The socket that is told.
pub struct Word(Socket);

/// What was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of changes in the namespaces with these numbers.
    In(BTreeSet<i32>),
    /// More than there was room for: anything may have changed.
    TooMuch,
}

impl Word {
    /// `None` where the kernel would not tell of all of them: to an ordinary user, and to who lacks the capability for it.
    pub(super) fn open(instance: &Instance) -> Result<Option<Self>> {
        let may = rustix::thread::capabilities(None).map_err(|e| NetworkError::Netlink(e.into()))?.effective;
        if outside::is_apart(instance) || !may.contains(CapabilitySet::NET_BROADCAST) {
            return Ok(None);
        }
        let subscribe = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            // As much as this is not everybody's; with less it is told more often that it was too much.
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap_or_default();
            socket.set_listen_all_namespaces(true)?;
            GROUPS.iter().try_for_each(|group| socket.add_membership(*group))?;
            Ok(socket)
        };
        subscribe().map(|socket| Some(Self(socket))).map_err(NetworkError::Netlink)
    }

    /// Takes all that was told since the last time.
    pub fn take(&self) -> io::Result<Told> {
        let mut told = BTreeSet::new();
        let mut too_much = false;
        // Only whose a message is matters: what does not fit of its text is let go.
        let mut text = [0u8; 64];
        loop {
            let mut whose = cmsg_space!(i32);
            let mut parts = [IoSliceMut::new(&mut text)];
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut whose), MsgFlags::empty()) {
                Ok(message) => {
                    let number = message.cmsgs().map_err(io::Error::from)?.find_map(|said| match said {
                        ControlMessageOwned::Unknown(said) if said.cmsg_header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID => {
                            Some(i32::from_ne_bytes(said.data_bytes.get(..4)?.try_into().ok()?))
                        }
                        _ => None,
                    });
                    // Without a number it is of the namespace that the socket itself is in.
                    told.extend(number);
                }
                Err(Errno::EAGAIN) => return Ok(if too_much { Told::TooMuch } else { Told::In(told) }),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => too_much = true,
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Word {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

//! What the kernel's messages say of links, addresses, routes and the packet filter: whether they are of this instance's, and whether they
//! are news.

use std::collections::HashMap;

use crate::model::Instance;

/// The message types of routes: no look looks at those of the host, which come and go by themselves with links and addresses.
const ROUTES: [u16; 2] = [24, 25];
/// Messages of IPv6 addresses name no link. One that is there stays so by routers' announcements, again and again; that tells nothing.
const DELETE_ADDRESS: u16 = 21;

/// By what a message is known to be of this instance's.
pub(super) struct Marks {
    tag: String,
    /// What its bridges are called after, and its tables.
    names: [Vec<u8>; 2],
}

impl Marks {
    pub(super) fn of(instance: &Instance) -> Self {
        let names = [format!("sp{}-", instance.tag()), instance.nft_table()].map(String::into_bytes);
        Self { tag: instance.tag().to_owned(), names }
    }

    /// Whether a message tells of the instance's own of the host's links or addresses, or may.
    pub(super) fn is_ours(&self, kind: u16, payload: &[u8]) -> bool {
        is_ipv6_address_gone(kind, payload) || self.is_named(payload) || names_a_host_link(payload, &self.tag)
    }

    /// Whether a bridge or a table of the instance's is named.
    pub(super) fn is_named(&self, payload: &[u8]) -> bool {
        self.names.iter().any(|name| contains(payload, name))
    }
}

/// The messages of a datagram: type and payload.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        let payload = datagram.get(16..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// What was told last of each of the instance's links, by its number and who tells it. The kernel tells of a link that is put on a
/// bridge many times in its first quarter of a minute, and mostly nothing new.
#[derive(Default)]
pub(super) struct Links(HashMap<(u32, u8), Said>);

/// What of it a look at networks looks at.
#[derive(PartialEq, Eq)]
struct Said {
    /// Which of [`TELLING`] its flags has.
    flags: u32,
    name: Vec<u8>,
    /// The number of its bridge.
    bridge: Option<u32>,
    mtu: Option<u32>,
    isolated: Option<u8>,
}

/// `IFF_UP` and `IFF_LOWER_UP`.
const TELLING: u32 = 0x1 | 0x1_0000;
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
/// Attributes of links: the name, numbers, and what holds those of a bridge's port, of which one says whether it is isolated.
const NAME: u16 = 3;
const MTU: u16 = 4;
const BRIDGE: u16 = 10;
const PORT_INFO: u16 = 12;
const LINK_INFO: u16 = 18;
const PORT_DATA: u16 = 5;
const PORT_ISOLATED: u16 = 33;

impl Links {
    /// Whether a message says of a link what was said of it before, or of something that nobody looks at.
    pub(super) fn knows(&mut self, kind: u16, payload: &[u8]) -> bool {
        // Source: rtnetlink(7), `struct ifinfomsg`: family, padding and type are before the number and the flags.
        let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (Some(family), Some(index), Some(flags)) = (payload.first(), word(4), word(8)) else { return false };
        match kind {
            // Of how it is set up for IPv6, which is looked at when an address goes.
            NEW_LINK if i32::from(*family) == libc::AF_INET6 => true,
            NEW_LINK => {
                let mut said = Said { flags: flags & TELLING, name: Vec::new(), bridge: None, mtu: None, isolated: None };
                for (kind, value) in attributes(payload.get(16..).unwrap_or_default()) {
                    let number = || value.try_into().ok().map(u32::from_ne_bytes);
                    let isolated = |port: &[u8]| attributes(port).find(|(kind, _)| *kind == PORT_ISOLATED)?.1.first().copied();
                    match kind {
                        NAME => said.name = value.to_vec(),
                        MTU => said.mtu = number(),
                        BRIDGE => said.bridge = number(),
                        PORT_INFO => said.isolated = isolated(value),
                        LINK_INFO => {
                            let port = attributes(value).find(|(kind, _)| *kind == PORT_DATA);
                            said.isolated = port.and_then(|(_, port)| isolated(port));
                        }
                        _ => {}
                    }
                }
                let before = self.0.get(&(index, *family)) == Some(&said);
                self.0.insert((index, *family), said);
                before
            }
            DELETE_LINK => {
                self.0.remove(&(index, *family));
                false
            }
            _ => ROUTES.contains(&kind),
        }
    }
}

/// The attributes of a message: type and value.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        // The highest bits say of what kind the value is.
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The family is the first byte of what is said of an address.
fn is_ipv6_address_gone(kind: u16, payload: &[u8]) -> bool {
    kind == DELETE_ADDRESS && payload.first().copied().map(i32::from) == Some(libc::AF_INET6)
}

/// Whether `v`, a digit, the tag and further digits occur, 15 characters and a NUL in all.
fn names_a_host_link(payload: &[u8], tag: &str) -> bool {
    payload
        .windows(16)
        .any(|w| w[0] == b'v' && w[15] == 0 && w[1..15].iter().all(u8::is_ascii_hexdigit) && w[2..].starts_with(tag.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_host_links_by_name() {
        assert!(names_a_host_link(b"..v0abcdef1234567\0..", "abcdef"));
        assert!(!names_a_host_link(b"..v0abcdef1234567\0..", "012345"));
        assert!(!names_a_host_link(b"..veth1234567\0\0\0\0..", ""));
        let mut datagram = vec![20, 0, 0, 0, 16, 0, 0, 0];
        datagram.extend([0; 8]);
        datagram.extend(*b"abcd");
        assert_eq!(messages(&datagram).collect::<Vec<_>>(), [(16, &b"abcd"[..])]);
        assert_eq!(messages(&datagram[..18]).count(), 0);
    }

    #[test]
    fn what_is_said_of_a_link_again_is_known() {
        fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
            let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }
        let said = |flags: u32, bridge: u32, isolated: u8| {
            let mut message = vec![0; 4];
            message.extend([7u32, flags, 0].into_iter().flat_map(u32::to_ne_bytes));
            let port = attribute(PORT_DATA | 0x8000, &attribute(PORT_ISOLATED, &[isolated]));
            for part in [attribute(3, b"v\0"), attribute(BRIDGE, &bridge.to_ne_bytes()), attribute(LINK_INFO, &port)] {
                message.extend(part);
            }
            message
        };
        let mut links = Links::default();
        assert!(!links.knows(NEW_LINK, &said(1, 3, 0)));
        // Flags that nobody looks at are no news.
        assert!(links.knows(NEW_LINK, &said(1 | 0x1000, 3, 0)));
        for news in [said(0, 3, 0), said(0, 4, 0), said(0, 4, 1)] {
            assert!(!links.knows(NEW_LINK, &news));
            assert!(links.knows(NEW_LINK, &news));
        }
        assert!(!links.knows(DELETE_LINK, &said(0, 4, 1)));
        assert!(!links.knows(NEW_LINK, &said(0, 4, 1)));
        assert!(!links.knows(NEW_LINK, &[]));
    }
}

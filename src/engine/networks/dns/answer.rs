//! From a query to what is done about it. Pure: a view of the zone in, a decision out; knows no sockets.
//!
//! Who asks is known by the address that the query comes from. A container is told the names of all networks it is
//! attached to, first those of the network that it asks in; so one name server in its `resolv.conf` is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, PTR};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::Zone;
use crate::model::spec::{Subnet, Subnet6};

/// Seconds that an answer may be kept. Short, because a container may get another address at each start.
const TTL: u32 = 2;
/// What a datagram carries without the client's word that it takes more, and the most that is sent with it.
const PLAIN_LIMIT: usize = 512;
const EDNS_LIMIT: u16 = 1232;

pub(super) enum Decision {
    Answer(Vec<u8>),
    /// The name is not ours: ask the host's name servers. Holds the answer for when they fail.
    Forward {
        failed: Vec<u8>,
    },
    /// Not a query: silence.
    Ignore,
}

/// A zone, indexed.
#[derive(Debug, Default)]
pub(super) struct View {
    networks: Vec<Network>,
    /// By a container's address: the networks it is attached to.
    attached: BTreeMap<IpAddr, BTreeSet<usize>>,
}

#[derive(Debug)]
struct Network {
    gateway: Option<IpAddr>,
    subnet: Option<Subnet>,
    subnet6: Option<Subnet6>,
    /// `.<name>`, in lower case: `web.front` is `web` of the network `front`.
    suffix: String,
    internal: bool,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    names: BTreeMap<IpAddr, String>,
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.subnet.is_some_and(|subnet| subnet.contains(ip)),
            IpAddr::V6(ip) => self.subnet6.is_some_and(|subnet| subnet.contains(ip)),
        }
    }
}

impl View {
    pub(super) fn new(zone: &Zone) -> Self {
        let mut by_container: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (index, network) in zone.networks.iter().enumerate() {
            for endpoint in &network.endpoints {
                by_container.entry(&endpoint.container).or_default().insert(index);
            }
        }
        let mut view = Self::default();
        for network in &zone.networks {
            let mut addresses: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
            let mut names = BTreeMap::new();
            for endpoint in &network.endpoints {
                for address in endpoint.addresses() {
                    view.attached.insert(address, by_container[endpoint.container.as_str()].clone());
                }
                for name in &endpoint.names {
                    addresses.entry(name.to_ascii_lowercase()).or_default().extend(endpoint.addresses());
                }
                // The id is a name too, but the last that one wants to read.
                let best = endpoint.names.iter().find(|n| !endpoint.container.starts_with(n.as_str()));
                if let Some(name) = best.or_else(|| endpoint.names.first()) {
                    names.extend(endpoint.addresses().map(|address| (address, name.clone())));
                }
            }
            view.networks.push(Network {
                gateway: network.listens_at(),
                subnet: network.subnet,
                subnet6: network.subnet6,
                suffix: format!(".{}", network.name.as_str().to_ascii_lowercase()),
                internal: network.internal,
                addresses,
                names,
            });
        }
        view
    }

    pub(super) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        self.networks.iter().filter_map(|n| n.gateway)
    }

    /// What to do with `packet`, which `client` sent to `gateway`. `turn` differs from query to query, so that
    /// containers that share a name take turns at being first; `datagram` limits the answer's length.
    pub(super) fn decide(&self, packet: &[u8], client: IpAddr, gateway: IpAddr, turn: usize, datagram: bool) -> Decision {
        let Ok(query) = Message::from_vec(packet) else {
            return match packet {
                [a, b, flags, ..] if packet.len() >= 12 && flags & 0x80 == 0 => {
                    let id = u16::from_be_bytes([*a, *b]);
                    encode(&Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
                }
                _ => Decision::Ignore,
            };
        };
        if query.metadata.message_type != MessageType::Query {
            return Decision::Ignore;
        }
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(query.queries.iter().cloned());
        let mut limit = PLAIN_LIMIT;
        if let Some(edns) = &query.edns {
            let mut own = Edns::new();
            own.set_max_payload(EDNS_LIMIT);
            response.set_edns(own);
            limit = usize::from(edns.max_payload().clamp(512, EDNS_LIMIT));
        }
        let fail = |mut response: Message, code| {
            response.metadata.response_code = code;
            encode(&response)
        };
        let asked = self.networks.iter().position(|n| n.gateway == Some(gateway) && n.contains(client));
        let Some(asked) = asked else { return fail(response, ResponseCode::Refused) };
        let [question] = query.queries.as_slice() else { return fail(response, ResponseCode::FormErr) };
        if query.metadata.op_code != OpCode::Query {
            return fail(response, ResponseCode::NotImp);
        }
        if question.query_class() != DNSClass::IN {
            return fail(response, ResponseCode::Refused);
        }
        let own = self.attached.get(&client).into_iter().flatten().copied().filter(|i| *i != asked);
        let visible: Vec<&Network> = std::iter::once(asked).chain(own).map(|i| &self.networks[i]).collect();

        if let Some(records) = known(&visible, question, turn) {
            response.metadata.authoritative = true;
            response.add_answers(records);
            let whole = encode(&response);
            return match whole {
                Decision::Answer(bytes) if datagram && bytes.len() > limit => encode(&response.truncate()),
                other => other,
            };
        }
        // A name of one label is a container that does not run: nobody else is bothered with it.
        if question.name().num_labels() < 2 || within(&visible, question) || visible.iter().all(|n| n.internal) {
            return fail(response, ResponseCode::NXDomain);
        }
        match fail(response, ResponseCode::ServFail) {
            Decision::Answer(failed) => Decision::Forward { failed },
            other => other,
        }
    }
}

/// The records for a question about a name that is ours: none when the name has other records only.
fn known(visible: &[&Network], question: &Query, turn: usize) -> Option<Vec<Record>> {
    let record = |data| Record::from_rdata(question.name().clone(), TTL, data);
    if let Some(ip) = reverse(question.name()) {
        let name = visible.iter().find_map(|n| n.names.get(&ip).map(|name| format!("{name}{}.", n.suffix)))?;
        let wanted = matches!(question.query_type(), RecordType::PTR | RecordType::ANY);
        let target = Name::from_str_relaxed(name).ok().filter(|_| wanted);
        return Some(target.into_iter().map(|target| record(RData::PTR(PTR(target)))).collect());
    }
    let text = question.name().to_ascii().to_ascii_lowercase();
    let text = text.trim_end_matches('.');
    let addresses = visible
        .iter()
        .find_map(|n| n.addresses.get(text))
        .or_else(|| visible.iter().find_map(|n| n.addresses.get(text.strip_suffix(n.suffix.as_str())?)))?;
    let kind = question.query_type();
    let wanted = |ip: &IpAddr| kind == RecordType::ANY || kind == if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA };
    let mut records: Vec<Record> = addresses
        .iter()
        .filter(|ip| wanted(ip))
        .map(|ip| match ip {
            IpAddr::V4(ip) => record(RData::A(A(*ip))),
            IpAddr::V6(ip) => record(RData::AAAA(AAAA(*ip))),
        })
        .collect();
    let start = turn.checked_rem(records.len()).unwrap_or_default();
    records.rotate_left(start);
    Some(records)
}

/// Whether the question is about an address of these networks, which nobody outside knows anything about.
fn within(visible: &[&Network], question: &Query) -> bool {
    reverse(question.name()).is_some_and(|ip| visible.iter().any(|n| n.contains(ip)))
}

/// The address in `4.3.2.1.in-addr.arpa`, or in the 32 digits before `ip6.arpa` (RFC 3596, 2.5).
fn reverse(name: &Name) -> Option<IpAddr> {
    let text = name.to_ascii().to_ascii_lowercase();
    let text = text.trim_end_matches('.');
    if let Some(digits) = text.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = digits.split('.').collect();
        parts.reverse();
        return parts.join(".").parse().ok().map(|ip: Ipv4Addr| IpAddr::V4(ip));
    }
    let parts: Vec<&str> = text.strip_suffix(".ip6.arpa")?.split('.').collect();
    if parts.len() != 32 || parts.iter().any(|part| part.len() != 1) {
        return None;
    }
    let digits: String = parts.into_iter().rev().collect();
    u128::from_str_radix(&digits, 16).ok().map(|ip| IpAddr::V6(Ipv6Addr::from(ip)))
}

fn encode(message: &Message) -> Decision {
    match message.to_vec() {
        Ok(bytes) => Decision::Answer(bytes),
        // A message made of a decoded query and addresses always encodes; silence is what a client survives best.
        Err(_) => Decision::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::networks::dns::zone::{Endpoint, Network as ZoneNetwork};

    fn view() -> View {
        let endpoint = |container: &str, address: &str, names: &[&str]| Endpoint {
            container: container.into(),
            address: address.parse().ok(),
            address6: format!("fd00::{}", address.replace('.', ":")).parse().ok().filter(|_| address.starts_with("10.2.")),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        let network = |name: &str, subnet: &str, internal, endpoints| ZoneNetwork {
            name: name.parse().unwrap(),
            subnet: subnet.parse().ok(),
            gateway: None,
            subnet6: (name != "front").then(|| if name == "back" { "fd00::10:2:0:0/112" } else { "fd07::/64" }.parse().unwrap()),
            gateway6: None,
            internal,
            endpoints,
        };
        View::new(&Zone {
            passes: BTreeSet::new(),
            networks: vec![
                network(
                    "front",
                    "10.1.0.0/24",
                    false,
                    vec![endpoint("aa", "10.1.0.2", &["Web", "w"]), endpoint("bb", "10.1.0.3", &["w"])],
                ),
                network(
                    "back",
                    "10.2.0.0/24",
                    true,
                    vec![endpoint("aa", "10.2.0.2", &["web"]), endpoint("cc", "10.2.0.3", &["db", "cc"])],
                ),
                network("only6", "", false, vec![Endpoint { address6: "fd07::7".parse().ok(), ..endpoint("dd", "", &["six"]) }]),
            ],
        })
    }

    fn ask(name: &str, kind: RecordType, client: &str, gateway: &str) -> (ResponseCode, Vec<String>) {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_str_relaxed(name).unwrap(), kind));
        let packet = query.to_vec().unwrap();
        match view().decide(&packet, client.parse().unwrap(), gateway.parse().unwrap(), 0, true) {
            Decision::Answer(bytes) => {
                let message = Message::from_vec(&bytes).unwrap();
                assert_eq!(message.metadata.id, query.metadata.id);
                let data = message.answers.iter().map(|r| r.data.to_string()).collect();
                (message.metadata.response_code, data)
            }
            Decision::Forward { .. } => (ResponseCode::NoError, vec!["forward".into()]),
            Decision::Ignore => panic!("ignored"),
        }
    }

    #[test]
    fn answers_by_who_asks_where() {
        use RecordType as T;
        use ResponseCode as C;
        let none: [&str; 0] = [];
        for (name, kind, client, gateway, code, data) in [
            ("web.", T::A, "10.1.0.3", "10.1.0.1", C::NoError, &["10.1.0.2"][..]),
            ("WEB.", T::A, "10.1.0.3", "10.1.0.1", C::NoError, &["10.1.0.2"]),
            ("w.", T::A, "10.1.0.3", "10.1.0.1", C::NoError, &["10.1.0.2", "10.1.0.3"]),
            ("web.front.", T::A, "10.1.0.3", "10.1.0.1", C::NoError, &["10.1.0.2"]),
            ("web.", T::AAAA, "10.1.0.3", "10.1.0.1", C::NoError, &none),
            // Only a container that is in both sees both.
            ("db.", T::A, "10.1.0.3", "10.1.0.1", C::NXDomain, &none),
            ("db.", T::A, "10.1.0.2", "10.1.0.1", C::NoError, &["10.2.0.3"]),
            ("web.", T::A, "10.2.0.2", "10.2.0.1", C::NoError, &["10.2.0.2"]),
            ("2.0.1.10.in-addr.arpa.", T::PTR, "10.1.0.3", "10.1.0.1", C::NoError, &["web.front."]),
            ("9.0.1.10.in-addr.arpa.", T::PTR, "10.1.0.3", "10.1.0.1", C::NXDomain, &none),
            ("3.0.2.10.in-addr.arpa.", T::PTR, "10.2.0.2", "10.2.0.1", C::NoError, &["db.back."]),
            ("9.9.9.9.in-addr.arpa.", T::PTR, "10.1.0.3", "10.1.0.1", C::NoError, &["forward"]),
            // An internal network's containers learn nothing of the world, unless they are elsewhere too.
            ("example.org.", T::A, "10.2.0.3", "10.2.0.1", C::NXDomain, &none),
            ("example.org.", T::A, "10.2.0.2", "10.2.0.1", C::NoError, &["forward"]),
            ("example.org.", T::MX, "10.1.0.3", "10.1.0.1", C::NoError, &["forward"]),
            ("web.", T::AAAA, "10.2.0.2", "10.2.0.1", C::NoError, &["fd00::10:2:0:2"]),
            ("db.", T::AAAA, "10.1.0.2", "10.1.0.1", C::NoError, &["fd00::10:2:0:3"]),
            ("db.", T::ANY, "10.1.0.2", "10.1.0.1", C::NoError, &["10.2.0.3", "fd00::10:2:0:3"]),
            ("six.", T::AAAA, "fd07::7", "fd07::1", C::NoError, &["fd07::7"]),
            ("six.", T::A, "fd07::7", "fd07::1", C::NoError, &none),
            ("six.", T::A, "fd08::7", "fd07::1", C::Refused, &none),
            (
                "3.0.0.0.0.0.0.0.2.0.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.",
                T::PTR,
                "10.2.0.2",
                "10.2.0.1",
                C::NoError,
                &["db.back."],
            ),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.0.d.f.ip6.arpa.",
                T::PTR,
                "fd07::7",
                "fd07::1",
                C::NXDomain,
                &none,
            ),
            ("1.0.d.f.ip6.arpa.", T::PTR, "fd07::7", "fd07::1", C::NoError, &["forward"]),
            ("web.", T::A, "10.9.0.3", "10.1.0.1", C::Refused, &none),
            ("web.", T::A, "10.1.0.3", "10.2.0.1", C::Refused, &none),
        ] {
            let (got_code, got) = ask(name, kind, client, gateway);
            assert_eq!((got_code, got.iter().map(String::as_str).collect::<Vec<_>>()), (code, data.to_vec()), "{name} {kind}");
        }
    }

    #[test]
    fn garbage_is_refused_or_ignored() {
        let (client, gateway) = (Ipv4Addr::new(10, 1, 0, 3).into(), Ipv4Addr::new(10, 1, 0, 1).into());
        let decide = |packet: &[u8]| view().decide(packet, client, gateway, 0, true);
        assert!(matches!(decide(b""), Decision::Ignore));
        assert!(matches!(decide(&[0xff; 40]), Decision::Ignore));
        assert!(matches!(decide(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63]), Decision::Answer(_)));
    }

    #[test]
    fn long_answers_are_truncated_for_datagrams() {
        let endpoints = (2..90)
            .map(|i| Endpoint {
                container: i.to_string(),
                address: Some(Ipv4Addr::new(10, 1, 0, i)),
                address6: None,
                names: ["many".into()].into(),
            })
            .collect();
        let network = ZoneNetwork {
            name: "n".parse().unwrap(),
            subnet: "10.1.0.0/24".parse().ok(),
            gateway: None,
            subnet6: None,
            gateway6: None,
            internal: false,
            endpoints,
        };
        let view = View::new(&Zone { networks: vec![network], passes: BTreeSet::new() });
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii("many.").unwrap(), RecordType::A));
        let packet = query.to_vec().unwrap();
        for (datagram, answers) in [(true, 0), (false, 88)] {
            let decision =
                view.decide(&packet, Ipv4Addr::new(10, 1, 0, 3).into(), Ipv4Addr::new(10, 1, 0, 1).into(), 7, datagram);
            let Decision::Answer(bytes) = decision else { panic!() };
            let message = Message::from_vec(&bytes).unwrap();
            assert_eq!(message.metadata.truncation, datagram);
            assert_eq!(message.answers.len(), answers);
        }
    }
}

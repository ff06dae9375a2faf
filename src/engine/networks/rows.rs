//! What the database remembers of networks: the networks, who is attached to them at which address, and the ports that
//! are published. Knows SQL, and nothing of the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

use crate::engine::state::{Db, StateError};
use crate::model::spec::{NetworkSpec, Subnet, Subnet6};
use crate::model::{ContainerId, Name, Owner, PortMapping, Protocol};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct NetworkRow {
    pub id: String,
    pub name: Name,
    pub owner: Option<Owner>,
    pub spec: NetworkSpec,
    /// One of the two is there at least.
    pub subnet: Option<Subnet>,
    pub subnet6: Option<Subnet6>,
}

impl NetworkRow {
    /// The host's IPv4 address in it.
    pub(super) fn gateway(&self) -> Option<Ipv4Addr> {
        self.subnet.map(|subnet| self.spec.gateway_in(subnet))
    }

    pub(super) fn gateway6(&self) -> Option<Ipv6Addr> {
        let subnet = self.subnet6?;
        Some(self.spec.ipv6.as_ref().map_or_else(|| subnet.gateway(), |spec| spec.gateway_in(subnet)))
    }

    /// The host's addresses in it, with the lengths of their prefixes.
    pub(super) fn gateways(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let four = self.gateway().zip(self.subnet).map(|(ip, subnet)| (IpAddr::V4(ip), subnet.prefix()));
        let six = self.gateway6().zip(self.subnet6).map(|(ip, subnet)| (IpAddr::V6(ip), subnet.prefix()));
        four.into_iter().chain(six)
    }

    /// The length of its prefix in the family of an address.
    pub(super) fn prefix_for(&self, ip: IpAddr) -> Option<u8> {
        match ip {
            IpAddr::V4(_) => self.subnet.map(Subnet::prefix),
            IpAddr::V6(_) => self.subnet6.map(Subnet6::prefix),
        }
    }

    /// Where its containers ask for names: of the host's addresses in it the one of IPv4, where there are two.
    pub(super) fn names_at(&self) -> Option<IpAddr> {
        self.gateways().next().map(|(ip, _)| ip)
    }

    /// Its subnets as text.
    pub(super) fn ranges(&self) -> String {
        let all: Vec<String> =
            self.subnet.iter().map(ToString::to_string).chain(self.subnet6.iter().map(ToString::to_string)).collect();
        all.join(" and ")
    }
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lease {
    /// The network's id.
    pub network: String,
    pub container: ContainerId,
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    pub names: BTreeSet<String>,
    /// Its link's number.
    pub link: u8,
    /// What its link is called in the container, where that is not `eth<link>`.
    pub interface: Option<String>,
}

impl Lease {
    pub(super) fn inner_name(&self) -> String {
        self.interface.clone().unwrap_or_else(|| format!("eth{}", self.link))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address.map(IpAddr::V4).into_iter().chain(self.address6.map(IpAddr::V6))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Published {
    pub container: ContainerId,
    pub protocol: Protocol,
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    /// The container's, where callers by IPv4 are led.
    pub address: Option<Ipv4Addr>,
    /// And those by IPv6.
    pub address6: Option<Ipv6Addr>,
}

impl Published {
    pub(super) fn mapping(&self) -> PortMapping {
        PortMapping {
            host_ip: self.host_ip,
            host_port: Some(self.host_port),
            container_port: self.container_port,
            protocol: self.protocol,
        }
    }
}

/// All rows of the three tables, as one consistent view.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub networks: Vec<NetworkRow>,
    pub leases: Vec<Lease>,
    pub published: Vec<Published>,
}

impl Rows {
    pub(super) fn load(db: &Db) -> Result<Self, StateError> {
        db.read(Self::read)
    }

    pub(super) fn read(t: &Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            networks: all(t, "SELECT id, name, stack, resource, spec, subnet, subnet6 FROM networks ORDER BY name", network)?,
            leases: all(
                t,
                "SELECT network, container, address, names, link, address6, interface FROM leases ORDER BY container, link",
                lease,
            )?,
            published: all(
                t,
                "SELECT container, protocol, host_ip, host_port, container_port, address, address6 FROM published \
                     ORDER BY container, protocol, host_port, host_ip",
                published,
            )?,
        })
    }

    pub(super) fn network(&self, name: &Name) -> Option<&NetworkRow> {
        self.networks.iter().find(|n| n.name == *name)
    }

    pub(super) fn network_by_id(&self, id: &str) -> Option<&NetworkRow> {
        self.networks.iter().find(|n| n.id == id)
    }

    pub(super) fn leases_of(&self, container: &ContainerId) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |l| l.container == *container)
    }

    pub(super) fn published_by(&self, container: &ContainerId) -> impl Iterator<Item = &Published> {
        self.published.iter().filter(move |p| p.container == *container)
    }

    pub(super) fn without(mut self, gone: impl Fn(&ContainerId) -> bool) -> Self {
        self.leases.retain(|l| !gone(&l.container));
        self.published.retain(|p| !gone(&p.container));
        self
    }
}

pub(super) fn insert_network(db: &Db, row: &NetworkRow) -> Result<(), StateError> {
    db.write(|t| {
        let (stack, resource) = match &row.owner {
            Some(owner) => (Some(owner.stack.as_str()), Some(owner.resource.as_str())),
            None => (None, None),
        };
        t.execute(
            "INSERT INTO networks (id, name, stack, resource, spec, subnet, subnet6) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![row.id, row.name.as_str(), stack, resource, json(&row.spec)?, text(row.subnet), text(row.subnet6)],
        )?;
        Ok(())
    })
}

pub(super) fn delete_network(db: &Db, id: &str) -> Result<(), StateError> {
    db.write(|t| t.execute("DELETE FROM networks WHERE id = ?1", [id])).map(drop)
}

/// Replaces all that a container holds.
pub(super) fn replace(db: &Db, container: &ContainerId, leases: &[Lease], published: &[Published]) -> Result<(), StateError> {
    db.write(|t| {
        delete_of(t, container)?;
        for lease in leases {
            t.execute(
                "INSERT INTO leases (network, container, address, address6, names, link, interface) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    lease.network,
                    lease.container.as_str(),
                    text(lease.address),
                    text(lease.address6),
                    json(&lease.names)?,
                    lease.link,
                    lease.interface
                ],
            )?;
        }
        insert_ports(t, published)
    })
}

fn insert_ports(t: &Transaction<'_>, published: &[Published]) -> rusqlite::Result<()> {
    for port in published {
        t.execute(
            "INSERT INTO published (container, protocol, host_ip, host_port, container_port, address, address6) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                port.container.as_str(),
                port.protocol.as_str(),
                text(port.host_ip).unwrap_or_default(),
                port.host_port,
                port.container_port,
                text(port.address),
                text(port.address6),
            ],
        )?;
    }
    Ok(())
}

/// The first 48 bits of the IPv6 subnets that are chosen for this instance: fd, and what nobody else has by chance.
pub(super) fn unique_local(db: &Db) -> Result<u64, StateError> {
    db.read(|t| {
        let hex: String = t.query_row("SELECT global_id FROM ula", [], |row| row.get(0))?;
        let id =
            u64::from_str_radix(&hex, 16).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))?;
        Ok(0xfd << 40 | id)
    })
}

/// Gives a container other names in one of its networks.
pub(super) fn rename(db: &Db, lease: &Lease) -> Result<(), StateError> {
    db.write(|t| {
        t.execute(
            "UPDATE leases SET names = ?3 WHERE container = ?1 AND network = ?2",
            params![lease.container.as_str(), lease.network, json(&lease.names)?],
        )
    })
    .map(drop)
}

/// Gives leases other names, and containers other ports, in one transaction with something else.
pub(super) fn hand_over<'a>(
    db: &Db,
    leases: &[Lease],
    containers: impl IntoIterator<Item = &'a ContainerId>,
    published: &[Published],
    also: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> Result<(), StateError> {
    db.write(|t| {
        for lease in leases {
            t.execute(
                "UPDATE leases SET names = ?3 WHERE container = ?1 AND network = ?2",
                params![lease.container.as_str(), lease.network, json(&lease.names)?],
            )?;
        }
        for container in containers {
            t.execute("DELETE FROM published WHERE container = ?1", [container.as_str()])?;
        }
        insert_ports(t, published)?;
        also(t)
    })
}

/// Deletes all that these containers hold.
pub(super) fn release<'a>(db: &Db, containers: impl IntoIterator<Item = &'a ContainerId>) -> Result<(), StateError> {
    db.write(|t| containers.into_iter().try_for_each(|id| delete_of(t, id)))
}

fn delete_of(t: &Transaction<'_>, container: &ContainerId) -> rusqlite::Result<()> {
    t.execute("DELETE FROM leases WHERE container = ?1", [container.as_str()])?;
    t.execute("DELETE FROM published WHERE container = ?1", [container.as_str()])?;
    Ok(())
}

fn all<T>(t: &Transaction<'_>, query: &str, one: fn(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
    t.prepare_cached(query)?.query_map([], one)?.collect()
}

fn network(row: &Row<'_>) -> rusqlite::Result<NetworkRow> {
    let owner = match (row.get::<_, Option<String>>(2)?, row.get::<_, Option<String>>(3)?) {
        (Some(stack), Some(resource)) => Some(Owner { stack: parse(2, &stack)?, resource: parse(3, &resource)? }),
        _ => None,
    };
    Ok(NetworkRow {
        id: row.get(0)?,
        name: parse(1, &row.get::<_, String>(1)?)?,
        owner,
        spec: from_json(4, &row.get::<_, String>(4)?)?,
        subnet: parse_some(row, 5)?,
        subnet6: parse_some(row, 6)?,
    })
}

fn lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        network: row.get(0)?,
        container: parse(1, &row.get::<_, String>(1)?)?,
        address: parse_some(row, 2)?,
        address6: parse_some(row, 5)?,
        names: from_json(3, &row.get::<_, String>(3)?)?,
        link: row.get(4)?,
        interface: row.get(6)?,
    })
}

fn published(row: &Row<'_>) -> rusqlite::Result<Published> {
    let host_ip: String = row.get(2)?;
    Ok(Published {
        container: parse(0, &row.get::<_, String>(0)?)?,
        protocol: match row.get::<_, String>(1)?.as_str() {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        },
        host_ip: if host_ip.is_empty() { None } else { Some(parse(2, &host_ip)?) },
        host_port: row.get(3)?,
        container_port: row.get(4)?,
        address: parse_some(row, 5)?,
        address6: parse_some(row, 6)?,
    })
}

fn parse<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(column: usize, text: &str) -> rusqlite::Result<T> {
    text.parse().map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

fn parse_some<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    row.get::<_, Option<String>>(column)?.map(|text| parse(column, &text)).transpose()
}

fn text(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn from_json<T: serde::de::DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

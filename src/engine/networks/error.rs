//! What can go wrong with networks, each with what to do about it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::engine::rootless::RootlessError;
use crate::engine::state::StateError;
use crate::files::FileError;
use crate::model::spec::Subnet;
use crate::model::{Name, Protocol};

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("start a thread for network work: {0}")]
    Thread(io::Error),
    #[error("network work ended early: its thread panicked")]
    Panicked,
    #[error("open a netlink socket: {0}")]
    Netlink(io::Error),
    #[error("{step} {object}: {source}")]
    Kernel { step: &'static str, object: String, source: io::Error },
    #[error("network {name} does not exist")]
    Unknown { name: Name },
    #[error("network {name} exists with other settings ({field} is {old}, not {new}); remove it first")]
    Differs { name: Name, field: &'static str, old: String, new: String },
    #[error("network {name} exists and belongs to {}", owner.as_deref().unwrap_or("no stack"))]
    NotYours { name: Name, owner: Option<String> },
    #[error("network {name} is in use by {}; stop or disconnect them first", containers.join(", "))]
    InUse { name: Name, containers: Vec<String> },
    #[error("subnet {subnet} of network {name} overlaps {by}; choose another, or none to get a free one")]
    SubnetTaken { name: Name, subnet: String, by: String },
    #[error("network {name}: this host has no IPv6: {why}; leave `enable_ipv6` out, or turn it on")]
    NoIpv6 { name: Name, why: &'static str },
    #[error("network {name}: all /64 subnets of this instance's IPv6 range are taken; give it a `subnet`")]
    Pool6Empty { name: Name },
    #[error("network {name} has neither an IPv4 nor an IPv6 subnet")]
    NoSubnet { name: Name },
    #[error("address {address} is of {family}, which network {network} does not have")]
    NoFamily { network: Name, address: IpAddr, family: &'static str },
    #[error("publish at {ip}: the container has no IPv4 address; publish at an IPv6 address, or at none")]
    PortFamily { ip: IpAddr },
    #[error("publish at {ip}: an ordinary user's ports are of IPv4; publish at an IPv4 address, or at none")]
    PortApart { ip: IpAddr },
    #[error("ports cannot be published: an ordinary user's ports are of IPv4, which the container's networks do not have")]
    PortApartOfIpv6,
    #[error("no free /24 subnet is left in {pool}; remove a network, or set SETPOINT_SUBNET_POOL to another range")]
    PoolEmpty { pool: Subnet },
    #[error("SETPOINT_SUBNET_POOL: {0}")]
    Pool(<Subnet as std::str::FromStr>::Err),
    #[error("SETPOINT_SUBNET_POOL: {pool} is smaller than the /24 that each network gets")]
    PoolSmall { pool: Subnet },
    #[error("address {address} is not one for containers in {subnet} of network {network}")]
    AddressOutside { network: Name, address: IpAddr, subnet: String },
    #[error("address {address} of network {network} is taken by container {container}")]
    AddressTaken { network: Name, address: IpAddr, container: String },
    #[error("network {network} has no free address left in {subnet}; give it a larger subnet")]
    Full { network: Name, subnet: String },
    #[error("network {network} is named twice for one container")]
    Twice { network: Name },
    #[error("two links of one container cannot both be called {name}; give each a name of its own")]
    LinkNameTwice { name: String },
    #[error("a container can be attached to 16 networks at most")]
    TooMany,
    #[error("ports cannot be published: the container is attached to no network")]
    PortsWithoutNetwork,
    #[error("port {port}/{} is already published by {by}", protocol.as_str())]
    PortPublished { port: u16, protocol: Protocol, by: String },
    #[error("port {port}/{} is in use on the host{}", protocol.as_str(), by.as_deref().map(|p| format!(" by {p}")).unwrap_or_default())]
    PortInUse { port: u16, protocol: Protocol, by: Option<String> },
    #[error(
        "port {port}/{}: an ordinary user cannot have it; publish at another port, or as root: sysctl net.ipv4.ip_unprivileged_port_start={port}",
        protocol.as_str()
    )]
    PortPrivileged { port: u16, protocol: Protocol },
    #[error("publish at {}/{}: {source}; the host must have that address", SocketAddr::new(*ip, *port), protocol.as_str())]
    PortAddress { ip: IpAddr, port: u16, protocol: Protocol, source: io::Error },
    #[error("the program nft is not there; install the package nftables")]
    NftMissing,
    #[error("run nft: {0}")]
    NftRun(io::Error),
    #[error("nft, table {table}: {message}")]
    Nft { table: String, message: String },
    #[error("nft, table {table}: its listing is not understood: {source}")]
    NftListing { table: String, source: serde_json::Error },
    #[error("write the DNS zone: {0}")]
    Zone(serde_json::Error),
    #[error("start the DNS server: {0}")]
    DnsStart(io::Error),
    #[error("the DNS server did not start: {message}")]
    DnsFailed { message: String },
    #[error(
        "the DNS server cannot listen at {gateway}: {message}; whatever serves port 53 of all addresses must leave this one out"
    )]
    DnsListen { gateway: IpAddr, message: String },
    #[error("the DNS server does not answer at {gateway} yet, after {seconds} s")]
    DnsSlow { gateway: IpAddr, seconds: u64 },
    #[error("stop the DNS server: {0}")]
    DnsStop(io::Error),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<NetworkError>),
}

impl NetworkError {
    /// All errors of a teardown as one; `Ok` when there are none.
    pub(super) fn gather(mut errors: Vec<NetworkError>) -> Result<(), NetworkError> {
        match (errors.pop(), errors.is_empty()) {
            (None, _) => Ok(()),
            (Some(one), true) => Err(one),
            (Some(last), false) => {
                errors.push(last);
                Err(NetworkError::Several(errors))
            }
        }
    }
}

//! Bridges, addresses, the packet filter and DNS: all that makes containers reach each other, the world, and be reached.
//! Knows containers by id, by the names they answer to and by their network namespace; not what runs in them.
//!
//! Guarantees: every function may be repeated; the database says what should be, so whatever the kernel lost is put
//! back from it; processes exclude each other by a lock in the run-time folder while they change both.
//!
//! Kernel work is done on a thread of its own for each call, started by the caller's thread, whose network namespace it
//! begins in: sockets stay in the namespace they were made in, and a thread that entered a container's is not used again.

mod attach;
mod bridge;
pub mod dns;
mod error;
mod hand_over;
mod inside;
mod ipv6;
mod kernel;
mod lease;
pub mod links_role;
mod nft;
mod observe;
mod outside;
mod ports;
mod reattach;
mod rows;
mod said;
mod subnets;
mod sweep;
#[cfg(test)]
mod tests;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::attach::{Attached, Given, Join};
pub use self::error::NetworkError;
pub use self::hand_over::HandOver;
pub use self::observe::{Known, Live, Look, Seen};
pub use self::word::Word;

use self::dns::Dns;
use self::dns::zone::{self, Zone};
use self::rows::{NetworkRow, Rows};
use crate::engine::state::{Db, Reading};
use crate::files::{self, Lock};
use crate::model::spec::NetworkSpec;
use crate::model::{ContainerId, Digest, Instance, Name, Owner, PortMapping};
use crate::observed;

type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// The network of containers that name none and belong to no stack, and of the commands of builds.
pub const DEFAULT_NETWORK: &str = "bridge";

/// The networks of an instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Networks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instance: Instance,
    db: Arc<Db>,
    rows: Reading<Rows>,
    dns: Dns,
    /// How this program starts one of its roles.
    program: Vec<OsString>,
    /// See [`Networks::stay`].
    stays: AtomicBool,
}

impl Networks {
    /// Touches neither the kernel nor any other process.
    pub fn open(instance: &Instance, db: Arc<Db>) -> Result<Self> {
        Self::with_program(instance, db, vec![OsString::from("/proc/self/exe")])
    }

    /// `program` starts this program up to its role's name.
    fn with_program(instance: &Instance, db: Arc<Db>, program: Vec<OsString>) -> Result<Self> {
        files::create_dirs(instance.run_dir(), 0o700)?;
        outside::stay_out(instance)?;
        let dns = Dns::new(instance.run_dir(), program.clone());
        Ok(Self(Arc::new(Inner {
            instance: instance.clone(),
            db,
            rows: Reading::default(),
            dns,
            program,
            stays: AtomicBool::new(false),
        })))
    }

    /// Says that this program goes on when its calls have returned: what may take its time after them is then done by its
    /// own threads, and else by a process, which no end has to wait for.
    pub fn stay(&self) {
        self.0.stays.store(true, Ordering::Relaxed);
    }

    /// Makes a network, or repairs the one that is there.
    ///
    /// # Errors
    /// When there is one of that name with another spec or owner, or its subnet is taken.
    pub async fn create(&self, name: &Name, owner: Option<&Owner>, spec: &NetworkSpec) -> Result<observed::Network> {
        let (name, owner, spec) = (name.clone(), owner.cloned(), spec.clone());
        self.apart(move |inner| inner.create(&name, owner, &spec)).await
    }

    /// Removes a network. One that is not there is removed already.
    ///
    /// # Errors
    /// When a container is attached to it.
    pub async fn remove(&self, name: &Name) -> Result<()> {
        let name = name.clone();
        self.apart(move |inner| inner.remove(&name)).await
    }

    /// All networks as the database has them; what the kernel lacks of them is seen by [`Self::observe`].
    pub fn list(&self) -> Result<Vec<observed::Network>> {
        Ok(Rows::load(&self.0.db)?.networks.iter().map(|row| self.0.seen(row, Vec::new())).collect())
    }

    pub fn get(&self, name: &Name) -> Result<Option<observed::Network>> {
        Ok(self.list()?.into_iter().find(|n| n.name == *name))
    }

    /// The addresses that a container has now, by its networks.
    pub fn addresses(&self, container: &ContainerId) -> Result<BTreeMap<Name, Vec<IpAddr>>> {
        let rows = Rows::load(&self.0.db)?;
        let in_network =
            |lease: &rows::Lease| Some((rows.network_by_id(&lease.network)?.name.clone(), lease.addresses().collect()));
        Ok(rows.leases_of(container).filter_map(in_network).collect())
    }

    /// Gives a container a network namespace with links into its networks, publishes its ports and makes its names known.
    ///
    /// Guarantees: on error nothing is left of it. Assumption: whoever drops the future unfinished calls
    /// [`Self::detach`], for the work goes on without it.
    pub async fn attach(&self, container: &ContainerId, joins: &[Join], ports: &BTreeSet<PortMapping>) -> Result<Attached> {
        let (container, joins, ports) = (container.clone(), joins.to_vec(), ports.clone());
        self.apart(move |inner| inner.attach(&container, &joins, &ports)).await
    }

    /// Gives a container that is alive other networks, names and ports than it has. What it keeps is not touched.
    ///
    /// # Errors
    /// When a port or an address is taken, or a network is not there: then all is as it was.
    pub async fn reattach(
        &self,
        container: &ContainerId,
        live: Option<Live>,
        joins: &[Join],
        ports: &BTreeSet<PortMapping>,
    ) -> Result<Given> {
        let (container, joins, ports) = (container.clone(), joins.to_vec(), ports.clone());
        self.apart(move |inner| inner.reattach(&container, live.as_ref(), &joins, &ports)).await
    }

    /// Takes back all that [`Self::attach`] gave but the namespace, which goes with its last user.
    ///
    /// Guarantees: on return the container's addresses and ports are free and its names unknown. The kernel takes tens
    /// of milliseconds to delete a link, or does it by itself when the namespace is gone already: that goes on alone, and
    /// [`Self::recover`] knows what it may leave when it is cut off.
    pub async fn detach(&self, container: &ContainerId) -> Result<()> {
        let container = container.clone();
        self.apart(move |inner| {
            let links = inner.release(&container)?;
            if links.is_empty() {
                return Ok(());
            }
            if !inner.stays.load(Ordering::Relaxed) {
                return links_role::start(&inner.program, &links);
            }
            let delete = move || {
                // Begun where this thread is.
                if let Err(error) = Inner::delete_links(&links) {
                    tracing::warn!(%error, "links of a detached container are left");
                }
            };
            std::thread::Builder::new().name("networks".to_owned()).spawn(delete).map(drop).map_err(NetworkError::Thread)
        })
        .await
    }

    /// Makes a container known by one name instead of another, in all networks that it is in.
    pub async fn rename(&self, container: &ContainerId, from: &Name, to: &Name) -> Result<()> {
        let (container, from, to) = (container.clone(), from.clone(), to.clone());
        self.apart(move |inner| inner.rename(&container, &from, &to)).await
    }

    /// Lets one container take over from another one what the world reaches it by, in one transaction together with `also`.
    ///
    /// # Errors
    /// When a port is taken by a third one: then all is as it was.
    pub async fn hand_over(
        &self,
        what: HandOver,
        also: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<()> {
        self.apart(move |inner| inner.hand_over(&what, also)).await
    }

    /// Compares what the kernel has with what it should have. What is known and holds is not looked at.
    pub async fn observe(&self, live: &[Live], known: Option<Known>) -> Result<Look> {
        let live = live.to_vec();
        self.apart(move |inner| inner.observe(&live, known.as_ref())).await
    }

    /// Puts back what a network lacks: its bridge, its address, its containers' links on it, its DNS.
    pub async fn repair_network(&self, name: &Name, live: &[Live]) -> Result<()> {
        let (name, live) = (name.clone(), live.to_vec());
        self.apart(move |inner| inner.repair_network(&name, &live)).await
    }

    /// Puts back the links that a running container lacks.
    pub async fn repair_container(&self, live: Live) -> Result<()> {
        self.apart(move |inner| inner.repair_container(&live)).await
    }

    /// Makes the packet filter whole, in one transaction.
    pub async fn repair_firewall(&self) -> Result<()> {
        self.apart(Inner::repair_firewall).await
    }

    /// Takes back what containers hold that `keeps` says no to, and deletes links and bridges that belong to nothing.
    ///
    /// Assumption: `keeps` says yes to a container that runs or is being started *when it is asked*, which is after the
    /// rows were read: a container whose start began in the meantime must not lose what it just got. And `links`, where they are given,
    /// are those that the host has.
    pub async fn recover(&self, keeps: impl Fn(&ContainerId) -> bool + Send + 'static, links: Option<Arc<Seen>>) -> Result<()> {
        self.apart(move |inner| inner.recover(keeps, links.as_deref())).await
    }

    /// Removes everything of this instance from the kernel, and its DNS server; the networks stay in the database.
    pub async fn teardown(&self) -> Result<()> {
        self.apart(Inner::teardown).await
    }

    /// Begins to listen to what changes in all that [`Self::observe`] looks at, and in the namespaces of containers.
    pub fn word(&self) -> Result<Word> {
        Word::open(&self.0.instance)
    }

    /// Runs `work` on a thread of its own.
    async fn apart<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = Arc::clone(&self.0);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("networks".to_owned());
        // Nobody waits for the result when the future was dropped; what it holds is dropped with it.
        let begun = move || {
            outside::go_in(&inner.instance)?;
            work(&inner)
        };
        thread.spawn(move || drop(sender.send(begun()))).map_err(NetworkError::Thread)?;
        receiver.await.map_err(|_| NetworkError::Panicked)?
    }
}

impl Inner {
    /// Held while rows and what follows from them are changed.
    fn lock(&self) -> Result<Lock> {
        Ok(Lock::wait(&self.lock_path())?)
    }

    fn lock_path(&self) -> PathBuf {
        self.instance.run_dir().join("networks.lock")
    }

    fn rows(&self) -> Result<Rows> {
        Ok(Rows::load(&self.db)?)
    }

    /// The same for who only looks: it is the very same value as the last time as long as nothing has changed.
    fn rows_seen(&self) -> Result<Arc<Rows>> {
        Ok(self.rows.get(&self.db, Rows::read)?)
    }

    /// The group that all links of this instance are in, which tells them from links of other instances.
    fn group(&self) -> u32 {
        let hex = Digest::of(self.instance.nft_table().as_bytes()).hex();
        u32::from_str_radix(&hex[..8], 16).unwrap_or(1).max(1)
    }

    fn publish_zone(&self, rows: &Rows) -> Result<()> {
        let networks = rows
            .networks
            .iter()
            .map(|network| zone::Network {
                name: network.name.clone(),
                subnet: network.subnet,
                gateway: network.spec.gateway,
                subnet6: network.subnet6,
                gateway6: network.spec.ipv6.as_ref().and_then(|six| six.gateway),
                internal: network.spec.internal,
                endpoints: rows
                    .leases
                    .iter()
                    .filter(|lease| lease.network == network.id)
                    .map(|lease| zone::Endpoint {
                        container: lease.container.as_str().to_owned(),
                        address: lease.address,
                        address6: lease.address6,
                        names: lease.names.clone(),
                    })
                    .collect(),
            })
            .collect();
        let passes = if outside::is_apart(&self.instance) {
            BTreeSet::new()
        } else {
            rows.published.iter().filter_map(|port| pass(rows, port)).collect()
        };
        let zone = Zone { networks, passes };
        if !zone.is_plain() && self.dns.is_old()? {
            // A newer one takes its place, and goes on where it was.
            self.dns.stop()?;
            self.dns.publish(&zone)?;
            let asked = Self::names_in_use(rows);
            return if asked.is_empty() { Ok(()) } else { self.dns.ensure(&asked) };
        }
        self.dns.publish(&zone)
    }

    fn seen(&self, row: &NetworkRow, faults: Vec<String>) -> observed::Network {
        observed::Network {
            id: row.id.clone(),
            name: row.name.clone(),
            owner: row.owner.clone(),
            spec: row.spec.clone(),
            subnet: row.subnet,
            subnet6: row.subnet6,
            bridge: self.instance.bridge(&row.id),
            faults,
        }
    }

    /// Where the containers that are attached to networks ask for names.
    fn names_in_use(rows: &Rows) -> Vec<IpAddr> {
        let used: BTreeSet<&str> = rows.leases.iter().map(|l| l.network.as_str()).collect();
        rows.networks.iter().filter(|n| used.contains(n.id.as_str())).filter_map(NetworkRow::names_at).collect()
    }
}

/// What of a published port a process leads on: callers of `::1`, and of IPv6 to a container without it.
fn pass(rows: &Rows, port: &rows::Published) -> Option<zone::Pass> {
    let lease = rows.leases_of(&port.container).find(|lease| {
        let of = |ours: Option<IpAddr>, theirs: Option<IpAddr>| ours.is_some() && ours == theirs;
        of(lease.address.map(IpAddr::V4), port.address.map(IpAddr::V4))
            || of(lease.address6.map(IpAddr::V6), port.address6.map(IpAddr::V6))
    })?;
    let is_internal = rows.network_by_id(&lease.network)?.spec.internal;
    let at = match (port.host_ip, port.address6) {
        (None, Some(_)) => Ipv6Addr::LOCALHOST,
        (Some(IpAddr::V6(ip)), Some(_)) if ip == Ipv6Addr::LOCALHOST || ip.is_unspecified() => Ipv6Addr::LOCALHOST,
        // Who comes by this process comes from the host, which is all that reaches internal networks.
        (Some(IpAddr::V6(ip)), None) if is_internal => {
            (ip == Ipv6Addr::LOCALHOST || ip.is_unspecified()).then_some(Ipv6Addr::LOCALHOST)?
        }
        (Some(IpAddr::V6(ip)), None) => ip,
        _ => return None,
    };
    let to = port.address6.map(IpAddr::V6).or(port.address.map(IpAddr::V4))?;
    Some(zone::Pass {
        protocol: port.protocol,
        at: SocketAddr::new(at.into(), port.host_port),
        to: SocketAddr::new(to, port.container_port),
    })
}

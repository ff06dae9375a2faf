//! Networks on the real kernel. Each test has a network namespace of its own as its host, another as a host elsewhere,
//! and those of its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::*;
use crate::model::spec::Subnet;
use crate::observed::Endpoint;
use crate::sys::netns;

/// Not a test: the program that the tests' DNS servers run as. See [`Host::networks`].
#[test]
#[ignore = "is a role, started by the other tests"]
fn dns_role() {
    let mut arguments = std::env::args_os().skip_while(|a| a != dns::ROLE).skip(1).peekable();
    if arguments.peek().is_some() {
        let code = dns::main(arguments);
        std::process::exit(i32::from(format!("{code:?}") != format!("{:?}", ExitCode::SUCCESS)));
    }
}

/// A host: the test thread's own network namespace, with a wire to another host.
struct Host {
    folder: TempDir,
    elsewhere: OwnedFd,
    runtime: tokio::runtime::Runtime,
    opened: Vec<Networks>,
}

const HERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

impl Host {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        run("mount", &["--make-rprivate", "/"]);
        let elsewhere = netns::create().unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        let mut holder = sleeper(&elsewhere);
        let pid = holder.id().to_string();
        run("ip", &["link", "add", "ext0", "type", "veth", "peer", "name", "ext0", "netns", &pid]);
        holder.kill().unwrap();
        holder.wait().unwrap();
        run("ip", &["address", "add", &format!("{HERE}/24"), "dev", "ext0"]);
        run("ip", &["link", "set", "ext0", "up"]);
        inside(&elsewhere, || {
            run("ip", &["link", "set", "lo", "up"]);
            run("ip", &["address", "add", &format!("{ELSEWHERE}/24"), "dev", "ext0"]);
            run("ip", &["link", "set", "ext0", "up"]);
            // A neighbour that knows the way to the containers.
            run("ip", &["route", "add", "10.0.0.0/8", "via", &HERE.to_string()]);
        });
        run("ip", &["route", "add", "default", "via", &ELSEWHERE.to_string()]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder: tempfile::tempdir_in("/tmp").unwrap(), elsewhere, runtime, opened: Vec::new() }
    }

    fn networks(&mut self, name: &str) -> Networks {
        let root = self.folder.path().join(name);
        files::create_dirs(&root.join("state"), 0o700).unwrap();
        let instance = Instance::new(root.join("state"), root.join("run"), None);
        let db = Arc::new(Db::open(instance.state_dir()).unwrap());
        let mut program = vec![OsString::from("/proc/self/exe")];
        program.extend(["--exact", "engine::networks::tests::dns_role", "--ignored", "--nocapture"].map(OsString::from));
        let networks = Networks::with_program(&instance, db, program).unwrap();
        self.opened.push(networks.clone());
        networks
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for networks in std::mem::take(&mut self.opened) {
            self.wait(networks.teardown()).unwrap();
            assert!(!networks.0.dns.is_alive().unwrap());
        }
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Runs `work` on a thread in a network namespace.
fn inside<T: Send>(namespace: impl AsFd + Sync, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            netns::enter(&namespace).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn sleeper(namespace: &OwnedFd) -> Child {
    inside(namespace, || Command::new("sleep").arg("300").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn id(byte: u8) -> ContainerId {
    ContainerId::from_random([byte; 32])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn join(network: &str, names: &[&str]) -> Join {
    Join { network: name(network), names: names.iter().map(|n| (*n).to_owned()).collect(), ipv4_address: None }
}

fn mappings(texts: &[&str]) -> BTreeSet<PortMapping> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

fn internal() -> NetworkSpec {
    NetworkSpec { internal: true, ..NetworkSpec::default() }
}

impl Attached {
    fn address(&self, network: &str) -> Ipv4Addr {
        self.endpoints[network].address
    }
}

/// Says to each TCP and UDP peer who it is seen as.
struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn start(namespace: &OwnedFd, port: u16) -> Self {
        let (listener, datagrams) =
            inside(namespace, || (TcpListener::bind(("0.0.0.0", port)).unwrap(), UdpSocket::bind(("0.0.0.0", port)).unwrap()));
        listener.set_nonblocking(true).unwrap();
        datagrams.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (one, two) = (Arc::clone(&stop), Arc::clone(&stop));
        let streams = std::thread::spawn(move || {
            while !one.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => drop(stream.write_all(peer.ip().to_string().as_bytes())),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        let packets = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !two.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = datagrams.recv_from(&mut buffer) {
                    drop(datagrams.send_to(peer.ip().to_string().as_bytes(), peer));
                }
            }
        });
        Self { stop, threads: vec![streams, packets] }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

const SHORT: Duration = Duration::from_millis(400);

/// Who `to` sees us as.
fn tcp(to: (Ipv4Addr, u16)) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), SHORT).map_err(|e| e.kind())?;
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.kind())?;
    Ok(text)
}

fn udp(to: (Ipv4Addr, u16)) -> Result<String, ErrorKind> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket.connect(to).map_err(|e| e.kind())?;
    socket.send(b"?").map_err(|e| e.kind())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|e| e.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// What busybox makes of a name, asking `server`.
fn lookup(what: &str, server: Ipv4Addr) -> String {
    let output = Command::new("busybox").args(["nslookup", what, &server.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const ANY: Ipv4Addr = Ipv4Addr::LOCALHOST;

#[test]
fn containers_find_and_reach_each_other() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    assert_eq!(host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap(), front);
    let error = host.wait(networks.create(&name("front"), None, &internal())).unwrap_err().to_string();
    assert!(error.contains("internal is false, not true"), "{error}");

    let web = host.wait(networks.attach(&id(1), &[join("front", &["web", "www"])], &BTreeSet::new())).unwrap();
    let db = host.wait(networks.attach(&id(2), &[join("front", &["db"])], &BTreeSet::new())).unwrap();
    let gateway = front.subnet.gateway();
    assert_eq!(web.nameservers, [gateway]);
    assert_ne!(web.address("front"), db.address("front"));
    let _web = Echo::start(&web.netns, 80);
    inside(&db.netns, || {
        let said = lookup("www", gateway);
        assert!(said.contains(&web.address("front").to_string()), "{said}");
        let said = lookup("nobody", gateway);
        assert!(said.contains("NXDOMAIN"), "{said}");
        let said = lookup(&db.address("front").to_string(), gateway);
        assert!(said.contains("db.front"), "{said}");
        assert_eq!(tcp((web.address("front"), 80)), Ok(db.address("front").to_string()));
        assert_eq!(udp((web.address("front"), 80)), Ok(db.address("front").to_string()));
    });
    let look = host.wait(networks.observe(&[Live { id: id(1), pid: 1 }, Live { id: id(2), pid: 1 }])).unwrap();
    assert_eq!(look.networks, vec![front.clone()]);
    assert_eq!(look.firewall, None);
    assert_eq!(look.network_faults, BTreeMap::new());
    assert_eq!(look.endpoints[&id(1)], web.endpoints);

    let error = host.wait(networks.remove(&name("front"))).unwrap_err().to_string();
    assert!(error.contains(id(1).short()) && error.contains(id(2).short()), "{error}");
    for container in [id(1), id(2), id(2)] {
        host.wait(networks.detach(&container)).unwrap();
    }
    host.wait(networks.remove(&name("front"))).unwrap();
    host.wait(networks.remove(&name("front"))).unwrap();
    assert!(!succeeds("ip", &["link", "show", &front.bridge]));
    let deadline = Instant::now() + Duration::from_secs(5);
    while networks.0.dns.is_alive().unwrap() {
        assert!(Instant::now() < deadline, "the DNS server goes with the last network");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn published_ports_are_reached_from_where_they_should() {
    let mut host = Host::new();
    let networks = host.networks("a");
    for network in ["front", "back"] {
        host.wait(networks.create(&name(network), None, &NetworkSpec::default())).unwrap();
    }
    let ports = mappings(&["8080:80", "8080:80/udp", "127.0.0.1:8081:80", "198.51.100.1:8082:80"]);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &ports)).unwrap();
    assert_eq!(web.ports, ports);
    let peer = host.wait(networks.attach(&id(2), &[join("front", &["peer"])], &BTreeSet::new())).unwrap();
    let other = host.wait(networks.attach(&id(3), &[join("back", &["other"])], &BTreeSet::new())).unwrap();
    let _web = Echo::start(&web.netns, 80);
    let address = web.address("front");

    for (to, reached) in [
        ((ANY, 8080), true),
        ((HERE, 8080), true),
        ((ANY, 8081), true),
        ((HERE, 8081), false),
        ((HERE, 8082), true),
        ((ANY, 8082), false),
        ((address, 80), true),
    ] {
        assert_eq!(tcp(to).is_ok(), reached, "from the host to {to:?}");
    }
    assert!(udp((ANY, 8080)).is_ok() && udp((HERE, 8080)).is_ok());
    inside(&host.elsewhere, || {
        // Its own address arrives: nothing on the way pretends to be it.
        assert_eq!(tcp((HERE, 8080)), Ok(ELSEWHERE.to_string()));
        assert_eq!(udp((HERE, 8080)), Ok(ELSEWHERE.to_string()));
        assert!(tcp((HERE, 8082)).is_ok());
        assert!(tcp((HERE, 8081)).is_err());
        assert!(tcp((address, 80)).is_err(), "a container's own address is not published");
    });
    for (namespace, who) in [(&web.netns, "itself"), (&peer.netns, "a neighbour"), (&other.netns, "another network")] {
        inside(namespace, || {
            assert!(tcp((HERE, 8080)).is_ok(), "from {who}");
            assert!(udp((HERE, 8080)).is_ok(), "from {who}");
            assert!(tcp((HERE, 8081)).is_err(), "from {who}");
        });
    }
    host.wait(networks.detach(&id(1))).unwrap();
    assert!(tcp((ANY, 8080)).is_err());
    assert_eq!(host.wait(networks.observe(&[])).unwrap().firewall, None);
}

#[test]
fn networks_are_apart_and_internal_ones_have_no_way_out() {
    let mut host = Host::new();
    let networks = host.networks("a");
    for (network, spec) in [("one", NetworkSpec::default()), ("two", NetworkSpec::default()), ("inner", internal())] {
        host.wait(networks.create(&name(network), None, &spec)).unwrap();
    }
    let one = host.wait(networks.attach(&id(1), &[join("one", &["one"])], &BTreeSet::new())).unwrap();
    let two = host.wait(networks.attach(&id(2), &[join("inner", &["both"]), join("two", &["both"])], &BTreeSet::new())).unwrap();
    let inner = host.wait(networks.attach(&id(3), &[join("inner", &["inner"])], &mappings(&["8090:80"]))).unwrap();
    let outside = Echo::start(&host.elsewhere, 90);
    let _here = Echo::start(&netns::current().unwrap(), 91);
    let _echoes: Vec<Echo> = [&one, &two, &inner].map(|a| Echo::start(&a.netns, 80)).into();
    let loopback = TcpListener::bind("127.0.0.1:92").unwrap();

    inside(&one.netns, || {
        assert_eq!(tcp((ELSEWHERE, 90)), Ok(HERE.to_string()), "masqueraded");
        assert_eq!(udp((ELSEWHERE, 90)), Ok(HERE.to_string()), "masqueraded");
        assert!(tcp((HERE, 91)).is_ok());
        assert!(tcp((two.address("two"), 80)).is_err());
        assert!(tcp((inner.address("inner"), 80)).is_err());
        let gateway = one.nameservers[0];
        assert!(!lookup("both", gateway).contains(&two.address("two").to_string()));
        // The host's loopback stays the host's, though bridges route to it.
        run("ip", &["address", "flush", "dev", "lo"]);
        run("sysctl", &["-qw", "net.ipv4.conf.eth0.route_localnet=1"]);
        run("ip", &["route", "add", "127.0.0.0/8", "via", &gateway.to_string(), "table", "local"]);
        assert!(tcp((ANY, 92)).is_err());
    });
    drop(loopback);
    // It is in both: it reaches both, has a way out, and finds all names by the one name server.
    assert_eq!(two.nameservers, [host.wait(async { networks.get(&name("two")).unwrap().unwrap().subnet.gateway() })]);
    inside(&two.netns, || {
        assert!(tcp((inner.address("inner"), 80)).is_ok());
        assert!(tcp((ELSEWHERE, 90)).is_ok());
        let said = lookup("inner", two.nameservers[0]);
        assert!(said.contains(&inner.address("inner").to_string()), "{said}");
    });
    inside(&inner.netns, || {
        assert!(tcp((two.address("inner"), 80)).is_ok());
        // Even when it makes itself a route.
        run("ip", &["route", "add", "default", "via", &inner.nameservers[0].to_string()]);
        assert!(tcp((ELSEWHERE, 90)).is_err());
        assert!(tcp((one.address("one"), 80)).is_err());
        assert!(lookup("example.org", inner.nameservers[0]).contains("NXDOMAIN"));
    });
    inside(&host.elsewhere, || {
        for ip in [one.address("one"), two.address("two"), inner.address("inner")] {
            assert!(tcp((ip, 80)).is_err());
        }
        assert!(tcp((HERE, 8090)).is_err(), "an internal network is reached from the host only");
    });
    assert!(tcp((ANY, 8090)).is_ok());
    drop(outside);
}

#[test]
fn what_the_kernel_loses_is_seen_and_put_back() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["8080:80"]))).unwrap();
    let _echo = Echo::start(&web.netns, 80);
    let mut process = sleeper(&web.netns);
    let live = [Live { id: id(1), pid: process.id().cast_signed() }];
    let link = networks.0.instance.host_link(&id(1), 0);
    let mut changes = host.wait(async { networks.watch() }).unwrap();
    let reached = || tcp((HERE, 8080)).is_ok() && tcp((ANY, 8080)).is_ok();
    assert!(reached());

    let damages: [(&[&str], &str); 9] = [
        (&["ip", "link", "delete", &front.bridge], "is gone"),
        (&["ip", "link", "set", &front.bridge, "down"], "is down"),
        (&["ip", "address", "flush", "dev", &front.bridge], "lacks its address"),
        (&["ip", "link", "set", &link, "nomaster"], "not on the network's bridge"),
        (&["ip", "link", "delete", &link], "is gone"),
        (&["ip", "link", "set", &link, "down"], "down on the host"),
        (&["nft", "flush", "ruleset"], "is gone"),
        (&["nft", "flush", "map", "ip", &networks.0.instance.nft_table(), "published"], "lacks tcp . 8080"),
        (&["nft", "flush", "chain", "ip", &networks.0.instance.nft_table(), "forward"], "other rules"),
    ];
    for (damage, fault) in damages {
        run(damage[0], &damage[1..]);
        host.wait(async { tokio::time::timeout(Duration::from_secs(1), changes.next()).await }).expect("a wake-up");
        let look = host.wait(networks.observe(&live)).unwrap();
        let said = format!("{:?} {:?} {:?}", look.networks[0].faults, look.network_faults, look.firewall);
        assert!(said.contains(fault), "{damage:?}: {said}");
        if !look.networks[0].faults.is_empty() {
            host.wait(networks.repair_network(&name("front"), &live)).unwrap();
        }
        let look = host.wait(networks.observe(&live)).unwrap();
        if !look.network_faults.is_empty() {
            host.wait(networks.repair_container(live[0].clone())).unwrap();
        }
        if look.firewall.is_some() {
            host.wait(networks.repair_firewall()).unwrap();
        }
        let look = host.wait(networks.observe(&live)).unwrap();
        assert_eq!((&look.networks, &look.firewall), (&vec![front.clone()], &None), "after {damage:?}");
        assert_eq!(look.network_faults, BTreeMap::new(), "after {damage:?}");
        assert!(reached(), "after {damage:?}");
        inside(&web.netns, || assert!(tcp((HERE, 8080)).is_ok(), "after {damage:?}"));
        // What the repair itself made known.
        while host.wait(async { tokio::time::timeout(Duration::from_millis(100), changes.next()).await }).is_ok() {}
    }

    // The DNS server is part of the network.
    let note = files::read_to_string(&dns::zone::Files::of(networks.0.instance.run_dir()).lock()).unwrap();
    run("kill", &["-9", note.split(' ').next().unwrap()]);
    std::thread::sleep(Duration::from_millis(50));
    let faults = host.wait(networks.observe(&live)).unwrap().networks[0].faults.clone();
    assert!(faults.iter().any(|f| f.contains("DNS")), "{faults:?}");
    host.wait(networks.repair_network(&name("front"), &live)).unwrap();
    inside(&web.netns, || assert!(lookup("web", web.nameservers[0]).contains(&web.address("front").to_string())));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn failures_leave_nothing_and_leftovers_are_swept() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let attach = |id: &ContainerId, joins: &[Join], ports: &[&str]| host.wait(networks.attach(id, joins, &mappings(ports)));
    let rows = || networks.0.rows().unwrap();

    let busy = TcpListener::bind("0.0.0.0:8088").unwrap();
    let error = attach(&id(1), &[join("front", &[])], &["8088:80"]).unwrap_err().to_string();
    assert!(error.contains("port 8088/tcp is in use on the host by ") && error.contains("pid"), "{error}");
    drop(busy);
    let error = attach(&id(1), &[join("front", &[]), join("no", &[])], &[]).unwrap_err().to_string();
    assert!(error.contains("no does not exist"), "{error}");
    let error = attach(&id(1), &[], &["80"]).unwrap_err().to_string();
    assert!(error.contains("no network"), "{error}");
    let wrong = Join { ipv4_address: Some(front.subnet.gateway()), ..join("front", &[]) };
    assert!(attach(&id(1), &[wrong], &[]).is_err());
    // Somebody else serves port 53 of the gateway, which comes out after rows, ports and names were written.
    let back = host.wait(networks.create(&name("back"), None, &NetworkSpec::default())).unwrap();
    let other = UdpSocket::bind((back.subnet.gateway(), 53)).unwrap();
    let error = attach(&id(1), &[join("front", &["x"]), join("back", &["x"])], &["8089:80"]).unwrap_err().to_string();
    assert!(error.contains("cannot listen"), "{error}");
    assert_eq!((rows().leases, rows().published), (vec![], vec![]));
    drop(other);
    host.wait(networks.detach(&id(1))).unwrap();
    assert_eq!(rows().leases, []);
    assert_eq!(host.wait(networks.observe(&[])).unwrap().firewall, None);

    // Free host ports are chosen, kept apart, and refused to others by the holder's name.
    let one = attach(&id(1), &[join("front", &["one"])], &["80", "81"]).unwrap();
    let chosen: BTreeSet<u16> = one.ports.iter().map(|p| p.host_port.unwrap()).collect();
    assert_eq!(chosen.len(), 2);
    let text = format!("{}:1", chosen.first().unwrap());
    let error = attach(&id(2), &[join("front", &["two"])], &[&text]).unwrap_err().to_string();
    assert!(error.contains("container one"), "{error}");
    // A start after a crash, of which the rows are left, gets what the container had.
    let again = attach(&id(1), &[join("front", &["one"])], &["80", "81"]).unwrap();
    assert_eq!((&again.endpoints, &again.ports), (&one.endpoints, &one.ports));
    drop(one);

    let two = attach(&id(2), &[join("front", &["two"])], &["8091:80"]).unwrap();
    let known = BTreeSet::from([id(1), id(2)]);
    host.wait(networks.recover(&known, &BTreeSet::from([id(2), id(3)]))).unwrap();
    assert_eq!(rows().leases.iter().map(|l| l.container.clone()).collect::<Vec<_>>(), [id(2)]);
    assert!(!succeeds("ip", &["link", "show", &networks.0.instance.host_link(&id(1), 0)]));
    assert!(succeeds("ip", &["link", "show", &networks.0.instance.host_link(&id(2), 0)]));
    // A bridge of ours whose row is gone, as after a power cut that took the transaction back.
    let back = networks.get(&name("back")).unwrap().unwrap();
    rows::delete_network(&networks.0.db, &back.id).unwrap();
    host.wait(networks.recover(&known, &known)).unwrap();
    assert!(!succeeds("ip", &["link", "show", &back.bridge]));
    assert!(succeeds("ip", &["link", "show", &front.bridge]));
    drop((again, two));
}

#[test]
fn a_namespace_that_dies_takes_its_links_along() {
    let mut host = Host::new();
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &BTreeSet::new())).unwrap();
    let link = networks.0.instance.host_link(&id(1), 0);
    assert!(succeeds("ip", &["link", "show", &link]));
    drop(web);
    let deadline = Instant::now() + Duration::from_secs(5);
    while succeeds("ip", &["link", "show", &link]) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let faults = host.wait(networks.observe(&[Live { id: id(1), pid: 1 }])).unwrap().network_faults;
    assert!(faults[&id(1)][0].contains("gone"), "{faults:?}");
    let alone = host.wait(networks.attach(&id(2), &[], &BTreeSet::new())).unwrap();
    assert_eq!((alone.endpoints, alone.nameservers), (BTreeMap::<Name, Endpoint>::new(), Vec::new()));
    let _echo = Echo::start(&alone.netns, 80);
    inside(&alone.netns, || {
        assert!(tcp((ANY, 80)).is_ok());
        assert!(tcp((HERE, 80)).is_err());
    });
}

#[test]
fn instances_live_side_by_side() {
    let mut host = Host::new();
    let (a, b) = (host.networks("a"), host.networks("b"));
    let mut attached = Vec::new();
    for (networks, port) in [(&a, "8080:80"), (&b, "8081:80")] {
        host.wait(networks.create(&name("default"), None, &NetworkSpec::default())).unwrap();
        attached.push(host.wait(networks.attach(&id(1), &[join("default", &["web"])], &mappings(&[port]))).unwrap());
    }
    let (one, two) = (attached[0].address("default"), attached[1].address("default"));
    assert_ne!(one, two);
    let _echoes: Vec<Echo> = attached.iter().map(|x| Echo::start(&x.netns, 80)).collect();
    assert!(tcp((ANY, 8080)).is_ok() && tcp((ANY, 8081)).is_ok());
    inside(&attached[0].netns, || {
        assert!(tcp((two, 80)).is_err());
        assert!(tcp((HERE, 8081)).is_ok());
        assert!(lookup("web", attached[0].nameservers[0]).contains(&one.to_string()));
    });
    host.wait(b.recover(&BTreeSet::new(), &BTreeSet::new())).unwrap();
    host.wait(b.teardown()).unwrap();
    let look = host.wait(a.observe(&[Live { id: id(1), pid: 1 }])).unwrap();
    assert_eq!((look.firewall, look.network_faults), (None, BTreeMap::new()));
    assert!(tcp((ANY, 8080)).is_ok() && tcp((ANY, 8081)).is_err());
}

#[test]
fn other_names_are_asked_of_the_host() {
    let mut host = Host::new();
    // A resolver on the host's loopback, as many hosts have.
    let resolver = UdpSocket::bind("127.0.0.53:53").unwrap();
    let file = host.folder.path().join("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.53\n").unwrap();
    run("mount", &["--bind", file.to_str().unwrap(), "/etc/resolv.conf"]);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, peer) = resolver.recv_from(&mut buffer).unwrap();
        let mut answer = buffer[..length].to_vec();
        // A response, with one answer: the asked name has the address 192.0.2.9.
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]);
        resolver.send_to(&answer, peer).unwrap();
    });
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &BTreeSet::new())).unwrap();
    let query = |question: &[u8]| {
        inside(&web.netns, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            socket.connect((web.nameservers[0], 53)).unwrap();
            let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            packet.extend(question);
            packet.extend([0, 1, 0, 1]);
            socket.send(&packet).unwrap();
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
    };
    let answer = query(b"\x07example\x03org\0");
    assert!(answer.starts_with(&[0x12, 0x34]) && answer.ends_with(&[192, 0, 2, 9]), "{answer:?}");
    thread.join().unwrap();
    // Nobody answers any more: an honest failure.
    let answer = query(b"\x07example\x03net\0");
    assert_eq!(answer[3] & 0x0f, 2, "SERVFAIL");
    let answer = query(b"\x03web\0");
    assert_eq!(answer[3] & 0x0f, 0);
}

#[test]
fn subnets_that_the_host_uses_are_left_alone() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let spec = |subnet: &str| NetworkSpec { subnet: Some(subnet.parse().unwrap()), ..NetworkSpec::default() };
    let error = host.wait(networks.create(&name("n"), None, &spec("198.51.100.128/25"))).unwrap_err().to_string();
    assert!(error.contains("ext0"), "{error}");
    run("ip", &["route", "add", "10.210.0.0/17", "via", &ELSEWHERE.to_string()]);
    for i in 0..3 {
        let network = host.wait(networks.create(&name(&format!("n{i}")), None, &NetworkSpec::default())).unwrap();
        let low: Subnet = "10.210.0.0/17".parse().unwrap();
        assert!(!network.subnet.overlaps(low), "{}", network.subnet);
    }
    let given = host.wait(networks.create(&name("given"), None, &spec("10.77.0.0/29"))).unwrap();
    let error = host.wait(networks.create(&name("again"), None, &spec("10.77.0.0/16"))).unwrap_err().to_string();
    assert!(error.contains("network given"), "{error}");
    let mut all = Vec::new();
    for i in 0..5 {
        all.push(host.wait(networks.attach(&id(i), &[join("given", &[])], &BTreeSet::new())).unwrap());
    }
    assert!(all.iter().all(|a| given.subnet.contains(a.address("given"))));
    let error = host.wait(networks.attach(&id(9), &[join("given", &[])], &BTreeSet::new())).unwrap_err().to_string();
    assert!(error.contains("no free address"), "{error}");
}

#[test]
fn many_at_once() {
    const COUNT: u8 = 60;
    let mut host = Host::new();
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let joins: Vec<[Join; 1]> = (0..COUNT).map(|i| [join("front", &[&format!("c{i}")])]).collect();
    let ports = mappings(&["80"]);
    let ids: Vec<ContainerId> = (0..COUNT).map(id).collect();
    let work = ids.iter().zip(&joins).map(|(id, joins)| networks.attach(id, joins, &ports));
    let attached: Vec<Attached> = host.wait(futures_util::future::join_all(work)).into_iter().collect::<Result<_>>().unwrap();
    let addresses: BTreeSet<Ipv4Addr> = attached.iter().map(|a| a.address("front")).collect();
    assert_eq!(addresses.len(), usize::from(COUNT));
    let ports: BTreeSet<PortMapping> = attached.iter().flat_map(|a| a.ports.iter().cloned()).collect();
    assert_eq!(ports.len(), usize::from(COUNT));
    let live: Vec<Live> = ids.iter().map(|id| Live { id: id.clone(), pid: 1 }).collect();
    for _ in 0..2 {
        let look = host.wait(networks.observe(&live)).unwrap();
        assert_eq!((look.firewall, look.network_faults), (None, BTreeMap::new()));
        assert_eq!(look.endpoints.len(), usize::from(COUNT));
    }
    inside(&attached[0].netns, || {
        let said = lookup("c59", attached[0].nameservers[0]);
        assert!(said.contains(&attached[59].address("front").to_string()), "{said}");
    });
    for result in host.wait(futures_util::future::join_all(ids.iter().map(|id| networks.detach(id)))) {
        result.unwrap();
    }
    assert_eq!(networks.0.rows().unwrap().leases, []);
    let link = networks.0.instance.host_link(&id(7), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while succeeds("ip", &["link", "show", &link]) {
        assert!(Instant::now() < deadline, "links go after a while");
        std::thread::sleep(Duration::from_millis(20));
    }
}

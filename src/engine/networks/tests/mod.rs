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

use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::*;
use crate::model::spec::{BridgeOptions, Subnet};
use crate::sys::netns;

mod faults;
mod ipv6;
mod reach;

/// Not a test: the program that the tests' DNS servers run as, and those that delete links. See [`Host::networks`].
#[test]
fn role() {
    for (role, play) in [(dns::ROLE, dns::main as fn(&[OsString]) -> ExitCode), (links_role::ROLE, links_role::main)] {
        let arguments: Vec<_> = std::env::args_os().skip_while(|a| a != role).skip(1).collect();
        if !arguments.is_empty() {
            let code = play(&arguments);
            std::process::exit(i32::from(format!("{code:?}") != format!("{:?}", ExitCode::SUCCESS)));
        }
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
        program.extend(["--exact", "engine::networks::tests::role", "--nocapture"].map(OsString::from));
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

/// Whether it is told within this time that something of the instance's own has changed.
fn tells(word: &mut Word, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        if word.take().unwrap().ours {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
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
    Join {
        network: name(network),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        ipv4_address: None,
        ipv6_address: None,
        interface: None,
        mac: None,
    }
}

fn mappings(texts: &[&str]) -> BTreeSet<PortMapping> {
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

fn internal() -> NetworkSpec {
    NetworkSpec { internal: true, ..NetworkSpec::default() }
}

impl Attached {
    fn address(&self, network: &str) -> Ipv4Addr {
        self.given.endpoints[network].address.unwrap()
    }
}

/// Says to each TCP and UDP peer who it is seen as.
struct Echo {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Echo {
    fn start(namespace: &OwnedFd, port: u16) -> Self {
        Self::at(namespace, ([0, 0, 0, 0], port).into())
    }

    fn at(namespace: &OwnedFd, address: SocketAddr) -> Self {
        let (listener, datagrams) =
            inside(namespace, || (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
        listener.set_nonblocking(true).unwrap();
        datagrams.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (one, two) = (Arc::clone(&stop), Arc::clone(&stop));
        let streams = std::thread::spawn(move || {
            while !one.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, peer)) => drop(stream.write_all(peer.ip().to_canonical().to_string().as_bytes())),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        let packets = std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while !two.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = datagrams.recv_from(&mut buffer) {
                    drop(datagrams.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer));
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
fn tcp(to: impl Into<SocketAddr>) -> Result<String, ErrorKind> {
    let mut stream = TcpStream::connect_timeout(&to.into(), SHORT).map_err(|e| e.kind())?;
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.kind())?;
    Ok(text)
}

fn udp(to: impl Into<SocketAddr>) -> Result<String, ErrorKind> {
    let to = to.into();
    let socket = UdpSocket::bind(if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket.connect(to).map_err(|e| e.kind())?;
    socket.send(b"?").map_err(|e| e.kind())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|e| e.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// What busybox makes of a name, asking `server`.
fn lookup(what: &str, server: impl Into<std::net::IpAddr>) -> String {
    let output = Command::new("busybox").args(["nslookup", what, &server.into().to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const ANY: Ipv4Addr = Ipv4Addr::LOCALHOST;

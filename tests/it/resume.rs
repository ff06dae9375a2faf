//! A pull that is killed in the middle of a layer: the next one asks for the rest, and no more than that crosses the network.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{Host, PATIENCE, Registry, wait_for};

/// Between the program and the registry: counts what comes from the registry, and lets no more than a limit through.
struct Gate {
    state: Arc<State>,
}

struct State {
    passed: AtomicU64,
    limit: AtomicU64,
    /// What was sent to the registry.
    asked: Mutex<Vec<u8>>,
}

impl Gate {
    const ADDRESS: &str = "127.0.0.1:5001";

    fn open(limit: u64) -> Self {
        let state = State { passed: AtomicU64::new(0), limit: AtomicU64::new(limit), asked: Mutex::default() };
        let (state, listener) = (Arc::new(state), TcpListener::bind(Self::ADDRESS).unwrap());
        let shared = Arc::clone(&state);
        // Ends with the test's process, as all that it starts.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, registry) = (client.unwrap(), TcpStream::connect(Registry::ADDRESS).unwrap());
                let (from, to) = (registry.try_clone().unwrap(), client.try_clone().unwrap());
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || up.ask(client, registry));
                std::thread::spawn(move || down.answer(from, to));
            }
        });
        Self { state }
    }

    /// Lets all through from now on, and counts from zero.
    fn release(&self) {
        self.state.asked.lock().unwrap().clear();
        self.state.passed.store(0, Ordering::SeqCst);
        self.state.limit.store(u64::MAX, Ordering::SeqCst);
    }

    fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }

    /// The ranges that were asked for.
    fn ranges(&self) -> Vec<String> {
        let asked = String::from_utf8_lossy(&self.state.asked.lock().unwrap()).to_lowercase();
        asked.lines().filter_map(|line| line.strip_prefix("range: ")).map(str::to_owned).collect()
    }
}

impl State {
    fn ask(&self, mut client: TcpStream, mut registry: TcpStream) {
        let mut part = [0; 4096];
        // The program closes its end when it is killed: that is what the test is about.
        while let Ok(n @ 1..) = client.read(&mut part) {
            self.asked.lock().unwrap().extend_from_slice(&part[..n]);
            if registry.write_all(&part[..n]).is_err() {
                return;
            }
        }
        registry.shutdown(std::net::Shutdown::Both).ok();
    }

    fn answer(&self, mut registry: TcpStream, mut client: TcpStream) {
        let mut part = [0; 16 << 10];
        while let Ok(n @ 1..) = registry.read(&mut part) {
            while self.passed.load(Ordering::SeqCst) >= self.limit.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if client.write_all(&part[..n]).is_err() {
                return;
            }
            self.passed.fetch_add(n as u64, Ordering::SeqCst);
        }
        client.shutdown(std::net::Shutdown::Both).ok();
    }
}

/// Pushes an image with a layer of so many bytes that cannot be compressed, and gives that layer's size.
fn push(host: &Host, registry: &Registry, bytes: usize) -> u64 {
    let folder = host.dir.join("content");
    fs::create_dir_all(&folder).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let random: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(bytes / 8)
    .flatten()
    .collect();
    fs::write(folder.join("random"), random).unwrap();
    let mut layout = Layout::new(host.dir.join("layout"));
    layout.add_folder(busybox_folder(), &[]);
    layout.add_folder(&folder, &[]);
    let layout = layout.finish("1", &json!({"Cmd": ["sha256sum", "/random"]}));
    let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let largest = blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).max().unwrap();
    registry.push(&layout, "1", "test/app");
    largest
}

/// The partial download of the one layer that is being fetched, once it is at least so long.
fn partial(host: &Host, bytes: u64) -> u64 {
    let folder: PathBuf = host.instance.state_dir().join("images/partial");
    wait_for("a part of the layer has come", PATIENCE, || {
        let files = fs::read_dir(&folder).ok()?.map(|file| file.unwrap().metadata().unwrap().len());
        files.max().filter(|length| *length >= bytes)
    })
}

#[test]
fn a_killed_pull_goes_on_by_range() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let layer = push(&host, &registry, 12 << 20);
    let gate = Gate::open(6 << 20);
    let reference = format!("{}/test/app:1", Gate::ADDRESS);

    let pull = host.start(&["pull", &reference]);
    partial(&host, 2 << 20);
    pull.signal(Signal::SIGKILL);
    assert_eq!(pull.wait(PATIENCE).code, 128 + 9);
    assert_eq!(host.sp(&["images", "--json"]).ok().json().as_array().unwrap().len(), 0, "half an image is none");
    // A command after it recovers what the killed one left, and leaves what can be used.
    let kept = partial(&host, 2 << 20);
    assert!(kept < layer, "{kept} of {layer} bytes");

    gate.release();
    host.sp(&["pull", &reference]).ok();
    let ranges = gate.ranges();
    assert!(ranges.contains(&format!("bytes={kept}-")), "{kept}: {ranges:?}");
    // Besides the rest there are the documents, and the other layer where it had not come yet.
    let busybox = fs::metadata("/bin/busybox").unwrap().len();
    assert!(gate.passed() < layer - kept + busybox + (256 << 10), "{} bytes for the rest of {layer} after {kept}", gate.passed());
    let sum = crate::harness::tool("sha256sum", &[host.dir.join("content/random").to_str().unwrap()]);
    let ran = host.sp(&["run", "--rm", "--network", "none", &reference]).ok();
    assert_eq!(ran.stdout.split_whitespace().next(), sum.split_whitespace().next());
    host.sp(&["check"]).ok();
    let left = fs::read_dir(host.instance.state_dir().join("images/partial")).unwrap().count();
    assert_eq!(left, 0, "what has come whole leaves no part");
}

//! Talking to what the containers serve: one HTTP request, one line over TCP, and a second host on the network. Knows
//! nothing of setpoint.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::tool;

const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    connect_to(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn connect_to(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// `GET path` from the host's loopback: the body, when the answer is 200.
pub(crate) fn http(port: u16, path: &str) -> std::io::Result<String> {
    http_at(SocketAddr::from(([127, 0, 0, 1], port)), path)
}

pub(crate) fn http_at(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = connect_to(address)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other(format!("no HTTP: {answer:?}")))?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200") { Ok(body.to_owned()) } else { Err(std::io::Error::other(status.to_owned())) }
}

/// Runs `work` on another host, whose address is 192.0.2.2, while the calling thread's host answers at 192.0.2.1.
pub(crate) fn on_another_host<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let (tid_sender, tid) = std::sync::mpsc::channel();
    let (go, ready) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            // Whoever holds this keeps the namespace, and the link into it, beyond the end of this thread.
            let namespace = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
            tid_sender.send((nix::unistd::gettid(), namespace)).unwrap();
            ready.recv().unwrap();
            for command in ["link set lo up", "addr add 192.0.2.2/24 dev peer", "link set peer up"] {
                tool("ip", &command.split(' ').collect::<Vec<_>>());
            }
            work()
        });
        let (tid, _namespace) = tid.recv().unwrap();
        let tid = tid.to_string();
        tool("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "peer", "netns", &tid]);
        for command in ["addr add 192.0.2.1/24 dev uplink", "link set uplink up"] {
            tool("ip", &command.split(' ').collect::<Vec<_>>());
        }
        go.send(()).unwrap();
        let result = other.join();
        // Its peer goes with it.
        tool("ip", &["link", "del", "uplink"]);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

//! Ports of the host whose callers a process leads to containers, because the packet filter cannot: those at IPv6's loopback, whose
//! answers would come in by a link and be dropped there, and IPv6 ports of a container that has IPv4 only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::zone::Pass;
use crate::model::Protocol;

/// How long an answer to a datagram may take, after which its sender is forgotten. As the kernel does with those it leads itself.
const DATAGRAMS: Duration = Duration::from_secs(180);
/// Senders of datagrams that are remembered for a port, at most; what comes from others is dropped meanwhile.
const SENDERS: usize = 1024;

/// What is led on now.
#[derive(Debug, Default)]
pub(super) struct Passes(BTreeMap<Pass, JoinHandle<()>>);

impl Passes {
    /// Begins with what is missing and ends what is not wanted any more. Connections that are there go on.
    ///
    /// Returns whether a port could not be had, which is tried again.
    pub(super) fn become_those(&mut self, wanted: &BTreeSet<Pass>) -> bool {
        self.0.retain(|pass, task| {
            let keep = wanted.contains(pass);
            if !keep {
                task.abort();
            }
            keep
        });
        let mut failed = false;
        for pass in wanted {
            if self.0.contains_key(pass) {
                continue;
            }
            match begin(*pass) {
                Ok(task) => drop(self.0.insert(*pass, task)),
                Err(_) => failed = true,
            }
        }
        failed
    }
}

fn begin(pass: Pass) -> io::Result<JoinHandle<()>> {
    Ok(match pass.protocol {
        Protocol::Tcp => {
            let socket = bound(pass.at, SocketType::STREAM)?;
            listen(&socket, 128)?;
            tokio::spawn(streams(TcpListener::from_std(socket.into())?, pass.to))
        }
        Protocol::Udp => {
            let socket = bound(pass.at, SocketType::DGRAM)?;
            tokio::spawn(datagrams(Arc::new(UdpSocket::from_std(socket.into())?), pass.to))
        }
    })
}

fn bound(at: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_ipv6_v6only(&socket, true)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    // Who gives out ports must be able to tell that it is this process that has one (`ports.rs`).
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &at)?;
    Ok(socket)
}

async fn streams(listener: TcpListener, to: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((mut outer, _)) => {
                tokio::spawn(async move {
                    // An error on either side ends both, which is how the two hear of it.
                    if let Ok(mut inner) = TcpStream::connect(to).await {
                        drop(copy_bidirectional(&mut outer, &mut inner).await);
                    }
                });
            }
            // Too many open files, most likely: wait for some to be closed.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Each sender has a socket of its own towards the container, so that answers find back.
async fn datagrams(outer: Arc<UdpSocket>, to: SocketAddr) {
    let senders: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0; 65535];
    loop {
        let Ok((length, from)) = outer.recv_from(&mut buffer).await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        let known = senders.lock().unwrap_or_else(PoisonError::into_inner).get(&from).cloned();
        let inner = match known {
            Some(inner) => inner,
            None => {
                let Ok(inner) = towards(to).await else { continue };
                let mut senders_now = senders.lock().unwrap_or_else(PoisonError::into_inner);
                if senders_now.len() >= SENDERS {
                    continue;
                }
                senders_now.insert(from, Arc::clone(&inner));
                drop(senders_now);
                tokio::spawn(answers(Arc::downgrade(&outer), Arc::clone(&inner), from, Arc::clone(&senders)));
                inner
            }
        };
        // A datagram that is lost is lost, as on any way.
        drop(inner.send(&buffer[..length]).await);
    }
}

async fn towards(to: SocketAddr) -> io::Result<Arc<UdpSocket>> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(Arc::new(socket))
}

async fn answers(
    outer: Weak<UdpSocket>,
    inner: Arc<UdpSocket>,
    sender: SocketAddr,
    senders: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>,
) {
    let mut buffer = vec![0; 65535];
    while let Ok(Ok(length)) = timeout(DATAGRAMS, inner.recv(&mut buffer)).await {
        // The port is free as soon as it is not led on any more.
        let Some(outer) = outer.upgrade() else { return };
        drop(outer.send_to(&buffer[..length], sender).await);
    }
    senders.lock().unwrap_or_else(PoisonError::into_inner).remove(&sender);
}

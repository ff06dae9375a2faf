//! The server proper: sockets at the gateways, and the zone read again whenever the engine publishes it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustix::fs::inotify;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::answer::{Decision, View};
use super::forward::{Upstream, framed};
use super::pass::Passes;
use super::zone::{Files, Gateway, SPEAKS, Serving, Zone};
use crate::files::{self, FileError};
use crate::sys::{self, async_fd};

const PORT: u16 = 53;
/// Queries that wait for the host's name servers, at most; the rest is dropped, and clients ask again.
const IN_FLIGHT: usize = 256;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// When to try again where a socket could not be bound.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("watch {folder}: {source}")]
    Watch { folder: String, source: io::Error },
    #[error("the zone {path} is not understood: {source}")]
    Zone { path: String, source: serde_json::Error },
    #[error("{0}")]
    Encode(serde_json::Error),
}

struct Shared {
    view: RwLock<Arc<View>>,
    upstream: Upstream,
    room: Semaphore,
    turn: AtomicUsize,
}

impl Shared {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Serves until no network is left in the zone. `ready` is called once the first zone is served.
pub(super) async fn serve(files: &Files, upstream: Upstream, ready: impl FnOnce()) -> Result<(), ServerError> {
    let changes = watch(files.folder())?;
    let shared =
        Arc::new(Shared { view: RwLock::default(), upstream, room: Semaphore::new(IN_FLIGHT), turn: AtomicUsize::new(0) });
    let mut sockets: BTreeMap<IpAddr, Vec<JoinHandle<()>>> = BTreeMap::new();
    let mut passes = Passes::default();
    let mut ready = Some(ready);
    loop {
        let zone = read_zone(files)?;
        if zone.networks.is_empty() {
            return Ok(());
        }
        let view = Arc::new(View::new(&zone));
        *shared.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&view);
        let failed = listen_at(&view, &shared, &mut sockets);
        let again = passes.become_those(&zone.passes) || !failed.is_empty();
        let gateways = view.gateways().map(|address| Gateway { address, error: failed.get(&address).cloned() }).collect();
        let serving = Serving { pid: std::process::id(), speaks: SPEAKS, gateways };
        let text = serde_json::to_vec(&serving).map_err(ServerError::Encode)?;
        if files::read_if_there(&files.serving())?.as_deref() != Some(text.as_slice()) {
            files::publish(&files.serving(), &text, 0o600)?;
        }
        if let Some(ready) = ready.take() {
            ready();
        }
        tokio::select! {
            changed = next_change(&changes, files.folder()) => changed?,
            () = sleep(RETRY), if again => {}
        }
    }
}

/// A missing zone is an empty one: the folder was cleaned up.
pub(super) fn read_zone(files: &Files) -> Result<Zone, ServerError> {
    let path = files.zone();
    match files::read_if_there(&path)? {
        None => Ok(Zone::default()),
        Some(text) => {
            serde_json::from_slice(&text).map_err(|source| ServerError::Zone { path: path.display().to_string(), source })
        }
    }
}

fn watch(folder: &Path) -> Result<AsyncFd<OwnedFd>, ServerError> {
    let fail = |source| ServerError::Watch { folder: folder.display().to_string(), source };
    let fd = sys::inotify::open().map_err(|e| fail(e.into()))?;
    let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&fd, folder, events).map_err(|e| fail(e.into()))?;
    async_fd::readable(fd).map_err(fail)
}

/// Waits until the zone may have changed.
async fn next_change(changes: &AsyncFd<OwnedFd>, folder: &Path) -> Result<(), ServerError> {
    let fail = |source| ServerError::Watch { folder: folder.display().to_string(), source };
    loop {
        let mut guard = changes.readable().await.map_err(fail)?;
        let mut of_the_zone = false;
        let taken = sys::inotify::take(guard.get_inner(), |event| {
            of_the_zone |= event.file_name().is_none_or(|name| name.to_bytes() == b"zone.json");
        });
        taken.map_err(|e| fail(e.into()))?;
        guard.clear_ready();
        if of_the_zone {
            return Ok(());
        }
    }
}

/// Opens what is missing, closes what is not wanted any more, and returns what could not be opened.
fn listen_at(view: &View, shared: &Arc<Shared>, sockets: &mut BTreeMap<IpAddr, Vec<JoinHandle<()>>>) -> BTreeMap<IpAddr, String> {
    let wanted: Vec<IpAddr> = view.gateways().collect();
    sockets.retain(|gateway, tasks| {
        let keep = wanted.contains(gateway);
        if !keep {
            tasks.iter().for_each(JoinHandle::abort);
        }
        keep
    });
    let mut failed = BTreeMap::new();
    for gateway in wanted {
        if sockets.contains_key(&gateway) {
            continue;
        }
        match open(gateway) {
            Ok((datagrams, streams)) => {
                let tasks = vec![
                    tokio::spawn(serve_datagrams(Arc::new(datagrams), gateway, Arc::clone(shared))),
                    tokio::spawn(serve_streams(streams, gateway, Arc::clone(shared))),
                ];
                sockets.insert(gateway, tasks);
            }
            Err(e) => {
                failed.insert(gateway, e.to_string());
            }
        }
    }
    failed
}

fn open(gateway: IpAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams: std::net::UdpSocket = bound(gateway, SocketType::DGRAM)?.into();
    let streams = bound(gateway, SocketType::STREAM)?;
    listen(&streams, 128)?;
    Ok((UdpSocket::from_std(datagrams)?, TcpListener::from_std(streams.into())?))
}

fn bound(gateway: IpAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if gateway.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    // The bridge may be away for a moment, or forever: the socket need not care.
    if gateway.is_ipv6() {
        sockopt::set_ipv6_freebind(&socket, true)?;
    } else {
        sockopt::set_ip_freebind(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(gateway, PORT))?;
    Ok(socket)
}

async fn serve_datagrams(socket: Arc<UdpSocket>, gateway: IpAddr, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // What a client's closed port sends back is reported here; it is no trouble of ours.
            Err(_) => {
                sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        let packet = &buffer[..length];
        let view = shared.view();
        match view.decide(packet, client.ip(), gateway, shared.turn.fetch_add(1, Ordering::Relaxed), true) {
            Decision::Ignore => {}
            Decision::Answer(bytes) => drop(socket.send_to(&bytes, client).await),
            Decision::Forward { failed } => {
                let (socket, shared, packet) = (Arc::clone(&socket), Arc::clone(&shared), packet.to_vec());
                tokio::spawn(async move {
                    let Ok(_place) = shared.room.try_acquire() else { return };
                    let own: Vec<IpAddr> = view.gateways().collect();
                    let answer = shared.upstream.ask(&packet, &own, false).await.unwrap_or(failed);
                    drop(socket.send_to(&answer, client).await);
                });
            }
        }
    }
}

async fn serve_streams(listener: TcpListener, gateway: IpAddr, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { drop(serve_stream(stream, client.ip(), gateway, &shared).await) });
            }
            // Too many open files, most likely: wait for some to be closed.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Errors end one client's connection, which is how it hears of them.
async fn serve_stream(mut stream: TcpStream, client: IpAddr, gateway: IpAddr, shared: &Shared) -> io::Result<()> {
    let Ok(_place) = shared.room.try_acquire() else { return Ok(()) };
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut packet = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut packet)).await??;
        let view = shared.view();
        let answer = match view.decide(&packet, client, gateway, shared.turn.fetch_add(1, Ordering::Relaxed), false) {
            Decision::Ignore => return Ok(()),
            Decision::Answer(bytes) => bytes,
            Decision::Forward { failed } => {
                let own: Vec<IpAddr> = view.gateways().collect();
                shared.upstream.ask(&packet, &own, true).await.unwrap_or(failed)
            }
        };
        timeout(IDLE, stream.write_all(&framed(&answer))).await??;
    }
}

//! Asks the host's name servers. Packets pass unchanged but for their id, so every kind of record works.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take; glibc's own patience with one is 5 s.
const PATIENCE: Duration = Duration::from_millis(2000);
const HOST_FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

/// The host's name servers, read again when their file changes.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Who is asked instead, where the host's name servers may not be reached as the host reaches them.
    instead: Option<Ipv4Addr>,
    cached: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
}

impl Upstream {
    /// `own` are the addresses that this process listens at, which must not be asked.
    pub(super) async fn ask(&self, query: &[u8], own: &[IpAddr], stream: bool) -> Option<Vec<u8>> {
        for server in self.servers() {
            if own.contains(&server.ip()) {
                continue;
            }
            let attempt = async { if stream { by_stream(server, query).await } else { by_datagram(server, query).await } };
            // A server that fails is one of several: the next is asked, and the client hears of it when all fail.
            if let Ok(Ok(answer)) = timeout(PATIENCE, attempt).await {
                return Some(answer);
            }
        }
        None
    }

    /// One that asks the host's name servers itself.
    pub(super) fn at(server: Ipv4Addr) -> Self {
        Self { instead: Some(server), ..Self::default() }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        if let Some(server) = self.instead {
            return vec![SocketAddr::from((server, PORT))];
        }
        let changed = std::fs::metadata(HOST_FILE).and_then(|m| m.modified()).ok();
        let mut cached = self.cached.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if changed.is_none() || cached.0 != changed {
            *cached = (changed, parse(&crate::files::read_to_string(Path::new(HOST_FILE)).unwrap_or_default()));
        }
        cached.1.clone()
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.split(['#', ';']).next()?.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .map(|ip: IpAddr| SocketAddr::new(ip, PORT))
        .collect()
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    // An id of our own and a port of the kernel's choice: who cannot see the query can hardly forge an answer.
    let id: [u8; 2] = crate::sys::random_bytes()?;
    let mut sent = query.to_vec();
    sent[..2].copy_from_slice(&id);
    socket.send(&sent).await?;
    let mut buffer = vec![0; 65535];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer[..2] == id && buffer[2] & 0x80 != 0 {
            buffer.truncate(length);
            buffer[..2].copy_from_slice(&query[..2]);
            return Ok(buffer);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&framed(query)).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A message as a stream carries it: its length first.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&message[..usize::from(length)]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_host() {
        let text = "# comment\nnameserver 127.0.0.53\n search x\nnameserver fd00::1 # two\n;nameserver 9.9.9.9\nnameserver x\n";
        assert_eq!(parse(text), ["127.0.0.53:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    }
}

//! The monitor's side of its socket: clients that may be slow, silent or hostile, none of whom it ever waits for. Knows
//! lines and replies, nothing of what they do.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::protocol::{self, MAX_REQUEST, Reply, Request};
use crate::files::FileError;

/// Clients at a time; one more is turned away.
const MAX_CLIENTS: usize = 128;
/// Replies that a client has not fetched; whoever has more is turned away.
const MAX_BACKLOG: usize = 1 << 20;

/// A client, for as long as it is connected.
pub(super) type ClientId = u64;

#[derive(Debug)]
pub(super) struct Connections {
    listener: UnixListener,
    clients: BTreeMap<ClientId, Client>,
    next: ClientId,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// It waits for the final exit: with the promise to remove the container, or without.
    waits: Option<bool>,
    gone: bool,
}

impl Connections {
    pub(super) fn listen(path: &Path) -> Result<Self, FileError> {
        crate::files::remove_all(path)?;
        let listener = UnixListener::bind(path).map_err(|e| FileError::new("listen on", path, e))?;
        // The folder lets nobody else in either; this is for those who move it.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| FileError::new("set the mode of", path, e))?;
        listener.set_nonblocking(true).map_err(|e| FileError::new("listen on", path, e))?;
        Ok(Self { listener, clients: BTreeMap::new(), next: 0 })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Each client, and whether something is to be written to it.
    pub(super) fn clients(&self) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, bool)> {
        self.clients.iter().map(|(id, client)| (*id, client.stream.as_fd(), !client.output.is_empty()))
    }

    pub(super) fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.clients.len() >= MAX_CLIENTS {
                        continue;
                    }
                    stream.set_nonblocking(true)?;
                    let client = Client { stream, input: Vec::new(), output: Vec::new(), waits: None, gone: false };
                    self.clients.insert(self.next, client);
                    self.next += 1;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads what a client sent. Requests come out; what is none is answered with a refusal.
    pub(super) fn read(&mut self, id: ClientId) -> Vec<Request> {
        let mut requests = Vec::new();
        let Some(client) = self.clients.get_mut(&id) else { return requests };
        client.fill();
        while let Some(end) = client.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = client.input.drain(..=end).collect();
            match protocol::decode(&line) {
                Ok(request) => requests.push(request),
                Err(e) => client.send(&Reply::Refused { why: e.to_string() }),
            }
        }
        if client.input.len() >= MAX_REQUEST {
            client.send(&Reply::Refused { why: format!("a request has at most {MAX_REQUEST} bytes") });
            client.gone = true;
        }
        requests
    }

    pub(super) fn reply(&mut self, id: ClientId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.send(reply);
        }
    }

    /// Keeps a client to be told of the final exit.
    pub(super) fn wait(&mut self, id: ClientId, reap: bool) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.waits = Some(reap);
        }
    }

    pub(super) fn flush(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.flush();
        }
    }

    /// Forgets those who left.
    pub(super) fn sweep(&mut self) {
        self.clients.retain(|_, client| !client.gone);
    }

    /// Tells all who wait that the container has finally exited. True when one of them takes over its removal.
    pub(super) fn finish(mut self, code: i32, auto_remove: bool) -> bool {
        let mut taken = false;
        for client in self.clients.values_mut() {
            let Some(reap) = client.waits else { continue };
            // Whoever hung up meanwhile cannot keep a promise.
            client.fill();
            let reaper = auto_remove && reap && !taken && !client.gone;
            client.send(&Reply::Exited { code, reaper });
            taken |= reaper && !client.gone && client.output.is_empty();
        }
        taken
    }
}

impl Client {
    fn fill(&mut self) {
        let mut block = [0; 4096];
        while self.input.len() < MAX_REQUEST {
            match self.stream.read(&mut block) {
                Ok(0) => {
                    self.gone = true;
                    break;
                }
                Ok(count) => self.input.extend_from_slice(&block[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    break;
                }
            }
        }
    }

    fn send(&mut self, reply: &Reply) {
        match protocol::encode(reply) {
            Ok(line) if self.output.len() + line.len() <= MAX_BACKLOG => {
                self.output.extend_from_slice(&line);
                self.flush();
            }
            _ => self.gone = true,
        }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.output.drain(..count);
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.gone = true,
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::monitor::protocol::{decode, encode};
    use std::io::{BufRead, BufReader};
    use std::time::Duration;

    struct Bench {
        folder: tempfile::TempDir,
        server: Connections,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let server = Connections::listen(&folder.path().join("s")).unwrap();
            Self { folder, server }
        }

        fn connect(&mut self) -> (ClientId, UnixStream) {
            let stream = UnixStream::connect(self.folder.path().join("s")).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let id = self.server.next;
            self.server.accept().unwrap();
            (id, stream)
        }
    }

    fn receive(stream: &UnixStream) -> Reply {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        decode(line.as_bytes()).unwrap()
    }

    #[test]
    fn requests_come_in_pieces_and_nonsense_is_refused() {
        let mut bench = Bench::new();
        let (id, mut stream) = bench.connect();
        let line = encode(&Request::State).unwrap();
        stream.write_all(&line[..5]).unwrap();
        assert_eq!(bench.server.read(id), []);
        stream.write_all(&line[5..]).unwrap();
        stream.write_all(b"nonsense\n").unwrap();
        assert_eq!(bench.server.read(id), [Request::State]);
        assert!(matches!(receive(&stream), Reply::Refused { .. }));
        stream.write_all(&vec![b'x'; MAX_REQUEST]).unwrap();
        assert_eq!(bench.server.read(id), []);
        assert!(matches!(receive(&stream), Reply::Refused { .. }));
        bench.server.sweep();
        assert_eq!(bench.server.clients().count(), 0);
    }

    #[test]
    fn a_client_that_never_reads_is_turned_away() {
        let mut bench = Bench::new();
        let (id, _stream) = bench.connect();
        let why = "x".repeat(1000);
        for _ in 0..5_000 {
            bench.server.reply(id, &Reply::Refused { why: why.clone() });
        }
        bench.server.sweep();
        assert_eq!(bench.server.clients().count(), 0);
    }

    #[test]
    fn one_living_waiter_takes_over() {
        let mut bench = Bench::new();
        let (dead, stream) = bench.connect();
        bench.server.wait(dead, true);
        drop(stream);
        let (plain, plain_stream) = bench.connect();
        bench.server.wait(plain, false);
        let (first, first_stream) = bench.connect();
        bench.server.wait(first, true);
        let (second, second_stream) = bench.connect();
        bench.server.wait(second, true);
        assert!(bench.server.finish(7, true));
        assert_eq!(receive(&plain_stream), Reply::Exited { code: 7, reaper: false });
        assert_eq!(receive(&first_stream), Reply::Exited { code: 7, reaper: true });
        assert_eq!(receive(&second_stream), Reply::Exited { code: 7, reaper: false });

        let mut bench = Bench::new();
        let (id, stream) = bench.connect();
        bench.server.wait(id, true);
        drop(stream);
        assert!(!bench.server.finish(0, true));
    }
}

//! The monitor's side of its socket: clients that may be slow, silent or hostile, none of whom it ever waits for. Knows
//! lines and replies, nothing of what they do.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::event::{PollFd, PollFlags, poll};
use tokio_util::codec::{Decoder, Encoder};

use super::logs::LogStream;
use super::protocol::{self, Attachment, MAX_REQUEST, Reply, Request};
use crate::files::FileError;
use crate::wire::frame::{Frame, FrameCodec, MAX_PAYLOAD, output_header};

/// Clients at a time; one more is turned away.
const MAX_CLIENTS: usize = 128;
/// Replies that a client has not fetched; whoever has more is turned away.
const MAX_BACKLOG: usize = 1 << 20;
/// Output that an attached client has not fetched; the container waits for whoever has more.
const MAX_AHEAD: usize = 256 << 10;
/// Output that a client which does not slow the container may leave unfetched, before it is turned away.
const MAX_BEHIND: usize = 4 << 20;

/// How long the container waits for one who takes nothing at all, where its output is recorded.
const STOPPED: Duration = Duration::from_secs(10);

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
    /// It has the container's output.
    attached: Option<Attachment>,
    /// When it last took something.
    progressed: Instant,
    /// Bytes of output that were passed over since it stopped reading; `None` when it has not.
    passed_over: Option<u64>,
    gone: bool,
}

/// Those who still have something to fetch when all is over.
#[derive(Debug)]
pub(super) struct Farewell {
    clients: BTreeMap<ClientId, Client>,
    /// Who has promised to remove the container.
    reaper: Option<ClientId>,
}

impl Farewell {
    /// Whether it is left to us to give back what the container had.
    pub(super) const fn nobody_reaps(&self) -> bool {
        self.reaper.is_none()
    }

    pub(super) fn is_done(&self) -> bool {
        self.clients.values().all(|client| client.gone || client.output.is_empty())
    }

    /// Waits until each has fetched what is its own or has gone. True when the one who promised to remove the container
    /// has: from then on it is held to that.
    pub(super) fn linger(mut self) -> io::Result<bool> {
        while !self.is_done() {
            let waiting = || self.clients.values().filter(|client| !client.gone && !client.output.is_empty());
            let mut fds: Vec<_> = waiting().map(|client| PollFd::new(&client.stream, PollFlags::OUT)).collect();
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            drop(fds);
            self.clients.values_mut().for_each(Client::flush);
        }
        let reaper = self.reaper.and_then(|id| self.clients.get(&id));
        Ok(reaper.is_some_and(|client| !client.gone))
    }
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

    /// Each client, and what is waited for. Without `input` nothing more is read of those who send any.
    pub(super) fn clients(&self, input: bool) -> impl Iterator<Item = (ClientId, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(move |(id, client)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, input || client.attached.is_none());
            flags.set(PollFlags::OUT, !client.output.is_empty());
            (*id, client.stream.as_fd(), flags)
        })
    }

    pub(super) fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if self.clients.len() >= MAX_CLIENTS {
                        continue;
                    }
                    stream.set_nonblocking(true)?;
                    let client = Client {
                        stream,
                        input: Vec::new(),
                        output: Vec::new(),
                        waits: None,
                        attached: None,
                        progressed: Instant::now(),
                        passed_over: None,
                        gone: false,
                    };
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
        if client.attached.is_some() {
            return requests;
        }
        while let Some(end) = client.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = client.input.drain(..=end).collect();
            match protocol::decode(&line) {
                // What follows are frames.
                Ok(request @ Request::Attach(_)) => {
                    requests.push(request);
                    return requests;
                }
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

    /// What a client that is attached has sent. One that sends nonsense is turned away.
    pub(super) fn frames(&mut self, id: ClientId) -> Vec<Frame> {
        let Some(client) = self.clients.get_mut(&id) else { return Vec::new() };
        let Some(attachment) = client.attached else { return Vec::new() };
        let (mut buffer, mut frames) = (BytesMut::from(&client.input[..]), Vec::new());
        loop {
            match FrameCodec.decode(&mut buffer) {
                Ok(Some(Frame::Stdin(_) | Frame::StdinEnd)) if !attachment.stdin => {}
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if buffer.len() < MAX_REQUEST => break,
                Ok(None) | Err(_) => {
                    client.gone = true;
                    break;
                }
            }
        }
        client.input = buffer.to_vec();
        frames
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

    /// Gives a client the container's output from now on, and tells it of the final exit.
    pub(super) fn attach(&mut self, id: ClientId, attachment: Attachment) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.send(&Reply::Attached);
            (client.waits, client.attached) = (Some(attachment.reap), Some(attachment));
        }
    }

    /// Passes output on to whoever is attached.
    pub(super) fn relay(&mut self, stream: LogStream, bytes: &[u8]) {
        for client in self.clients.values_mut().filter(|client| client.attached.is_some() && !client.gone) {
            client.catch_up();
            if let Some(passed_over) = &mut client.passed_over {
                *passed_over += bytes.len() as u64;
                continue;
            }
            if client.output.len() > MAX_BEHIND {
                // It sees that the connection breaks off; what it has missed is in the log.
                client.gone = true;
                continue;
            }
            client.put(stream == LogStream::Stderr, bytes);
        }
    }

    /// Whether an attached client is so far behind that no more output is to be read.
    pub(super) fn is_congested(&self) -> bool {
        self.clients.values().any(Client::is_congested)
    }

    /// When the first of those who are that far behind is to be taken for one who has stopped reading.
    pub(super) fn stopped_at(&self) -> Option<Instant> {
        self.clients.values().filter(|client| client.is_congested()).map(|client| client.progressed + STOPPED).min()
    }

    /// Waits no longer for those who have stopped reading. They are told so when they read again, and have what is printed
    /// from then on. For output that is recorded, where they find what they missed.
    pub(super) fn pass_over_stopped(&mut self, now: Instant) {
        for client in self.clients.values_mut().filter(|client| client.is_congested() && client.progressed + STOPPED <= now) {
            client.passed_over = Some(0);
        }
    }

    pub(super) fn flush(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.flush();
        }
    }

    /// Forgets those who left. Whether one of them had the container's input.
    pub(super) fn sweep(&mut self) -> bool {
        let left = |client: &Client| client.gone && client.attached.is_some_and(|attachment| attachment.stdin);
        let input_ends = self.clients.values().any(left);
        self.clients.retain(|_, client| !client.gone);
        input_ends
    }

    /// Tells all who wait that the container has finally exited.
    pub(super) fn finish(mut self, code: i32, auto_remove: bool) -> Farewell {
        let mut reaper = None;
        for (id, client) in &mut self.clients {
            let Some(reap) = client.waits else { continue };
            // Whoever hung up meanwhile cannot keep a promise.
            client.fill();
            let reaps = auto_remove && reap && reaper.is_none() && !client.gone;
            if client.attached.is_some() {
                client.say_what_was_passed_over();
                client.push(Frame::Exit(code));
            } else {
                client.send(&Reply::Exited { code, reaper: reaps });
            }
            if reaps && !client.gone {
                reaper = Some(*id);
            }
        }
        Farewell { clients: self.clients, reaper }
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

    /// Puts a frame of output in line: at once, and without a copy, where nothing is before it.
    fn put(&mut self, error: bool, bytes: &[u8]) {
        for bytes in bytes.chunks(MAX_PAYLOAD) {
            let header = output_header(error, bytes.len() as u32);
            let mut sent = 0;
            if self.output.is_empty()
                && let Ok(count) = self.stream.write_vectored(&[IoSlice::new(&header), IoSlice::new(bytes)])
            {
                // What is wrong with a stream that takes nothing is found by the flush below.
                (sent, self.progressed) = (count, Instant::now());
            }
            let (rest_of_header, rest) = (header.get(sent..).unwrap_or_default(), bytes.get(sent.saturating_sub(header.len())..));
            self.output.extend_from_slice(rest_of_header);
            self.output.extend_from_slice(rest.unwrap_or_default());
        }
        self.flush();
    }

    /// Puts a frame in line. Bounded by who asks [`Connections::is_congested`] before more output is read.
    fn push(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        match FrameCodec.encode(frame, &mut bytes) {
            Ok(()) => {
                self.output.extend_from_slice(&bytes);
                self.flush();
            }
            Err(_) => self.gone = true,
        }
    }

    fn is_congested(&self) -> bool {
        let holds = self.attached.is_some_and(|attached| attached.lossless);
        holds && !self.gone && self.passed_over.is_none() && self.output.len() >= MAX_AHEAD
    }

    /// One who stopped reading and has taken all that was there reads again.
    fn catch_up(&mut self) {
        if self.passed_over.is_some() && self.output.is_empty() {
            self.say_what_was_passed_over();
        }
    }

    fn say_what_was_passed_over(&mut self) {
        if let Some(bytes) = self.passed_over.take().filter(|bytes| *bytes > 0) {
            let said = format!("setpoint: {bytes} bytes of output were passed over while nobody read; they are in the log\n");
            self.push(Frame::Stderr(said.into()));
        }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => self.gone = true,
                Ok(count) => {
                    self.progressed = Instant::now();
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
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
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
        assert_eq!(bench.server.clients(true).count(), 0);
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
        assert_eq!(bench.server.clients(true).count(), 0);
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
        let farewell = bench.server.finish(7, true);
        assert!(!farewell.nobody_reaps() && farewell.is_done());
        assert_eq!(receive(&plain_stream), Reply::Exited { code: 7, reaper: false });
        assert_eq!(receive(&first_stream), Reply::Exited { code: 7, reaper: true });
        assert_eq!(receive(&second_stream), Reply::Exited { code: 7, reaper: false });

        let mut bench = Bench::new();
        let (id, stream) = bench.connect();
        bench.server.wait(id, true);
        drop(stream);
        assert!(bench.server.finish(0, true).nobody_reaps());
    }
    #[test]
    fn who_is_attached_has_all_and_holds_the_container_back() {
        let mut bench = Bench::new();
        let (id, mut stream) = bench.connect();
        bench.server.attach(id, Attachment { reap: true, lossless: true, stdin: false });
        assert_eq!(receive(&stream), Reply::Attached);
        let block = vec![7; 64 << 10];
        let mut sent = 0;
        while !bench.server.is_congested() {
            bench.server.relay(LogStream::Stderr, &block);
            sent += block.len();
        }
        let farewell = bench.server.finish(3, true);
        assert!(!farewell.nobody_reaps() && !farewell.is_done());
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all
        });
        assert!(farewell.linger().unwrap(), "it has fetched all, and is held to its promise");
        let (mut all, mut got, mut last) = (BytesMut::from(&reading.join().unwrap()[..]), 0, None);
        while let Some(frame) = FrameCodec.decode(&mut all).unwrap() {
            match frame {
                Frame::Stderr(bytes) => got += bytes.len(),
                other => last = Some(other),
            }
        }
        assert_eq!((got, last), (sent, Some(Frame::Exit(3))));
    }

    #[test]
    fn who_stops_reading_holds_nobody_back_for_ever() {
        let mut bench = Bench::new();
        let (id, mut stream) = bench.connect();
        bench.server.attach(id, Attachment { reap: false, lossless: true, stdin: false });
        assert_eq!(receive(&stream), Reply::Attached);
        let block = vec![7; 64 << 10];
        let mut sent = 0;
        while !bench.server.is_congested() {
            bench.server.relay(LogStream::Stdout, &block);
            sent += block.len();
        }
        let due = bench.server.stopped_at().unwrap();
        bench.server.pass_over_stopped(due - Duration::from_millis(1));
        assert!(bench.server.is_congested(), "it may only be slow");
        bench.server.pass_over_stopped(due);
        assert!(!bench.server.is_congested() && bench.server.stopped_at().is_none());
        for _ in 0..3 {
            bench.server.relay(LogStream::Stdout, &block);
        }
        // It reads again, and is told.
        let mut all = BytesMut::new();
        stream.set_nonblocking(true).unwrap();
        let mut part = vec![0; 64 << 10];
        while !bench.server.clients[&id].output.is_empty() {
            if let Ok(count) = stream.read(&mut part) {
                all.extend_from_slice(&part[..count]);
            }
            bench.server.flush(id);
        }
        bench.server.relay(LogStream::Stdout, b"live");
        stream.set_nonblocking(false).unwrap();
        let reading = std::thread::spawn(move || {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            rest
        });
        bench.server.finish(3, false).linger().unwrap();
        all.extend_from_slice(&reading.join().unwrap());
        let (mut got, mut said, mut last) = (0, String::new(), None);
        while let Some(frame) = tokio_util::codec::Decoder::decode(&mut FrameCodec, &mut all).unwrap() {
            match frame {
                Frame::Stdout(bytes) => got += bytes.len(),
                Frame::Stderr(bytes) => said += std::str::from_utf8(&bytes).unwrap(),
                other => last = Some(other),
            }
        }
        assert_eq!((got, last), (sent + 4, Some(Frame::Exit(3))));
        assert!(said.contains(&format!("{} bytes", 3 * block.len())), "{said}");
    }

    #[test]
    fn a_reaper_that_leaves_before_it_has_all_is_not_relied_on() {
        let mut bench = Bench::new();
        let (id, stream) = bench.connect();
        bench.server.attach(id, Attachment { reap: true, lossless: true, stdin: false });
        bench.server.relay(LogStream::Stdout, &vec![0; 4 << 20]);
        let farewell = bench.server.finish(0, true);
        assert!(!farewell.nobody_reaps());
        drop(stream);
        assert!(!farewell.linger().unwrap());
    }
}

//! Probes that need no program in the container: a connection or a request over HTTP, made by the monitor itself from
//! inside the container's network namespace. Never waits: it is moved on when its socket is ready.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::model::spec::{HttpTarget, TcpTarget};
use crate::sys;

/// What is read of an answer. The rest is nobody's business here.
const MAX_ANSWER: usize = 16 << 10;

/// A probe under way.
#[derive(Debug)]
pub(super) struct Reach {
    socket: OwnedFd,
    stage: Stage,
    /// What is asked; nothing when a connection is all that is wanted.
    request: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// So much of the request is sent.
    Asking(usize),
    Listening,
}

/// Whether the container is well, and what it said or why it is not.
pub(super) type Outcome = (bool, String);

impl Reach {
    pub(super) fn tcp(pid: i32, target: &TcpTarget) -> io::Result<Self> {
        Self::begin(pid, target.address(), Vec::new())
    }

    pub(super) fn http(pid: i32, target: &HttpTarget) -> io::Result<Self> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: setpoint\r\nAccept: */*\r\nConnection: close\r\n\r\n",
            target.path, target.at
        );
        Self::begin(pid, target.at.address(), request.into_bytes())
    }

    /// Connects from the network namespace of the container's first process, which the caller has not reaped, so that its
    /// number is its own.
    fn begin(pid: i32, address: SocketAddr, request: Vec<u8>) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let namespace = sys::netns::of_process(pid)?;
        // A socket belongs to the namespace that it was made in, wherever its owner goes afterwards.
        let socket = sys::netns::within(namespace, || Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Self { socket, stage: Stage::Connecting, request, answer: Vec::new() }),
            Err(e) => Err(e.into()),
        }
    }

    /// What to poll for.
    pub(super) fn descriptor(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.stage {
            Stage::Connecting | Stage::Asking(_) => PollFlags::OUT,
            Stage::Listening => PollFlags::IN,
        };
        (self.socket.as_fd(), flags)
    }

    /// Goes on as far as it can now. `None` when it is not decided yet.
    pub(super) fn proceed(&mut self) -> Option<Outcome> {
        match self.step() {
            Ok(outcome) => outcome,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            // Some servers reset what they have answered.
            Err(e) => Some(self.verdict().unwrap_or_else(|| (false, e.to_string()))),
        }
    }

    /// What the answer comes to so far, for when no more of it is waited for.
    pub(super) fn verdict(&self) -> Option<Outcome> {
        let end = memchr::memchr(b'\n', &self.answer)?;
        let line = String::from_utf8_lossy(&self.answer[..end]).trim_end().to_owned();
        let Some(status) = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)) else {
            return Some((false, format!("this is no answer of HTTP: {line}")));
        };
        Some((status.len() == 3 && matches!(status.as_bytes()[0], b'2' | b'3'), line))
    }

    fn step(&mut self) -> io::Result<Option<Outcome>> {
        if self.stage == Stage::Connecting {
            sockopt::socket_error(&self.socket)?.map_err(io::Error::from)?;
            // Without an error it may also be that nothing has come of it yet.
            match rustix::net::getpeername(&self.socket) {
                Ok(_) => self.stage = Stage::Asking(0),
                Err(Errno::NOTCONN) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        while let Stage::Asking(sent) = self.stage {
            if sent == self.request.len() {
                if self.request.is_empty() {
                    return Ok(Some((true, "connected".to_owned())));
                }
                self.stage = Stage::Listening;
                break;
            }
            let count = rustix::net::send(&self.socket, &self.request[sent..], rustix::net::SendFlags::NOSIGNAL)?;
            self.stage = Stage::Asking(sent + count);
        }
        let mut block = [0; 4096];
        while self.answer.len() < MAX_ANSWER {
            let count = rustix::io::read(&self.socket, &mut block)?;
            if count == 0 {
                break;
            }
            self.answer.extend_from_slice(&block[..count]);
        }
        Ok(Some(self.verdict().unwrap_or_else(|| (false, "the connection was closed without an answer".to_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    use rustix::event::{PollFd, Timespec, poll};

    use super::*;

    fn finish(mut reach: Reach) -> Option<Outcome> {
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        for _ in 0..1000 {
            if let Some(outcome) = reach.proceed() {
                return Some(outcome);
            }
            let (fd, flags) = reach.descriptor();
            let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
            if poll(&mut fds, Some(&patience)).unwrap() == 0 {
                return None;
            }
        }
        None
    }

    fn own() -> i32 {
        std::process::id().cast_signed()
    }

    /// What a probe says of a server that answers with this, in pieces.
    fn answered(pieces: &'static [&'static str]) -> (Outcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("http://{}/x?y", listener.local_addr().unwrap()).parse().unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            for piece in pieces {
                stream.write_all(piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            String::from_utf8(request).unwrap()
        });
        let outcome = finish(Reach::http(own(), &target).unwrap()).unwrap();
        (outcome, server.join().unwrap())
    }

    #[test]
    fn statuses_decide() {
        let (outcome, request) = answered(&["HTTP/1.1 20", "4 No Content\r", "\nX: y\r\n\r\n", "body"]);
        assert_eq!(outcome, (true, "HTTP/1.1 204 No Content".to_owned()));
        assert!(request.starts_with("GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert_eq!(answered(&["HTTP/1.0 302 Found\r\n\r\n"]).0, (true, "HTTP/1.0 302 Found".to_owned()));
        assert_eq!(answered(&["HTTP/1.1 503 Busy\r\n\r\n"]).0, (false, "HTTP/1.1 503 Busy".to_owned()));
        for nonsense in [&["SSH-2.0-x\r\n"][..], &["HTTP/1.1\r\n"], &["HTTP/1.1 2000 x\r\n"], &[""], &["HTTP/1.1 200 but no end"]]
        {
            let (well, said) = answered(nonsense).0;
            assert!(!well && !said.is_empty(), "{nonsense:?}: {said}");
        }
    }

    #[test]
    fn connections_are_made_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target: TcpTarget = listener.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(finish(Reach::tcp(own(), &target).unwrap()), Some((true, "connected".to_owned())));
        drop(listener);
        let outcome = match Reach::tcp(own(), &target) {
            Ok(reach) => finish(reach).unwrap(),
            Err(e) => (false, e.to_string()),
        };
        assert!(!outcome.0 && outcome.1.contains("refused"), "{outcome:?}");
    }
}

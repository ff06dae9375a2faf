//! One connection to a message bus (D-Bus), as much of it as talking to systemd takes: calls one after the other, and
//! signals that come meanwhile. Knows nothing of systemd.
//!
//! It is written here because a container's creator has one thread and has to keep it: it clones processes that go on running
//! its code. Crates of D-Bus are asynchronous and start threads, or bind a C library; this is a socket and some hundred bytes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::value::{Reader, Writer};

/// How long an answer may take. A host that boots, or one that is out of memory, can be slow.
const PATIENCE: Duration = Duration::from_secs(90);

/// The largest message that the specification allows.
const LONGEST: usize = 128 << 20;

#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    signals: VecDeque<Message>,
}

/// Whom a call is for, and what is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
}

/// What came.
#[derive(Debug, Default)]
pub(super) struct Message {
    kind: u8,
    pub(super) member: String,
    error: String,
    answers: u32,
    pub(super) signature: String,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    Io(io::Error),
    /// The name of the error, and what it says.
    Refused(String, String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

const CALL: u8 = 1;
const ANSWER: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

impl Message {
    pub(super) fn arguments(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }
}

impl Bus {
    /// Connects, and says who it is by what the kernel knows of the socket's other end.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\n")?;
        let mut bus = Self { stream, serial: 0, signals: VecDeque::new() };
        for expected in ["DATA", "OK "] {
            let line = bus.line()?;
            if !line.starts_with(expected) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("the bus answers {line:?}")));
            }
        }
        bus.stream.write_all(b"BEGIN\r\n")?;
        let hello = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
        };
        match bus.call(hello, "", &Writer::default()) {
            Ok(_) => Ok(bus),
            Err(Failed::Io(error)) => Err(error),
            Err(Failed::Refused(name, says)) => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{name}: {says}"))),
        }
    }

    /// One line of the greeting, byte by byte: nothing of what comes after it may be taken.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > 1000 {
                return Err(invalid("its greeting has no end"));
            }
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Calls and waits for the answer.
    pub(super) fn call(&mut self, call: Call<'_>, signature: &str, body: &Writer) -> Result<Message, Failed> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&compose(call, serial, signature, &body.0))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                SIGNAL => self.signals.push_back(message),
                ANSWER if message.answers == serial => return Ok(message),
                ERROR if message.answers == serial => {
                    let says = if message.signature.starts_with('s') { message.arguments().text() } else { None };
                    return Err(Failed::Refused(message.error.clone(), says.unwrap_or_default().to_owned()));
                }
                // Calls of others are none of this connection's business.
                _ => {}
            }
        }
    }

    /// The next signal, or the one that came first.
    pub(super) fn signal(&mut self) -> io::Result<Message> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.receive()?;
            if message.kind == SIGNAL {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut fixed = [0; 16];
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()))
            }
            _ => e,
        };
        self.stream.read_exact(&mut fixed).map_err(failed)?;
        if fixed[0] != b'l' {
            return Err(invalid("the bus speaks in another order of bytes than this machine"));
        }
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
        let (body, fields) = (number(4), number(12));
        let header = fields.next_multiple_of(8);
        if body.saturating_add(header) > LONGEST {
            return Err(invalid("a message is too long"));
        }
        let mut rest = vec![0; header + body];
        self.stream.read_exact(&mut rest).map_err(failed)?;
        let mut message = parse(&rest[..fields]).ok_or_else(|| invalid("a message is not as the specification has it"))?;
        message.kind = fixed[1];
        message.body = rest.split_off(header);
        Ok(message)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn compose(call: Call<'_>, serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut to = Writer::default();
    [b'l', CALL, 0, 1].into_iter().for_each(|byte| to.u8(byte));
    to.u32(body.len() as u32);
    to.u32(serial);
    to.array(8, |to| {
        for (field, kind, text) in [
            (1, "o", call.path),
            (2, "s", call.interface),
            (3, "s", call.member),
            (6, "s", call.destination),
            (8, "g", signature),
        ] {
            // No signature is an empty body.
            if text.is_empty() {
                continue;
            }
            to.align(8);
            to.u8(field);
            to.signature(kind);
            if kind == "g" { to.signature(text) } else { to.text(text) }
        }
    });
    to.align(8);
    to.0.extend(body);
    to.0
}

/// The fields of a header.
fn parse(fields: &[u8]) -> Option<Message> {
    let mut message = Message::default();
    let mut from = Reader::new(fields);
    while !from.is_at_end() {
        from.align(8);
        let field = from.u8()?;
        let (mut text, mut number) = ("", 0);
        match from.signature()? {
            "s" | "o" => text = from.text()?,
            "g" => text = from.signature()?,
            "u" => number = from.u32()?,
            _ => return None,
        }
        match field {
            3 => message.member = text.to_owned(),
            4 => message.error = text.to_owned(),
            5 => message.answers = number,
            8 => message.signature = text.to_owned(),
            _ => {}
        }
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const ASK: Call<'_> = Call { destination: "org.x", path: "/org/x", interface: "org.x.Y", member: "Ask" };

    /// A message to the client: an answer, an error or a signal.
    fn message(kind: u8, answers: u32, member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
        let mut to = Writer::default();
        [b'l', kind, 1, 1].into_iter().for_each(|byte| to.u8(byte));
        to.u32(body.len() as u32);
        to.u32(99);
        to.array(8, |to| {
            for (field, sign, text) in [(3, "s", member), (4, "s", member), (8, "g", signature)] {
                to.align(8);
                to.u8(field);
                to.signature(sign);
                if sign == "g" { to.signature(text) } else { to.text(text) }
            }
            to.align(8);
            to.u8(5);
            to.signature("u");
            to.u32(answers);
        });
        to.align(8);
        to.0.extend(body);
        to.0
    }

    fn text(text: &str) -> Vec<u8> {
        let mut to = Writer::default();
        to.text(text);
        to.0
    }

    /// What a bus says after its greeting, to a client that asks once.
    fn with_bus(says: Vec<u8>, test: impl FnOnce(io::Result<Bus>)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let bus = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut greeting = [0; 22];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(&greeting, b"\0AUTH EXTERNAL\r\nDATA\r\n");
            stream.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
            stream.write_all(&message(ANSWER, 1, "", "s", &text(":1.7"))).unwrap();
            stream.write_all(&says).unwrap();
            // Until the client has gone.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.starts_with(b"BEGIN\r\nl\x01\x00\x01"));
        });
        test(Bus::connect(&path));
        bus.join().unwrap();
    }

    #[test]
    fn answers_errors_and_signals_are_told_apart() {
        let says = [
            message(SIGNAL, 0, "Gone", "s", &text("first")),
            message(ANSWER, 77, "", "s", &text("of another call")),
            message(ANSWER, 2, "", "s", &text("yes")),
            message(SIGNAL, 0, "Gone", "s", &text("second")),
            message(ERROR, 3, "org.x.No", "s", &text("why not")),
        ];
        with_bus(says.concat(), |bus| {
            let mut bus = bus.unwrap();
            assert_eq!(bus.call(ASK, "", &Writer::default()).unwrap().arguments().text(), Some("yes"));
            match bus.call(ASK, "", &Writer::default()) {
                Err(Failed::Refused(name, says)) => assert_eq!((name.as_str(), says.as_str()), ("org.x.No", "why not")),
                other => panic!("{other:?}"),
            }
            for expected in ["first", "second"] {
                let signal = bus.signal().unwrap();
                assert_eq!((signal.member.as_str(), signal.arguments().text()), ("Gone", Some(expected)));
            }
        });
    }

    #[test]
    fn nonsense_is_an_error() {
        for says in [b"B123456789012345".to_vec(), b"l\x02\x01\x01\xff\xff\xff\xff12345678".to_vec()] {
            with_bus(says, |bus| {
                let failed = bus.unwrap().call(ASK, "", &Writer::default());
                assert!(matches!(failed, Err(Failed::Io(e)) if e.kind() == io::ErrorKind::InvalidData));
            });
        }
        let mut broken = message(ANSWER, 2, "", "s", b"");
        broken[16] = 200;
        broken[18] = b'z';
        with_bus(broken, |bus| assert!(bus.unwrap().call(ASK, "", &Writer::default()).is_err()));
    }
}

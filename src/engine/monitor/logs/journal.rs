//! Entries for the host's journal, in its native protocol: one datagram an entry, a field a line, and a field that has
//! line breaks of its own with its length before it. A journal that takes nothing is waited for once and for a moment:
//! a container must not hang because the journal does.
//!
//! Source: systemd's `docs/JOURNAL_NATIVE_PROTOCOL.md`; the fields are those of Docker's driver.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{LogStream, MAX_TEXT};

/// How long a full queue is waited for. Once it was in vain, nothing more is waited for until an entry is taken.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("there is no journal at {}: {source}; choose another log driver where systemd-journald does not run", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("write to the journal: {0}")]
    Send(io::Error),
    #[error("{0} entries for the journal were lost while it took none")]
    Lost(u64),
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    socket: UnixDatagram,
    /// The fields that every entry has, encoded.
    fields: Vec<u8>,
    entry: Vec<u8>,
    /// What each stream printed after its last newline.
    pending: [Vec<u8>; 2],
    /// It took nothing when it was last waited for.
    is_stuck: bool,
    lost: u64,
}

impl Journal {
    pub(crate) fn open(path: &Path, fields: &[(String, String)]) -> Result<Self, JournalError> {
        let socket = connect(path).map_err(|source| JournalError::Connect { path: path.to_owned(), source })?;
        let mut encoded = Vec::new();
        for (name, value) in fields {
            put(&mut encoded, name, value.as_bytes());
        }
        let (pending, path) = ([Vec::new(), Vec::new()], path.to_owned());
        Ok(Self { path, socket, fields: encoded, entry: Vec::new(), pending, is_stuck: false, lost: 0 })
    }

    /// An entry for each line.
    pub(crate) fn record(&mut self, stream: LogStream, bytes: &[u8]) -> Result<(), JournalError> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let mut text = std::mem::take(&mut self.pending[stream as usize]);
            text.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let mut pieces = text.chunks(MAX_TEXT).peekable();
            if pieces.peek().is_none() {
                self.send(stream, b"", false)?;
            }
            while let Some(piece) = pieces.next() {
                self.send(stream, piece, pieces.peek().is_some())?;
            }
            text.clear();
            self.pending[stream as usize] = text;
        }
        let mut text = std::mem::take(&mut self.pending[stream as usize]);
        text.extend_from_slice(rest);
        while text.len() > MAX_TEXT {
            let piece: Vec<u8> = text.drain(..MAX_TEXT).collect();
            self.send(stream, &piece, true)?;
        }
        self.pending[stream as usize] = text;
        Ok(())
    }

    /// The stream has ended: what it printed after its last newline is an entry, too.
    pub(crate) fn finish(&mut self, stream: LogStream) -> Result<(), JournalError> {
        let text = std::mem::take(&mut self.pending[stream as usize]);
        if text.is_empty() { Ok(()) } else { self.send(stream, &text, true) }
    }

    pub(crate) fn rest(&mut self) {
        self.entry = Vec::new();
        self.pending.iter_mut().for_each(Vec::shrink_to_fit);
    }

    fn send(&mut self, stream: LogStream, text: &[u8], partial: bool) -> Result<(), JournalError> {
        self.entry.clear();
        put(&mut self.entry, "MESSAGE", text);
        // Informational, and an error.
        let priority: &[u8] = match stream {
            LogStream::Stdout => b"6",
            LogStream::Stderr => b"3",
        };
        put(&mut self.entry, "PRIORITY", priority);
        if partial {
            put(&mut self.entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        self.entry.extend_from_slice(&self.fields);
        match self.deliver() {
            Ok(()) => {
                self.is_stuck = false;
                match std::mem::take(&mut self.lost) {
                    0 => Ok(()),
                    lost => Err(JournalError::Lost(lost)),
                }
            }
            Err(e) => {
                self.lost += 1;
                // That it takes nothing is said once; how much that cost, when it takes something again.
                let said = std::mem::replace(&mut self.is_stuck, true);
                if said { Ok(()) } else { Err(JournalError::Send(e)) }
            }
        }
    }

    fn deliver(&mut self) -> io::Result<()> {
        match self.socket.send(&self.entry) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::WouldBlock && !self.is_stuck => {
                let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::OUT)];
                poll(&mut fds, Some(&PATIENCE))?;
                self.socket.send(&self.entry).map(drop)
            }
            // It was started anew, and listens at another socket of the same name.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotConnected | ErrorKind::ConnectionReset) => {
                self.socket = connect(&self.path)?;
                self.socket.send(&self.entry).map(drop)
            }
            Err(e) => Err(e),
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A field: on a line, or with its length before it where it has line breaks.
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr(b'\n', value).is_some() {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// What the journal accepts as a field's name: capitals, digits and underlines, and no digit or underline first.
pub(crate) fn field_name(text: &str) -> Option<String> {
    let name: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_uppercase());
    (!name.is_empty()).then(|| name.chars().take(64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        _folder: tempfile::TempDir,
        path: PathBuf,
        journald: UnixDatagram,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            let journald = UnixDatagram::bind(&path).unwrap();
            journald.set_nonblocking(true).unwrap();
            Self { _folder: folder, path, journald }
        }

        fn receive(&self) -> Option<Vec<u8>> {
            let mut entry = vec![0; 256 << 10];
            let count = self.journald.recv(&mut entry).ok()?;
            entry.truncate(count);
            Some(entry)
        }

        fn text(&self) -> String {
            String::from_utf8(self.receive().unwrap()).unwrap()
        }
    }

    fn fields() -> Vec<(String, String)> {
        vec![("CONTAINER_NAME".to_owned(), "web".to_owned()), ("NOTE".to_owned(), "two\nlines".to_owned())]
    }

    #[test]
    fn a_line_is_an_entry_with_all_fields() {
        let bench = Bench::new();
        let mut journal = Journal::open(&bench.path, &fields()).unwrap();
        journal.record(LogStream::Stdout, b"one\ntw").unwrap();
        journal.record(LogStream::Stdout, b"o\n\nrest").unwrap();
        journal.record(LogStream::Stderr, b"bad\n").unwrap();
        journal.finish(LogStream::Stdout).unwrap();
        let common = "CONTAINER_NAME=web\nNOTE\n\u{9}\0\0\0\0\0\0\0two\nlines\n";
        assert_eq!(bench.text(), format!("MESSAGE=one\nPRIORITY=6\n{common}"));
        assert_eq!(bench.text(), format!("MESSAGE=two\nPRIORITY=6\n{common}"));
        assert_eq!(bench.text(), format!("MESSAGE=\nPRIORITY=6\n{common}"));
        assert_eq!(bench.text(), format!("MESSAGE=bad\nPRIORITY=3\n{common}"));
        assert_eq!(bench.text(), format!("MESSAGE=rest\nPRIORITY=6\nCONTAINER_PARTIAL_MESSAGE=true\n{common}"));
        assert_eq!(bench.receive(), None);
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let bench = Bench::new();
        let mut journal = Journal::open(&bench.path, &[]).unwrap();
        let long = "x".repeat(2 * MAX_TEXT + 5);
        journal.record(LogStream::Stdout, long.as_bytes()).unwrap();
        journal.record(LogStream::Stdout, b"\n").unwrap();
        let entries: Vec<String> = std::iter::from_fn(|| bench.receive()).map(|e| String::from_utf8(e).unwrap()).collect();
        assert_eq!(entries.iter().map(|e| e.matches('x').count()).collect::<Vec<_>>(), [MAX_TEXT, MAX_TEXT, 5]);
        assert_eq!(entries.iter().map(|e| e.contains("PARTIAL")).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_journal_that_hangs_costs_lines_and_not_the_container() {
        let bench = Bench::new();
        let mut journal = Journal::open(&bench.path, &[]).unwrap();
        let mut complaints = Vec::new();
        // Far more than any queue of a socket: were each of them waited for, this would take hours.
        for _ in 0..20_000 {
            complaints.extend(journal.record(LogStream::Stdout, b"line\n").err().map(|e| e.to_string()));
        }
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        while bench.receive().is_some() {}
        let error = journal.record(LogStream::Stdout, b"again\n").unwrap_err().to_string();
        assert!(error.contains("were lost"), "{error}");
        journal.record(LogStream::Stdout, b"well\n").unwrap();
        assert!(bench.text().contains("again") && bench.text().contains("well"));
    }

    #[test]
    fn a_journal_that_is_started_anew_is_found_again() {
        let mut bench = Bench::new();
        let mut journal = Journal::open(&bench.path, &[]).unwrap();
        journal.record(LogStream::Stdout, b"one\n").unwrap();
        std::fs::remove_file(&bench.path).unwrap();
        bench.journald = UnixDatagram::bind(&bench.path).unwrap();
        bench.journald.set_nonblocking(true).unwrap();
        journal.record(LogStream::Stdout, b"two\n").unwrap();
        assert!(bench.text().contains("two"));
        let nowhere = Journal::open(Path::new("/nonexistent/socket"), &[]).unwrap_err();
        assert!(nowhere.to_string().contains("another log driver"), "{nowhere}");
    }

    #[test]
    fn names_of_labels_become_names_of_fields() {
        assert_eq!(field_name("com.example/app-x").unwrap(), "COM_EXAMPLE_APP_X");
        assert_eq!(field_name("_9lives").unwrap(), "LIVES");
        assert_eq!(field_name("42"), None);
    }
}

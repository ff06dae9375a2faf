//! Working ahead in a thread of its own: decompressing and hashing one part of a layer goes on while another is written to the
//! disk, and files are looked at while others go into an archive.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::found::Found;
use super::write::TreeError;

/// The size of a part, and how many may wait.
const PART: usize = 128 << 10;
const WAITING: usize = 8;

/// What has been read ahead.
pub(super) struct Ahead {
    parts: Receiver<io::Result<Vec<u8>>>,
    /// Parts go back to be filled again.
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
}

/// Lets `consume` read what a thread reads ahead from `source`. Gives back the source too, for what it has counted.
pub(super) fn read_ahead<S: Read + Send, T>(source: S, consume: impl FnOnce(Ahead) -> T) -> (S, T) {
    std::thread::scope(|scope| {
        let (full, parts) = sync_channel(WAITING);
        let (used, empty) = channel();
        let reading = scope.spawn(move || fill(source, &full, &empty));
        // When it ends, early or not, its end of the channel closes, and the thread ends too.
        let result = consume(Ahead { parts, used, current: Vec::new(), position: 0 });
        let source = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (source, result)
    })
}

fn fill<S: Read>(mut source: S, full: &SyncSender<io::Result<Vec<u8>>>, empty: &Receiver<Vec<u8>>) -> S {
    loop {
        let mut part = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(PART));
        part.clear();
        let read = (&mut source).take(PART as u64).read_to_end(&mut part);
        // What came before an error is still good, but nobody needs it.
        let sent = match read {
            Ok(0) => return source,
            Ok(_) => full.send(Ok(part)).is_ok(),
            Err(error) => {
                // Nobody listens to it any more, or it is the last thing that is heard.
                drop(full.send(Err(error)));
                false
            }
        };
        if !sent {
            return source;
        }
    }
}

/// How much is handed over at once: so many things, or things of so many bytes.
const MOST_AT_ONCE: usize = 64;
const HEAVY: usize = 256 << 10;

/// Lets `consume` have what `find` finds in a thread of its own, in order. Where `consume` fails, `find` is told to end by an
/// error from its visitor. What became of both.
pub(super) fn gather(
    find: impl FnOnce(&mut dyn FnMut(Found) -> Result<(), TreeError>) -> Result<(), TreeError> + Send,
    mut consume: impl FnMut(Found) -> Result<(), TreeError>,
) -> (Result<(), TreeError>, Result<(), TreeError>) {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Vec<Found>>(WAITING);
        let finding = scope.spawn(move || {
            let (mut batch, mut weight) = (Vec::new(), 0);
            let found = find(&mut |found| {
                weight += found.weight();
                batch.push(found);
                if batch.len() >= MOST_AT_ONCE || weight >= HEAVY {
                    weight = 0;
                    let ended = || TreeError::Write(io::Error::from(io::ErrorKind::BrokenPipe));
                    sender.send(std::mem::take(&mut batch)).map_err(|_| ended())?;
                }
                Ok(())
            });
            // Nobody listens any more where the consumer has failed, and then its error is the one that is told.
            drop(sender.send(batch));
            found
        });
        let consumed = receiver.iter().flatten().try_for_each(&mut consume);
        drop(receiver);
        let found = finding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (found, consumed)
    })
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            let Ok(next) = self.parts.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.current, next?);
            self.position = 0;
            // The reader may have ended already, and needs no more parts.
            drop(self.used.send(used));
        }
        let n = buffer.len().min(self.current.len() - self.position);
        buffer[..n].copy_from_slice(&self.current[self.position..self.position + n]);
        self.position += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brings_all_and_ends_early() {
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut seen = Vec::new();
        let (_, read) = read_ahead(content.as_slice(), |mut ahead| ahead.read_to_end(&mut seen).unwrap());
        assert_eq!((read, seen == content), (3_000_000, true));
        // A source without an end, and a reader that has enough.
        let (_, first) = read_ahead(io::repeat(7), |mut ahead| ahead.read(&mut [0; 10]).unwrap());
        assert_eq!(first, 10);
        let broken = io::Read::chain(&b"x"[..], Broken);
        let (_, error) = read_ahead(broken, |mut ahead| ahead.read_to_end(&mut Vec::new()).unwrap_err());
        assert_eq!(error.to_string(), "broken");
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
}

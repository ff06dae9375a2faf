//! Bytes on their way out: what a blocking thread writes is handed on as it comes, and nothing of it is kept.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::EngineError;

/// Parts that may wait for whoever takes them.
const WAITING: usize = 8;
const PART: usize = 128 << 10;

/// A stream of bytes, and how it ended. Dropping the parts ends the work.
#[derive(Debug)]
pub struct Outgoing {
    pub parts: mpsc::Receiver<Bytes>,
    pub end: JoinHandle<Result<(), EngineError>>,
}

impl Outgoing {
    /// Runs `work` in a thread that may block.
    pub(super) fn new(work: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), EngineError> + Send + 'static) -> Self {
        let (sender, parts) = mpsc::channel(WAITING);
        let end = tokio::task::spawn_blocking(move || {
            let mut output = io::BufWriter::with_capacity(PART, Sending(sender));
            work(&mut output)?;
            // Nobody listens any more, which is no failure of the work.
            drop(output.flush());
            Ok(())
        });
        Self { parts, end }
    }
}

struct Sending(mpsc::Sender<Bytes>);

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

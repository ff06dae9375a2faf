//! One layer: a stream of a tar, perhaps compressed, becomes a folder and a diff id. Synchronous; knows nothing of
//! registries or of the store.

mod ahead;
mod archive;
mod kept;
pub(super) mod pax;
mod skeleton;
mod tape;
mod unpack;
mod write;

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

pub use archive::ArchiveError;
pub(super) use kept::Kept;
pub use skeleton::SkeletonError;
pub(super) use skeleton::{Rebuilt, Recorder};
pub(super) use unpack::Limits;
pub use unpack::UnpackError;
pub use write::TreeError;
pub(super) use write::{fingerprint, write_tree};

use crate::model::Digest;

/// A layer that has been unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// The digest of the tar, not compressed.
    pub(super) diff_id: Digest,
    /// Bytes of the tar.
    pub(super) tar_size: u64,
    /// Bytes of the files in it.
    pub(super) size: u64,
    /// The newest time of change in it, in seconds since 1970.
    pub(super) newest: i64,
}

/// Unpacks `source` into the empty folder `root`, and records what of it will not be there.
pub(super) fn unpack_layer(
    source: impl Read + Send,
    root: &Path,
    recorder: Recorder,
    limits: &Limits,
) -> Result<Layer, UnpackError> {
    let compressed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: source, count: compressed.clone() };
    let plain = decompress(counted).map_err(ArchiveError::from)?;
    let tar = Hashed { inner: plain, hash: Sha256::new(), count: 0, compressed, limits };
    let (tar, unpacked) = ahead::read_ahead(tar, |ahead| unpack::unpack(ahead, root, recorder, limits));
    let unpacked = unpacked?;
    Ok(Layer {
        diff_id: Digest::from_bytes(tar.hash.finalize().into()),
        tar_size: tar.count,
        size: unpacked.size,
        newest: unpacked.newest,
    })
}

/// Takes the compression from the first bytes, because media types are often wrong about it.
fn decompress<'a>(mut source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut head = Vec::with_capacity(6);
    (&mut source).take(6).read_to_end(&mut head)?;
    let kind = match head.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [b'B', b'Z', b'h', ..] => return Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(unsupported("xz")),
        _ => Compression::None,
    };
    let whole = Read::chain(io::Cursor::new(head), source);
    Ok(match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
    })
}

enum Compression {
    None,
    Gzip,
    Zstd,
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("it is compressed with {what}; compress it with gzip or zstd instead"))
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Hashes what passes, and ends streams that grow beyond the limits.
struct Hashed<'a, R> {
    inner: R,
    hash: Sha256,
    count: u64,
    compressed: Arc<AtomicU64>,
    limits: &'a Limits,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.count += n as u64;
        let Limits { small, ratio, bytes, .. } = *self.limits;
        // Headers and padding come on top of what the files may have.
        if self.count > bytes.saturating_mul(2).max(small) {
            return Err(io::Error::other(UnpackError::TooMuch { what: "bytes", limit: bytes }));
        }
        if self.count > small && self.count / ratio > self.compressed.load(Ordering::Relaxed) {
            return Err(io::Error::other(UnpackError::TooMuch { what: "bytes for each compressed byte", limit: ratio }));
        }
        Ok(n)
    }
}

/// What a channel brings, as a reader for a thread that may block.
pub(super) struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    pub(super) fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

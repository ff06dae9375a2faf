//! One layer: a stream of a tar, perhaps compressed, becomes a folder and a diff id. Synchronous; knows nothing of
//! registries or of the store.

mod ahead;
mod archive;
mod complete;
mod kept;
mod likeness;
mod marks;
mod merged;
mod node;
pub(super) mod pax;
mod seal;
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
pub(super) use archive::{Archive, Entry, Kind};
pub use complete::CompleteError;
pub(super) use complete::complete;
pub(super) use kept::Kept;
pub(super) use likeness::describe;
pub(crate) use marks::opaque;
pub(super) use marks::{is_opaque, of_overlay, prefix as marks};
pub(super) use seal::seal;
pub use skeleton::SkeletonError;
pub(super) use skeleton::{Rebuilt, Recorder};
pub use unpack::UnpackError;
pub(super) use unpack::{Limits, unpack_hollow};
pub use write::TreeError;
pub(super) use write::{Form, Plain, attributes_of, fingerprint, write_tree};

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
    /// Whether what it shows may depend on the layers below, beyond what overlayfs does by itself.
    pub(super) dependent: bool,
}

/// Unpacks `source` into the empty folder `root`, and records what of it will not be there.
pub(super) fn unpack_layer(
    source: impl Read + Send,
    root: &Path,
    recorder: Recorder,
    limits: &Limits,
) -> Result<Layer, UnpackError> {
    let tar = Hashed::new(plain(source, limits).map_err(ArchiveError::from)?);
    let (tar, unpacked) = ahead::read_ahead(tar, |ahead| unpack::unpack(ahead, root, recorder, limits));
    let unpack::Unpacked { size, newest, dependent } = unpacked?;
    Ok(Layer { tar_size: tar.inner.count, diff_id: tar.digest(), size, newest, dependent })
}

/// Whether what begins so is a tar, perhaps a compressed one.
pub(super) fn looks_like_a_tar(head: &[u8]) -> bool {
    !matches!(compression(head), Ok(Compression::None)) || archive::is_header(head)
}

/// Takes the compression from the first bytes, because media types are often wrong about it.
fn decompress<'a>(mut source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut head = Vec::with_capacity(6);
    (&mut source).take(6).read_to_end(&mut head)?;
    let kind = compression(&head)?;
    let whole = Read::chain(io::Cursor::new(head), source);
    Ok(match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
    })
}

fn compression(head: &[u8]) -> io::Result<Compression> {
    match head {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err(unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(unsupported("xz")),
        _ => Ok(Compression::None),
    }
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

/// Decompresses a stream, and ends one that grows beyond the limits.
pub(super) fn plain<'a>(source: impl Read + Send + 'a, limits: &Limits) -> io::Result<Bounded<'a>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: source, count: compressed.clone() };
    Ok(Bounded { inner: decompress(counted)?, count: 0, compressed, limits: limits.clone() })
}

/// A decompressed stream within its limits.
pub(super) struct Bounded<'a> {
    inner: Box<dyn Read + Send + 'a>,
    count: u64,
    compressed: Arc<AtomicU64>,
    limits: Limits,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        let Limits { small, ratio, bytes, .. } = self.limits;
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

/// Hashes and counts what passes.
pub(super) struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    /// The digest of all that has passed.
    pub(super) fn digest(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
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

//! One layer: a stream of a tar, perhaps compressed, becomes a folder and a diff id. Synchronous; knows nothing of
//! registries or of the store.

mod ahead;
mod complete;
mod facts;
mod found;
mod kept;
mod likeness;
mod marks;
mod merged;
mod node;
mod seal;
mod skeleton;
mod tape;
mod unpack;
mod write;

use std::io::{self, Read};
use std::path::Path;

use bytes::{Buf, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

pub use complete::CompleteError;
pub(super) use complete::complete;
pub use facts::{Fresh, FreshFile};
pub(super) use found::attributes_of;
pub(super) use kept::Kept;
pub(super) use likeness::describe;
pub(crate) use marks::opaque;
pub(super) use marks::{is_opaque, of_overlay, prefix as marks};
pub(super) use seal::seal;
pub use skeleton::SkeletonError;
pub(super) use skeleton::{Rebuilt, Recorder};
pub use unpack::UnpackError;
pub(super) use unpack::unpack_hollow;
pub use write::TreeError;
pub(super) use write::{Form, Plain, fingerprint, write_tree};

pub use crate::files::archive::ArchiveError;
pub(super) use crate::files::archive::{Archive, Entry, Kind, Limits, looks_like_a_tar, pax, plain};
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
    Ok(Layer { tar_size: tar.inner.count(), diff_id: tar.digest(), size, newest, dependent })
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

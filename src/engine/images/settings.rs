//! What can be chosen of the store. Knows nothing of where it is written down.

/// How the store keeps images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// Keep the blobs that layers were unpacked from, so that a push brings them back byte by byte, for twice the disk.
    pub keep_blobs: bool,
}

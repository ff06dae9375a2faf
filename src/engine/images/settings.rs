//! What can be chosen of the store. Knows nothing of where it is written down.

/// How the store keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Keep the blobs that layers were unpacked from, so that a push brings them back byte by byte, for twice the disk.
    pub keep_blobs: bool,
    /// Layers of one pull that are fetched and unpacked at a time.
    pub parallel: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { keep_blobs: false, parallel: 4 }
    }
}

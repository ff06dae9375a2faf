//! Where manifests come from: for now a folder on this host. A source is loaded whole, and says when to load it again.

pub mod contexts;
pub mod fingerprints;
pub mod folder;
pub mod said;
pub mod wakes;

pub use folder::Folder;

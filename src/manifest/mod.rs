//! Desired state: manifests and compose files, parsed, defaulted, resolved and validated.

pub mod desired;

pub use desired::{Desired, Placed};

//! The only unsafe code: what the kernel offers and no crate wraps safely. Knows nothing of containers.

pub mod netns;
pub mod readiness;

//! Containers and their monitors on the real kernel: as root, with busybox from the host as the only layer.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod health;
mod kills;
mod life;
mod logs;
mod verbs;

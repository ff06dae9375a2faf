//! The only unsafe code: what the kernel offers and no crate wraps safely. Knows nothing of containers.

pub mod async_fd;
pub mod clone;
mod device_programs;
pub mod devices;
pub mod handover;
pub mod inotify;
pub mod loopback;
pub mod memory;
pub mod mounts;
pub mod namespace;
pub mod netns;
pub mod own_program;
pub mod process;
pub mod pty;
pub mod resolve;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod userns;

use std::io;

pub use clone::{Daemonized, daemonize};
pub use handover::listen_fd;
pub use process::start_ticks as process_start_ticks;

/// Bytes from the kernel's random source.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn random_bytes_differ() {
        assert_ne!(super::random_bytes::<32>().unwrap(), super::random_bytes::<32>().unwrap());
    }
}

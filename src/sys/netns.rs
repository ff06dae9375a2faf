//! Network namespaces, entered by one thread at a time. The kernel keeps a namespace as long as a descriptor or a process
//! refers to it, so none is pinned by a file. Knows nothing of what is put into one.
//!
//! Assumption: the calling thread was started for this work and ends with it, because it cannot be given back: a thread
//! of a pool would carry the namespace into work that has nothing to do with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

/// A new network namespace with nothing but a loopback that is down. The calling thread is back where it was.
pub fn create() -> io::Result<OwnedFd> {
    let home = current()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let new = current();
    enter(home)?;
    new
}

/// The calling thread's network namespace.
pub fn current() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// The network namespace of a process.
pub fn of_process(pid: i32) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{pid}/ns/net"))?.into())
}

/// The network namespace of exactly the process that began then; `None` when it has ended, whoever has its number now.
pub fn of_identified(pid: i32, started_ticks: u64) -> io::Result<Option<OwnedFd>> {
    let gone = |e: io::Error| match e.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Ok(None),
        _ => Err(e),
    };
    let namespace = match of_process(pid) {
        Ok(namespace) => namespace,
        Err(e) => return gone(e),
    };
    // Read afterwards: a process with another start may have had the number already when the namespace was opened.
    match super::process_start_ticks(pid) {
        Ok(ticks) => Ok((ticks == started_ticks).then_some(namespace)),
        Err(e) => gone(e),
    }
}

/// Moves the calling thread into a network namespace.
pub fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Does something in a network namespace, on a thread of its own: whoever is root in a user namespace only could not come
/// back to the host's.
///
/// # Errors
/// Those of `act`, and the kernel's.
pub fn within<T: Send>(namespace: impl AsFd + Send, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    if super::userns::is_own("net", &namespace)? {
        return act();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("within".to_owned()).stack_size(64 << 10);
        let work = thread.spawn_scoped(scope, || {
            enter(namespace)?;
            act()
        })?;
        work.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    })
}

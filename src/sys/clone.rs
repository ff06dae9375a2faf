//! New processes: `clone3` with namespaces, a pidfd and a cgroup, and the double fork of a process that is to outlive
//! its starter. Refuses to do either in a process that has threads. Knows nothing of what the child will do.
#![expect(unsafe_code, reason = "clone3, fork and _exit have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::sched::CloneFlags;

/// Which of the two processes this is, after [`clone_process`].
#[derive(Debug)]
pub enum Cloned {
    Parent { pid: i32, pidfd: OwnedFd },
    Child,
}

/// The kernel's `struct clone_args`, up to the field that kernel 5.7 added.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A copy of this process in new namespaces, born in the cgroup `into` of the v2 hierarchy.
///
/// Being born in a cgroup costs nothing, while moving there later waits for a grace period of the kernel's RCU: milliseconds.
///
/// # Errors
/// The kernel's, and `EINVAL` in a process that has more than one thread: the child would inherit locks that nobody releases.
pub fn clone_process(namespaces: CloneFlags, into: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    refuse_threads()?;
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces.bits().cast_unsigned()) | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        // A sibling's end is told to the parent of both, in the way that this process itself was born with.
        exit_signal: if namespaces.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = into {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is laid out as the kernel wants it and outlives the call; no memory is shared with the child
    // (CLONE_VM is not among the flags that a namespace has), so the child runs on its own copy of the stack; this process
    // has one thread, so every lock that the child inherits is its own.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a new descriptor in `pidfd`, and nobody else knows of it.
        pid => Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// A sibling in the making: a copy of this process that is a child of this process's own parent.
#[derive(Debug)]
pub struct Sibling(());

/// Which of the two processes this is, after [`Sibling::bear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// The sibling has this number in the pid namespace of the process that called.
    Elder(i32),
    Younger,
}

impl Sibling {
    /// To be called where `/proc` tells of this process, which it need not any more when the sibling is born.
    ///
    /// # Errors
    /// `EINVAL` in a process that has more than one thread.
    pub fn conceive() -> io::Result<Self> {
        refuse_threads().map(|()| Self(()))
    }

    /// # Assumptions
    /// This process has started no thread since [`Self::conceive`].
    pub fn bear(self) -> io::Result<Born> {
        // The old call, because filters of system calls can look at its flags and so allow it.
        // SAFETY: no memory is shared with the child, which runs on its own copy of the stack; this process has one thread, so
        // every lock that the child inherits is its own. All arguments but the flags are unused.
        let result = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) };
        match result {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(Born::Younger),
            pid => Ok(Born::Elder(pid as i32)),
        }
    }
}

/// Which process this is, after [`daemonize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemonized {
    /// The process that called. The new one is no child of it and needs no waiting for.
    Starter,
    /// The new process: leader of no session, without a terminal, a child of init (or of the nearest subreaper).
    Daemon,
}

/// Forks twice with a new session in between.
///
/// # Errors
/// The kernel's, and `EINVAL` in a process that has more than one thread.
pub fn daemonize() -> io::Result<Daemonized> {
    refuse_threads()?;
    let middle = fork()?;
    if middle != 0 {
        let pid = nix::unistd::Pid::from_raw(middle);
        let status = loop {
            match nix::sys::wait::waitpid(pid, None) {
                Err(nix::errno::Errno::EINTR) => {}
                // The caller has children reaped by the kernel: the middle process is gone, and how it ended is not told.
                Err(nix::errno::Errno::ECHILD) => return Ok(Daemonized::Starter),
                other => break other?,
            }
        };
        return match status {
            nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(Daemonized::Starter),
            nix::sys::wait::WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::Error::from_raw_os_error(libc::EINTR)),
        };
    }
    let inner = rustix::process::setsid().map_err(io::Error::from).and_then(|_| fork());
    match inner {
        Ok(0) => Ok(Daemonized::Daemon),
        Ok(_) => exit_now(0),
        Err(e) => exit_now(e.raw_os_error().unwrap_or(libc::EAGAIN)),
    }
}

/// Ends this process at once: no destructor and no exit handler of the process it was copied from runs.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}

fn fork() -> io::Result<i32> {
    // SAFETY: this process has one thread (both callers checked or are such a child), so the child may do anything.
    let pid = unsafe { libc::fork() };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// A folder has two links and one for each folder in it, and the task folder has a folder for each thread.
fn refuse_threads() -> io::Result<()> {
    let links = std::fs::metadata("/proc/self/task")?.nlink();
    if links <= 3 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Runs a test's body in a forked, thus single-threaded, process and fails the test when it panics there.
#[cfg(test)]
pub(crate) fn in_own_process(body: impl FnOnce()) {
    // SAFETY: glibc's fork leaves its own locks usable in the child, and the child touches nothing that another
    // thread of the test harness could have held locked (its output goes to the descriptor itself).
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let code = match result {
            Ok(()) => 0,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic without text");
                let line = format!("in the forked test: {text}\n");
                // SAFETY: writes the bytes of a live string.
                unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
                101
            }
        };
        exit_now(code);
    }
    let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
    assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_refused() {
        // The test harness runs each test in a thread of its own.
        assert_eq!(daemonize().unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_daemon_leaves_its_starter() {
        in_own_process(|| {
            let (read, write) = rustix::pipe::pipe().unwrap();
            let starter = std::process::id();
            if daemonize().unwrap() == Daemonized::Daemon {
                let orphan = rustix::process::getppid().is_none_or(|p| p.as_raw_nonzero().get() != starter as i32);
                rustix::io::write(&write, &[u8::from(orphan)]).unwrap();
                exit_now(0);
            }
            let mut byte = [9];
            rustix::io::read(&read, &mut byte).unwrap();
            assert_eq!(byte, [1]);
        });
    }
}

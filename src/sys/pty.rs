//! Pseudo terminals: a pair of a controlling and a terminal end, and the size of its window.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, makedev};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Source: statfs(2), `DEVPTS_SUPER_MAGIC`.
const DEVPTS_MAGIC: rustix::fs::FsWord = 0x1cd1;

/// Both ends of a pseudo terminal, closed on exec.
#[derive(Debug)]
pub struct Pty {
    /// What the holder of the terminal reads and writes.
    pub controller: OwnedFd,
    /// The terminal itself: a process's standard streams.
    pub terminal: OwnedFd,
}

/// A new terminal of this mount namespace.
pub fn open() -> io::Result<Pty> {
    pair(rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

/// A new terminal of the instance of devpts that is mounted at `dev/pts` beneath a root that is not to be trusted: the programs
/// there know it by a path of theirs.
pub fn open_beneath(root: impl AsFd) -> io::Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // By its path first: opening a device that only stands at that place may do anything.
    let place = super::resolve::open_by(&root, "dev/pts/ptmx", OFlags::PATH, resolve)?;
    if rustix::fs::fstatfs(&place)?.f_type != DEVPTS_MAGIC || rustix::fs::fstat(&place)?.st_rdev != makedev(5, 2) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "/dev/pts of the container is no devpts"));
    }
    // The link leads to exactly what has been looked at.
    let controller = rustix::fs::open(format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?;
    pair(controller)
}

fn pair(controller: OwnedFd) -> io::Result<Pty> {
    rustix::pty::unlockpt(&controller)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Pty { controller, terminal })
}

/// Tells the programs on the terminal how large its window is.
pub fn resize(controller: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(controller, size)?)
}

/// A second descriptor for the same open file, closed on exec.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Opens the null device: the standard stream of whoever has none.
pub fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_carries_bytes_and_a_size() {
        let pty = open().unwrap();
        resize(&pty.controller, 33, 101).unwrap();
        let size = rustix::termios::tcgetwinsize(&pty.terminal).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (33, 101));
        rustix::io::write(&pty.terminal, b"x").unwrap();
        let mut byte = [0];
        rustix::io::read(&pty.controller, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}

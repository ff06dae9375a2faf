//! A container's terminal: made inside, taken as its standard streams, and its other end sent to whoever serves it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::open_tree;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};

use super::super::failure::{At, Failure, Stage};
use super::super::mounts::attach;
use super::super::root::{Kind, Root};
use super::error::OciError;
use super::mounts::CLONE;
use crate::files::FileError;
use crate::sys::pty;

/// Connects to a stream socket, whose path may be longer than an address can be.
pub(super) fn connect_to(path: &Path) -> Result<OwnedFd, OciError> {
    let attempt = || -> Result<OwnedFd, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let folder = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        connect(&socket, &SocketAddrUnix::new(&short)?)?;
        Ok(socket)
    };
    attempt().map_err(|e| FileError::new("connect to", path, e).into())
}

/// Sends one descriptor with some bytes, of which there must be at least one.
pub(super) fn send_descriptor(socket: impl AsFd, bytes: &[u8], descriptor: impl AsFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Receives what [`send_descriptor`] has sent.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 256];
    recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(first) = descriptors.next()
        {
            return Ok(first);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EPIPE))
}

/// Makes a terminal in the container whose root is `/` by now, sends its controlling end, and takes the other one. With
/// `console`, it is bound there too.
pub(super) fn take(root: &Root, process: &Process, socket: &OwnedFd, console: bool) -> Result<(), Failure> {
    let made = pty::open_beneath(root.fd()).at(Stage::SetTerminal, "of /dev/pts")?;
    if let Some(size) = process.console_size() {
        let cells = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        pty::resize(&made.controller, cells(size.height()), cells(size.width())).at(Stage::SetTerminal, "size")?;
    }
    if console {
        let path = rustix::termios::ttyname(&made.terminal, Vec::new()).at(Stage::SetTerminal, "find its name")?;
        let place = root.ensure(Path::new("/dev/console"), Kind::File).at(Stage::SetTerminal, "/dev/console")?;
        let tree = open_tree(CWD, path, CLONE).at(Stage::SetTerminal, "/dev/console")?;
        attach(&tree, &place).at(Stage::SetTerminal, "/dev/console")?;
    }
    send_descriptor(socket, b"/dev/ptmx", &made.controller).at(Stage::SendTerminal, "")?;
    rustix::stdio::dup2_stdin(&made.terminal).at(Stage::SetStreams, "stdin")?;
    rustix::stdio::dup2_stdout(&made.terminal).at(Stage::SetStreams, "stdout")?;
    rustix::stdio::dup2_stderr(&made.terminal).at(Stage::SetStreams, "stderr")?;
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).at(Stage::SetTerminal, "")
}

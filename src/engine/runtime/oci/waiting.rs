//! The socket at which a created container's process waits to be started. That somebody listens there says that it waits,
//! and its end says that the program was executed: the kernel closes it at that moment.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, send,
    socket_with,
};

use super::super::failure::Failure;
use super::error::OciError;
use crate::files::FileError;

const NAME: &str = "start.sock";
const START: &[u8] = b"start";

/// Makes the socket, for the process that is going to wait.
pub(super) fn open(folder: &Path) -> Result<OwnedFd, OciError> {
    let make = || -> Result<OwnedFd, Errno> {
        let socket = new_socket()?;
        at(folder, |address| bind(&socket, address))?;
        listen(&socket, 64)?;
        rustix::fs::fcntl_setfl(&socket, OFlags::empty())?;
        Ok(socket)
    };
    make().map_err(|e| FileError::new("listen at", folder.join(NAME), e).into())
}

/// Whether the container's process still waits.
pub(super) fn is_waiting(folder: &Path) -> Result<bool, OciError> {
    match new_socket().and_then(|socket| at(folder, |address| connect(&socket, address))) {
        Ok(()) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // So many have asked that the process must be there, and not at work.
        Err(Errno::AGAIN) => Ok(true),
        Err(e) => Err(FileError::new("connect to", folder.join(NAME), e).into()),
    }
}

/// Starts the container. Returns when its program is executed, or with what went wrong instead. `None` when nobody waits.
pub(super) fn start(folder: &Path) -> Result<Option<Result<(), Failure>>, OciError> {
    let failed = |e: Errno| OciError::from(FileError::new("connect to", folder.join(NAME), e));
    let socket = new_socket().map_err(failed)?;
    match at(folder, |address| connect(&socket, address)) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
        other => other.map_err(failed)?,
    }
    rustix::fs::fcntl_setfl(&socket, OFlags::empty()).map_err(failed)?;
    send(&socket, START, SendFlags::NOSIGNAL).map_err(failed)?;
    let mut buffer = [0; 8192];
    loop {
        match recv(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => return Ok(Some(Ok(()))),
            Ok((length, _)) => {
                let failure = serde_json::from_slice(&buffer[..length]);
                return Ok(Some(Err(failure.map_err(|e| OciError::Step { action: "read what went wrong", source: e.into() })?)));
            }
            // The process died before it read the word.
            Err(Errno::CONNRESET) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

/// Waits for the word to start. The descriptor that it came by closes when the program is executed.
pub(super) fn wait(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    loop {
        let connection = match accept_with(listener, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            other => other?,
        };
        let mut word = [0; 8];
        // Those who only ask whether somebody waits say nothing.
        if let Ok((length, _)) = recv(&connection, &mut word, RecvFlags::empty())
            && &word[..length] == START
        {
            return Ok(connection);
        }
    }
}

/// Tells the starter what went wrong.
pub(super) fn report(connection: &OwnedFd, failure: &Failure) -> io::Result<()> {
    send(connection, &serde_json::to_vec(failure)?, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Non-blocking only while it connects: a full queue is an answer, not something to wait for.
fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

/// A socket's path has at most 108 bytes, so it is reached through a descriptor of its folder.
fn at(folder: &Path, act: impl FnOnce(&SocketAddrUnix) -> Result<(), Errno>) -> Result<(), Errno> {
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    act(&SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))?)
}

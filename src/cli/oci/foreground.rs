//! Attending a container or a process in the foreground: signals go to it, its terminal is ours, and its exit code too.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::OciCliError;
use crate::cli::terminal::{self, Raw};
use crate::engine::runtime::oci;
use crate::sys;

/// Who called: made before the process is, so that nothing of what is sent to it is lost.
pub(super) struct Caller {
    signals: Option<SignalFd>,
    /// Where the terminal arrives, if there is to be one.
    ours: Option<OwnedFd>,
    theirs: Option<OwnedFd>,
}

impl Caller {
    pub(super) fn new(attends: bool) -> Result<Self, OciCliError> {
        if !attends {
            return Ok(Self { signals: None, ours: None, theirs: None });
        }
        let mut mask = SigSet::all();
        // Its own mistakes are not to be passed on, nor the end of a child, which is told otherwise.
        for kept in
            [Signal::SIGCHLD, Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGPIPE]
        {
            mask.remove(kept);
        }
        let failed = |e: nix::errno::Errno| OciCliError::Step { action: "catch signals", source: e.into() };
        mask.thread_block().map_err(failed)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)?;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.map_err(|e| OciCliError::Step { action: "make a socket pair", source: e.into() })?;
        Ok(Self { signals: Some(signals), ours: Some(ours), theirs: Some(theirs) })
    }

    /// The end that a terminal of the process is sent through. Of no use to a process that has none.
    pub(super) fn terminal_end(&mut self) -> Option<OwnedFd> {
        self.theirs.take()
    }

    /// Waits for the process, and gives its exit code.
    pub(super) fn attend(self, pidfd: &OwnedFd) -> Result<i32, OciCliError> {
        let failed = |source| OciCliError::Step { action: "attend the process", source };
        // Only a process with a terminal has sent one; its end of the pair is closed by now in any case.
        let controller = self.ours.as_ref().and_then(|ours| oci::receive_descriptor(ours).ok());
        let _raw = match &controller {
            Some(controller) => {
                resize(controller)?;
                // Ours may be no terminal: then there is nothing to be made raw.
                Raw::enter().ok()
            }
            None => None,
        };
        let mut input = controller.is_some();
        loop {
            let mut watched = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            watched.extend(self.signals.as_ref().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)));
            if let Some(controller) = &controller {
                watched.push(PollFd::new(controller.as_fd(), PollFlags::POLLIN));
                if input {
                    watched.push(PollFd::new(rustix::stdio::stdin(), PollFlags::POLLIN));
                }
            }
            match nix::poll::poll(&mut watched, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.map_err(|e| failed(e.into()))?,
            };
            let ready: Vec<bool> = watched.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            drop(watched);
            self.pass_signals(pidfd, controller.as_ref())?;
            if let Some(controller) = &controller {
                if ready.get(2) == Some(&true) {
                    pass(controller, rustix::stdio::stdout()).map_err(failed)?;
                }
                if input && ready.get(3) == Some(&true) {
                    input = pass(rustix::stdio::stdin(), controller).map_err(failed)?;
                }
            }
            if ready[0] {
                if let Some(controller) = &controller {
                    // What it wrote last is still to be read.
                    while pass(controller, rustix::stdio::stdout()).map_err(failed)? {}
                }
                return Ok(oci::wait(pidfd)?);
            }
        }
    }

    fn pass_signals(&self, pidfd: &OwnedFd, controller: Option<&OwnedFd>) -> Result<(), OciCliError> {
        let Some(signals) = &self.signals else { return Ok(()) };
        let failed = |e: nix::errno::Errno| OciCliError::Step { action: "read signals", source: e.into() };
        while let Some(caught) = signals.read_signal().map_err(failed)? {
            let number = caught.ssi_signo.cast_signed();
            match controller {
                Some(controller) if number == libc::SIGWINCH => resize(controller)?,
                _ => match sys::signal::send(pidfd, number) {
                    Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(OciCliError::step("pass a signal on")(e)),
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

fn resize(controller: &OwnedFd) -> Result<(), OciCliError> {
    match terminal::size() {
        Some((rows, columns)) => sys::pty::resize(controller, rows, columns).map_err(OciCliError::step("resize the terminal")),
        None => Ok(()),
    }
}

/// Passes what is there. `false` at the end of the source.
fn pass(from: impl AsFd, into: impl AsFd) -> std::io::Result<bool> {
    let mut buffer = [0; 16384];
    let length = match rustix::io::read(from, &mut buffer) {
        // A terminal that nobody has open any more.
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        other => other?,
    };
    let mut left = &buffer[..length];
    while !left.is_empty() {
        match rustix::io::write(&into, left) {
            Err(Errno::INTR) => {}
            other => left = &left[other?..],
        }
    }
    Ok(true)
}

//! The standard streams of one run of a container: pipes, or a terminal. Knows nothing of who reads and writes them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::input::Input;
use crate::engine::runtime::Stdio;
use crate::sys;

/// The monitor's ends.
pub(super) struct Streams {
    /// The reading ends of its standard output and error; on a terminal the first is both.
    pub(super) output: [Option<OwnedFd>; 2],
    pub(super) input: Input,
    pub(super) terminal: Option<Terminal>,
}

/// A container's terminal.
pub(super) struct Terminal {
    controller: OwnedFd,
    /// Held open, so that what the container has printed can be read however few of its processes have the terminal open.
    _terminal: OwnedFd,
}

impl Terminal {
    pub(super) fn resize(&self, (rows, columns): (u16, u16)) -> io::Result<()> {
        sys::pty::resize(&self.controller, rows, columns)
    }
}

/// Pipes; an input only where it is `open`.
pub(super) fn pipes(open: bool) -> io::Result<(Streams, Stdio)> {
    let output = || -> io::Result<_> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        // A larger pipe only spares switches between the two processes; the kernel may refuse it.
        fcntl_setpipe_size(&read, 1 << 20).ok();
        Ok((read, write))
    };
    let ((out, stdout), (err, stderr)) = (output()?, output()?);
    let (stdin, input) = if open {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        (read, Some(write))
    } else {
        (sys::pty::null()?, None)
    };
    let streams = Streams { output: [Some(out), Some(err)], input: Input::new(input), terminal: None };
    Ok((streams, Stdio { stdin, stdout, stderr }))
}

/// A terminal of this size, where one is known. What is typed reaches it only where the input is `open`.
pub(super) fn terminal(open: bool, window: Option<(u16, u16)>) -> io::Result<(Streams, Stdio)> {
    let sys::pty::Pty { controller, terminal } = sys::pty::open()?;
    rustix::io::ioctl_fionbio(&controller, true)?;
    let again = |fd: &OwnedFd| sys::pty::duplicate(fd.as_fd());
    let stdio = Stdio { stdin: again(&terminal)?, stdout: again(&terminal)?, stderr: again(&terminal)? };
    let input = if open { Some(again(&controller)?) } else { None };
    let streams = Streams {
        output: [Some(again(&controller)?), None],
        input: Input::new(input),
        terminal: Some(Terminal { controller, _terminal: terminal }),
    };
    if let (Some(terminal), Some(window)) = (&streams.terminal, window) {
        terminal.resize(window)?;
    }
    Ok((streams, stdio))
}

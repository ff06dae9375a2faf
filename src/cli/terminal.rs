//! The terminal as an input: raw mode while a command in a container has it, and its size.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that hands every key on as it is. It is what it was before when this is dropped.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// A terminal that does not show what is typed. It is what it was before when this is dropped.
#[derive(Debug)]
pub struct Silent {
    before: Termios,
}

impl Silent {
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

/// Rows and columns; `None` when standard input is no terminal.
pub fn size() -> Option<(u16, u16)> {
    tcgetwinsize(rustix::stdio::stdin()).ok().map(|size| (size.ws_row, size.ws_col))
}

/// Rows and columns of standard error; `None` when it is no terminal.
pub fn error_size() -> Option<(u16, u16)> {
    tcgetwinsize(rustix::stdio::stderr()).ok().map(|size| (size.ws_row, size.ws_col))
}

/// Standard output for bytes that come asynchronously, however many.
pub fn stdout() -> io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// Standard input for asynchronous reading: reads happen in a thread of their own, because it may be a file.
pub fn stdin() -> io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(std::fs::File::from(io::stdin().as_fd().try_clone_to_owned()?)))
}

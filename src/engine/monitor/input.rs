//! A container's standard input: what those who are attached send, held until the container reads it. Bounded by whoever
//! asks [`Input::is_full`] before more is taken.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Bytes that may wait for a container that does not read.
const MOST: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Input {
    /// The writing end, which does not block; `None` once it is closed.
    fd: Option<OwnedFd>,
    waiting: Vec<u8>,
    /// It is closed when all that waits is written.
    ends: bool,
}

impl Input {
    pub(super) fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, waiting: Vec::new(), ends: false }
    }

    /// Whether no more is to be taken for now.
    pub(super) fn is_full(&self) -> bool {
        self.fd.is_some() && self.waiting.len() >= MOST
    }

    /// What is to be waited for, so that more can be written.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        // For one that reads nothing (any more) there is nothing to keep.
        if self.fd.is_some() && !self.ends {
            self.waiting.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// There is no more.
    pub(super) fn end(&mut self) {
        self.ends = true;
        self.flush();
    }

    pub(super) fn flush(&mut self) {
        while let Some(fd) = &self.fd
            && !self.waiting.is_empty()
        {
            match rustix::io::write(fd, &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The container has closed its end.
                Err(_) => {
                    self.waiting.clear();
                    self.fd = None;
                }
            }
        }
        if self.ends {
            self.fd = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn all_arrives_before_the_end() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut input = Input::new(Some(write));
        let sent = vec![7; 300 << 10];
        input.push(&sent);
        assert!(input.is_full() && input.wanted().is_some());
        input.end();
        let (mut got, mut block) = (0, vec![0; 64 << 10]);
        loop {
            match rustix::io::read(&read, &mut block) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(Errno::AGAIN) => input.flush(),
                Err(e) => panic!("{e}"),
            }
        }
        assert_eq!(got, sent.len());
        assert!(!input.is_full() && input.wanted().is_none());
    }

    #[test]
    fn who_does_not_read_fills_nothing() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut input = Input::new(Some(write));
        drop(read);
        input.push(b"x");
        input.push(&vec![0; 1 << 20]);
        assert!(!input.is_full());
        let mut none = Input::new(None);
        none.push(&vec![0; 1 << 20]);
        assert!(!none.is_full());
    }
}

//! The content of one file into another one: shared where the file system can, without the holes of sparse files, and read and
//! written otherwise. Knows nothing of names.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, copy_file_range, fstat, ftruncate, ioctl_ficlone, seek};
use rustix::io::Errno;

/// Smaller files are read and written: to ask for more takes as long.
const WORTH_ASKING: u64 = 64 << 10;
const BUFFER: usize = 256 << 10;

/// What has turned out to be impossible between two file systems is not tried again.
#[derive(Debug, Default)]
pub(super) struct Means {
    no_sharing: AtomicBool,
    no_range: AtomicBool,
}

/// One thread's buffer.
pub(super) struct Copier<'a> {
    means: &'a Means,
    buffer: Vec<u8>,
    /// Bytes at the beginning of the buffer that are the whole content of what was copied last.
    whole: usize,
}

impl<'a> Copier<'a> {
    pub(super) fn new(means: &'a Means) -> Self {
        Self { means, buffer: vec![0; BUFFER], whole: 0 }
    }

    /// What was copied last, if it is still here as a whole.
    pub(super) fn last(&self) -> &[u8] {
        &self.buffer[..self.whole]
    }

    /// Copies all of `from`, which is at its beginning, into the empty file `to`. What is added meanwhile may come along or not.
    /// Returns how many bytes there are now.
    pub(super) fn copy(&mut self, from: &File, to: &File, size: u64, blocks: u64) -> io::Result<u64> {
        self.whole = 0;
        if size >= WORTH_ASKING && !self.means.no_sharing.load(Ordering::Relaxed) {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(u64::try_from(fstat(to)?.st_size).unwrap_or(0)),
                Err(_) => self.means.no_sharing.store(true, Ordering::Relaxed),
            }
        }
        if size > 0 && blocks.saturating_mul(512) < size {
            return self.pieces(from, to, size);
        }
        let done = self.range(from, to, 0, size)?;
        if done == 0 && size == 0 {
            // Files of the kernel say nothing of their size.
            return self.rest(from, to, 0);
        }
        Ok(done)
    }

    /// A sparse file: what is between its holes.
    fn pieces(&mut self, from: &File, to: &File, size: u64) -> io::Result<u64> {
        let mut at = 0;
        while at < size {
            let start = match seek(from, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Nothing but a hole follows.
                Err(Errno::NXIO) => break,
                // This file system does not know where its holes are.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => (at, at = size).0,
                Err(e) => return Err(e.into()),
            };
            let end = match seek(from, SeekFrom::Hole(start)) {
                Ok(end) => end,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => size,
                Err(Errno::NXIO) => break,
                Err(e) => return Err(e.into()),
            };
            let end = end.min(size);
            if end <= start {
                break;
            }
            self.range(from, to, start, end - start)?;
            at = end.max(at);
        }
        ftruncate(to, size)?;
        Ok(size)
    }

    /// `length` bytes at `start`, or less where the file ends before.
    fn range(&mut self, from: &File, to: &File, start: u64, length: u64) -> io::Result<u64> {
        let mut done = 0;
        while length >= WORTH_ASKING && done < length && !self.means.no_range.load(Ordering::Relaxed) {
            let (mut here, mut there) = (start + done, start + done);
            let left = usize::try_from(length - done).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(from, Some(&mut here), to, Some(&mut there), left) {
                // Some file systems say that there is nothing when they do not know.
                Ok(0) => break,
                Ok(copied) => done += copied as u64,
                Err(Errno::INTR) => {}
                Err(_) => self.means.no_range.store(true, Ordering::Relaxed),
            }
        }
        while done < length {
            let most = usize::try_from(length - done).unwrap_or(usize::MAX).min(self.buffer.len());
            match from.read_at(&mut self.buffer[..most], start + done) {
                Ok(0) => break,
                Ok(read) => {
                    to.write_all_at(&self.buffer[..read], start + done)?;
                    done += read as u64;
                    self.whole = if read as u64 == length && start == 0 { read } else { 0 };
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn rest(&mut self, from: &File, to: &File, mut at: u64) -> io::Result<u64> {
        loop {
            match from.read_at(&mut self.buffer, at) {
                Ok(0) => return Ok(at),
                Ok(read) => {
                    to.write_all_at(&self.buffer[..read], at)?;
                    at += read as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

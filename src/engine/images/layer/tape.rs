//! A reader that lets a recorder see what passes, but for the contents that are in files. Knows nothing of tars.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::skeleton::{Recorder, SkeletonError};
use crate::files::FileError;

pub(super) struct Tape<R> {
    inner: R,
    /// `None`: nothing is recorded.
    recorder: Option<Recorder>,
    /// Bytes still to come that are in a file.
    in_file: u64,
    /// What a reader's error cannot say.
    failure: Option<FileError>,
}

impl<R: Read> Tape<R> {
    pub(super) const fn new(inner: R, recorder: Option<Recorder>) -> Self {
        Self { inner, recorder, in_file: 0, failure: None }
    }

    /// The next `length` bytes are what the file at `path` has at `offset`.
    pub(super) fn next_is_in(&mut self, path: &Path, offset: u64, length: u64) -> Result<(), FileError> {
        if let Some(recorder) = self.recorder.as_mut().filter(|_| length > 0) {
            recorder.piece(path, offset, length)?;
            self.in_file = length;
        }
        Ok(())
    }

    /// Where to put what is at `path`, instead of removing it. `None`: nobody needs it.
    pub(super) fn bury(&mut self, path: &Path) -> Result<Option<PathBuf>, FileError> {
        self.recorder.as_mut().map(|recorder| recorder.bury(path)).transpose()
    }

    /// Why a read failed that was not the source's fault.
    pub(super) const fn failure(&mut self) -> Option<FileError> {
        self.failure.take()
    }

    pub(super) fn finish(self) -> Result<(), SkeletonError> {
        self.recorder.map_or(Ok(()), Recorder::finish)
    }
}

impl<R: Read> Read for Tape<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let in_file = usize::try_from(self.in_file).unwrap_or(usize::MAX).min(n);
        self.in_file -= in_file as u64;
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.raw(&buffer[in_file..n])
        {
            self.failure = Some(error);
            return Err(io::Error::other("record what is read"));
        }
        Ok(n)
    }
}

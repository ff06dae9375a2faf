//! A reader that keeps a copy of what passes. Knows nothing of what it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::files::FileError;

pub(in crate::engine::images) struct Kept<R> {
    inner: R,
    copy: Option<(File, PathBuf)>,
}

impl<R: Read> Kept<R> {
    /// Without a path, nothing is kept.
    pub(in crate::engine::images) fn new(inner: R, path: Option<PathBuf>) -> Result<Self, FileError> {
        let copy = match path {
            Some(path) => Some((File::create(&path).map_err(|e| FileError::new("create", &path, e))?, path)),
            None => None,
        };
        Ok(Self { inner, copy })
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if let Some((file, path)) = &mut self.copy {
            file.write_all(&buffer[..n]).map_err(|e| io::Error::other(FileError::new("write", &*path, e)))?;
        }
        Ok(n)
    }
}

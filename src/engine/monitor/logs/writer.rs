//! The writer of a container's log: bytes of two streams become lines in bounded, rotated files.
//!
//! Guarantees: one writing system call for a batch; a line is in the file whole or not at all; no file is longer than its bound
//! or, where that is more, than one line; a full disk loses lines and never stops the container. Assumption: nobody else
//! writes these files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use time::OffsetDateTime;

use super::{HEADER_LENGTH, LogBounds, LogStream, MAX_TEXT, aged, current, header, mark_partial};
use crate::files::FileError;

/// A batch is written when it has grown to this.
const BATCH: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct LogWriter {
    folder: PathBuf,
    bounds: LogBounds,
    file: File,
    /// Bytes in `file`.
    size: u64,
    out: Vec<u8>,
    /// What each stream printed after its last newline.
    pending: [Vec<u8>; 2],
}

impl LogWriter {
    /// Opens the current file, or makes it.
    pub(crate) fn open(folder: PathBuf, bounds: LogBounds) -> Result<Self, FileError> {
        let path = current(&folder);
        let (file, size) = open_file(&path, false)?;
        Ok(Self { folder, bounds, file, size, out: Vec::new(), pending: [Vec::new(), Vec::new()] })
    }

    /// Records what a stream printed at `time`.
    pub(crate) fn record(&mut self, stream: LogStream, bytes: &[u8], time: OffsetDateTime) -> Result<(), FileError> {
        let full = header(time, stream);
        let mut partial = full;
        mark_partial(&mut partial);
        let mut rest = bytes;
        let mut pending = std::mem::take(&mut self.pending[stream as usize]);
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            if pending.is_empty() && line.len() <= MAX_TEXT {
                self.put(&full, line)?;
            } else {
                pending.extend_from_slice(line);
                let mut chunks = pending.chunks(MAX_TEXT).peekable();
                while let Some(chunk) = chunks.next() {
                    self.put(if chunks.peek().is_some() { &partial } else { &full }, chunk)?;
                }
                pending.clear();
            }
        }
        pending.extend_from_slice(rest);
        // One byte more than fits must be there before a text is cut: a newline may be what comes next.
        let keep = pending.len().saturating_sub(1) / MAX_TEXT * MAX_TEXT;
        if keep > 0 {
            for chunk in pending[..keep].chunks(MAX_TEXT) {
                self.put(&partial, chunk)?;
            }
            pending.drain(..keep);
        }
        self.pending[stream as usize] = pending;
        self.flush()
    }

    /// Records what a stream printed after its last newline: the stream has ended.
    pub(crate) fn finish(&mut self, stream: LogStream, time: OffsetDateTime) -> Result<(), FileError> {
        let pending = std::mem::take(&mut self.pending[stream as usize]);
        if pending.is_empty() {
            return Ok(());
        }
        let mut head = header(time, stream);
        mark_partial(&mut head);
        self.put(&head, &pending)?;
        self.flush()
    }

    /// Puts a record in the batch, which is written when it is large enough, or as large as a file may be.
    fn put(&mut self, header: &[u8; HEADER_LENGTH], text: &[u8]) -> Result<(), FileError> {
        let length = HEADER_LENGTH + text.len() + 1;
        let room = self.bounds.file_size.min(BATCH as u64 + length as u64);
        if !self.out.is_empty() && (self.out.len() + length) as u64 > room {
            self.flush()?;
        }
        self.out.reserve(length);
        self.out.extend_from_slice(header);
        self.out.extend_from_slice(text);
        self.out.push(b'\n');
        Ok(())
    }

    pub(crate) fn rest(&mut self) {
        self.out.shrink_to_fit();
        self.pending.iter_mut().for_each(Vec::shrink_to_fit);
    }

    fn flush(&mut self) -> Result<(), FileError> {
        if self.out.is_empty() {
            return Ok(());
        }
        if self.size > 0 && self.size + self.out.len() as u64 > self.bounds.file_size {
            self.rotate().inspect_err(|_| self.out.clear())?;
        }
        let result = self.file.write_all(&self.out);
        let length = self.out.len() as u64;
        self.out.clear();
        match result {
            Ok(()) => self.size += length,
            Err(e) => {
                // Take back the part that was written, or the next line would be glued to it.
                let undone = self.file.set_len(self.size).and_then(|()| self.file.seek(SeekFrom::Start(self.size)));
                return Err(FileError::new("write", current(&self.folder), undone.err().unwrap_or(e)));
            }
        }
        Ok(())
    }

    /// Keeps so much from now on: what is too much already goes at once.
    pub(crate) fn bound(&mut self, bounds: LogBounds) -> Result<(), FileError> {
        let before = std::mem::replace(&mut self.bounds, bounds);
        for age in bounds.files.max(1)..before.files {
            let path = aged(&self.folder, age);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError::new("remove", path, e)),
                _ => {}
            }
        }
        if self.size > bounds.file_size { self.rotate() } else { Ok(()) }
    }

    fn rotate(&mut self) -> Result<(), FileError> {
        let oldest = self.bounds.files.max(1) - 1;
        if oldest == 0 {
            let path = current(&self.folder);
            fs::remove_file(&path).map_err(|e| FileError::new("remove", path, e))?;
        }
        for age in (0..oldest).rev() {
            let (from, to) = (aged(&self.folder, age), aged(&self.folder, age + 1));
            match fs::rename(&from, &to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(FileError::new("rename", from, e)),
                _ => {}
            }
        }
        (self.file, self.size) = open_file(&current(&self.folder), true)?;
        Ok(())
    }
}

fn open_file(path: &std::path::Path, new: bool) -> Result<(File, u64), FileError> {
    let fail = |e| FileError::new("open", path, e);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(new).mode(0o640).open(path).map_err(fail)?;
    let mut size = file.seek(SeekFrom::End(0)).map_err(fail)?;
    if size > 0 {
        // A power cut may have torn the last line: end it, so that only that one is lost.
        let mut last = [0];
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(fail)?;
        if last != *b"\n" {
            file.write_all(b"\n").map_err(fail)?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: OffsetDateTime = datetime!(2026-11-23 10:00:00.5 UTC);

    fn lines(folder: &std::path::Path) -> Vec<String> {
        let text = fs::read_to_string(current(folder)).unwrap();
        text.lines().map(|line| line[31..].to_owned()).collect()
    }

    #[test]
    fn cuts_bytes_into_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path().into(), LogBounds::default()).unwrap();
        log.record(LogStream::Stdout, b"one\ntw", AT).unwrap();
        log.record(LogStream::Stderr, b"err\n\n", AT).unwrap();
        log.record(LogStream::Stdout, b"o\n", AT).unwrap();
        log.record(LogStream::Stdout, b"no newline", AT).unwrap();
        log.finish(LogStream::Stdout, AT).unwrap();
        log.finish(LogStream::Stderr, AT).unwrap();
        let want = ["stdout F one", "stderr F err", "stderr F ", "stdout F two", "stdout P no newline"];
        assert_eq!(lines(folder.path()), want);
    }

    #[test]
    fn long_lines_are_cut_wherever_the_reads_end() {
        let text = "x".repeat(2 * MAX_TEXT + 10) + "\n" + &"y".repeat(MAX_TEXT) + "\n";
        let mut expected = None;
        for step in [1 << 20, MAX_TEXT, MAX_TEXT - 1, 1000, 7] {
            let folder = tempfile::tempdir().unwrap();
            let mut log = LogWriter::open(folder.path().into(), LogBounds::default()).unwrap();
            for piece in text.as_bytes().chunks(step) {
                log.record(LogStream::Stdout, piece, AT).unwrap();
            }
            let got: Vec<_> = lines(folder.path()).iter().map(|l| (l[..8].to_owned(), l.len() - 9)).collect();
            let lengths: Vec<_> = got.iter().map(|(head, length)| (head.ends_with('P'), *length)).collect();
            assert_eq!(lengths, [(true, MAX_TEXT), (true, MAX_TEXT), (false, 10), (false, MAX_TEXT)], "{step}");
            assert_eq!(expected.get_or_insert(got.clone()), &got);
        }
    }

    #[test]
    fn rotation_bounds_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_size: 10_000, files: 3 };
        let mut log = LogWriter::open(folder.path().into(), bounds).unwrap();
        for number in 0..5_000 {
            log.record(LogStream::Stdout, format!("line {number}\n").as_bytes(), AT).unwrap();
        }
        let sizes: Vec<_> = (0..4).map(|age| fs::metadata(aged(folder.path(), age)).map(|meta| meta.len()).ok()).collect();
        assert!(sizes[..3].iter().all(|size| size.is_some_and(|s| s > 0 && s <= 10_000)), "{sizes:?}");
        assert_eq!(sizes[3], None);
        assert!(lines(folder.path()).last().unwrap().ends_with("line 4999"));
    }

    #[test]
    fn other_bounds_hold_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path().into(), LogBounds { file_size: 1_000, files: 5 }).unwrap();
        for number in 0..200 {
            log.record(LogStream::Stdout, format!("line {number}\n").as_bytes(), AT).unwrap();
        }
        log.bound(LogBounds { file_size: 100_000, files: 2 }).unwrap();
        let there = |age| aged(folder.path(), age).exists();
        assert_eq!([0, 1, 2, 3, 4].map(there), [true, true, false, false, false]);
        log.record(LogStream::Stdout, b"in the same file\n", AT).unwrap();
        assert!(lines(folder.path()).len() > 1);
        log.bound(LogBounds { file_size: 10, files: 1 }).unwrap();
        log.record(LogStream::Stdout, b"alone\n", AT).unwrap();
        assert_eq!(lines(folder.path()), ["stdout F alone"]);
    }

    #[test]
    fn a_torn_end_costs_one_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(current(folder.path()), "2026-11-23T10:00:00.123456789Z stdo").unwrap();
        let mut log = LogWriter::open(folder.path().into(), LogBounds::default()).unwrap();
        log.record(LogStream::Stdout, b"whole\n", AT).unwrap();
        let text = fs::read_to_string(current(folder.path())).unwrap();
        assert!(text.lines().nth(1).unwrap().ends_with("stdout F whole"), "{text}");
    }
}

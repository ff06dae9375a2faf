//! Where the last so many lines begin: found from the end, so that the cost is that of the lines and not of the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{HEADER_LENGTH, ends_line};

const BLOCK: u64 = 64 * 1024;

/// A place in a set of files that are ordered from the newest to the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// The place where the last `lines` lines of `files` (newest first) begin. Records that one line was cut into count once.
pub(super) fn find(files: &[File], lines: usize) -> io::Result<Place> {
    let mut search = Search { left: lines, any: false, begin: Place { file: 0, offset: 0 } };
    for (index, file) in files.iter().enumerate() {
        let length = file.metadata()?.len();
        if index == 0 {
            search.begin = Place { file: 0, offset: length };
        }
        if search.file(index, file, length)? {
            return Ok(search.begin);
        }
    }
    Ok(search.begin)
}

struct Search {
    /// Lines that may still be taken.
    left: usize,
    /// Whether any record was seen.
    any: bool,
    /// Where the oldest record that was taken begins.
    begin: Place,
}

impl Search {
    /// Goes through one file backwards. True when all lines were found.
    fn file(&mut self, index: usize, file: &File, length: u64) -> io::Result<bool> {
        let mut block = vec![0; BLOCK as usize + HEADER_LENGTH];
        // Where the block that was read before begins: the end of this one.
        let mut end = length;
        while end > 0 {
            let start = end.saturating_sub(BLOCK);
            // A header may reach into the block after.
            let wanted = (end - start) as usize + HEADER_LENGTH.min((length - end) as usize);
            file.read_exact_at(&mut block[..wanted], start)?;
            for newline in memchr::memrchr_iter(b'\n', &block[..(end - start) as usize]) {
                let at = start + newline as u64 + 1;
                if at < length && self.record(&block[newline + 1..wanted], Place { file: index, offset: at }) {
                    return Ok(true);
                }
            }
            if start == 0 && self.record(&block[..wanted], Place { file: index, offset: 0 }) {
                return Ok(true);
            }
            end = start;
        }
        Ok(false)
    }

    /// Takes a record. True when it belongs to a line too many.
    fn record(&mut self, bytes: &[u8], at: Place) -> bool {
        if !self.any || ends_line(&bytes[..bytes.len().min(HEADER_LENGTH)]) {
            if self.left == 0 {
                return true;
            }
            self.left -= 1;
        }
        self.any = true;
        self.begin = at;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::monitor::logs::{LogBounds, LogStream, LogWriter, MAX_TEXT, aged};
    use time::OffsetDateTime;

    #[test]
    fn finds_lines_over_blocks_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_size: 200_000, files: 4 };
        let mut log = LogWriter::open(folder.path().into(), bounds).unwrap();
        for number in 0..5_000 {
            log.record(LogStream::Stdout, format!("{number}\n").as_bytes(), OffsetDateTime::UNIX_EPOCH).unwrap();
        }
        let files: Vec<_> = (0..2).map(|age| File::open(aged(folder.path(), age)).unwrap()).collect();
        for lines in [0, 1, 10, 3_000, 4_999, 5_000, 10_000] {
            let place = find(&files, lines).unwrap();
            let mut text = String::new();
            for index in (0..=place.file).rev() {
                let all = std::fs::read_to_string(aged(folder.path(), index as u32)).unwrap();
                text += &all[if index == place.file { place.offset as usize } else { 0 }..];
            }
            assert_eq!(text.lines().count(), lines.min(5_000), "{lines}");
        }
    }

    #[test]
    fn a_line_in_pieces_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path().into(), LogBounds::default()).unwrap();
        let long = "a\n".to_owned() + &"b".repeat(2 * MAX_TEXT + 5) + "\nc";
        log.record(LogStream::Stdout, long.as_bytes(), OffsetDateTime::UNIX_EPOCH).unwrap();
        log.finish(LogStream::Stdout, OffsetDateTime::UNIX_EPOCH).unwrap();
        let path = aged(folder.path(), 0);
        let text = std::fs::read_to_string(&path).unwrap();
        let begin = |lines| find(&[File::open(&path).unwrap()], lines).unwrap().offset as usize;
        assert!(text[begin(1)..].ends_with("stdout P c\n") && text[begin(1)..].lines().count() == 1);
        assert_eq!(text[begin(2)..].lines().count(), 4);
        assert_eq!(begin(3), 0);
    }
}

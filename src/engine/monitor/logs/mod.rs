//! What a container printed, kept on the disk: the format of a line, the writer that the monitor owns and the readers.
//! Knows files only, nothing of processes.
//!
//! Format, which is that of the Kubernetes Container Runtime Interface: `<time> <stream> <tag> <text>` with the time in
//! UTC and always nine digits of a second, so that everything before the text has one length. The tag is `F` when a
//! newline followed the text and `P` when the text goes on in the stream's next line (or ended without a newline).
//! The newest file is `0.log`; `0.log.1` is the one before it, and so on.

mod follow;
mod journal;
mod level;
mod reader;
mod recorder;
mod render;
mod tail;
mod writer;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime, Time};

pub(crate) use journal::field_name;
pub use reader::{LogError, LogQuery, LogReader};
pub(crate) use recorder::{Recorder, RecorderError, Recording};
pub use render::{Form, LogFrames, Render};
#[cfg(test)]
pub(crate) use writer::LogWriter;

/// The longest text of one line in the file; what is longer is cut into several, all but the last tagged `P`.
pub const MAX_TEXT: usize = 16 * 1024;

/// How much of a container's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBounds {
    /// Bytes of one file.
    pub file_size: u64,
    /// Number of files, the one that is being written among them.
    pub files: u32,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self { file_size: 10 << 20, files: 3 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

impl LogStream {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One recorded line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: OffsetDateTime,
    pub stream: LogStream,
    /// Without the newline. Not necessarily text.
    pub text: Bytes,
    /// No newline followed: the stream's next line continues this one.
    pub partial: bool,
}

/// The file being written, in a container's folder of logs.
pub(crate) fn current(folder: &Path) -> PathBuf {
    folder.join("0.log")
}

/// The file that is `age` rotations old; 0 is the current one.
pub(crate) fn aged(folder: &Path, age: u32) -> PathBuf {
    if age == 0 { current(folder) } else { folder.join(format!("0.log.{age}")) }
}

/// Length of `2026-11-23T10:00:00.123456789Z`.
pub(crate) const TIME_LENGTH: usize = 30;
/// Length of all that stands before the text.
pub(crate) const HEADER_LENGTH: usize = TIME_LENGTH + " stdout F ".len();
const TAG_AT: usize = HEADER_LENGTH - 2;

/// The header of a full line at `time`.
pub(crate) fn header(time: OffsetDateTime, stream: LogStream) -> [u8; HEADER_LENGTH] {
    let mut out = *b"0000-00-00T00:00:00.000000000Z stdout F ";
    let mut put = |at: usize, width: usize, mut value: u32| {
        for digit in out[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, time.year().clamp(0, 9999).unsigned_abs());
    put(5, 2, u32::from(u8::from(time.month())));
    put(8, 2, u32::from(time.day()));
    put(11, 2, u32::from(time.hour()));
    put(14, 2, u32::from(time.minute()));
    put(17, 2, u32::from(time.second()));
    put(20, 9, time.nanosecond());
    out[31..37].copy_from_slice(stream.as_str().as_bytes());
    out
}

/// Makes a header say that the text goes on.
pub(crate) fn mark_partial(header: &mut [u8; HEADER_LENGTH]) {
    header[TAG_AT] = b'P';
}

/// Whether this record ends a line. What is no record ends one too, so that it cannot swallow what follows.
pub(crate) fn ends_line(record: &[u8]) -> bool {
    record.get(TAG_AT) != Some(&b'P')
}

/// What stands before a record's text. `None` for what is not a record, such as the torn end that a power cut leaves.
pub(crate) fn parse_header(record: &[u8]) -> Option<(OffsetDateTime, LogStream, bool)> {
    let head = record.first_chunk::<HEADER_LENGTH>()?;
    let stream = match &head[TIME_LENGTH..TAG_AT] {
        b" stdout " => LogStream::Stdout,
        b" stderr " => LogStream::Stderr,
        _ => return None,
    };
    let partial = match &head[TAG_AT..] {
        b"F " => false,
        b"P " => true,
        _ => return None,
    };
    Some((parse_time(head.first_chunk()?)?, stream, partial))
}

/// What can be told of a record without reading its time: the stream, whether its text goes on, and the text.
pub(crate) fn split_record(record: &[u8]) -> Option<(LogStream, bool, &[u8])> {
    let (head, text) = record.split_first_chunk::<HEADER_LENGTH>()?;
    let stream = match &head[TIME_LENGTH..TAG_AT] {
        b" stdout " => LogStream::Stdout,
        b" stderr " => LogStream::Stderr,
        _ => return None,
    };
    match &head[TAG_AT..] {
        b"F " => Some((stream, false, text)),
        b"P " => Some((stream, true, text)),
        _ => None,
    }
}

/// A time as it stands in records: two of them compare as their texts do.
pub(crate) fn time_text(time: OffsetDateTime) -> [u8; TIME_LENGTH] {
    let mut text = [0; TIME_LENGTH];
    text.copy_from_slice(&header(time.to_offset(time::UtcOffset::UTC), LogStream::Stdout)[..TIME_LENGTH]);
    text
}

fn parse_time(text: &[u8; TIME_LENGTH]) -> Option<OffsetDateTime> {
    let number = |from: usize, width: usize| {
        text[from..from + width]
            .iter()
            .try_fold(0u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
    };
    if [4, 7, 10, 13, 16, 19, 29].map(|at| text[at]) != *b"--T::.Z" {
        return None;
    }
    let month = Month::try_from(number(5, 2)? as u8).ok()?;
    let date = Date::from_calendar_date(number(0, 4)? as i32, month, number(8, 2)? as u8).ok()?;
    let time = Time::from_hms_nano(number(11, 2)? as u8, number(14, 2)? as u8, number(17, 2)? as u8, number(20, 9)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn headers_are_what_collectors_read() {
        let time = datetime!(2026-11-23 10:00:00.123456789 UTC);
        let mut head = header(time, LogStream::Stderr);
        assert_eq!(&head, b"2026-11-23T10:00:00.123456789Z stderr F ");
        assert_eq!(parse_header(&head), Some((time, LogStream::Stderr, false)));
        mark_partial(&mut head);
        assert_eq!(&head[TAG_AT..], b"P ");
        assert_eq!(parse_header(&head), Some((time, LogStream::Stderr, true)));
        for torn in [&b""[..], b"2026-11-23T10:00:00.123456789Z stderr", b"2026-13-23T10:00:00.123456789Z stderr F x"] {
            assert_eq!(parse_header(torn), None);
        }
    }
}

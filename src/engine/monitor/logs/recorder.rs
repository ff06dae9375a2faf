//! Where the monitor records its container's output: one of a few places, behind one face.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::journal::{Journal, JournalError};
use super::writer::LogWriter;
use super::{LogBounds, LogStream};
use crate::files::FileError;

/// Where output is to be recorded: a part of a monitor's orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Recording {
    File(LogBounds),
    /// The socket of journald, and the fields that each of the container's entries has.
    Journald {
        socket: PathBuf,
        fields: Vec<(String, String)>,
    },
    None,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecorderError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

#[derive(Debug)]
pub(crate) enum Recorder {
    File(Box<LogWriter>),
    Journal(Box<Journal>),
    None,
}

impl Recorder {
    /// `folder` is that of the container's log files.
    pub(crate) fn open(recording: &Recording, folder: &Path) -> Result<Self, RecorderError> {
        Ok(match recording {
            Recording::File(bounds) => Self::File(Box::new(LogWriter::open(folder.to_owned(), *bounds)?)),
            Recording::Journald { socket, fields } => Self::Journal(Box::new(Journal::open(socket, fields)?)),
            Recording::None => Self::None,
        })
    }

    /// Records elsewhere from now on, or with other bounds. What was printed without a newline is recorded where it was.
    ///
    /// # Errors
    /// When the other place cannot be had: then all stays as it is.
    pub(crate) fn become_one_of(
        &mut self,
        recording: &Recording,
        folder: &Path,
        time: OffsetDateTime,
    ) -> Result<(), RecorderError> {
        if let (Self::File(writer), Recording::File(bounds)) = (&mut *self, recording) {
            return Ok(writer.bound(*bounds)?);
        }
        let other = Self::open(recording, folder)?;
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            self.finish(stream, time)?;
        }
        *self = other;
        Ok(())
    }

    /// Records what a stream printed at `time`.
    pub(crate) fn record(&mut self, stream: LogStream, bytes: &[u8], time: OffsetDateTime) -> Result<(), RecorderError> {
        match self {
            Self::File(writer) => Ok(writer.record(stream, bytes, time)?),
            Self::Journal(journal) => Ok(journal.record(stream, bytes)?),
            Self::None => Ok(()),
        }
    }

    /// Records what a stream printed after its last newline: the stream has ended.
    pub(crate) fn finish(&mut self, stream: LogStream, time: OffsetDateTime) -> Result<(), RecorderError> {
        match self {
            Self::File(writer) => Ok(writer.finish(stream, time)?),
            Self::Journal(journal) => Ok(journal.finish(stream)?),
            Self::None => Ok(()),
        }
    }

    /// Whether what is recorded can be found again, so that nobody has to be waited for who does not read it now.
    pub(crate) const fn keeps(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Gives back memory that is not needed while nothing is printed.
    pub(crate) fn rest(&mut self) {
        match self {
            Self::File(writer) => writer.rest(),
            Self::Journal(journal) => journal.rest(),
            Self::None => {}
        }
    }
}

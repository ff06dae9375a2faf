//! Reading a container's log: over rotated files, from a place near its end, and on as it grows. Any number of readers
//! may be as slow as they like: the writer never knows of them. What is rotated away before it was read is skipped.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::Stream;
use time::OffsetDateTime;

use super::follow::Watch;
use super::{HEADER_LENGTH, LogLine, aged, parse_header, tail};
use crate::files::FileError;
use crate::model::spec::LogDriver;

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Only so many of those that are there now.
    pub tail: Option<usize>,
    pub since: Option<OffsetDateTime>,
    pub until: Option<OffsetDateTime>,
    /// Go on until the container has finally exited.
    pub follow: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("wait for the log to grow: {0}")]
    Wait(io::Error),
    #[error("the program ends while it reads a log")]
    Ending,
    #[error("what {name} prints is not kept here: its log driver is `{driver}`")]
    NotKept { name: String, driver: LogDriver },
}

/// Reads one container's log.
pub struct LogReader {
    /// Taken while a blocking read is under way.
    cursor: Option<Cursor>,
    query: LogQuery,
    watch: Option<Watch>,
    alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// The container was seen ended before the last read began: what that read brings is all.
    last_look: bool,
    done: bool,
}

impl LogReader {
    /// A reader of the log in `logs`. `alive` says whether the container whose monitor's folder is `run` may still print.
    pub(crate) fn open(
        logs: &Path,
        run: &Path,
        query: LogQuery,
        alive: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self, LogError> {
        // The watch comes first: what is printed after the first read must wake it.
        let watch = if query.follow { Some(Watch::new(logs, run)?) } else { None };
        let cursor = Cursor::new(logs, &query)?;
        Ok(Self { cursor: Some(cursor), query, watch, alive: Box::new(alive), last_look: false, done: false })
    }

    /// The next lines, at least one; `None` at the end.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<LogLine>>, LogError> {
        loop {
            let Some(records) = self.next_records().await? else { return Ok(None) };
            let mut lines = lines(Bytes::copy_from_slice(records));
            self.select(&mut lines);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    /// The next whole records, as they stand in the file and whenever they were written; `None` at the end.
    pub(super) async fn next_records(&mut self) -> Result<Option<&[u8]>, LogError> {
        while !self.done {
            let mut cursor = self.cursor.take().ok_or(LogError::Ending)?;
            let read = move || {
                let result = cursor.read();
                (cursor, result)
            };
            let (cursor, result) = tokio::task::spawn_blocking(read).await.map_err(|_| LogError::Ending)?;
            self.cursor = Some(cursor);
            if result? {
                return Ok(self.cursor.as_ref().map(Cursor::records));
            }
            self.at_end().await?;
        }
        Ok(None)
    }

    pub(super) const fn query(&self) -> &LogQuery {
        &self.query
    }

    /// Nothing more is wanted.
    pub(super) const fn end(&mut self) {
        self.done = true;
    }

    /// The lines as a stream. It ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<LogLine, LogError>> + Send + 'static {
        let batches = futures_util::stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next_batch().await {
                Ok(Some(lines)) => Some((lines.into_iter().map(Ok).collect::<Vec<_>>(), Some(reader))),
                Ok(None) => None,
                Err(e) => Some((vec![Err(e)], None)),
            }
        });
        futures_util::StreamExt::flat_map(batches, futures_util::stream::iter)
    }

    fn select(&mut self, lines: &mut Vec<LogLine>) {
        if let Some(since) = self.query.since {
            lines.retain(|line| line.time >= since);
        }
        if let Some(until) = self.query.until
            && let Some(end) = lines.iter().position(|line| line.time > until)
        {
            lines.truncate(end);
            self.done = true;
        }
    }

    async fn at_end(&mut self) -> Result<(), LogError> {
        let Some(watch) = &self.watch else {
            self.done = true;
            return Ok(());
        };
        let over = self.query.until.is_some_and(|until| OffsetDateTime::now_utc() > until);
        if self.last_look || over {
            self.done = true;
        } else if (self.alive)() {
            match self.query.until.map(|until| until - OffsetDateTime::now_utc()) {
                None => watch.changed().await.map_err(LogError::Wait)?,
                Some(left) => {
                    let left = left.try_into().unwrap_or_default();
                    if let Ok(changed) = tokio::time::timeout(left, watch.changed()).await {
                        changed.map_err(LogError::Wait)?;
                    }
                }
            }
        } else {
            self.last_look = true;
        }
        Ok(())
    }
}

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// A place in a log that moves on from file to file. Blocking.
#[derive(Debug)]
struct Cursor {
    folder: PathBuf,
    file: Option<File>,
    /// What was read: whole records, which are given out, and the beginning of one whose end was not there yet.
    buffer: Vec<u8>,
    /// Bytes of the whole records.
    whole: usize,
}

impl Cursor {
    fn new(folder: &Path, query: &LogQuery) -> Result<Self, FileError> {
        let mut cursor = Self { folder: folder.to_owned(), file: None, buffer: Vec::new(), whole: 0 };
        let mut files = cursor.open_all()?;
        if let Some(lines) = query.tail {
            let place = tail::find(&files, lines).map_err(|e| FileError::new("read the logs in", folder, e))?;
            if place.file < files.len() {
                let mut file = files.swap_remove(place.file);
                file.seek(SeekFrom::Start(place.offset)).map_err(|e| FileError::new("seek in a log in", folder, e))?;
                cursor.file = Some(file);
            }
        } else {
            let since = query.since.map_or(i64::MIN, OffsetDateTime::unix_timestamp);
            let ended_before = |file: &File| file.metadata().is_ok_and(|meta| meta.mtime() < since);
            while files.len() > 1 && files.last().is_some_and(ended_before) {
                files.pop();
            }
            cursor.file = files.pop();
        }
        Ok(cursor)
    }

    /// All files, newest first, whatever is rotated meanwhile.
    fn open_all(&self) -> Result<Vec<File>, FileError> {
        let mut files: Vec<File> = Vec::new();
        let mut inodes = Vec::new();
        for age in 0.. {
            let Some(file) = open_if_there(&aged(&self.folder, age))? else { break };
            let inode = inode(&file, &self.folder)?;
            if !inodes.contains(&inode) {
                inodes.push(inode);
                files.push(file);
            }
        }
        Ok(files)
    }

    /// The whole records that were read last.
    fn records(&self) -> &[u8] {
        &self.buffer[..self.whole]
    }

    /// Reads the records that come next. False when there are no more now.
    fn read(&mut self) -> Result<bool, FileError> {
        self.buffer.drain(..self.whole);
        self.whole = 0;
        loop {
            if self.file.is_none() {
                self.file = self.open_all()?.pop();
            }
            let Some(file) = &mut self.file else { return Ok(false) };
            let mut next = None;
            let mut read = fill(file, &mut self.buffer).map_err(|e| FileError::new("read a log in", &self.folder, e))?;
            if read == 0 {
                next = self.newer()?;
                if next.is_none() {
                    return Ok(false);
                }
                // It was rotated, perhaps after more was written to it: only now its end is final.
                if let Some(file) = &mut self.file {
                    read = fill(file, &mut self.buffer).map_err(|e| FileError::new("read a log in", &self.folder, e))?;
                }
            }
            if read == 0 {
                self.file = next;
                self.buffer.clear();
                continue;
            }
            self.whole = memchr::memrchr(b'\n', &self.buffer).map_or(0, |last| last + 1);
            if self.whole > 0 {
                return Ok(true);
            }
        }
    }

    /// The file after the one that is being read, where there is one.
    fn newer(&self) -> Result<Option<File>, FileError> {
        let Some(file) = &self.file else { return Ok(None) };
        let own = inode(file, &self.folder)?;
        loop {
            match self.age_of(own)? {
                Some(0) => return Ok(None),
                Some(age) => {
                    let next = open_if_there(&aged(&self.folder, age - 1))?;
                    // Another rotation between the two looks would have made it the wrong file.
                    if self.age_of(own)? == Some(age) && next.is_some() {
                        return Ok(next);
                    }
                }
                // Rotated away altogether: go on with the oldest that is left.
                None => return Ok(self.open_all()?.pop()),
            }
        }
    }

    fn age_of(&self, own: (u64, u64)) -> Result<Option<u32>, FileError> {
        // In the midst of a rotation a name may be missing for a moment.
        let mut missing = 0;
        for age in 0.. {
            let path = aged(&self.folder, age);
            match fs::metadata(&path) {
                Ok(meta) if (meta.dev(), meta.ino()) == own => return Ok(Some(age)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    missing += 1;
                    if missing > 2 {
                        break;
                    }
                }
                Err(e) => return Err(FileError::new("look at", path, e)),
            }
        }
        Ok(None)
    }
}

/// The lines of whole records. What is no record is passed over.
fn lines(records: Bytes) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', &records) {
        if let Some((time, stream, partial)) = parse_header(&records[start..end]) {
            lines.push(LogLine { time, stream, text: records.slice(start + HEADER_LENGTH..end), partial });
        }
        start = end + 1;
    }
    lines
}

/// Appends what can be read at once.
fn fill(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.reserve(CHUNK);
    loop {
        match rustix::io::read(file, rustix::buffer::spare_capacity(buffer)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn open_if_there(path: &Path) -> Result<Option<File>, FileError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::new("open", path, e)),
    }
}

fn inode(file: &File, folder: &Path) -> Result<(u64, u64), FileError> {
    let meta = file.metadata().map_err(|e| FileError::new("look at a log in", folder, e))?;
    Ok((meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::engine::monitor::logs::{LogBounds, LogStream, LogWriter};

    fn write(log: &mut LogWriter, range: std::ops::Range<u32>) {
        for number in range {
            log.record(LogStream::Stdout, format!("{number}\n").as_bytes(), OffsetDateTime::now_utc()).unwrap();
        }
    }

    async fn rest(reader: &mut LogReader) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some(lines) = reader.next_batch().await.unwrap() {
            all.extend(lines.iter().map(|line| std::str::from_utf8(&line.text).unwrap().parse::<u32>().unwrap()));
        }
        all
    }

    #[tokio::test]
    async fn reads_over_files_with_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_size: 30_000, files: 3 };
        let mut log = LogWriter::open(folder.path().into(), bounds).unwrap();
        write(&mut log, 0..1_000);
        let open = |query| LogReader::open(folder.path(), folder.path(), query, || false).unwrap();
        assert_eq!(rest(&mut open(LogQuery::default())).await, (0..1_000).collect::<Vec<_>>());
        let tail = LogQuery { tail: Some(800), ..Default::default() };
        assert_eq!(rest(&mut open(tail)).await, (200..1_000).collect::<Vec<_>>());
        let middle = OffsetDateTime::now_utc();
        write(&mut log, 1_000..1_100);
        let since = LogQuery { since: Some(middle), ..Default::default() };
        assert_eq!(rest(&mut open(since)).await, (1_000..1_100).collect::<Vec<_>>());
        let until = LogQuery { tail: Some(200), until: Some(middle), ..Default::default() };
        assert_eq!(rest(&mut open(until)).await, (900..1_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn follows_through_rotations_to_the_end() {
        follow(|_| {}).await;
    }

    #[tokio::test]
    async fn follows_without_watches() {
        follow(|reader| reader.watch = Some(Watch::blind())).await;
    }

    async fn follow(change: impl FnOnce(&mut LogReader)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let alive = Arc::new(AtomicBool::new(true));
        let is_alive = Arc::clone(&alive);
        let mut log = LogWriter::open(path.clone(), LogBounds { file_size: 20_000, files: 5 }).unwrap();
        write(&mut log, 0..10);
        let query = LogQuery { follow: true, tail: Some(5), ..Default::default() };
        let mut reader = LogReader::open(&path, &path, query, move || is_alive.load(Ordering::SeqCst)).unwrap();
        change(&mut reader);
        let writer = std::thread::spawn(move || {
            for block in 0..40 {
                write(&mut log, 10 + block * 50..60 + block * 50);
                std::thread::sleep(Duration::from_millis(5));
            }
            alive.store(false, Ordering::SeqCst);
        });
        assert_eq!(rest(&mut reader).await, (5..2_010).collect::<Vec<_>>());
        writer.join().unwrap();
    }
}

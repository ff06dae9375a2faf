//! Records as people and programs read them, in frames that are sent as they are. What a line costs here is what reading a
//! log costs, so that times are compared as text and nothing is made for each line.

use bytes::{BufMut, Bytes};
use regex::bytes::Regex;
use serde::Serialize;
use serde::ser::SerializeStruct;

use super::reader::{LogError, LogReader};
use super::{LogStream, TIME_LENGTH, level, split_record, time_text};
use crate::wire::frame::Gathered;

/// How lines are shown.
#[derive(Clone, Debug)]
pub struct Render {
    pub form: Form,
    /// Only lines that it matches.
    pub grep: Option<Regex>,
}

#[derive(Clone, Debug)]
pub enum Form {
    Text {
        /// Begin each line with its time.
        timestamps: bool,
        /// What each line begins with, after its time.
        details: Option<String>,
    },
    /// An object of JSON a line, all on standard output.
    Json { container: String },
}

impl Default for Render {
    fn default() -> Self {
        Self { form: Form::Text { timestamps: false, details: None }, grep: None }
    }
}

/// The longest line that is put together from its pieces; a longer one is several.
const LONGEST: usize = 512 << 10;

/// A log as encoded frames.
pub struct LogFrames {
    reader: LogReader,
    renderer: Renderer,
}

impl LogReader {
    /// The log as encoded frames of output.
    pub fn render(self, render: Render) -> LogFrames {
        let query = self.query();
        let (since, until) = (query.since.map(time_text), query.until.map(time_text));
        LogFrames { reader: self, renderer: Renderer::new(render, since, until) }
    }
}

impl LogFrames {
    /// The next frames, at least one; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LogError> {
        loop {
            let over = match self.reader.next_records().await? {
                Some(records) => self.renderer.records(records),
                None => {
                    self.renderer.finish();
                    let rest = self.renderer.out.take();
                    return Ok((!rest.is_empty()).then_some(rest));
                }
            };
            if over {
                self.reader.end();
            }
            if !self.renderer.out.is_empty() {
                return Ok(Some(self.renderer.out.take()));
            }
        }
    }
}

struct Renderer {
    render: Render,
    since: Option<[u8; TIME_LENGTH]>,
    until: Option<[u8; TIME_LENGTH]>,
    /// Lines have to be whole to be searched, or to be objects.
    joins: bool,
    /// Of each stream, the pieces of a line so far, and the time of the first.
    joined: [(Vec<u8>, [u8; TIME_LENGTH]); 2],
    out: Gathered,
}

impl Renderer {
    fn new(render: Render, since: Option<[u8; TIME_LENGTH]>, until: Option<[u8; TIME_LENGTH]>) -> Self {
        let joins = render.grep.is_some() || matches!(render.form, Form::Json { .. });
        let joined = [(Vec::new(), [0; TIME_LENGTH]), (Vec::new(), [0; TIME_LENGTH])];
        Self { render, since, until, joins, joined, out: Gathered::default() }
    }

    /// Takes whole records. True when one is later than what is wanted.
    fn records(&mut self, records: &[u8]) -> bool {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', records) {
            let record = &records[start..end];
            start = end + 1;
            // What is no record is the torn end that a power cut left.
            let Some((stream, partial, text)) = split_record(record) else { continue };
            let Some(time) = record.first_chunk::<TIME_LENGTH>() else { continue };
            if self.since.is_some_and(|since| *time < since) {
                continue;
            }
            if self.until.is_some_and(|until| *time > until) {
                return true;
            }
            if self.joins {
                self.join(time, stream, partial, text);
            } else {
                self.show(time, stream, partial, text);
            }
        }
        false
    }

    fn join(&mut self, time: &[u8; TIME_LENGTH], stream: LogStream, partial: bool, text: &[u8]) {
        let (line, began) = &mut self.joined[stream as usize];
        if line.is_empty() {
            if !partial {
                return self.choose(time, stream, false, text);
            }
            *began = *time;
        }
        line.extend_from_slice(text);
        if !partial || line.len() >= LONGEST {
            let (line, began) = (std::mem::take(line), *began);
            self.choose(&began, stream, partial, &line);
            self.joined[stream as usize].0 = line;
            self.joined[stream as usize].0.clear();
        }
    }

    /// What was begun and has no more pieces.
    fn finish(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let (line, began) = std::mem::take(&mut self.joined[stream as usize]);
            if !line.is_empty() {
                self.choose(&began, stream, true, &line);
            }
        }
    }

    fn choose(&mut self, time: &[u8; TIME_LENGTH], stream: LogStream, partial: bool, text: &[u8]) {
        if self.render.grep.as_ref().is_none_or(|grep| grep.is_match(text)) {
            // A line that was chosen is shown as one, whether or not a line break followed.
            self.show(time, stream, partial && self.render.grep.is_none(), text);
        }
    }

    fn show(&mut self, time: &[u8; TIME_LENGTH], stream: LogStream, partial: bool, text: &[u8]) {
        match &self.render.form {
            Form::Text { timestamps, details } => {
                let out = self.out.stream(stream == LogStream::Stderr);
                if *timestamps {
                    out.put_slice(time);
                    out.put_u8(b' ');
                }
                if let Some(details) = details {
                    out.put_slice(details.as_bytes());
                    out.put_u8(b' ');
                }
                out.put_slice(text);
                // What was printed without a line break is shown without one; with times, each piece is a line of its own.
                if !partial || *timestamps || details.is_some() {
                    out.put_u8(b'\n');
                }
            }
            Form::Json { container } => {
                let entry = Entry { container, stream, time, text };
                // Text is all that is in it, and text can always be written.
                let mut line = serde_json::to_vec(&entry).unwrap_or_default();
                line.push(b'\n');
                // Each byte may have become six.
                for piece in line.chunks(Gathered::ROOM) {
                    self.out.stream(false).put_slice(piece);
                }
            }
        }
    }
}

/// A line as an object.
struct Entry<'a> {
    container: &'a str,
    stream: LogStream,
    time: &'a [u8; TIME_LENGTH],
    text: &'a [u8],
}

impl Serialize for Entry<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("Entry", 5)?;
        entry.serialize_field("container", self.container)?;
        entry.serialize_field("stream", self.stream.as_str())?;
        entry.serialize_field("time", &String::from_utf8_lossy(self.time))?;
        entry.serialize_field("level", &level::of(self.text))?;
        entry.serialize_field("message", &String::from_utf8_lossy(self.text))?;
        entry.end()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use time::OffsetDateTime;
    use time::macros::datetime;
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::engine::monitor::logs::{LogBounds, LogQuery, LogWriter, MAX_TEXT};
    use crate::wire::frame::{Frame, FrameCodec};

    const AT: OffsetDateTime = datetime!(2026-11-23 10:00:00.5 UTC);

    /// What is shown of a log with these writes, one a second: standard output and standard error.
    async fn shown(writes: &[(LogStream, &str)], query: LogQuery, render: Render) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(folder.path().into(), LogBounds::default()).unwrap();
        let mut at = AT;
        for (stream, text) in writes {
            log.record(*stream, text.as_bytes(), at).unwrap();
            at += std::time::Duration::from_secs(1);
        }
        log.finish(LogStream::Stdout, at).unwrap();
        log.finish(LogStream::Stderr, at).unwrap();
        let mut frames = LogReader::open(folder.path(), folder.path(), query, || false).unwrap().render(render);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(bytes) = frames.next().await.unwrap() {
            let mut bytes = BytesMut::from(&bytes[..]);
            while let Some(frame) = FrameCodec.decode(&mut bytes).unwrap() {
                match frame {
                    Frame::Stdout(bytes) => out.extend_from_slice(&bytes),
                    Frame::Stderr(bytes) => err.extend_from_slice(&bytes),
                    other => panic!("{other:?}"),
                }
            }
            assert!(bytes.is_empty());
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    const WRITES: [(LogStream, &str); 4] = [
        (LogStream::Stdout, "one\ntwo\n"),
        (LogStream::Stderr, "ERROR bad\n"),
        (LogStream::Stdout, "three\n"),
        (LogStream::Stdout, "no end"),
    ];

    #[tokio::test]
    async fn streams_stay_apart_and_times_bound() {
        let all = shown(&WRITES, LogQuery::default(), Render::default()).await;
        assert_eq!(all, ("one\ntwo\nthree\nno end".to_owned(), "ERROR bad\n".to_owned()));
        let second = std::time::Duration::from_secs(1);
        let query = LogQuery { since: Some(AT + second), until: Some(AT + second * 2), ..Default::default() };
        assert_eq!(shown(&WRITES, query, Render::default()).await, ("three\n".to_owned(), "ERROR bad\n".to_owned()));
        let form = Form::Text { timestamps: true, details: Some("a=b".to_owned()) };
        let (out, _) = shown(&WRITES[..1], LogQuery::default(), Render { form, grep: None }).await;
        assert_eq!(out, "2026-11-23T10:00:00.500000000Z a=b one\n2026-11-23T10:00:00.500000000Z a=b two\n");
    }

    #[tokio::test]
    async fn a_search_sees_whole_lines() {
        let long = "x".repeat(2 * MAX_TEXT) + "needle" + &"y".repeat(MAX_TEXT) + "\n";
        let writes = [(LogStream::Stdout, "hay\n"), (LogStream::Stdout, long.as_str()), (LogStream::Stderr, "a needle")];
        let render = Render { grep: Some(Regex::new("^x+needley+$|^a n").unwrap()), ..Render::default() };
        assert_eq!(shown(&writes, LogQuery::default(), render).await, (long.clone(), "a needle\n".to_owned()));
    }

    #[tokio::test]
    async fn lines_are_objects() {
        let render = Render { form: Form::Json { container: "web".to_owned() }, grep: None };
        let long = "z".repeat(3 * MAX_TEXT) + "\n";
        let writes = [WRITES[1], (LogStream::Stdout, "say \"hi\"\t\n"), (LogStream::Stdout, &long)];
        let (out, err) = shown(&writes, LogQuery::default(), render).await;
        assert_eq!(err, "");
        let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let want = serde_json::json!({"container": "web", "stream": "stderr", "time": "2026-11-23T10:00:00.500000000Z",
            "level": "error", "message": "ERROR bad"});
        assert_eq!(lines[0], want);
        assert_eq!((&lines[1]["message"], &lines[1]["level"]), (&"say \"hi\"\t".into(), &serde_json::Value::Null));
        assert_eq!((lines.len(), lines[2]["message"].as_str().unwrap().len()), (3, 3 * MAX_TEXT));
    }
}

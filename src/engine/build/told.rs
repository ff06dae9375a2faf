//! What a command writes, on its way to whoever looks on: by whole lines, and after a moment what there is of one, because a
//! question waits for its answer in the same line. Never tells the secrets that the command was given, and holds no line that
//! does not end.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::error::BuildError;
use super::events::Running;
use crate::model::build::BuildStream;

/// Lines of output that the error of a failed command shows.
const LAST: usize = 20;
/// A line of those is cut after so many characters.
const WIDEST: usize = 500;
/// A line that is longer is told in pieces.
const LONGEST: usize = 16 << 10;
/// So long a line may stay untold that has not ended.
const MOMENT: Duration = Duration::from_millis(100);

/// The last lines of a command's output, as a terminal would show them in the end.
#[derive(Default)]
pub(super) struct Last {
    lines: VecDeque<String>,
    open: String,
}

impl Last {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// What `other` has comes after what is here.
    pub(super) fn take(&mut self, mut other: Self) {
        other.end();
        other.lines.into_iter().for_each(|line| self.push(line));
    }

    fn write(&mut self, text: &str) {
        for part in text.split_inclusive('\n') {
            let line = part.strip_suffix('\n');
            self.open.push_str(line.unwrap_or(part));
            if line.is_some() {
                self.end_line();
            } else if self.open.len() > LONGEST {
                // What is written over is not seen in the end.
                self.open = over(&self.open).chars().take(WIDEST).collect();
            }
        }
    }

    fn end_line(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.push(over(&open).chars().take(WIDEST).collect());
    }

    /// What is left of a line counts as one.
    fn end(&mut self) {
        if !self.open.is_empty() {
            self.end_line();
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == LAST {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// What is left of a line that was written over itself.
fn over(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or(line)
}

/// Tells of all that the command writes to one of its streams, until that ends.
pub(super) async fn follow(
    stream: Option<impl AsyncRead + Unpin>,
    kind: BuildStream,
    running: &Running,
    secrets: &[Vec<u8>],
) -> Result<Last, BuildError> {
    let mut last = Last::default();
    let Some(mut stream) = stream else { return Ok(last) };
    let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.trim_ascii()).filter(|secret| worth_hiding(secret)).collect();
    let mut waiting = Waiting::new(&secrets);
    let mut block = vec![0; 32 << 10];
    let mut since: Option<Instant> = None;
    loop {
        let read = stream.read(&mut block);
        let n = match since {
            Some(since) => timeout_at(since + MOMENT, read).await.ok(),
            None => Some(read.await),
        };
        let n = n.transpose().map_err(BuildError::step("read the command's output"))?;
        let until = match n {
            Some(0) => Until::End,
            Some(n) => {
                waiting.bytes.extend_from_slice(&block[..n]);
                let is_late = since.is_some_and(|since| since.elapsed() >= MOMENT);
                if is_late || waiting.bytes.len() >= LONGEST { Until::Now } else { Until::Line }
            }
            None => Until::Now,
        };
        if let Some(text) = waiting.take(until) {
            last.write(&text);
            running.output(kind, text);
            since = None;
        } else if n.is_none() {
            // What is held back is told with what comes next.
            since = None;
        }
        if until == Until::End {
            last.end();
            return Ok(last);
        }
        if n.is_some() && since.is_none() && !waiting.bytes.is_empty() {
            since = Some(Instant::now());
        }
    }
}

/// How much of what waits is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Whole lines.
    Line,
    /// All but what may be the beginning of a sign or of a secret.
    Now,
    End,
}

/// Bytes that have been written and not been told.
struct Waiting<'s> {
    bytes: Vec<u8>,
    secrets: &'s [&'s [u8]],
}

impl<'s> Waiting<'s> {
    fn new(secrets: &'s [&'s [u8]]) -> Self {
        Self { bytes: Vec::new(), secrets }
    }

    fn take(&mut self, until: Until) -> Option<String> {
        let end = match until {
            // A secret may have several lines.
            Until::Line => self.safe(self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)),
            Until::Now => self.safe(self.bytes.len()),
            Until::End => self.bytes.len(),
        };
        if end == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&hide(&self.bytes[..end], self.secrets)).into_owned();
        self.bytes.drain(..end);
        Some(text)
    }

    /// Where to end at `end` or before it, so that nothing is cut that must be seen whole.
    fn safe(&self, end: usize) -> usize {
        let bytes = &self.bytes[..end];
        let starts = |length: usize| {
            let tail = &bytes[end - length..];
            self.secrets.iter().any(|secret| length < secret.len() && secret.starts_with(tail))
        };
        let longest = self.secrets.iter().map(|secret| secret.len()).max().unwrap_or(0).min(end + 1);
        let of_secret = (1..longest).rev().find(|length| starts(*length)).unwrap_or(0);
        let of_sign = (1..=end.min(3)).find(|length| is_open(&bytes[end - length..])).unwrap_or(0);
        end - of_secret.max(of_sign)
    }
}

/// Whether the bytes are the beginning of one sign that is not whole.
fn is_open(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

/// What is shorter is found everywhere by chance.
fn worth_hiding(secret: &[u8]) -> bool {
    secret.len() >= 4
}

/// The bytes with stars in the place of secrets.
fn hide<'b>(bytes: &'b [u8], secrets: &[&[u8]]) -> std::borrow::Cow<'b, [u8]> {
    let mut hidden = std::borrow::Cow::Borrowed(bytes);
    for secret in secrets {
        let mut from = 0;
        while let Some(at) = hidden[from..].windows(secret.len()).position(|window| window == *secret) {
            let at = from + at;
            hidden.to_mut().splice(at..at + secret.len(), *b"****");
            from = at + 4;
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;

    use super::super::events::Events;
    use super::*;
    use crate::model::build::BuildEvent;

    #[test]
    fn secrets_are_not_told() {
        let secrets: [&[u8]; 1] = [b"hunter22"];
        assert_eq!(&*hide(b"a hunter22 b hunter22", &secrets), b"a **** b ****");
        assert_eq!(&*hide(b"nothing x", &secrets), b"nothing x");
    }

    /// What is told of one piece after the other, each after a moment but the last.
    fn told(pieces: &[&[u8]], secrets: &[&[u8]]) -> Vec<String> {
        let mut waiting = Waiting::new(secrets);
        let mut all = Vec::new();
        for piece in pieces {
            waiting.bytes.extend_from_slice(piece);
            all.extend(waiting.take(Until::Line));
            all.extend(waiting.take(Until::Now));
        }
        all.extend(waiting.take(Until::End));
        all
    }

    #[test]
    fn a_line_is_told_before_it_ends_and_nothing_is_cut() {
        assert_eq!(told(&[b"one\ntwo", b" three\n"], &[]), ["one\n", "two", " three\n"]);
        assert_eq!(told(&["sch\u{f6}n".as_bytes(), b"\n"], &[]).concat(), "sch\u{f6}n\n");
        let (first, rest) = "a\u{20ac}b".as_bytes().split_at(2);
        assert_eq!(told(&[first, rest], &[]), ["a", "\u{20ac}b"]);
        assert_eq!(told(&[b"\xff\xfe", b"x\xc3"], &[]).concat(), "\u{fffd}\u{fffd}x\u{fffd}");
        let secrets: [&[u8]; 2] = [b"hunter22", b"two\nlines"];
        assert_eq!(told(&[b"is hunt", b"er22 so"], &secrets), ["is ", "**** so"]);
        assert_eq!(told(&[b"is hunt", b"ing"], &secrets), ["is ", "hunting"]);
        assert_eq!(told(&[b"a two\nli", b"nes\n"], &secrets).concat(), "a ****\n");
        assert_eq!(told(&[b"ends with hunt"], &secrets).concat(), "ends with hunt");
    }

    #[test]
    fn the_last_lines_are_what_is_seen_in_the_end() {
        let mut last = Last::default();
        for text in ["one\n10%", "\r50%\r", "100%\n", "\n", "open"] {
            last.write(text);
        }
        last.end();
        assert_eq!(last.lines().collect::<Vec<_>>(), ["one", "100%", "", "open"]);
        let mut endless = Last::default();
        (0..1000).for_each(|_| endless.write(&"x".repeat(1000)));
        assert!(endless.open.len() <= LONGEST + 1000);
    }

    #[tokio::test]
    async fn a_question_is_told_while_it_waits_for_its_answer() {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let events = Arc::clone(&events);
            Events::new(Arc::new(move |event| events.lock().unwrap().push(event)))
        };
        let running = sink.begin("RUN ask".to_owned());
        let (mut command, output) = tokio::io::duplex(64);
        let following = follow(Some(output), BuildStream::Stdout, &running, &[]);
        let answering = async {
            command.write_all(b"Continue? ").await.unwrap();
            let asked = || {
                let events = events.lock().unwrap();
                events.iter().any(|event| matches!(event, BuildEvent::Output { text, .. } if text == "Continue? "))
            };
            while !asked() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            command.write_all(b"yes\n").await.unwrap();
            drop(command);
        };
        let (last, ()) = tokio::join!(following, answering);
        assert_eq!(last.unwrap().lines().collect::<Vec<_>>(), ["Continue? yes"]);
    }
}

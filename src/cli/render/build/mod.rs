//! How a build is told: a line at a time, or as a picture of what is under way. Pure: what happens, the time since the build
//! began and the size of the terminal are handed in.

mod cache;
mod live;
mod plain;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use cache::cache;
pub use live::{Live, Size};
pub use plain::Plain;
pub use text::width;

use crate::cli::output::{Tone, paint};
use crate::model::build::{BuildEvent, BuildStream};
use crate::model::size::human_bytes;
use crate::model::{Phase, Progress};
use text::{Lines, clean};

/// Lines that are kept of each step, to be shown if it fails.
const KEPT: usize = 20;

/// A step as it is known so far.
#[derive(Debug)]
struct Step {
    title: String,
    began: Duration,
    lines: [Lines; 2],
    /// What each of both streams has begun to say.
    begun: [Option<Begun>; 2],
    /// The last lines of its output, whole and clean.
    last: VecDeque<String>,
    parts: BTreeMap<String, Progress>,
    end: Option<End>,
}

/// A line that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Begun {
    text: String,
    since: Duration,
    told: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    cached: bool,
    error: Option<String>,
    took: Duration,
}

impl Step {
    fn new(title: &str, began: Duration, colour: bool) -> Self {
        let title = one_line(title, colour);
        Self {
            title,
            began,
            lines: Default::default(),
            begun: Default::default(),
            last: VecDeque::new(),
            parts: BTreeMap::new(),
            end: None,
        }
    }

    /// The lines that are whole now, clean.
    fn output(&mut self, stream: BuildStream, text: &str, colour: bool) -> Vec<String> {
        let slot = slot(stream);
        let whole = self.lines[slot].take(text).iter().map(|line| clean(line, colour)).collect();
        let mut whole = self.keep(whole);
        if !whole.is_empty() && self.begun[slot].take().is_some_and(|begun| begun.told && begun.text == whole[0]) {
            whole.remove(0);
        }
        whole
    }

    /// Lines that have been begun, and where nothing has come since: perhaps a question that waits for its answer. Each is
    /// given once.
    fn waiting(&mut self, now: Duration, pause: Duration, colour: bool) -> Vec<String> {
        let mut found = Vec::new();
        for (lines, begun) in self.lines.iter().zip(&mut self.begun) {
            let text = lines.open().map(|line| clean(line, colour));
            match (text, begun.as_mut()) {
                (None, _) => *begun = None,
                (Some(text), Some(known)) if known.text == text => {
                    if !known.told && now.saturating_sub(known.since) >= pause {
                        known.told = true;
                        found.push(text);
                    }
                }
                (Some(text), _) => *begun = Some(Begun { text, since: now, told: false }),
            }
        }
        found
    }

    /// What was left of lines when the step ended.
    fn rest(&mut self, colour: bool) -> Vec<String> {
        let mut untold = Vec::new();
        for (lines, begun) in self.lines.iter_mut().zip(&self.begun) {
            let Some(line) = lines.end() else { continue };
            let line = clean(&line, colour);
            let told = begun.as_ref().is_some_and(|begun| begun.told && begun.text == line);
            untold.push((line, told));
        }
        self.keep(untold.iter().map(|(line, _)| line.clone()).collect());
        untold.into_iter().filter(|(_, told)| !told).map(|(line, _)| line).collect()
    }

    fn keep(&mut self, lines: Vec<String>) -> Vec<String> {
        for line in &lines {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            self.last.push_back(line.clone());
        }
        lines
    }

    /// How far its transfers are, where there are any: `3.2MB of 12.1MB`.
    fn moved(&self) -> String {
        let (mut current, mut all) = (0, 0);
        for part in self.parts.values().filter(|part| part.phase != Phase::Exists) {
            let end = part.total.unwrap_or(part.current);
            // Unpacking counts other bytes than the download does.
            current += if matches!(part.phase, Phase::Unpacking | Phase::Done) { end } else { part.current };
            all += end;
        }
        match all {
            0 => String::new(),
            _ => format!("{} of {}", human_bytes(current), human_bytes(all)),
        }
    }
}

const fn slot(stream: BuildStream) -> usize {
    match stream {
        BuildStream::Stdout => 0,
        BuildStream::Stderr => 1,
    }
}

/// All steps, in their order.
#[derive(Debug, Default)]
struct Steps {
    all: BTreeMap<u32, Step>,
}

/// What of an event is to be told.
enum News {
    Nothing,
    Began,
    Lines(Vec<String>),
    /// A transfer that is over.
    Moved(Progress),
    Ended {
        lines: Vec<String>,
        end: End,
    },
    Warning(String),
}

impl Steps {
    /// Takes an event in, and gives which step it is of.
    fn take(&mut self, event: &BuildEvent, now: Duration, colour: bool) -> (u32, News) {
        match event {
            BuildEvent::Started { step, title } => {
                self.all.insert(*step, Step::new(title, now, colour));
                (*step, News::Began)
            }
            BuildEvent::Output { step, stream, text } => {
                let lines = self.step(*step, now).output(*stream, text, colour);
                (*step, if lines.is_empty() { News::Nothing } else { News::Lines(lines) })
            }
            BuildEvent::Progress { step, progress } => {
                let known = self.step(*step, now).parts.insert(progress.part.clone(), progress.clone());
                let over = matches!(progress.phase, Phase::Done | Phase::Exists);
                let news = over && known.is_none_or(|known| known.phase != progress.phase);
                (*step, if news { News::Moved(progress.clone()) } else { News::Nothing })
            }
            BuildEvent::Finished { step, cached, error, millis } => {
                let error = error.as_deref().map(|error| block(error, colour));
                let end = End { cached: *cached, error, took: Duration::from_millis(*millis) };
                let known = self.step(*step, now);
                let lines = known.rest(colour);
                known.end = Some(end.clone());
                (*step, News::Ended { lines, end })
            }
            BuildEvent::Warning { text } => (0, News::Warning(block(text, colour))),
        }
    }

    /// A step that has said something without having begun has no title.
    fn step(&mut self, number: u32, now: Duration) -> &mut Step {
        self.all.entry(number).or_insert_with(|| Step::new("", now, false))
    }
}

/// The last lines of what has failed, each with its title, for a build that was not shown.
#[derive(Debug, Default)]
pub struct Failures {
    steps: Steps,
    lines: Vec<String>,
}

impl Failures {
    pub fn tell(&mut self, event: &BuildEvent) {
        let (number, news) = self.steps.take(event, Duration::ZERO, false);
        if let (News::Ended { end: End { error: Some(error), .. }, .. }, Some(step)) = (news, self.steps.all.get(&number)) {
            // What the error says itself is not said twice.
            if tells(&error, step) {
                return;
            }
            self.lines.push(step.title.clone());
            self.lines.extend(step.last.iter().map(|line| format!("  {line}")));
        }
    }

    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The title of the step that began last of those that run.
    pub fn running(&self) -> Option<&str> {
        self.steps.all.values().rev().find(|step| step.end.is_none()).map(|step| step.title.as_str())
    }
}

/// Whether the error itself, which is told at the end, has the last words of the step in it.
fn tells(error: &str, step: &Step) -> bool {
    step.last.iter().rev().find(|line| !line.trim().is_empty()).is_some_and(|line| error.contains(line.trim()))
}

/// What a build has come to: `built sha256:… as app:1 in 3.2s, 4 of 9 steps cached`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub steps: usize,
    pub cached: usize,
}

impl Steps {
    fn tally(&self) -> Tally {
        let ended = self.all.values().filter_map(|step| step.end.as_ref());
        let cached = ended.clone().filter(|end| end.cached).count();
        Tally { steps: ended.count(), cached }
    }
}

pub fn summary(digest: Option<&str>, names: &[String], took: Duration, tally: Tally, colour: bool) -> String {
    let what = match digest {
        Some(digest) => format!("built {digest}"),
        None => "built".to_owned(),
    };
    let names = if names.is_empty() { String::new() } else { format!(" as {}", names.join(", ")) };
    let cached = match tally {
        Tally { cached: 0, .. } => String::new(),
        Tally { cached, steps } => format!(", {cached} of {steps} steps cached"),
    };
    format!(
        "{} {what}{names} {}",
        paint(colour, Tone::Good, "✓"),
        paint(colour, Tone::Faint, &format!("in {}{cached}", time(took)))
    )
}

/// The first line of a title: an instruction may have a whole script in it.
fn one_line(text: &str, colour: bool) -> String {
    let mut lines = text.lines();
    let first = clean(lines.next().unwrap_or_default(), colour);
    if lines.next().is_some() { format!("{first} …") } else { first }
}

/// Several lines, each clean.
fn block(text: &str, colour: bool) -> String {
    text.lines().map(|line| clean(line, colour)).collect::<Vec<_>>().join("\n")
}

/// `0.3s`, `12.4s`, `3m07s`.
fn time(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    match tenths / 10 {
        seconds @ 0..60 => format!("{seconds}.{}s", tenths % 10),
        seconds => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

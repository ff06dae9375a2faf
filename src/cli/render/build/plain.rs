//! A build as lines, one after the other, each with the number of its step: for logs, pipes and machines that show no pictures.

use std::time::Duration;

use super::{News, Steps, Tally, time};
use crate::cli::output::{Tone, paint};
use crate::model::build::BuildEvent;
use crate::model::size::human_bytes;

/// A line that has not ended is told when nothing has come of it for so long.
const PAUSE: Duration = Duration::from_millis(500);

/// Steps that run at the same time come mixed: where another one speaks than before, there is an empty line, and its title
/// again if it is not the first time.
#[derive(Debug)]
pub struct Plain {
    colour: bool,
    steps: Steps,
    /// Whose line was the last.
    last: Option<u32>,
}

impl Plain {
    pub fn new(colour: bool) -> Self {
        Self { colour, steps: Steps::default(), last: None }
    }

    pub fn tally(&self) -> Tally {
        self.steps.tally()
    }

    /// The lines that tell the event, each ended.
    pub fn tell(&mut self, event: &BuildEvent, now: Duration) -> String {
        let (number, news) = self.steps.take(event, now, self.colour);
        let mut lines = Vec::new();
        match news {
            News::Nothing => return String::new(),
            News::Began => {}
            News::Lines(output) => self.output(number, now, &output, &mut lines),
            News::Moved(progress) => {
                let size = progress.total.unwrap_or(progress.current);
                let size = if size == 0 { String::new() } else { format!("{} ", human_bytes(size)) };
                let part = super::clean(&progress.part, false);
                lines.push(format!("{part} {size}{}", progress.phase.said()));
            }
            News::Ended { lines: output, end } => {
                self.output(number, now, &output, &mut lines);
                lines.push(match &end.error {
                    // The rest of it is said at the end, once.
                    Some(error) => {
                        let first = error.lines().next().unwrap_or_default();
                        format!("{} {first}", paint(self.colour, Tone::Bad, "ERROR:"))
                    }
                    None if end.cached => paint(self.colour, Tone::Hint, "CACHED"),
                    None => format!("{} {}", paint(self.colour, Tone::Good, "DONE"), time(end.took)),
                });
            }
            News::Warning(text) => return format!("{}: {text}\n", paint(self.colour, Tone::Warn, "warning")),
        }
        self.written(number, &lines)
    }

    /// The lines that have been begun some time ago and have not gone on, each ended.
    pub fn tick(&mut self, now: Duration) -> String {
        let running = self.steps.all.iter_mut().filter(|(_, step)| step.end.is_none());
        let waiting: Vec<_> = running
            .map(|(number, step)| (*number, step.waiting(now, PAUSE, self.colour)))
            .filter(|(_, lines)| !lines.is_empty())
            .collect();
        let mut text = String::new();
        for (number, output) in waiting {
            let mut lines = Vec::new();
            self.output(number, now, &output, &mut lines);
            text.push_str(&self.written(number, &lines));
        }
        text
    }

    fn written(&mut self, number: u32, lines: &[String]) -> String {
        let mut text = self.turn(number);
        let lead = paint(self.colour, Tone::Faint, &format!("#{number}"));
        for line in lines.iter().flat_map(|line| line.split('\n')) {
            text.push_str(format!("{lead} {line}").trim_end());
            text.push('\n');
        }
        text
    }

    fn output(&self, number: u32, now: Duration, output: &[String], lines: &mut Vec<String>) {
        let began = self.steps.all.get(&number).map_or(now, |step| step.began);
        let at = format!("{:.3}", now.saturating_sub(began).as_secs_f64());
        lines.extend(output.iter().map(|line| format!("{} {line}", paint(self.colour, Tone::Faint, &at))));
    }

    /// What stands above the lines of a step that others have spoken before, or nobody.
    fn turn(&mut self, number: u32) -> String {
        if self.last == Some(number) {
            return String::new();
        }
        let gap = if self.last.is_some() { "\n" } else { "" };
        self.last = Some(number);
        let title = self.steps.all.get(&number).map(|step| step.title.as_str()).unwrap_or_default();
        let lead = paint(self.colour, Tone::Faint, &format!("#{number}"));
        format!("{gap}{}\n", format!("{lead} {}", paint(self.colour, Tone::Strong, title)).trim_end())
    }
}

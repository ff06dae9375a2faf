//! A build as a picture on a terminal: what is over stands above for good, and below it what is under way, with the seconds
//! since it began and the last lines of what it writes. What the cache had is only counted.

use std::time::Duration;

use super::text::{clean, fit, width};
use super::{News, Step, Steps, Tally, time};
use crate::cli::output::{Tone, paint};
use crate::model::Phase;
use crate::model::build::BuildEvent;

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// Lines of output below each step that runs.
const LINES: usize = 6;
/// No picture is made for less.
const NARROWEST: usize = 20;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const TURN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Live {
    colour: bool,
    steps: Steps,
}

impl Live {
    pub fn new(colour: bool) -> Self {
        Self { colour, steps: Steps::default() }
    }

    pub fn tally(&self) -> Tally {
        self.steps.tally()
    }

    /// Takes an event in. What stays is given: lines that are written once, above the picture.
    pub fn tell(&mut self, event: &BuildEvent, now: Duration, size: Size) -> Vec<String> {
        let (number, news) = self.steps.take(event, now, self.colour);
        let columns = size.columns.max(NARROWEST);
        match news {
            News::Nothing | News::Began | News::Lines(_) | News::Moved(_) => Vec::new(),
            News::Warning(text) => {
                let mark = paint(self.colour, Tone::Warn, "!");
                text.lines()
                    .enumerate()
                    .map(|(at, line)| if at == 0 { format!("{mark} {line}") } else { format!("  {line}") })
                    .collect()
            }
            News::Ended { end, .. } => {
                let Some(step) = self.steps.all.get(&number) else { return Vec::new() };
                match &end.error {
                    Some(error) => {
                        let mut lines =
                            vec![self.row(&paint(self.colour, Tone::Bad, "✗"), &step.title, &time(end.took), columns)];
                        if !super::tells(error, step) {
                            lines.extend(step.last.iter().map(|line| self.output(line, columns)));
                        }
                        lines
                    }
                    None if end.cached => Vec::new(),
                    None => vec![self.row(&paint(self.colour, Tone::Good, "✓"), &step.title, &time(end.took), columns)],
                }
            }
        }
    }

    /// The picture now. It has less rows than the terminal, and no row is wider than that.
    pub fn picture(&self, now: Duration, size: Size) -> Vec<String> {
        let columns = size.columns.max(NARROWEST);
        // One row is for the cursor, and one for the line that sums up.
        let room = size.rows.saturating_sub(2).max(1);
        let running: Vec<&Step> = self.steps.all.values().filter(|step| step.end.is_none()).collect();
        let shown = running.len().min(room);
        // All titles first; what room is left is for output, the same for each.
        let each = (room - shown).checked_div(shown).unwrap_or(0).min(LINES);
        let turn = usize::try_from(now.as_millis() / TURN.as_millis()).unwrap_or(0);
        let mark = paint(self.colour, Tone::Hint, SPINNER[turn % SPINNER.len()]);
        let mut rows = Vec::new();
        for step in running.iter().take(shown) {
            let moved = step.moved();
            let since = time(now.saturating_sub(step.began));
            let beside = if moved.is_empty() { since } else { format!("{moved}  {since}") };
            rows.push(self.row(&mark, &step.title, &beside, columns));
            rows.extend(self.below(step, each, columns));
        }
        let Tally { steps, cached } = self.steps.tally();
        let mut words = vec![match steps - cached {
            1 => "1 step done".to_owned(),
            done => format!("{done} steps done"),
        }];
        if cached > 0 {
            words.push(format!("{cached} cached"));
        }
        match running.len() - shown {
            0 => {}
            more => words.push(format!("{more} more running")),
        }
        let sum = format!("  {}  {}", words.join(", "), time(now));
        rows.push(paint(self.colour, Tone::Faint, &fit(&sum, columns)));
        rows
    }

    /// What a step writes, or what it moves.
    fn below(&self, step: &Step, most: usize, columns: usize) -> Vec<String> {
        let open = step.lines.iter().filter_map(|lines| lines.open()).map(|line| clean(line, self.colour));
        let lines: Vec<String> = step.last.iter().cloned().chain(open).collect();
        if !lines.is_empty() {
            return lines[lines.len().saturating_sub(most)..].iter().map(|line| self.output(line, columns)).collect();
        }
        let moving = step.parts.values().filter(|part| !matches!(part.phase, Phase::Done | Phase::Exists | Phase::Waiting));
        let said = moving.map(|part| format!("{} {}", clean(&part.part, false), part.phase.said()));
        said.take(most).map(|line| self.output(&line, columns)).collect()
    }

    fn output(&self, line: &str, columns: usize) -> String {
        format!("  {} {}", paint(self.colour, Tone::Faint, "│"), fit(line, columns.saturating_sub(4)))
    }

    /// A title with a mark before it, and something at the right.
    fn row(&self, mark: &str, title: &str, beside: &str, columns: usize) -> String {
        let room = columns.saturating_sub(3 + width(beside));
        let title = fit(title, room);
        let gap = " ".repeat(room - width(&title) + 1);
        format!("{mark} {title}{gap}{}", paint(self.colour, Tone::Faint, beside))
    }
}

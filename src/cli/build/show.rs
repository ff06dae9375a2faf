//! Shows a build while it goes on: the renderers' lines and pictures on standard error, or its events as JSON.

use std::time::{Duration, Instant};

use super::error::BuildArgsError;
use crate::cli::args::ProgressWhen;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render::build::{Failures, Live, Plain, Size, Tally};
use crate::cli::terminal;
use crate::model::build::BuildEvent;

/// How often a picture is drawn.
pub const TICK: Duration = Duration::from_millis(100);

/// A build that is shown.
#[derive(Debug)]
pub struct Show {
    output: Output,
    began: Instant,
    tally: Counter,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Plain(Plain),
    Live {
        live: Live,
        /// How wide each row is that was drawn last.
        drawn: Vec<usize>,
    },
    /// Only what has failed.
    Quiet(Failures),
    /// Whether standard output has something else to carry.
    Json {
        aside: bool,
    },
}

/// Steps that have ended, where nothing else counts them.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    steps: usize,
    cached: usize,
}

impl Show {
    /// `quiet` is for nothing but the result; `stdout_is_taken` for a result that goes to standard output.
    pub fn new(when: ProgressWhen, quiet: bool, stdout_is_taken: bool, output: Output) -> Result<Self, BuildArgsError> {
        let plain = || Way::Plain(Plain::new(output.error_colour));
        let live = || Way::Live { live: Live::new(output.error_colour), drawn: Vec::new() };
        let way = match when {
            _ if quiet => Way::Quiet(Failures::default()),
            ProgressWhen::Auto if output.error_live => live(),
            ProgressWhen::Auto | ProgressWhen::Plain => plain(),
            ProgressWhen::Tty if output.error_live => live(),
            ProgressWhen::Tty => return Err(BuildArgsError::NoTerminal),
            ProgressWhen::Quiet => Way::Quiet(Failures::default()),
            ProgressWhen::Json => Way::Json { aside: stdout_is_taken },
        };
        Ok(Self { output, began: Instant::now(), tally: Counter::default(), way })
    }

    /// Whether people are told what came of it.
    pub const fn sums_up(&self) -> bool {
        matches!(self.way, Way::Plain(_) | Way::Live { .. })
    }

    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn tally(&self) -> Tally {
        match &self.way {
            Way::Plain(plain) => plain.tally(),
            Way::Live { live, .. } => live.tally(),
            Way::Quiet(_) | Way::Json { .. } => Tally { steps: self.tally.steps, cached: self.tally.cached },
        }
    }

    pub fn tell(&mut self, event: &BuildEvent) -> Result<(), CliError> {
        let now = self.began.elapsed();
        if let BuildEvent::Finished { cached, .. } = event {
            self.tally.steps += 1;
            self.tally.cached += usize::from(*cached);
        }
        let (mut above, mut size) = (Vec::new(), Size { columns: 0, rows: 0 });
        match &mut self.way {
            Way::Plain(plain) => return self.output.error_bytes(plain.tell(event, now).as_bytes()),
            Way::Live { live, .. } => {
                size = screen();
                above = live.tell(event, now, size);
            }
            Way::Quiet(failures) => failures.tell(event),
            Way::Json { aside: false } => return self.output.json_line(event),
            Way::Json { aside: true } => {
                self.output.note(serde_json::to_string(event).map_err(CliError::Encode)?);
            }
        }
        if above.is_empty() { Ok(()) } else { self.draw(&above, size) }
    }

    /// Whether something is to be shown as time goes by.
    pub const fn ticks(&self) -> bool {
        matches!(self.way, Way::Live { .. } | Way::Plain(_))
    }

    /// Draws the picture as it is now, or tells of what waits.
    pub fn tick(&mut self) -> Result<(), CliError> {
        let now = self.began.elapsed();
        match &mut self.way {
            Way::Live { .. } => self.draw(&[], screen()),
            Way::Plain(plain) => match plain.tick(now) {
                text if text.is_empty() => Ok(()),
                text => self.output.error_bytes(text.as_bytes()),
            },
            Way::Quiet(_) | Way::Json { .. } => Ok(()),
        }
    }

    /// Takes the picture away: the build is over. What failed is told where nothing else was.
    pub fn end(&mut self, failed: bool) -> Result<(), CliError> {
        match &mut self.way {
            Way::Live { drawn, .. } => {
                let text = erased(drawn, screen().columns + 1);
                drawn.clear();
                self.output.error_bytes(text.as_bytes())
            }
            Way::Quiet(failures) if failed => {
                failures.lines().iter().for_each(|line| self.output.note(line));
                Ok(())
            }
            Way::Plain(_) | Way::Quiet(_) | Way::Json { .. } => Ok(()),
        }
    }

    fn draw(&mut self, above: &[String], size: Size) -> Result<(), CliError> {
        let now = self.began.elapsed();
        let Way::Live { live, drawn } = &mut self.way else { return Ok(()) };
        let picture = live.picture(now, size);
        let mut text = erased(drawn, size.columns + 1);
        for line in above.iter().chain(&picture) {
            text.push_str(line);
            text.push('\n');
        }
        *drawn = picture.iter().map(|row| crate::cli::render::build::width(row)).collect();
        self.output.error_bytes(text.as_bytes())
    }
}

/// What takes rows away that were drawn before. The terminal may have become narrower since, so that a row takes several.
fn erased(drawn: &[usize], columns: usize) -> String {
    let rows: usize = drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    match rows {
        0 => String::new(),
        rows => format!("\r\u{1b}[{rows}A\u{1b}[J"),
    }
}

/// The terminal's size, without its last column: a row that fills it may begin another one.
fn screen() -> Size {
    let (rows, columns) = terminal::error_size().filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or((24, 80));
    Size { columns: usize::from(columns) - 1, rows: usize::from(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_away_however_narrow_the_terminal_has_become() {
        assert_eq!(erased(&[], 80), "");
        assert_eq!(erased(&[79, 10], 80), "\r\u{1b}[2A\u{1b}[J");
        assert_eq!(erased(&[79, 10, 0], 40), "\r\u{1b}[4A\u{1b}[J");
    }
}

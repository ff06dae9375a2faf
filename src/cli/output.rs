//! The terminal: what is written where, in colour or not. Nothing else in the program writes to stdout or stderr but the log.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::args::When;
use super::error::CliError;

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Whether stdout takes colours.
    pub colour: bool,
    /// Whether stderr takes colours.
    pub error_colour: bool,
    /// Whether stdout is a terminal that can be drawn on.
    pub live: bool,
    /// Whether stderr is a terminal that can be drawn on.
    pub error_live: bool,
}

impl Output {
    pub fn new(when: When) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let (live, error_live) = (io::stdout().is_terminal() && !dumb, io::stderr().is_terminal() && !dumb);
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = |terminal: bool| match when {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !refused,
        };
        Self { colour: colour(live), error_colour: colour(error_live), live, error_live }
    }

    pub fn line(self, text: impl AsRef<str>) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// Text that ends its own lines.
    pub fn text(self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.bytes(text.as_ref().as_bytes())
    }

    pub fn bytes(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    pub fn error_bytes(self, bytes: &[u8]) -> Result<(), CliError> {
        Ok(io::stderr().lock().write_all(bytes)?)
    }

    /// For people to read and programs to parse: indented.
    pub fn json(self, value: &impl Serialize) -> Result<(), CliError> {
        self.line(serde_json::to_string_pretty(value).map_err(CliError::Encode)?)
    }

    /// One value a line.
    pub fn json_line(self, value: &impl Serialize) -> Result<(), CliError> {
        self.line(serde_json::to_string(value).map_err(CliError::Encode)?)
    }

    /// A note for people, on stderr. A stderr that nobody reads is no reason to fail.
    pub fn note(self, text: impl AsRef<str>) {
        drop(writeln!(io::stderr().lock(), "{}", text.as_ref()));
    }

    pub fn warning(self, text: impl AsRef<str>) {
        self.note(format!("{}: {}", paint(self.error_colour, Tone::Warn, "warning"), text.as_ref()));
    }

    pub fn error(self, message: &str, hint: Option<&str>) {
        self.note(format!("{}: {message}", paint(self.error_colour, Tone::Bad, "error")));
        if let Some(hint) = hint {
            self.note(format!("{}: {hint}", paint(self.error_colour, Tone::Hint, "hint")));
        }
    }
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Warn,
    Bad,
    Hint,
    Strong,
    Faint,
}

pub fn paint(colour: bool, tone: Tone, text: &str) -> String {
    use owo_colors::OwoColorize;
    if !colour || text.is_empty() {
        return text.to_owned();
    }
    match tone {
        Tone::Good => text.green().to_string(),
        Tone::Warn => text.yellow().to_string(),
        Tone::Bad => text.red().bold().to_string(),
        Tone::Hint => text.cyan().to_string(),
        Tone::Strong => text.bold().to_string(),
        Tone::Faint => text.dimmed().to_string(),
    }
}

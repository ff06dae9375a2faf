//! HEALTHCHECK: a command with its times, or none at all.

use std::time::Duration;

use super::error::{At, Cause};
use super::flags::{Flags, Takes};
use super::instruction::command_line;
use super::lines::Line;
use super::split::{Arguments, Raw};
use super::syntax::{CommandLine, Word};
use crate::model::Span;

/// The check of an image's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthcheckInstruction {
    /// The base's check is taken away.
    None,
    /// Times that are not given are the runtime's own defaults.
    Command {
        command: CommandLine,
        interval: Option<Span>,
        timeout: Option<Span>,
        start_period: Option<Span>,
        start_interval: Option<Span>,
        retries: Option<u32>,
    },
}

pub(super) fn healthcheck(line: &Line, raw: &Raw<'_>) -> Result<HealthcheckInstruction, At> {
    let needs = |needs| line.at(raw.written.at, Cause::Arguments { instruction: "HEALTHCHECK", needs });
    let Arguments::Health(kind, command) = &raw.arguments else { return Err(needs("`CMD` and a command, or `NONE`")) };
    if kind.text.eq_ignore_ascii_case("NONE") {
        Flags::read(line, raw, &[])?;
        return match **command {
            Arguments::None => Ok(HealthcheckInstruction::None),
            _ => Err(needs("nothing after `NONE`")),
        };
    }
    if !kind.text.eq_ignore_ascii_case("CMD") {
        return Err(line.at(kind.at, Cause::Arguments { instruction: "HEALTHCHECK", needs: "`CMD` and a command, or `NONE`" }));
    }
    let known = ["interval", "timeout", "start-period", "start-interval", "retries"].map(|name| (name, Takes::Value));
    let flags = Flags::read(line, raw, &known)?;
    let command = command_line(command).filter(|command| *command != CommandLine::Exec(Vec::new()));
    Ok(HealthcheckInstruction::Command {
        command: command.ok_or_else(|| needs("a command after `CMD`"))?,
        interval: span("interval", flags.value("interval"))?,
        timeout: span("timeout", flags.value("timeout"))?,
        start_period: span("start-period", flags.value("start-period"))?,
        start_interval: span("start-interval", flags.value("start-interval"))?,
        retries: retries(flags.value("retries"))?,
    })
}

/// Zero is as if nothing was said.
fn span(flag: &'static str, word: Option<Word>) -> Result<Option<Span>, At> {
    let Some(word) = word else { return Ok(None) };
    let span = word.text.parse::<Span>().map_err(|error| wrong(flag, &word, error.to_string()))?;
    match span.0 {
        Duration::ZERO => Ok(None),
        short if short < Duration::from_millis(1) => Err(wrong(flag, &word, "the least is 1ms".to_owned())),
        _ => Ok(Some(span)),
    }
}

fn retries(word: Option<Word>) -> Result<Option<u32>, At> {
    let Some(word) = word else { return Ok(None) };
    match word.text.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(retries) if retries <= i32::MAX as u32 => Ok(Some(retries)),
        _ => Err(wrong("retries", &word, format!("it is a number from 0 to {}", i32::MAX))),
    }
}

fn wrong(flag: &'static str, word: &Word, why: String) -> At {
    At::new(word.place, Cause::FlagContent { flag, value: word.text.chars().take(60).collect(), why, hint: None })
}

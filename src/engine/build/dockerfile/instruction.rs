//! What was taken apart becomes typed: how many arguments there must be, which flags, what may stand in a trigger.

use super::error::{At, Cause, Doubt};
use super::flags::{Flags, Takes};
use super::heredoc::{Heredoc, attached};
use super::lines::Line;
use super::split::{Arguments, Raw, Slice};
use super::syntax::{Argument, Command, CommandLine, From, Instruction, OnBuild, Pair, Place, Word};
use super::{files, health, run};
use crate::model::Signal;

pub(super) fn typed(
    line: &Line,
    raw: &Raw<'_>,
    heredocs: Vec<Heredoc>,
    last_line: u32,
    warnings: &mut Vec<(Place, Doubt)>,
) -> Result<Instruction, At> {
    let command = command(line, raw, heredocs, warnings)?;
    Ok(Instruction {
        place: line.place(raw.written.at),
        last_line,
        keyword: raw.written.text.to_owned(),
        text: line.text.trim().to_owned(),
        command,
    })
}

/// Whether an image may have recorded this as a trigger.
pub(super) fn trigger_allowed(instruction: &Instruction) -> Result<(), At> {
    match instruction.command.keyword() {
        keyword @ ("FROM" | "MAINTAINER" | "ONBUILD") => Err(At::new(instruction.place, Cause::Trigger { keyword })),
        _ => Ok(()),
    }
}

fn command(line: &Line, raw: &Raw<'_>, heredocs: Vec<Heredoc>, warnings: &mut Vec<(Place, Doubt)>) -> Result<Command, At> {
    let here = line.place(raw.written.at);
    let no_flags = || Flags::read(line, raw, &[]).map(drop);
    let needs = |needs| At::new(here, Cause::Arguments { instruction: raw.keyword, needs });
    let pairs = |warnings: &mut Vec<(Place, Doubt)>| {
        no_flags()?;
        let Arguments::Pairs { pairs, legacy } = &raw.arguments else { return Err(needs("at least one name=value")) };
        if *legacy {
            warnings.push((here, Doubt::LegacyPair));
        }
        let pair = |(name, value): &(Slice<'_>, Slice<'_>)| match name.text {
            "" => Err(line.at(name.at, Cause::EmptyName { instruction: raw.keyword })),
            _ => Ok(Pair { name: word(line, *name), value: word(line, *value) }),
        };
        pairs.iter().map(pair).collect::<Result<Vec<_>, _>>()
    };
    let one = || {
        no_flags()?;
        match &raw.arguments {
            Arguments::Text(text) => Ok(word(line, *text)),
            _ => Err(needs("exactly one argument")),
        }
    };
    let command_line = || {
        no_flags()?;
        command_line(&raw.arguments).ok_or_else(|| needs("a command; `[]` is none"))
    };
    Ok(match raw.keyword {
        "ADD" => Command::Add(files::add(line, raw, heredocs)?),
        "COPY" => Command::Copy(files::copy(line, raw, heredocs)?),
        "RUN" => Command::Run(run::run(line, raw, heredocs)?),
        "HEALTHCHECK" => Command::Healthcheck(health::healthcheck(line, raw)?),
        "FROM" => Command::From(from(line, raw)?),
        "ONBUILD" => onbuild(line, raw, heredocs, warnings)?,
        "ENV" => Command::Env(pairs(warnings)?),
        "LABEL" => Command::Label(pairs(warnings)?),
        "ARG" => {
            no_flags()?;
            let Arguments::Words(words) = &raw.arguments else { return Err(needs("at least one name")) };
            Command::Arg(words.iter().map(|word| argument(line, *word)).collect::<Result<_, _>>()?)
        }
        "CMD" => Command::Cmd(command_line()?),
        "ENTRYPOINT" => Command::Entrypoint(command_line()?),
        "SHELL" => {
            no_flags()?;
            match &raw.arguments {
                Arguments::Json(words, _) if !words.is_empty() => Command::Shell(words.clone()),
                _ => return Err(needs("a JSON array with at least one string")),
            }
        }
        "EXPOSE" => {
            no_flags()?;
            let Arguments::Words(words) = &raw.arguments else { return Err(needs("at least one port")) };
            Command::Expose(words.iter().map(|port| word(line, *port)).collect())
        }
        "VOLUME" => {
            no_flags()?;
            let paths: Vec<Word> = match &raw.arguments {
                Arguments::Words(words) => words.iter().map(|path| word(line, *path)).collect(),
                Arguments::Json(words, slice) => words.iter().map(|path| json_word(line, path.trim(), *slice)).collect(),
                _ => Vec::new(),
            };
            if paths.is_empty() || paths.iter().any(|path| path.text.is_empty()) {
                return Err(needs("paths, none of them empty"));
            }
            Command::Volume(paths)
        }
        "STOPSIGNAL" => {
            let signal = one()?;
            if !signal.text.contains('$') {
                signal.text.parse::<Signal>().map_err(|error| At::new(signal.place, error.into()))?;
            }
            Command::Stopsignal(signal)
        }
        "MAINTAINER" => {
            warnings.push((here, Doubt::Maintainer));
            Command::Maintainer(one()?.text)
        }
        "USER" => Command::User(one()?),
        // The last of the keywords, which are all that a line can begin with.
        _ => Command::Workdir(one()?),
    })
}

pub(super) fn word(line: &Line, slice: Slice<'_>) -> Word {
    Word { text: slice.text.to_owned(), place: line.place(slice.at) }
}

/// A string of a JSON array; its place is that of the array.
pub(super) fn json_word(line: &Line, text: &str, array: Slice<'_>) -> Word {
    Word { text: text.to_owned(), place: line.place(array.at) }
}

/// The exec form or the shell form; `None` where nothing stands.
pub(super) fn command_line(arguments: &Arguments<'_>) -> Option<CommandLine> {
    match arguments {
        Arguments::Json(words, _) => Some(CommandLine::Exec(words.clone())),
        Arguments::Text(text) => Some(CommandLine::Shell(text.text.to_owned())),
        _ => None,
    }
}

fn argument(line: &Line, slice: Slice<'_>) -> Result<Argument, At> {
    let (name, default) = match slice.text.find('=') {
        None => (slice, None),
        Some(at) => (slice.part(0, at), Some(word(line, slice.part(at + 1, slice.text.len())))),
    };
    if name.text.is_empty() {
        return Err(line.at(slice.at, Cause::EmptyName { instruction: "ARG" }));
    }
    Ok(Argument { name: word(line, name), default })
}

/// `FROM base [AS name]`.
fn from(line: &Line, raw: &Raw<'_>) -> Result<From, At> {
    let flags = Flags::read(line, raw, &[("platform", Takes::Value)])?;
    let words = match &raw.arguments {
        Arguments::Words(words) => words.as_slice(),
        _ => &[],
    };
    let (base, name) = match words {
        [base] => (base, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(name)),
        _ => {
            let needs = "an image or a stage, and after it nothing or `AS name`";
            return Err(line.at(raw.written.at, Cause::Arguments { instruction: "FROM", needs }));
        }
    };
    let name = name.map(|name| {
        stage_name(name.text).ok_or_else(|| line.at(name.at, Cause::StageName { name: name.text.chars().take(60).collect() }))
    });
    Ok(From { base: word(line, *base), platform: flags.value("platform"), name: name.transpose()? })
}

/// `[a-z][a-z0-9_.-]*`, in any case.
fn stage_name(text: &str) -> Option<String> {
    let name = text.to_lowercase();
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    (first && rest).then_some(name)
}

fn onbuild(line: &Line, raw: &Raw<'_>, heredocs: Vec<Heredoc>, warnings: &mut Vec<(Place, Doubt)>) -> Result<Command, At> {
    Flags::read(line, raw, &[])?;
    let Arguments::Trigger(trigger) = &raw.arguments else {
        return Err(line.at(raw.written.at, Cause::Arguments { instruction: "ONBUILD", needs: "an instruction" }));
    };
    if let keyword @ ("FROM" | "MAINTAINER") = trigger.keyword {
        return Err(line.at(trigger.written.at, Cause::Trigger { keyword }));
    }
    let text = attached(line.text[trigger.written.at..].trim(), &heredocs);
    let command = command(line, trigger, heredocs, warnings)?;
    Ok(Command::Onbuild(OnBuild { text, command: Box::new(command) }))
}

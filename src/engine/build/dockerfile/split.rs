//! A logical line becomes keyword, flags and arguments, each instruction's arguments by its own grammar: JSON or words, one text,
//! pairs, another instruction. Checks nothing else.

use super::error::{At, Cause};
use super::lines::Line;
use super::syntax::KEYWORDS;

/// A part of a line's text, and where in it it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice<'l> {
    pub(super) text: &'l str,
    pub(super) at: usize,
}

impl<'l> Slice<'l> {
    pub(super) fn part(self, from: usize, to: usize) -> Self {
        Self { text: &self.text[from..to], at: self.at + from }
    }

    fn after(self, from: usize) -> Self {
        self.part(from, self.text.len())
    }

    fn trim_start(self) -> Self {
        self.after(self.text.len() - self.text.trim_start().len())
    }

    fn trim(self) -> Self {
        let start = self.trim_start();
        start.part(0, start.text.trim_end().len())
    }
}

/// Blanks between the words of an instruction.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// An instruction that was taken apart.
#[derive(Debug)]
pub(super) struct Raw<'l> {
    pub(super) written: Slice<'l>,
    /// As in [`KEYWORDS`].
    pub(super) keyword: &'static str,
    pub(super) flags: Vec<RawFlag>,
    pub(super) arguments: Arguments<'l>,
}

/// `--name=value` without quotes and escapes, and where it begins.
#[derive(Debug)]
pub(super) struct RawFlag {
    pub(super) text: String,
    pub(super) at: usize,
}

#[derive(Debug)]
pub(super) enum Arguments<'l> {
    None,
    Json(Vec<String>, Slice<'l>),
    Words(Vec<Slice<'l>>),
    Text(Slice<'l>),
    Pairs {
        pairs: Vec<(Slice<'l>, Slice<'l>)>,
        legacy: bool,
    },
    /// HEALTHCHECK's: its kind, and the command, which is `None`, `Json` or `Text`.
    Health(Slice<'l>, Box<Arguments<'l>>),
    Trigger(Box<Raw<'l>>),
}

impl Raw<'_> {
    /// ADD, COPY and RUN, also as a trigger; not in JSON, where `<<` is text.
    pub(super) fn may_have_heredocs(&self) -> bool {
        match &self.arguments {
            Arguments::Trigger(raw) => raw.may_have_heredocs(),
            Arguments::Json(..) => false,
            _ => matches!(self.keyword, "ADD" | "COPY" | "RUN"),
        }
    }
}

/// Takes one instruction apart.
pub(super) fn instruction<'l>(line: &Line, slice: Slice<'l>, escape: char) -> Result<Raw<'l>, At> {
    let slice = slice.trim();
    let end = slice.text.find(is_blank).unwrap_or(slice.text.len());
    let written = slice.part(0, end);
    let keyword = KEYWORDS.into_iter().find(|known| known.eq_ignore_ascii_case(written.text));
    let keyword =
        keyword.ok_or_else(|| line.at(written.at, Cause::Instruction { keyword: written.text.chars().take(60).collect() }))?;
    let (flags, rest) = flags(slice.after(end).trim_start(), escape);
    let rest = rest.trim();
    let arguments = if rest.text.is_empty() {
        Arguments::None
    } else {
        match keyword {
            "ADD" | "COPY" | "VOLUME" => json(line, rest)?.unwrap_or_else(|| Arguments::Words(words(rest))),
            "CMD" | "ENTRYPOINT" | "RUN" | "SHELL" => json(line, rest)?.unwrap_or(Arguments::Text(rest)),
            "EXPOSE" | "FROM" => Arguments::Words(words(rest)),
            "ARG" => Arguments::Words(quoted_words(rest, escape)),
            "ENV" | "LABEL" => pairs(line, keyword, rest, escape)?,
            "HEALTHCHECK" => health(line, rest)?,
            "ONBUILD" => Arguments::Trigger(Box::new(trigger(line, rest, escape)?)),
            _ => Arguments::Text(rest),
        }
    };
    Ok(Raw { written, keyword, flags, arguments })
}

/// One level only: a trigger within a trigger is refused before it is read, or a line of `ONBUILD ONBUILD …` would be deep.
fn trigger<'l>(line: &Line, slice: Slice<'l>, escape: char) -> Result<Raw<'l>, At> {
    let keyword = slice.text.split(is_blank).next().unwrap_or_default();
    if keyword.eq_ignore_ascii_case("ONBUILD") {
        return Err(line.at(slice.at, Cause::Trigger { keyword: "ONBUILD" }));
    }
    instruction(line, slice, escape)
}

/// All words that begin with `--`, up to the first that does not, or up to `--` itself.
fn flags(slice: Slice<'_>, escape: char) -> (Vec<RawFlag>, Slice<'_>) {
    let mut found = Vec::new();
    let mut rest = slice.trim_start();
    while rest.text.starts_with("--") {
        let (word, end) = unquoted(rest.text, escape);
        let flag = RawFlag { text: word, at: rest.at };
        rest = rest.after(end).trim_start();
        if flag.text == "--" {
            break;
        }
        found.push(flag);
    }
    (found, rest)
}

/// The first word without its quotes and escapes, and where it ends.
fn unquoted(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            // At the end of the line it escapes nothing.
            _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

fn words(slice: Slice<'_>) -> Vec<Slice<'_>> {
    let mut found = Vec::new();
    let mut rest = slice;
    while !rest.text.is_empty() {
        let end = rest.text.find(is_blank).unwrap_or(rest.text.len());
        found.push(rest.part(0, end));
        let blanks = rest.text[end..].find(|c| !is_blank(c)).map_or(rest.text.len(), |at| end + at);
        rest = rest.after(blanks);
    }
    found
}

/// Words as a shell sees them; quotes and escapes stay.
fn quoted_words(slice: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    let mut found = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut chars = slice.text.char_indices();
    let mut end = slice.text.len();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            found.extend(begin.take().map(|begin| slice.part(begin, at)));
            continue;
        }
        begin.get_or_insert(at);
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            // Nothing is escaped between single quotes.
            quote if c == escape && quote != Some('\'') && chars.next().is_none() => end = at,
            _ => {}
        }
    }
    // The escape character at the very end escapes nothing, and goes.
    found.extend(begin.filter(|begin| *begin < end).map(|begin| slice.part(begin, end)));
    found
}

/// A JSON array of strings; `None` for what is no JSON array, which is then read as words or text.
fn json<'l>(line: &Line, slice: Slice<'l>) -> Result<Option<Arguments<'l>>, At> {
    if !slice.text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(slice.text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    });
    match strings.collect::<Option<Vec<_>>>() {
        Some(strings) => Ok(Some(Arguments::Json(strings, slice))),
        None => Err(line.at(slice.at, Cause::NotStrings)),
    }
}

/// `name=value …`, or, when the first word has no `=`, `name` and all the rest as its value.
fn pairs<'l>(line: &Line, instruction: &'static str, slice: Slice<'l>, escape: char) -> Result<Arguments<'l>, At> {
    let words = quoted_words(slice, escape);
    let Some(first) = words.first() else { return Ok(Arguments::None) };
    if !first.text.contains('=') {
        let Some(end) = slice.text.find(is_blank) else {
            return Err(line.at(first.at, Cause::NoEquals { instruction, word: first.text.chars().take(60).collect() }));
        };
        let blanks = slice.text[end..].find(|c| !is_blank(c)).map_or(slice.text.len(), |at| end + at);
        return Ok(Arguments::Pairs { pairs: vec![(slice.part(0, end), slice.after(blanks))], legacy: true });
    }
    let split = |word: Slice<'l>| match word.text.find('=') {
        Some(at) => Ok((word.part(0, at), word.after(at + 1))),
        None => Err(line.at(word.at, Cause::NoEquals { instruction, word: word.text.chars().take(60).collect() })),
    };
    let pairs = words.into_iter().map(split).collect::<Result<_, _>>()?;
    Ok(Arguments::Pairs { pairs, legacy: false })
}

fn health<'l>(line: &Line, slice: Slice<'l>) -> Result<Arguments<'l>, At> {
    let end = slice.text.find(char::is_whitespace).unwrap_or(slice.text.len());
    let rest = slice.after(end).trim_start();
    let command = if rest.text.is_empty() { Arguments::None } else { json(line, rest)?.unwrap_or(Arguments::Text(rest)) };
    Ok(Arguments::Health(slice.part(0, end), Box::new(command)))
}

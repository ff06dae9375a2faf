//! Bytes become logical lines: directives and comments are taken out, continued lines are joined, and it stays known where
//! each part came from. Knows nothing of instructions.

use std::cell::Cell;

use super::error::{At, Cause};
use super::heredoc::{Header, Heredoc};
use super::split::Slice;
use super::syntax::{Directives, Place};

/// One instruction's text, joined from all the lines it is on.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: String,
    /// Where the text from an offset on stands in the file; ascending.
    origins: Vec<(usize, Place)>,
    /// The offset that was asked for last, and its place. Places are asked for from left to right, and a line may be long.
    asked: Cell<(usize, Place)>,
    /// The number of the last line that is part of it.
    pub(super) last: u32,
    /// The first empty line within it.
    pub(super) blank_inside: Option<Place>,
}

impl Line {
    /// Where the character at an offset stands.
    pub(super) fn place(&self, offset: usize) -> Place {
        let index = self.origins.partition_point(|(at, _)| *at <= offset).saturating_sub(1);
        let Some((at, origin)) = self.origins.get(index) else { return Place::default() };
        let (known, place) = self.asked.get();
        let (from, origin) =
            if (*at..=offset).contains(&known) && place.line == origin.line { (known, place) } else { (*at, *origin) };
        let passed = self.text.get(from..offset).map_or(0, |text| text.chars().count());
        let place = Place { line: origin.line, column: origin.column + passed as u32 };
        if self.text.is_char_boundary(offset) {
            self.asked.set((offset, place));
        }
        place
    }

    pub(super) fn at(&self, offset: usize, cause: Cause) -> At {
        At::new(self.place(offset), cause)
    }

    pub(super) fn whole(&self) -> Slice<'_> {
        Slice { text: &self.text, at: 0 }
    }
}

/// Reads a file from its beginning to its end.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    /// The number of the line that was read last.
    number: u32,
    pub(super) directives: Directives,
    /// Whether all lines so far were directives.
    at_head: bool,
    /// The directives that were given.
    seen: Vec<String>,
    lost: bool,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self { rest, number: 0, directives: Directives::default(), at_head: true, seen: Vec::new(), lost: false }
    }

    /// The text of a trigger has no directives: the file it was in has.
    pub(super) fn of_trigger(bytes: &'b [u8]) -> Self {
        Self { at_head: false, ..Self::new(bytes) }
    }

    pub(super) fn line_number(&self) -> u32 {
        self.number
    }

    /// Whether an error leaves it unknown where the next instruction begins.
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// The next logical line that says something.
    pub(super) fn next(&mut self) -> Result<Option<Line>, At> {
        while let Some(raw) = self.raw() {
            if is_comment(raw) {
                self.comment(raw)?;
                continue;
            }
            self.at_head = false;
            let text = self.decoded(raw)?;
            let trimmed = text.trim_start();
            if trimmed.is_empty() {
                continue;
            }
            let indent = text.chars().count() - trimmed.chars().count();
            let begin = Place { line: self.number, column: indent as u32 + 1 };
            let mut line = Line {
                text: String::new(),
                origins: vec![(0, begin)],
                asked: Cell::new((0, begin)),
                last: self.number,
                blank_inside: None,
            };
            let mut goes_on = line.push(trimmed, self.directives.escape);
            while goes_on {
                let Some(raw) = self.raw() else { break };
                line.last = self.number;
                if is_comment(raw) {
                    continue;
                }
                let text = self.decoded(raw)?;
                let here = Place { line: self.number, column: 1 };
                if text.trim().is_empty() {
                    line.blank_inside.get_or_insert(here);
                    continue;
                }
                line.origins.push((line.text.len(), here));
                goes_on = line.push(text, self.directives.escape);
            }
            if line.text.trim().is_empty() {
                return Err(At::new(begin, Cause::NothingContinued));
            }
            return Ok(Some(line));
        }
        Ok(None)
    }

    /// The body of a heredoc, up to the line that closes it.
    pub(super) fn heredoc(&mut self, header: Header, opened: &Line) -> Result<Heredoc, At> {
        let mut content = String::new();
        while let Some(raw) = self.raw() {
            let text = match std::str::from_utf8(raw) {
                Ok(text) => text,
                Err(error) => return Err(self.not_utf8(raw, error)),
            };
            let line = text.trim_end_matches(['\r', '\n']);
            let line = if header.strip_tabs { line.trim_start_matches('\t') } else { line };
            if line == header.name {
                return Ok(Heredoc { name: header.name, expand: header.expand, strip_tabs: header.strip_tabs, content });
            }
            content.push_str(text);
        }
        self.lost = true;
        Err(opened.at(opened.text.find("<<").unwrap_or(0), Cause::HeredocUnclosed { name: header.name }))
    }

    /// The next line of the file with what ends it.
    fn raw(&mut self) -> Option<&'b [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number += 1;
        Some(line)
    }

    fn decoded(&mut self, raw: &'b [u8]) -> Result<&'b str, At> {
        match std::str::from_utf8(raw) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n'])),
            Err(error) => Err(self.not_utf8(raw, error)),
        }
    }

    fn not_utf8(&mut self, raw: &[u8], error: std::str::Utf8Error) -> At {
        self.lost = true;
        let column = String::from_utf8_lossy(&raw[..error.valid_up_to()]).chars().count() as u32 + 1;
        At::new(Place { line: self.number, column }, Cause::NotUtf8)
    }

    /// `# name=value` at the head of the file, before anything else.
    fn comment(&mut self, raw: &[u8]) -> Result<(), At> {
        if !std::mem::take(&mut self.at_head) {
            return Ok(());
        }
        let Some((name, value)) = std::str::from_utf8(raw).ok().and_then(directive) else { return Ok(()) };
        let place = Place { line: self.number, column: 1 };
        if !["syntax", "escape", "check"].contains(&name.as_str()) {
            return Ok(());
        }
        if self.seen.contains(&name) {
            return Err(At::new(place, Cause::DirectiveTwice { name }));
        }
        match (name.as_str(), value) {
            ("escape", "\\") => self.directives.escape = '\\',
            ("escape", "`") => self.directives.escape = '`',
            ("escape", value) => return Err(At::new(place, Cause::EscapeDirective { value: value.to_owned() })),
            ("syntax", value) => self.directives.syntax = Some(value.to_owned()),
            (_, value) => self.directives.check = Some(value.to_owned()),
        }
        self.seen.push(name);
        self.at_head = true;
        Ok(())
    }
}

impl Line {
    /// Takes in one line of the file, and says whether it goes on on the next: whether its last character but blanks is the
    /// escape character, and that is not escaped itself.
    fn push(&mut self, text: &str, escape: char) -> bool {
        let trimmed = text.trim_end_matches([' ', '\t']);
        let continued = trimmed.strip_suffix(escape).filter(|head| !head.ends_with(escape));
        self.text.push_str(continued.unwrap_or(text));
        continued.is_some()
    }
}

/// `# name = value`: the name in lower case, and the value without the blanks around it.
fn directive(comment: &str) -> Option<(String, &str)> {
    let (name, value) = comment.trim().strip_prefix('#')?.trim_start().split_once('=')?;
    let (name, value) = (name.trim_end(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

fn is_comment(raw: &[u8]) -> bool {
    raw.trim_ascii_start().first() == Some(&b'#')
}

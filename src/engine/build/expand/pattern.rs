//! The patterns in `${v#pattern}` and its kin: `*` is any text, `?` any character, `\` takes the meaning from `*`, `?`, `\`, `}`
//! and `/`. Matching takes time in proportion to the text, whatever the pattern.

use regex::Regex;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    #[error("the pattern {pattern:?} has a `\\` before {}, which may stand before `*`, `?`, `\\`, `}}` and `/` only",
        before.map_or("its end".to_owned(), |c| format!("`{c}`")))]
    Escape { pattern: String, before: Option<char> },
    #[error("the pattern {pattern:?} is too long")]
    TooLong { pattern: String },
}

enum Piece {
    Text,
    One,
    Char(char),
}

/// A pattern that was read, and not yet what it is to match.
pub(super) struct Pattern {
    text: String,
    pieces: Vec<Piece>,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' => Piece::Text,
                '?' => Piece::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Piece::Char(c),
                    before => return Err(PatternError::Escape { pattern: shown(text), before }),
                },
                c => Piece::Char(c),
            });
        }
        Ok(Self { text: shown(text), pieces })
    }

    /// The value without its shortest or longest beginning that matches.
    pub(super) fn strip_start<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str, PatternError> {
        let found = self.regex("^", longest, "")?.find(value);
        Ok(found.map_or(value, |found| &value[found.end()..]))
    }

    /// The value without its shortest or longest end that matches.
    pub(super) fn strip_end<'v>(&self, value: &'v str, longest: bool) -> Result<&'v str, PatternError> {
        // The more goes to the part before, the less is left for the end.
        let before = if longest { "^(.*?)" } else { "^(.*)" };
        let found = self.regex(before, true, "$")?.captures(value);
        Ok(found.and_then(|found| found.get(1)).map_or(value, |kept| &value[..kept.end()]))
    }

    /// The value with the first match, or all of them, replaced; `None` when that is longer than `most` bytes.
    pub(super) fn replace(&self, value: &str, with: &str, all: bool, most: usize) -> Result<Option<String>, PatternError> {
        let regex = self.regex("", true, "")?;
        let mut out = String::new();
        let mut from = 0;
        for found in regex.find_iter(value).take(if all { usize::MAX } else { 1 }) {
            out.push_str(&value[from..found.start()]);
            out.push_str(with);
            from = found.end();
            if out.len() > most {
                return Ok(None);
            }
        }
        out.push_str(&value[from..]);
        Ok((out.len() <= most).then_some(out))
    }

    fn regex(&self, before: &str, greedy: bool, after: &str) -> Result<Regex, PatternError> {
        let mut text = format!("(?s){before}");
        for piece in &self.pieces {
            match piece {
                Piece::Text => text.push_str(if greedy { ".*" } else { ".*?" }),
                Piece::One => text.push('.'),
                Piece::Char(c) => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        text.push_str(after);
        // What is built here is always well-formed, so only its size can be refused.
        Regex::new(&text).map_err(|_| PatternError::TooLong { pattern: self.text.clone() })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

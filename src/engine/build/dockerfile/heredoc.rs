//! Heredocs: `<<NAME`, `<<-NAME`, `<<"NAME"`, and what is done with their bodies.

use super::error::Cause;
use crate::engine::build::expand::shell_words;

/// What announces a heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
}

/// A heredoc and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Whether variables are replaced in it: no part of its name was in quotes.
    pub expand: bool,
    /// `<<-`: the tabs at the beginnings of its lines are not part of it.
    pub strip_tabs: bool,
    /// As it stands in the file, tabs and all.
    pub content: String,
}

impl Heredoc {
    /// Its content without the tabs that are not part of it.
    pub fn body(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The heredocs that a line announces, in their order.
pub(super) fn announced(line: &str) -> Result<Vec<Header>, Cause> {
    // A line that no shell would split, because a quote is not closed, is the shell's own business.
    let words = shell_words(line, true, true).unwrap_or_default();
    words.iter().filter_map(|word| header(word).transpose()).collect()
}

/// What a word announces, if it does: `[0-9]*<<-?NAME`.
pub(super) fn header(word: &str) -> Result<Option<Header>, Cause> {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<") else { return Ok(None) };
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let words = shell_words(rest, false, false).map_err(Cause::HeredocName)?;
    let raw = shell_words(rest, true, false).map_err(Cause::HeredocName)?;
    let ([name], [raw]) = (words.as_slice(), raw.as_slice()) else { return Ok(None) };
    // Where quotes were taken away, some part of the name was quoted.
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Header { name: name.clone(), expand: quotes(name) == quotes(raw), strip_tabs }))
}

/// The text with the heredocs that it announces, as a shell reads it.
pub(super) fn attached(text: &str, heredocs: &[Heredoc]) -> String {
    let mut whole = text.to_owned();
    for heredoc in heredocs {
        whole.push('\n');
        whole.push_str(&heredoc.content);
        whole.push_str(&heredoc.name);
    }
    whole
}

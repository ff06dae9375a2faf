//! Variables, quotes and escapes in the words of a Dockerfile: `$v`, `${v}`, `${v:-w}` and its kin, `${v#pattern}` and its kin,
//! `${v/pattern/replacement}`. Knows nothing of instructions; where values come from is the caller's.
//! Source: Dockerfile reference, "Environment replacement"; where that is silent, what BuildKit's shell lexer does.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

use pattern::Pattern;
pub use pattern::PatternError;

/// `${a:-${b:-…}}`, at most. Each level is one of this program's own stack.
const MAX_DEPTH: usize = 32;
/// What variables may add to a text, in bytes.
const MAX_GROWTH: usize = 1 << 20;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExpandError {
    #[error("a single quote is not closed")]
    SingleQuote,
    #[error("a double quote is not closed")]
    DoubleQuote,
    #[error("`${{` is not closed by `}}`")]
    Unclosed,
    #[error("`${{{name}/` has a pattern, and no second `/` after which its replacement stands")]
    NoReplacement { name: String },
    #[error("`{0}` stands where `${{…}}` has a variable's name")]
    Name(String),
    #[error("`{0}` is not what may follow a variable's name in `${{…}}`")]
    Modifier(String),
    #[error("the variable `{name}` is required: {message}")]
    Required { name: String, message: String },
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("variables are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("variables make more than {MAX_GROWTH} bytes of this")]
    TooLong,
}

impl ExpandError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::SingleQuote | Self::DoubleQuote => {
                "close it, or put the escape character before a quote that stands for itself".into()
            }
            Self::Unclosed | Self::Name(_) => "put the escape character before a `$` that stands for itself".into(),
            Self::Modifier(_) => "there are `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` and `//`".into(),
            Self::Required { name, .. } => format!("give it with `--build-arg {name}=…`, or set it with ARG or ENV above"),
            Self::NoReplacement { .. } => "write `${name/pattern/replacement}`, and `\\/` for a slash in the pattern".into(),
            Self::Pattern(_) | Self::TooDeep | Self::TooLong => return None,
        })
    }
}

/// What became of a text, and which variables in it have no value and nothing else in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded<T> {
    pub value: T,
    pub unset: BTreeSet<String>,
}

/// What is done with quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They keep words together and go.
    Remove,
    /// They keep words together and stay.
    Keep,
    /// They are letters as all others.
    Ordinary,
}

/// How texts are expanded: with which variables, and which character takes the meaning from the next.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    escape: char,
    variables: &'a dyn Fn(&str) -> Option<String>,
    quotes: Quotes,
    keep_escapes: bool,
    keep_unset: bool,
}

impl<'a> Expander<'a> {
    /// For the words of instructions. `escape` is that of the file's directive.
    pub fn new(escape: char, variables: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { escape, variables, quotes: Quotes::Remove, keep_escapes: false, keep_unset: false }
    }

    /// For the bodies of heredocs that are files: quotes mean nothing there, and the escape character is always `\`.
    pub fn of_documents(variables: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { quotes: Quotes::Ordinary, ..Self::new('\\', variables) }
    }

    /// The whole text as one word, blanks and all.
    pub fn word(&self, text: &str) -> Result<Expanded<String>, ExpandError> {
        self.run(text).map(|(pieces, unset)| Expanded { value: pieces.text, unset })
    }

    /// The words that the text has once its variables are replaced: a value with blanks makes several, where no quotes are
    /// around it.
    pub fn words(&self, text: &str) -> Result<Expanded<Vec<String>>, ExpandError> {
        self.run(text).map(|(pieces, unset)| Expanded { value: pieces.into_words(), unset })
    }

    fn run(&self, text: &str) -> Result<(Pieces, BTreeSet<String>), ExpandError> {
        let mut reader = Reader {
            how: self,
            chars: text.chars().peekable(),
            keep_escapes: self.keep_escapes,
            depth: 0,
            most: text.len() + MAX_GROWTH,
            unset: BTreeSet::new(),
        };
        let pieces = reader.until(None, self.keep_escapes)?;
        Ok((pieces, reader.unset))
    }
}

/// Splits as a shell would, without any variable: quotes, escapes and unset variables stay, or the first two go.
///
/// # Errors
/// When a quote or a brace is not closed.
pub(super) fn shell_words(text: &str, raw: bool, raw_escapes: bool) -> Result<Vec<String>, ExpandError> {
    let quotes = if raw { Quotes::Keep } else { Quotes::Remove };
    let how = Expander { quotes, keep_escapes: raw_escapes, keep_unset: true, ..Expander::new('\\', &nothing) };
    how.words(text).map(|words| words.value)
}

fn nothing(_: &str) -> Option<String> {
    None
}

/// A text and, at the same time, its words.
#[derive(Default)]
struct Pieces {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Pieces {
    /// Blanks end a word.
    fn bare(&mut self, c: char) {
        self.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Blanks are letters.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn into_words(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

struct Reader<'e> {
    how: &'e Expander<'e>,
    chars: Peekable<Chars<'e>>,
    keep_escapes: bool,
    depth: usize,
    most: usize,
    unset: BTreeSet<String>,
}

impl Reader<'_> {
    /// Reads to the end, or over the first `stop` that is not quoted.
    fn until(&mut self, stop: Option<char>, keep_escapes: bool) -> Result<Pieces, ExpandError> {
        if self.depth == MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let outer = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let pieces = self.pieces(stop);
        self.keep_escapes = outer;
        self.depth -= 1;
        pieces
    }

    fn pieces(&mut self, stop: Option<char>) -> Result<Pieces, ExpandError> {
        let mut out = Pieces::default();
        let quotes = self.how.quotes != Quotes::Ordinary;
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(out);
            }
            match c {
                '$' => self.dollar()?.chars().for_each(|c| out.bare(c)),
                '<' => out.quoted(&self.redirection()),
                '\'' if quotes => out.quoted(&self.single_quoted()?),
                '"' if quotes => out.quoted(&self.double_quoted()?),
                c => {
                    self.chars.next();
                    if c != self.how.escape {
                        out.bare(c);
                    } else {
                        // At the end of the text there is nothing to escape.
                        let escaped = self.chars.next();
                        let kept = self.keep_escapes.then_some(c);
                        out.quoted(&kept.into_iter().chain(escaped).collect::<String>());
                    }
                }
            }
            if out.text.len() > self.most {
                return Err(ExpandError::TooLong);
            }
        }
        if stop.is_some() { Err(ExpandError::Unclosed) } else { Ok(out) }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        let keep = self.how.quotes == Quotes::Keep;
        text.extend(self.chars.next().filter(|_| keep));
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::SingleQuote),
                Some('\'') => {
                    text.extend(keep.then_some('\''));
                    return Ok(text);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        let keep = self.how.quotes == Quotes::Keep;
        text.extend(self.chars.next().filter(|_| keep));
        loop {
            match self.chars.peek().copied() {
                None => return Err(ExpandError::DoubleQuote),
                Some('"') => {
                    self.chars.next();
                    text.extend(keep.then_some('"'));
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.how.escape => {
                    self.chars.next();
                    text.extend(self.keep_escapes.then_some(c));
                    // Before any other character the escape stands for itself.
                    match self.chars.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                            self.chars.next();
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => {
                    self.chars.next();
                    text.push(c);
                }
            }
            if text.len() > self.most {
                return Err(ExpandError::TooLong);
            }
        }
    }

    /// `<`, or `<<` with the blanks that may stand between it and the name of a heredoc.
    fn redirection(&mut self) -> String {
        let mut text = String::new();
        text.extend(self.chars.next());
        if let Some(second) = self.chars.next_if_eq(&'<') {
            text.push(second);
            while let Some(blank) = self.chars.next_if(|c| matches!(c, '\t' | '\r' | ' ')) {
                text.push(blank);
            }
        }
        text
    }

    /// What stands for a variable, from its `$` on.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() { "$".into() } else { self.plain(&name, |name| format!("${name}")) });
        }
        match self.chars.peek() {
            None => return Err(ExpandError::Unclosed),
            Some(c @ ('{' | '}' | ':')) => return Err(ExpandError::Name(c.to_string())),
            Some(_) => {}
        }
        let name = self.name();
        match self.chars.next() {
            None => Err(ExpandError::Unclosed),
            Some('}') => Ok(self.plain(&name, |name| format!("${{{name}}}"))),
            Some(':') => match self.chars.next() {
                None => Err(ExpandError::Unclosed),
                Some(c @ ('-' | '+' | '?')) => self.alternative(&name, c, true),
                Some(c) => Err(ExpandError::Modifier(format!(":{c}"))),
            },
            Some(c @ ('-' | '+' | '?')) => self.alternative(&name, c, false),
            Some(c @ ('#' | '%')) => self.stripped(&name, c),
            Some('/') => self.replaced(&name),
            Some(c) if name.is_empty() => Err(ExpandError::Name(c.to_string())),
            Some(c) => Err(ExpandError::Modifier(c.to_string())),
        }
    }

    /// Letters, digits and `_`; or digits only; or one of the shell's special parameters, which are never set.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek().copied() {
            Some(c) if c.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(digit);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.chars.next()),
            _ => {
                while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(c);
                }
            }
        }
        name
    }

    fn plain(&mut self, name: &str, unset: impl Fn(&str) -> String) -> String {
        match (self.how.variables)(name) {
            Some(value) => value,
            None if self.how.keep_unset => unset(name),
            None => {
                self.unset.insert(name.to_owned());
                String::new()
            }
        }
    }

    /// `${name-word}`, `${name+word}`, `${name?message}`; with a colon, an empty value is as none.
    fn alternative(&mut self, name: &str, modifier: char, empty_is_unset: bool) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), false)?.text;
        let value = (self.how.variables)(name);
        if value.is_none() && self.how.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let unset = value.is_none();
        match (modifier, value.filter(|value| !(empty_is_unset && value.is_empty()))) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(if value.is_some() { word } else { String::new() }),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let usual = if unset { "it is not set" } else { "it is empty" };
                let message = if word.is_empty() { usual.to_owned() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    /// `${name#pattern}` and `${name%pattern}`: the value without its shortest beginning or end of that form; doubled, the longest.
    fn stripped(&mut self, name: &str, end: char) -> Result<String, ExpandError> {
        let word = self.until(Some('}'), true)?.text;
        let value = (self.how.variables)(name);
        if value.is_none() && self.how.keep_unset {
            return Ok(format!("${{{name}{end}{word}}}"));
        }
        let (longest, pattern) = match word.strip_prefix(end) {
            Some(rest) => (true, Pattern::parse(rest)?),
            None => (false, Pattern::parse(&word)?),
        };
        let Some(value) = value else {
            self.unset.insert(name.to_owned());
            return Ok(String::new());
        };
        let stripped = if end == '#' { pattern.strip_start(&value, longest) } else { pattern.strip_end(&value, longest) };
        Ok(stripped?.to_owned())
    }

    /// `${name/pattern/replacement}`: the first part of that form; with two slashes, all.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true).map_err(|error| match error {
            ExpandError::Unclosed => ExpandError::NoReplacement { name: name.to_owned() },
            other => other,
        })?;
        let replacement = self.until(Some('}'), true)?.text;
        let value = (self.how.variables)(name);
        if value.is_none() && self.how.keep_unset {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{}/{replacement}}}", pattern.text));
        }
        let pattern = Pattern::parse(&pattern.text)?;
        let Some(value) = value else {
            self.unset.insert(name.to_owned());
            return Ok(String::new());
        };
        pattern.replace(&value, &replacement, all, self.most)?.ok_or(ExpandError::TooLong)
    }
}

//! One pattern of paths: `*` and `?` within a name, `[a-z]`, `\` before what stands for itself, and, where asked for, `**` over
//! folders. Matching takes time in proportion to the path.
//! Source: Go's `path/filepath.Match` for the grammar; moby's patternmatcher for `**`.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GlobError {
    #[error("{pattern:?}: `[` is not closed by `]`, or nothing stands between them")]
    Class { pattern: String },
    #[error("{pattern:?}: in `[…]` the range `{from}-{to}` ends before it begins")]
    Range { pattern: String, from: char, to: char },
    #[error("{pattern:?} ends in `\\`, and nothing stands after it")]
    Escape { pattern: String },
    #[error("{pattern:?} is too long for a pattern")]
    TooLong { pattern: String },
}

/// What `**` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stars {
    /// Any folders, or none.
    Folders,
    /// The same as `*`.
    One,
}

/// A pattern that is well-formed.
#[derive(Clone, Debug)]
pub(super) enum Glob {
    Literal(String),
    Regex(Regex),
}

impl Glob {
    pub(super) fn parse(pattern: &str, stars: Stars) -> Result<Self, GlobError> {
        // moby: `**` before an ordinary text is any text that ends so, not only one that begins a name.
        if stars == Stars::Folders
            && let Some(end) = pattern.strip_prefix("**")
            && !end.is_empty()
            && !end.starts_with('/')
            && !end.contains(['*', '?', '[', ']', '\\'])
        {
            return compiled(pattern, &format!(".*{}", regex::escape(end)));
        }
        let mut parser = Parser { pattern, chars: pattern.chars().peekable() };
        let mut expression = String::new();
        let mut literal = Some(String::new());
        while let Some(c) = parser.chars.next() {
            let same = match c {
                '*' => {
                    expression.push_str(if stars == Stars::Folders && parser.chars.next_if_eq(&'*').is_some() {
                        parser.chars.next_if_eq(&'/');
                        if parser.chars.peek().is_none() { ".*" } else { "(?:.*/)?" }
                    } else {
                        "[^/]*"
                    });
                    None
                }
                '?' => {
                    expression.push_str("[^/]");
                    None
                }
                '[' => {
                    expression.push_str(&parser.class()?);
                    None
                }
                '\\' => Some(parser.chars.next().ok_or_else(|| GlobError::Escape { pattern: shown(pattern) })?),
                c => Some(c),
            };
            match same {
                Some(c) => {
                    expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                    if let Some(literal) = &mut literal {
                        literal.push(c);
                    }
                }
                None => literal = None,
            }
        }
        match literal {
            Some(literal) => Ok(Self::Literal(literal)),
            None => compiled(pattern, &expression),
        }
    }

    /// Whether the whole of `path` matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == path,
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

fn compiled(pattern: &str, expression: &str) -> Result<Glob, GlobError> {
    let regex = Regex::new(&format!("(?s)^(?:{expression})$"));
    // What is built here is always well-formed, so only its size can be refused.
    regex.map(Glob::Regex).map_err(|_| GlobError::TooLong { pattern: shown(pattern) })
}

struct Parser<'p> {
    pattern: &'p str,
    chars: Peekable<Chars<'p>>,
}

impl Parser<'_> {
    /// `[abc]`, `[a-z]`, `[^x]`, after its `[`.
    fn class(&mut self) -> Result<String, GlobError> {
        let mut class = String::from("[");
        if self.chars.next_if_eq(&'^').is_some() {
            class.push('^');
        }
        let mut empty = true;
        while empty || self.chars.next_if_eq(&']').is_none() {
            empty = false;
            let from = self.member()?;
            let to = if self.chars.next_if_eq(&'-').is_some() { self.member()? } else { from };
            if to < from {
                return Err(GlobError::Range { pattern: shown(self.pattern), from, to });
            }
            class.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(from), u32::from(to)));
        }
        class.push(']');
        Ok(class)
    }

    fn member(&mut self) -> Result<char, GlobError> {
        let c = match self.chars.next() {
            Some('\\') => self.chars.next(),
            Some('-' | ']') | None => None,
            other => other,
        };
        c.ok_or_else(|| GlobError::Class { pattern: shown(self.pattern) })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The shortest path of the same meaning, by its letters alone: no `.`, no doubled `/`, no `x/..`. An empty one is `.`.
pub(super) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("./a//b/", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../../a", "../../a"),
            ("/../a/./b/..", "/a"),
            ("//", "/"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn within_names() {
        for (pattern, path, matches) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("a/*/c", "a/b/c", true),
            ("a?", "aß", true),
            ("a?", "a/", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            (r"[\]\-]", "-", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a.b", "axb", false),
            ("a**b", "axyb", true),
            ("**/b", "a/b", true),
            ("**/b", "a/c/b", false),
            ("x(y)+{z}|$^", "x(y)+{z}|$^", true),
            ("*\u{1F600}", "a\u{1F600}", true),
        ] {
            assert_eq!(Glob::parse(pattern, Stars::One).unwrap().matches(path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn over_folders() {
        for (pattern, path, matches) in [
            ("**", "a/b/c", true),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("**/c", "xc", false),
            ("**c", "a/bc", true),
            ("**c*", "a/bc", false),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a/**/*.txt", "a/x/y.txt", true),
            ("***", "a/b", true),
        ] {
            assert_eq!(Glob::parse(pattern, Stars::Folders).unwrap().matches(path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_not_a_pattern_is_refused() {
        for bad in ["[", "[]", "[^]", "[]a]", "[-]", "[a-]", "[a-b-c]", "[z-a]", "a\\", "[\\"] {
            assert!(Glob::parse(bad, Stars::One).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(pattern in "[a*?/\\\\\\]\\[^ö.-]{0,20}", path in "[a/ö.-]{0,12}") {
            for stars in [Stars::One, Stars::Folders] {
                if let Ok(glob) = Glob::parse(&pattern, stars) {
                    glob.matches(&path);
                }
            }
            assert_eq!(clean(&clean(&path)), clean(&path));
        }
    }
}

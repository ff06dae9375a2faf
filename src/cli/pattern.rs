//! Patterns that filters have: those of file names, for image references, and regular expressions, for names.

use regex::Regex;

/// A pattern as of file names: `*` and `?` stand for what has no `/`, `[a-z]` for one of several, `\` takes what follows as it
/// is.
#[derive(Clone, Debug)]
pub struct Glob(Regex);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPattern {
    #[error("{text:?} is not a pattern: {why}")]
    Glob { text: String, why: &'static str },
    #[error("{text:?} is not a regular expression")]
    Expression { text: String },
}

impl Glob {
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        let wrong = |why| InvalidPattern::Glob { text: text.to_owned(), why };
        let mut expression = String::from("^(?s:");
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '*' => expression.push_str("[^/]*"),
                '?' => expression.push_str("[^/]"),
                '\\' => expression.push_str(&regex::escape(&rest.next().ok_or_else(|| wrong("it ends with `\\`"))?.to_string())),
                '[' => {
                    let inner: String = rest.by_ref().take_while(|c| *c != ']').collect();
                    if rest.as_str().len() + inner.len() == 0 || inner.is_empty() || inner == "^" {
                        return Err(wrong("`[` names no characters"));
                    }
                    let (not, inner) = inner.strip_prefix('^').map_or(("", inner.as_str()), |inner| ("^/", inner));
                    let quoted = inner.replace('\\', r"\\").replace('[', r"\[").replace('&', r"\&").replace('~', r"\~");
                    expression.push_str(&format!("[{not}{quoted}]"));
                }
                c => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
            }
        }
        expression.push_str(")$");
        Regex::new(&expression).map(Self).map_err(|_| wrong("a range in `[…]` is not one"))
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// What a filter by name says: a regular expression that is found anywhere, so that a part of a name is enough.
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        Regex::new(text).map(Self).map_err(|_| InvalidPattern::Expression { text: text.to_owned() })
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_keep_to_their_folder() {
        for (pattern, yes, no) in [
            ("nginx", &["nginx"][..], &["nginx:1", "xnginx"][..]),
            ("nginx*", &["nginx", "nginx:1.27"], &["nginx/a"]),
            ("*/*", &["a/b"], &["a", "a/b/c"]),
            ("a?", &["ab"], &["a", "a/", "abc"]),
            ("v[0-9]", &["v1"], &["va", "v"]),
            ("v[^0-9]", &["va"], &["v1", "v/"]),
            ("a\\*", &["a*"], &["ab"]),
            ("a.b", &["a.b"], &["axb"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert!(yes.iter().all(|text| glob.matches(text)), "{pattern}");
            assert!(!no.iter().any(|text| glob.matches(text)), "{pattern}");
        }
        for bad in ["a\\", "[", "[]", "a[z-a]"] {
            assert!(Glob::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_of_a_name_is_enough() {
        let matches = |pattern: &str, name: &str| NamePattern::new(pattern).unwrap().matches(name);
        assert!(matches("we", "web") && matches("^web$", "web") && matches("web|db", "db") && !matches("^eb", "web"));
        assert!(NamePattern::new("(").is_err());
    }
}

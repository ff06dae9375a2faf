//! YAML as people write it: blocks, two spaces, quotes only where they are needed. Values are escaped as manifests want it, where
//! `$` begins a variable. Knows nothing of manifests beyond that.

use crate::manifest::tree::{Scalar, ScalarKind, Style};

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Yaml {
    Text(String),
    Bool(bool),
    Integer(i64),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

/// A list of short words is written in one line up to this length, in characters.
const LINE: usize = 90;

impl Yaml {
    pub(super) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    pub(super) fn texts<T: ToString>(all: impl IntoIterator<Item = T>) -> Self {
        Self::List(all.into_iter().map(|item| Self::text(item)).collect())
    }

    pub(super) fn pairs<K: ToString, V: ToString>(all: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(all.into_iter().map(|(key, value)| (key.to_string(), Self::text(value))).collect())
    }

    /// A document, with a line break at its end.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.block(0, &mut out);
        out
    }

    fn block(&self, indent: usize, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    out.push_str(&" ".repeat(indent));
                    out.push_str(&key_text(key));
                    out.push(':');
                    value.after_key(indent, out);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    out.push_str(&" ".repeat(indent));
                    out.push('-');
                    item.after_dash(indent, out);
                }
            }
            other => {
                out.push_str(&" ".repeat(indent));
                out.push_str(&other.flow());
                out.push('\n');
            }
        }
    }

    fn after_key(&self, indent: usize, out: &mut String) {
        match self {
            Self::Text(text) if is_block(text) => literal(text, indent + 2, out),
            Self::Map(entries) if !entries.is_empty() => {
                out.push('\n');
                self.block(indent + 2, out);
            }
            Self::List(items) if !items.is_empty() => {
                let line = self.flow();
                if items.iter().all(|item| !matches!(item, Self::Map(_) | Self::List(_))) && line.chars().count() <= LINE {
                    out.push(' ');
                    out.push_str(&line);
                    out.push('\n');
                } else {
                    out.push('\n');
                    self.block(indent + 2, out);
                }
            }
            other => {
                out.push(' ');
                out.push_str(&other.flow());
                out.push('\n');
            }
        }
    }

    fn after_dash(&self, indent: usize, out: &mut String) {
        match self {
            Self::Text(text) if is_block(text) => literal(text, indent + 2, out),
            Self::Map(entries) if !entries.is_empty() => {
                // The first key stands behind the dash, and the others below it.
                let mut inner = String::new();
                self.block(indent + 2, &mut inner);
                out.push_str(&inner[indent + 1..]);
            }
            other => {
                out.push(' ');
                out.push_str(&other.flow());
                out.push('\n');
            }
        }
    }

    /// In one line.
    fn flow(&self) -> String {
        match self {
            Self::Text(text) => value_text(text),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
            Self::Map(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", key_text(key), value.flow())).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

/// Whether a text may be a literal block: whole lines that begin and end visibly.
fn is_block(text: &str) -> bool {
    let visible = |c: char| c == '\n' || !(c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'));
    text.len() > 1
        && text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.chars().all(visible)
        && text.lines().all(|line| line.trim_end() == line)
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push_str(" |\n");
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(&line.replace('$', "$$"));
        }
        out.push('\n');
    }
}

fn value_text(text: &str) -> String {
    let escaped = text.replace('$', "$$");
    if is_plain(text) { escaped } else { quoted(&escaped) }
}

/// Variables are not put into keys.
fn key_text(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Whether a text is read as it is, and as a text, by readers of YAML old and new.
fn is_plain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./@+=,:-$".contains(c);
    let Some(first) = text.chars().next() else { return false };
    let scalar = Scalar { text: text.to_owned(), style: Style::Plain };
    let old = ["y", "n", "yes", "no", "on", "off", "null", "true", "false"];
    (first.is_ascii_alphabetic() || matches!(first, '/' | '_') || (first.is_ascii_digit() && !text.contains([':', '_'])))
        && text.chars().all(inner)
        // In a list on one line a comma ends an item.
        && !text.contains(',')
        && !text.ends_with(':')
        && scalar.kind() == ScalarKind::Text
        && text.parse::<f64>().is_err()
        && !old.contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_it() {
        let value = Yaml::Map(vec![
            ("name".into(), Yaml::text("web-1")),
            ("args".into(), Yaml::texts(["a", "-b", "c d", "yes", "5", "$HOME", "8080:80", ""])),
            ("text".into(), Yaml::text("one\n\n  two $x\n")),
            ("hard".into(), Yaml::text(" a\t\u{1}\"\\\n")),
            ("list".into(), Yaml::List(vec![Yaml::Map(vec![("a".into(), Yaml::Bool(true)), ("b: ".into(), Yaml::Integer(-1))])])),
            ("none".into(), Yaml::Map(vec![])),
        ]);
        let wanted = "name: web-1\nargs: [a, \"-b\", \"c d\", \"yes\", \"5\", \"$$HOME\", \"8080:80\", \"\"]\ntext: |\n  one\n\n    two $$x\n\
                      hard: \" a\\t\\u0001\\\"\\\\\\n\"\nlist:\n  - a: true\n    \"b: \": -1\nnone: {}\n";
        assert_eq!(value.document(), wanted);
    }
}

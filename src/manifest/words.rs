//! Two small grammars: a command line split into words as a shell would, and files of variables (`.env`, `env_file`).
//! Knows nothing of manifests.

use std::collections::BTreeMap;

/// Splits as a POSIX shell does: blanks, quotes and backslashes; no expansions.
///
/// # Errors
/// When a quote is not closed or the text ends in a backslash.
pub(super) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a single quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a double quote is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a double quote is not closed"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("it ends in a backslash"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads lines `NAME=value`, `export NAME=value` and comments. Values may be quoted; unquoted ones end at ` #`. Variables
/// in values are replaced by `expand`, except within single quotes.
///
/// # Errors
/// The number of the line that is not of that form, and why.
pub(super) fn variables(
    text: &str,
    mut expand: impl FnMut(&str, &BTreeMap<String, String>) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let Some((name, value)) = line.split_once('=') else {
            return Err((number, "expected NAME=value".to_owned()));
        };
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err((number, format!("{name:?} is not the name of a variable")));
        }
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut body = value[1..].to_owned();
                // A quoted value may go on over several lines.
                let end = loop {
                    if let Some(end) = closing(&body, quote) {
                        break end;
                    }
                    let Some((_, next)) = lines.next() else { return Err((number, "the quote is not closed".to_owned())) };
                    body.push('\n');
                    body.push_str(next);
                };
                let after = body[end + 1..].trim();
                if !after.is_empty() && !after.starts_with('#') {
                    return Err((number, "only a comment may follow the closing quote".to_owned()));
                }
                let inner = &body[..end];
                if quote == '\'' { inner.to_owned() } else { expand(&unescape(inner), &found).map_err(|e| (number, e))? }
            }
            _ => {
                let end = value.find(" #").unwrap_or(value.len());
                expand(value[..end].trim_end(), &found).map_err(|e| (number, e))?
            }
        };
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            return Some(at);
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            // Left for the expansion of variables, in its own spelling.
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, words) in [
            ("", &[][..]),
            ("  a  b ", &["a", "b"]),
            ("sh -c 'echo  $X; exit 1'", &["sh", "-c", "echo  $X; exit 1"]),
            (r#"a"b c"'d e'f"#, &["ab cd ef"]),
            (r#""\"\\\n""#, &[r#""\\n"#]),
            (r"a\ b", &["a b"]),
            ("''", &[""]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for bad in ["'", "\"", "a\\", "\"\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variable_files() {
        let text = "# c\nA=1\nexport B = two words # c\nC='$A'\nD=\"x\\n$A\"\nE=\nF=\"a\nb\"\nG=\"\\$A\"\nH=a#b\n";
        let found = variables(text, |value, known| {
            super::super::interpolate::expand(value, known, &mut Vec::new()).map_err(|e| e.to_string())
        });
        let found = found.unwrap();
        let get = |name: &str| found[name].as_str();
        assert_eq!(["A", "B", "C", "D", "E", "F", "G", "H"].map(get), ["1", "two words", "$A", "x\n1", "", "a\nb", "$A", "a#b"]);
        assert_eq!(variables("A=1\nB\n", |v, _| Ok(v.into())).unwrap_err().0, 2);
        assert_eq!(variables("A='x\n", |v, _| Ok(v.into())).unwrap_err().0, 1);
        assert_eq!(variables("a b=1\n", |v, _| Ok(v.into())).unwrap_err().0, 1);
    }
}

//! Variables in values: `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${VAR:+replacement}`, and `$$` for a
//! dollar sign. Replaced in all values of a tree, never in keys.
//! Source: Compose Specification, "Interpolation".

use std::collections::BTreeMap;

use super::problem::Problems;
use super::tree::{Node, Style, Value};

/// Defaults within defaults, at most.
const MAX_DEPTH: usize = 16;
/// What a variable may make of one value.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum InterpolationError {
    #[error("`${{` is not closed")]
    Unclosed,
    #[error("`{0}` is not the name of a variable")]
    Name(String),
    #[error("`{0}` does not follow a variable's name in `${{…}}`")]
    Operator(String),
    #[error("the variable `{name}` is required{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Required { name: String, message: String },
    #[error("defaults are nested too deep")]
    TooDeep,
    #[error("the value becomes longer than {MAX_BYTES} bytes")]
    TooLong,
}

impl InterpolationError {
    fn hint(&self) -> String {
        match self {
            Self::Required { name, .. } => format!("set `{name}` in the environment or in a file `.env` beside the manifest"),
            _ => "write `$$` for a dollar sign that stands for itself".to_owned(),
        }
    }
}

/// Replaces the variables in every value below `node`. A variable that is not set becomes empty, with a warning.
pub(super) fn interpolate(node: &mut Node, variables: &BTreeMap<String, String>, problems: &mut Problems) {
    match &mut node.value {
        Value::Null => {}
        Value::Scalar(scalar) => {
            if !scalar.text.contains('$') {
                return;
            }
            let mut unset = Vec::new();
            match expand(&scalar.text, variables, &mut unset) {
                Ok(text) => {
                    scalar.text = text;
                    scalar.style = Style::Interpolated;
                }
                Err(error) => problems.spoil(node.at, error.to_string(), error.hint()),
            }
            for name in unset {
                let hint = format!("set it, or write `${{{name}:-}}` if that is what you want");
                problems.warn(node.at, format!("the variable `{name}` is not set: nothing is put in its place"), Some(hint));
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| interpolate(item, variables, problems)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| interpolate(value, variables, problems)),
        Value::Marked(_, inner) => interpolate(inner, variables, problems),
    }
}

/// `text` with its variables replaced. The names of those that are not set and have no default go to `unset`.
pub(super) fn expand(
    text: &str,
    variables: &BTreeMap<String, String>,
    unset: &mut Vec<String>,
) -> Result<String, InterpolationError> {
    let mut expansion = Expansion { variables, unset };
    let (value, _) = expansion.until(text, false, 0)?;
    Ok(value)
}

struct Expansion<'a> {
    variables: &'a BTreeMap<String, String>,
    unset: &'a mut Vec<String>,
}

impl Expansion<'_> {
    /// Expands `text` to its end or, when `closed`, to the `}` that closes it. Gives what follows that.
    fn until<'t>(&mut self, text: &'t str, closed: bool, depth: usize) -> Result<(String, &'t str), InterpolationError> {
        if depth > MAX_DEPTH {
            return Err(InterpolationError::TooDeep);
        }
        let mut out = String::new();
        let mut rest = text;
        loop {
            let stop = rest.find(|c| c == '$' || closed && c == '}').unwrap_or(rest.len());
            out.push_str(&rest[..stop]);
            rest = &rest[stop..];
            if out.len() > MAX_BYTES {
                return Err(InterpolationError::TooLong);
            }
            if rest.is_empty() {
                return if closed { Err(InterpolationError::Unclosed) } else { Ok((out, rest)) };
            }
            if let Some(after) = rest.strip_prefix('}') {
                return Ok((out, after));
            }
            if let Some(after) = rest.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let (value, after) = self.braced(after, depth)?;
                out.push_str(&value);
                rest = after;
            } else {
                let name = name_at(&rest[1..]);
                if name.is_empty() {
                    let shown: String = rest.chars().skip(1).take(1).collect();
                    return Err(InterpolationError::Name(shown));
                }
                out.push_str(&self.plain(name));
                rest = &rest[1 + name.len()..];
            }
        }
    }

    /// What follows `${`: a name, and perhaps an operator with its word.
    fn braced<'t>(&mut self, text: &'t str, depth: usize) -> Result<(String, &'t str), InterpolationError> {
        let name = name_at(text);
        let after = &text[name.len()..];
        if name.is_empty() {
            let end = text.find('}').ok_or(InterpolationError::Unclosed)?;
            return Err(InterpolationError::Name(text[..end].to_owned()));
        }
        if let Some(after) = after.strip_prefix('}') {
            return Ok((self.plain(name), after));
        }
        let (colon, operator) = match after.strip_prefix(':') {
            Some(operator) => (true, operator),
            None => (false, after),
        };
        let Some(sign) = operator.chars().next() else { return Err(InterpolationError::Unclosed) };
        if !matches!(sign, '-' | '?' | '+') {
            return Err(InterpolationError::Operator(after.chars().take(2).collect()));
        }
        // With a colon, an empty value counts as none.
        let value = self.variables.get(name).filter(|value| !(colon && value.is_empty())).cloned();
        let used = match sign {
            '+' => value.is_some(),
            _ => value.is_none(),
        };
        // A word that is not used is read all the same, but what is unset in it does not matter.
        let known = self.unset.len();
        let word = self.until(&operator[1..], true, depth + 1);
        let (word, after) = if used {
            word?
        } else {
            self.unset.truncate(known);
            match word {
                Ok(word) => word,
                Err(InterpolationError::Required { .. }) => (String::new(), close(&operator[1..])?),
                Err(error) => return Err(error),
            }
        };
        match sign {
            '-' => Ok((value.unwrap_or(word), after)),
            '+' => Ok((if value.is_some() { word } else { String::new() }, after)),
            _ => match value {
                Some(value) => Ok((value, after)),
                None => Err(InterpolationError::Required { name: name.to_owned(), message: word }),
            },
        }
    }

    fn plain(&mut self, name: &str) -> String {
        match self.variables.get(name) {
            Some(value) => value.clone(),
            None => {
                self.unset.push(name.to_owned());
                String::new()
            }
        }
    }
}

/// What follows the `}` that closes `text`.
fn close(text: &str) -> Result<&str, InterpolationError> {
    let mut depth = 0usize;
    let mut rest = text;
    while let Some(at) = rest.find(['$', '}']) {
        if let Some(after) = rest[at..].strip_prefix("$$") {
            rest = after;
        } else if let Some(after) = rest[at..].strip_prefix("${") {
            depth += 1;
            rest = after;
        } else if rest[at..].starts_with('}') {
            rest = &rest[at + 1..];
            if depth == 0 {
                return Ok(rest);
            }
            depth -= 1;
        } else {
            rest = &rest[at + 1..];
        }
    }
    Err(InterpolationError::Unclosed)
}

/// The name that `text` begins with; empty when it begins with none.
fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str) -> Result<String, String> {
        let variables = [("A", "a"), ("E", ""), ("LONG_1", "x y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        expand(text, &variables, &mut Vec::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn forms() {
        for (text, value) in [
            ("", ""),
            ("plain }", "plain }"),
            ("$A", "a"),
            ("${A}b", "ab"),
            ("$A-$LONG_1.", "a-x y."),
            ("$$A $${A}", "$A ${A}"),
            ("[$U]", "[]"),
            ("${U:-d}", "d"),
            ("${E:-d}", "d"),
            ("${E-d}", ""),
            ("${U-d}", "d"),
            ("${A:-d}", "a"),
            ("${U:-${A}}", "a"),
            ("${U:-${V:-x}}}", "x}"),
            ("${U:-a $$ b}", "a $ b"),
            ("${A:+yes}", "yes"),
            ("${E:+yes}", ""),
            ("${E+yes}", "yes"),
            ("${U+yes}", ""),
            ("${A:?no}", "a"),
            ("${E?no}", ""),
            ("${A:-${U:?never}}!", "a!"),
            ("${U:-}", ""),
        ] {
            assert_eq!(get(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn errors() {
        assert_eq!(get("${U:?set it}").unwrap_err(), "the variable `U` is required: set it");
        assert_eq!(get("${E:?}").unwrap_err(), "the variable `E` is required");
        for bad in ["${", "${A", "${A:-", "${}", "$", "${1}", "$1", "a$ b", "${A!b}", "${A:b}"] {
            assert!(get(bad).is_err(), "{bad}");
        }
        assert!(get(&"${U:-".repeat(10_000)).is_err());
    }

    #[test]
    fn unset_variables_are_named() {
        let mut unset = Vec::new();
        expand("$X ${Y} ${Z:-} ${W:+$V}", &BTreeMap::new(), &mut unset).unwrap();
        assert_eq!(unset, ["X", "Y"]);
    }
}

//! Values of a tree as what a field wants: strings, numbers, lists, mappings with known fields. What does not fit is
//! reported at its place, and reading goes on.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::fields::{Table, WITHOUT_EFFECT};
use super::problem::{Place, Problems, did_you_mean};
use super::tree::{Key, Node, ScalarKind, Style, Value};

/// Where reading happens: what paths are relative to, the variables, and where problems go.
pub(super) struct Reader<'a> {
    pub(super) problems: &'a mut Problems,
    /// The folder of the file that is read. Absolute.
    pub(super) base: PathBuf,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// Files beside the manifests that were read.
    pub(super) watched: &'a mut Vec<PathBuf>,
}

/// A mapping whose keys were checked against a table.
pub(super) struct Fields<'n> {
    pub(super) at: Place,
    table: &'static Table,
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// The field's value; `None` when it is absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(self.table.has(name), "{name} is not in the table of {}", self.table.what);
        let (_, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        if matches!(node.value, Value::Null) { None } else { Some(node) }
    }

    /// Where the field's name stands.
    pub(super) fn place(&self, name: &str) -> Place {
        self.entries.iter().find(|(key, _)| key.text == name).map_or(self.at, |(key, _)| key.at)
    }
}

impl Reader<'_> {
    pub(super) fn error(&mut self, at: Place, message: impl Into<String>) {
        self.problems.error(at, message);
    }

    pub(super) fn error_hint(&mut self, at: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.error_hint(at, message, hint);
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let message = format!("expected {wanted}, found {}", node.describe());
        match &node.value {
            Value::Scalar(scalar) if scalar.style == Style::Plain && scalar.kind() != ScalarKind::Text => {
                self.error_hint(node.at, message, format!("write it in quotes: \"{}\"", scalar.text));
            }
            Value::Scalar(scalar) if wanted == "a boolean" => match scalar.text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => self.error_hint(node.at, message, "write `true`"),
                "no" | "off" | "n" | "false" => self.error_hint(node.at, message, "write `false`"),
                _ => self.error_hint(node.at, message, "write `true` or `false`"),
            },
            _ => self.error(node.at, message),
        }
    }

    /// A mapping with the table's fields: all others are errors, as are required ones that are absent.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, table: &'static Table) -> Option<Fields<'n>> {
        let entries = self.map(node)?;
        let mut accepted = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if table.has(&key.text) {
                accepted.push((key, value));
            } else if let Some((.., why)) = WITHOUT_EFFECT.iter().find(|(what, name, _)| *what == table.what && *name == key.text)
            {
                let hint = Some(format!("remove it: {why}"));
                self.problems.warn(key.at, format!("`{}` is without effect", key.text), hint);
            } else if let Some((_, hint)) = table.unsupported.iter().find(|(name, _)| *name == key.text) {
                self.error_hint(key.at, format!("`{}` is not supported", key.text), *hint);
            } else if !key.text.starts_with("x-") && !key.text.is_empty() && !self.problems.full() {
                let known = table.fields.iter().map(|field| field.name);
                let hint = did_you_mean(&key.text, known.clone()).unwrap_or_else(|| match table.fields.len() {
                    0 => "it has no fields".to_owned(),
                    1..13 => format!("the fields are {}", known.collect::<Vec<_>>().join(", ")),
                    _ => "the schema in `schemas/` lists all fields".to_owned(),
                });
                self.error_hint(key.at, format!("{} has no field `{}`", table.what, key.text), hint);
            }
        }
        let fields = Fields { at: node.at, table, entries: accepted };
        for field in table.fields.iter().filter(|field| field.required) {
            if fields.get(field.name).is_none() {
                let at = fields.place(field.name);
                self.error_hint(at, format!("{} needs the field `{}`", table.what, field.name), field.about);
            }
        }
        Some(fields)
    }

    /// A mapping with names of the user's own.
    pub(super) fn map<'n>(&mut self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(node, "a mapping");
                None
            }
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.wrong_type(node, "a list");
                &[]
            }
        }
    }

    /// A string; a number or a boolean must be in quotes, because its spelling might not survive otherwise.
    pub(super) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => self.clean(node, &scalar.text),
            _ => {
                self.wrong_type(node, "a string");
                None
            }
        }
    }

    /// A string, or a number as it is spelled.
    pub(super) fn word<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() != ScalarKind::Bool => self.clean(node, &scalar.text),
            _ => {
                self.wrong_type(node, "a string or a number");
                None
            }
        }
    }

    /// Any scalar as it is spelled.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) => self.clean(node, &scalar.text),
            _ => {
                self.wrong_type(node, "a string, a number or a boolean");
                None
            }
        }
    }

    /// No string that reaches the kernel may have a zero byte.
    fn clean<'n>(&mut self, node: &'n Node, text: &'n str) -> Option<&'n str> {
        if text.contains('\0') {
            self.error(node.at, "a zero byte cannot stand in a value");
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        if let Value::Scalar(scalar) = &node.value
            && (scalar.kind() == ScalarKind::Bool || scalar.style != Style::Plain)
        {
            // In quotes too: what other programs write need not know better.
            match scalar.text.to_ascii_lowercase().as_str() {
                "true" => return Some(true),
                "false" => return Some(false),
                _ => {}
            }
        }
        self.wrong_type(node, "a boolean");
        None
    }

    /// A whole number.
    pub(super) fn integer(&mut self, node: &Node) -> Option<i64> {
        if let Value::Scalar(scalar) = &node.value
            && (scalar.kind() == ScalarKind::Number || scalar.style != Style::Plain)
            && let Ok(number) = scalar.text.parse()
        {
            return Some(number);
        }
        let message = format!("expected a whole number, found {}", node.describe());
        self.error(node.at, message);
        None
    }

    /// A string or number in the spelling of a type of the model.
    pub(super) fn parse<T: FromStr<Err: Display>>(&mut self, node: &Node) -> Option<T> {
        let text = self.word(node)?;
        self.parse_text(node.at, text)
    }

    pub(super) fn parse_text<T: FromStr<Err: Display>>(&mut self, at: Place, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(at, error.to_string());
                None
            }
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let hint = did_you_mean(text, names.iter().copied()).unwrap_or_else(|| format!("expected {}", names.join(", ")));
        self.error_hint(node.at, format!("`{text}` is not possible here"), hint);
        None
    }

    /// Permissions in octal.
    pub(super) fn mode(&mut self, node: &Node) -> Option<u32> {
        let text = self.word(node)?;
        let digits = text.strip_prefix("0o").unwrap_or(text);
        match u32::from_str_radix(digits, 8) {
            Ok(mode) if mode <= 0o7777 && (text.starts_with('0') || digits.len() == 4) => Some(mode),
            _ => {
                self.error_hint(node.at, format!("`{text}` is not a file mode"), "write it in octal, such as 0440");
                None
            }
        }
    }

    /// A string or a list of strings.
    pub(super) fn texts(&mut self, node: &Node) -> Vec<(String, Place)> {
        match &node.value {
            Value::List(items) => items.iter().filter_map(|item| Some((self.text(item)?.to_owned(), item.at))).collect(),
            Value::Scalar(_) => self.text(node).map(|text| (text.to_owned(), node.at)).into_iter().collect(),
            _ => {
                self.wrong_type(node, "a string or a list");
                Vec::new()
            }
        }
    }

    /// A list of words, or a line that is split as a shell would.
    pub(super) fn command(&mut self, node: &Node) -> Option<Vec<String>> {
        match &node.value {
            Value::List(items) => {
                let words: Vec<_> = items.iter().filter_map(|item| self.text(item).map(str::to_owned)).collect();
                (words.len() == items.len()).then_some(words)
            }
            Value::Scalar(_) => {
                let text = self.text(node)?;
                match super::words::split(text) {
                    Ok(words) => Some(words),
                    Err(why) => {
                        self.error_hint(node.at, format!("the command cannot be split into words: {why}"), "write it as a list");
                        None
                    }
                }
            }
            _ => {
                self.wrong_type(node, "a string or a list");
                None
            }
        }
    }

    /// A mapping of names to values, or a list of `NAME=value`. `None` stands for a name without a value.
    pub(super) fn pairs(&mut self, node: &Node) -> BTreeMap<String, (Option<String>, Place)> {
        let mut pairs: BTreeMap<String, (Option<String>, Place)> = BTreeMap::new();
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let text = match value.value {
                        Value::Null => None,
                        _ => match self.scalar(value) {
                            Some(text) => Some(text.to_owned()),
                            None => continue,
                        },
                    };
                    if self.is_name(key.at, &key.text) {
                        pairs.insert(key.text.clone(), (text, key.at));
                    }
                }
            }
            Value::List(items) => {
                for item in items {
                    let Some(text) = self.text(item) else { continue };
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (text, None),
                    };
                    if !self.is_name(item.at, name) {
                        continue;
                    }
                    if let Some((_, first)) = pairs.get(name) {
                        let hint = format!("the later one counts; the first is at line {}", first.line);
                        self.problems.warn(item.at, format!("`{name}` is given twice"), Some(hint));
                    }
                    pairs.insert(name.to_owned(), (value, item.at));
                }
            }
            _ => self.wrong_type(node, "a mapping or a list"),
        }
        pairs
    }

    fn is_name(&mut self, at: Place, name: &str) -> bool {
        let ok = !name.is_empty() && !name.contains(['=', '\0']);
        if name.is_empty() {
            self.error_hint(at, "the name before `=` is missing", "write NAME=value");
        } else if !ok {
            self.error(at, format!("`{}` cannot be a name", name.escape_debug()));
        }
        ok
    }

    /// Labels: as [`pairs`](Self::pairs), where no value is the empty one.
    pub(super) fn labels(&mut self, node: &Node) -> BTreeMap<String, String> {
        self.pairs(node).into_iter().map(|(name, (value, _))| (name, value.unwrap_or_default())).collect()
    }

    /// An environment: a name without a value is taken from setpoint's own, and left out when that has none.
    pub(super) fn environment(&mut self, node: &Node) -> BTreeMap<String, String> {
        self.pairs(node)
            .into_iter()
            .filter_map(|(name, (value, _))| {
                let value = value.or_else(|| self.variables.get(&name).cloned())?;
                Some((name, value))
            })
            .collect()
    }

    /// A path of the host: absolute, from `~`, or relative to the manifest.
    pub(super) fn host_path(&mut self, at: Place, text: &str) -> Option<PathBuf> {
        let path = if text == "~" || text.starts_with("~/") {
            let Some(home) = self.variables.get("HOME").filter(|home| home.starts_with('/')) else {
                self.error_hint(at, "`~` is not known: HOME is not set", "write the path in full");
                return None;
            };
            Path::new(home).join(text[1..].trim_start_matches('/'))
        } else {
            self.base.join(text)
        };
        Some(clean(&path))
    }

    /// A path within a container: absolute, without `.` and `..`, without a slash at its end.
    pub(super) fn container_path(&mut self, at: Place, text: &str) -> Option<String> {
        if !text.starts_with('/') {
            self.error_hint(at, format!("`{text}` is not a path within a container"), "it must begin with `/`");
            return None;
        }
        let path = clean(Path::new(text));
        if path == Path::new("/") {
            self.error(at, "the container's root itself cannot be mounted over");
            return None;
        }
        Some(path.to_string_lossy().into_owned())
    }
}

/// The path without `.`, `..` and doubled slashes, by its words alone: as the user who wrote it read it.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            component => out.push(component),
        }
    }
    out
}

//! YAML text as a tree in which every node knows its place. Aliases and merges are resolved here, within budgets, so
//! that a small file cannot become a large tree. Knows YAML, and nothing of manifests.
//!
//! The parser's events are read directly, rather than through serde, because only so every node keeps its place and its
//! spelling (`0440` is not 440, `1.10` not 1.1), and an error does not end the reading.

use std::collections::{HashMap, HashSet};

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problems};

/// A file larger than this is not a manifest.
pub(super) const MAX_BYTES: u64 = 8 << 20;
/// Nobody nests deeper by hand, and everything that walks a tree may recurse.
const MAX_DEPTH: usize = 64;
/// What aliases and merges may add to a document.
const MAX_COPIED_NODES: usize = 100_000;
const MAX_COPIED_BYTES: usize = 16 << 20;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Says itself how it is laid over what another file says of the same. See [`settle`].
    Marked(Mark, Box<Node>),
}

/// Compose's own tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// `!reset`: there is nothing.
    Reset,
    /// `!override`: there is this, and nothing of the other.
    Override,
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: `true` is a boolean and `1` a number.
    Plain,
    /// With quotes, or a block: a string whatever it looks like.
    Quoted,
    /// Variables were put in: whatever is wanted of it.
    Interpolated,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Place,
    pub(super) text: String,
}

impl Node {
    /// In words, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Marked(_, node) => node.describe(),
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Text => "a string",
                ScalarKind::Bool => "a boolean",
                ScalarKind::Number => "a number",
            },
        }
    }

    /// How deep, how many nodes, and how many bytes of text.
    fn measure(&self) -> Measure {
        let mut whole = Measure { depth: 1, nodes: 1, bytes: 0 };
        let mut add = |part: Measure| {
            whole.depth = whole.depth.max(part.depth + 1);
            whole.nodes += part.nodes;
            whole.bytes += part.bytes;
        };
        match &self.value {
            Value::Null => {}
            Value::Scalar(scalar) => whole.bytes = scalar.text.len(),
            Value::Marked(_, node) => add(node.measure()),
            Value::List(items) => items.iter().for_each(|item| add(item.measure())),
            Value::Map(entries) => {
                for (key, value) in entries {
                    add(value.measure());
                    add(Measure { depth: 0, nodes: 1, bytes: key.text.len() });
                }
            }
        }
        whole
    }
}

#[derive(Clone, Copy)]
struct Measure {
    depth: usize,
    nodes: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Text,
    Bool,
    Number,
}

impl Scalar {
    /// What the core schema of YAML 1.2 takes it for.
    pub(super) fn kind(&self) -> ScalarKind {
        if self.style != Style::Plain {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
            text if is_number(text) => ScalarKind::Number,
            _ => ScalarKind::Text,
        }
    }
}

fn is_number(text: &str) -> bool {
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    }
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    matches!(body, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
        || (body.bytes().any(|b| b.is_ascii_digit())
            && body.bytes().next().is_some_and(|b| b.is_ascii_digit() || b == b'.')
            && body.parse::<f64>().is_ok())
}

/// All documents of a file that are not empty. Errors go to `problems`; a document with a syntax error is left out, and
/// those after it are still read.
pub(super) fn parse(file: u32, text: &str, problems: &mut Problems) -> Vec<Node> {
    let options = serde_yaml::granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::new(file);
    let mut documents = Vec::new();
    while let Some(next) = parser.next_event() {
        match next {
            Ok((Event::StreamEnd, _)) => break,
            Ok((Event::DocumentStart(..), _)) => builder = Builder::new(file),
            Ok((Event::DocumentEnd, _)) => {
                if let Some(root) = builder.root.take()
                    && !matches!(root.value, Value::Null)
                {
                    documents.push(root);
                }
            }
            Ok((event, span)) => {
                if !builder.failed {
                    builder.event(event, &span, problems);
                }
            }
            Err(error) => {
                let mark = error.marker();
                let place = Place { file, line: mark.line().max(1) as u32, column: mark.col() as u32 + 1, width: 1 };
                problems.error(place, format!("this is not YAML: {}", error.info()));
                match parser.proceed_next_document() {
                    Ok(true) => builder = Builder::new(file),
                    Ok(false) | Err(_) => break,
                }
            }
        }
    }
    documents
}

fn marked(node: Node, mark: Option<Mark>) -> Node {
    match mark {
        Some(mark) => Node { at: node.at, value: Value::Marked(mark, Box::new(node)) },
        None => node,
    }
}

/// Takes the marks of what is not laid over anything any more: what is reset is gone, what overrides is what it is.
pub(super) fn settle(node: &mut Node) {
    while let Value::Marked(mark, inner) = &mut node.value {
        let inner = std::mem::replace(&mut **inner, Node { at: node.at, value: Value::Null });
        *node = if *mark == Mark::Reset { Node { at: node.at, value: Value::Null } } else { inner };
    }
    match &mut node.value {
        Value::List(items) => {
            items.retain(|item| !matches!(item.value, Value::Marked(Mark::Reset, _)));
            items.iter_mut().for_each(settle);
        }
        Value::Map(entries) => {
            entries.retain(|(_, value)| !matches!(value.value, Value::Marked(Mark::Reset, _)));
            entries.iter_mut().for_each(|(_, value)| settle(value));
        }
        Value::Null | Value::Scalar(_) | Value::Marked(..) => {}
    }
}

/// Where the first mark is.
pub(super) fn first_mark(node: &Node) -> Option<Place> {
    match &node.value {
        Value::Marked(..) => Some(node.at),
        Value::List(items) => items.iter().find_map(first_mark),
        Value::Map(entries) => entries.iter().find_map(|(_, value)| first_mark(value)),
        Value::Null | Value::Scalar(_) => None,
    }
}

/// A collection whose end has not come yet.
struct Open {
    at: Place,
    anchor: usize,
    mark: Option<Mark>,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, merges: Vec<Node>, key: Option<Key>, keys: HashMap<String, Place> },
}

struct Builder {
    file: u32,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, Measure)>,
    copied_nodes: usize,
    copied_bytes: usize,
    root: Option<Node>,
    /// A budget is spent: the rest of the document is passed over.
    failed: bool,
}

impl Builder {
    fn new(file: u32) -> Self {
        Self { file, stack: Vec::new(), anchors: HashMap::new(), copied_nodes: 0, copied_bytes: 0, root: None, failed: false }
    }

    fn place(&self, span: &Span) -> Place {
        let width = if span.start.line() == span.end.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        Place { file: self.file, line: span.start.line() as u32, column: span.start.col() as u32 + 1, width: width.max(1) as u32 }
    }

    fn event(&mut self, event: Event<'_>, span: &Span, problems: &mut Problems) {
        let at = self.place(span);
        let mut mark = None;
        if let Some(tag) = event.tag() {
            mark = match tag.original().as_ref() {
                "!reset" => Some(Mark::Reset),
                "!override" => Some(Mark::Override),
                _ => None,
            };
            let known = mark.is_some()
                || tag
                    .core_suffix()
                    .is_some_and(|suffix| matches!(suffix, "str" | "int" | "float" | "bool" | "null" | "map" | "seq" | "merge"));
            if !known {
                let place = span.tag_span().map_or(at, |span| self.place(&span));
                problems.error_hint(place, format!("the tag `{}` is not supported", tag.original()), "remove the tag");
            }
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str"));
                let style = if style == ScalarStyle::Plain && !forced { Style::Plain } else { Style::Quoted };
                let null = style == Style::Plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar(Scalar { text: text.into_owned(), style }) };
                self.finish(marked(Node { at, value }, mark), anchor, problems);
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Open { at, anchor, mark, kind: OpenKind::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, _) => {
                let kind = OpenKind::Map { entries: Vec::new(), merges: Vec::new(), key: None, keys: HashMap::new() };
                self.stack.push(Open { at, anchor, mark, kind });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return };
                let value = match open.kind {
                    OpenKind::List(items) => Value::List(items),
                    OpenKind::Map { entries, merges, .. } => Value::Map(self.merge(entries, merges, problems)),
                };
                self.finish(marked(Node { at: open.at, value }, open.mark), open.anchor, problems);
            }
            Event::Alias(anchor) => {
                let Some((node, measure)) = self.anchors.get(&anchor) else {
                    problems.error_hint(at, "the alias stands inside of what it names", "an anchor cannot contain itself");
                    self.finish(Node { at, value: Value::Null }, 0, problems);
                    return;
                };
                let (node, measure) = (node.clone(), *measure);
                if self.spend(at, measure, problems) {
                    self.finish(node, 0, problems);
                }
            }
            _ => {}
        }
    }

    /// Whether the budgets allow for a copy.
    fn spend(&mut self, at: Place, measure: Measure, problems: &mut Problems) -> bool {
        self.copied_nodes += measure.nodes;
        self.copied_bytes += measure.bytes;
        if self.copied_nodes > MAX_COPIED_NODES || self.copied_bytes > MAX_COPIED_BYTES {
            problems.error_hint(
                at,
                "aliases make this document too large",
                format!("all aliases of a document together may add {MAX_COPIED_NODES} nodes"),
            );
            self.failed = true;
        } else if self.stack.len() + measure.depth > MAX_DEPTH {
            problems.error(at, format!("aliases nest this document deeper than {MAX_DEPTH} levels"));
            self.failed = true;
        }
        !self.failed
    }

    /// A node is complete: it goes to where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, problems: &mut Problems) {
        if anchor != 0 {
            let measure = node.measure();
            // The copy that the anchor keeps counts too: anchors around anchors would keep many.
            if !self.spend(node.at, measure, problems) {
                return;
            }
            self.anchors.insert(anchor, (node.clone(), measure));
        }
        match self.stack.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, merges, key, keys }) => match key.take() {
                None => {
                    let text = match &node.value {
                        Value::Scalar(scalar) => scalar.text.clone(),
                        Value::Null => "null".to_owned(),
                        Value::List(_) | Value::Map(_) | Value::Marked(..) => {
                            problems.error(node.at, format!("a key must be a string, this is {}", node.describe()));
                            String::new()
                        }
                    };
                    if !text.is_empty()
                        && let Some(first) = keys.insert(text.clone(), node.at)
                    {
                        problems.error_hint(
                            node.at,
                            format!("`{text}` is given twice"),
                            format!("it was given first at line {}", first.line),
                        );
                    }
                    *key = Some(Key { at: node.at, text });
                }
                Some(key) if key.text == "<<" => merges.push(node),
                Some(key) => entries.push((key, node)),
            },
        }
    }

    /// The entries of a mapping with what `<<` brings in. What is written in the mapping itself wins, then what comes
    /// earlier.
    fn merge(&mut self, mut entries: Vec<(Key, Node)>, merges: Vec<Node>, problems: &mut Problems) -> Vec<(Key, Node)> {
        let mut sources = Vec::new();
        for merge in merges {
            match merge.value {
                Value::Map(_) => sources.push(merge),
                Value::List(items) => sources.extend(items),
                _ => {
                    problems.error(merge.at, format!("`<<` takes a mapping or a list of mappings, this is {}", merge.describe()))
                }
            }
        }
        if sources.is_empty() {
            return entries;
        }
        let mut known: HashSet<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        for source in sources {
            let place = source.at;
            match source.value {
                Value::Map(more) => {
                    for (key, value) in more {
                        if known.insert(key.text.clone()) {
                            entries.push((key, value));
                        }
                    }
                }
                _ => problems.error(place, "`<<` takes a mapping or a list of mappings"),
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn show(node: &Node, out: &mut String) {
        match &node.value {
            Value::Null => out.push('~'),
            Value::Scalar(scalar) => out.push_str(&scalar.text),
            Value::Marked(mark, node) => {
                write!(out, "{mark:?} ").unwrap();
                show(node, out);
            }
            Value::List(items) => {
                out.push('[');
                for item in items {
                    show(item, out);
                    out.push(' ');
                }
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for (key, value) in entries {
                    write!(out, "{}: ", key.text).unwrap();
                    show(value, out);
                    out.push(' ');
                }
                out.push('}');
            }
        }
    }

    fn read(text: &str) -> (Vec<String>, Vec<(usize, usize, String)>) {
        let mut problems = Problems::default();
        let file = problems.file(Path::new("x.yaml"), text);
        let documents = parse(file, text, &mut problems);
        let shown = documents
            .iter()
            .map(|node| {
                let mut out = String::new();
                show(node, &mut out);
                out
            })
            .collect();
        let errors = problems.into_errors().problems.into_iter().map(|p| (p.line, p.column, p.message)).collect();
        (shown, errors)
    }

    #[test]
    fn anchors_and_merges() {
        let (documents, errors) =
            read("base: &b {x: 1, y: 2}\nother: &o {y: 5, z: 6}\none: {<<: *b, y: 3}\ntwo:\n  <<: [*b, *o]\nthree: *b\n");
        assert_eq!(errors, []);
        assert_eq!(
            documents,
            ["{base: {x: 1 y: 2 } other: {y: 5 z: 6 } one: {y: 3 x: 1 } two: {x: 1 y: 2 z: 6 } three: {x: 1 y: 2 } }"]
        );
    }

    #[test]
    fn documents_after_a_broken_one_are_read() {
        let (documents, errors) = read("a: 1\n---\nb: [1\n---\nc: 3\n---\n# nothing\n");
        assert_eq!(documents, ["{a: 1 }", "{c: 3 }"]);
        assert_eq!(errors.len(), 1, "{errors:?}");
    }

    #[test]
    fn keys_given_twice_are_found_where_they_stand() {
        let (_, errors) = read("a:\n  x: 1\n  y: 2\n  x: 3\n");
        assert_eq!(errors, [(4, 3, "`x` is given twice".to_owned())]);
    }

    #[test]
    fn bombs_are_errors_and_quick() {
        let started = Instant::now();
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            writeln!(bomb, "a{level}: &a{level} [{}]", vec![below; 9].join(", ")).unwrap();
        }
        let (_, errors) = read(&bomb);
        assert!(errors[0].2.contains("too large"), "{errors:?}");
        for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), {
            let mut text = String::new();
            for depth in 0..3000 {
                writeln!(text, "{}a:", " ".repeat(depth)).unwrap();
            }
            text
        }] {
            assert_eq!(read(&deep).1.len(), 1);
        }
        let mut chain = "a0: &a0 x\n".to_owned();
        for level in 1..200 {
            writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        assert!(read(&chain).1[0].2.contains("deeper"));
        assert_eq!(read("a: &a [*a]\n").1[0].2, "the alias stands inside of what it names");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }

    #[test]
    fn scalars_keep_their_spelling_and_know_their_kind() {
        for (text, kind) in [
            ("0440", ScalarKind::Number),
            ("1.10", ScalarKind::Number),
            ("true", ScalarKind::Bool),
            ("no", ScalarKind::Text),
            ("1_000", ScalarKind::Text),
            ("nan", ScalarKind::Text),
            ("infinity", ScalarKind::Text),
            ("-", ScalarKind::Text),
            ("0x1F", ScalarKind::Number),
            ("1e3", ScalarKind::Number),
            ("22:22", ScalarKind::Text),
        ] {
            assert_eq!(Scalar { text: text.into(), style: Style::Plain }.kind(), kind, "{text}");
            assert_eq!(Scalar { text: text.into(), style: Style::Quoted }.kind(), ScalarKind::Text, "{text}");
        }
    }
}

//! Values as D-Bus has them on the wire, little-endian: those that systemd's properties are made of, and no others.

/// One value with its type.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine::runtime) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    /// Such as what may be done with each of some devices.
    Pairs(Vec<(String, String)>),
}

impl Value {
    pub(super) fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::I64(_) => "x",
            Self::U64(_) => "t",
            Self::F64(_) => "d",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::Bool(value) => to.u32(u32::from(*value)),
            Self::I32(value) => to.u32(value.cast_unsigned()),
            Self::U32(value) => to.u32(*value),
            Self::I64(value) => to.u64(value.cast_unsigned()),
            Self::U64(value) => to.u64(*value),
            Self::F64(value) => to.u64(value.to_bits()),
            Self::Text(value) => to.text(value),
            Self::Texts(values) => to.array(4, |to| values.iter().for_each(|value| to.text(value))),
            Self::Bytes(values) => to.array(1, |to| values.iter().for_each(|value| to.u8(*value))),
            Self::Numbers(values) => to.array(4, |to| values.iter().for_each(|value| to.u32(*value))),
            Self::Pairs(pairs) => to.array(8, |to| {
                for (first, second) in pairs {
                    to.align(8);
                    to.text(first);
                    to.text(second);
                }
            }),
        }
    }

    /// Reads the text that GVariant has for values, as annotations are written: `true`, `7`, `uint64 7`, `1.5`, `'text'`,
    /// `['one', 'two']`. A whole number without a type is an `int32`. `None` is none of these.
    pub(in crate::engine::runtime) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let mut rest = inner.trim();
            let mut items = Vec::new();
            while !rest.is_empty() {
                let (item, after) = quoted(rest)?;
                items.push(item);
                rest = after.trim_start();
                rest = match rest.strip_prefix(',') {
                    Some(next) => next.trim_start(),
                    None if rest.is_empty() => rest,
                    None => return None,
                };
            }
            return Some(Self::Texts(items));
        }
        if text.starts_with(['\'', '"']) {
            let (item, after) = quoted(text)?;
            return after.trim().is_empty().then_some(Self::Text(item));
        }
        match text.split_once(' ').map(|(kind, value)| (kind, value.trim())) {
            Some(("boolean", value)) => value.parse().ok().map(Self::Bool),
            Some(("int32", value)) => value.parse().ok().map(Self::I32),
            Some(("uint32", value)) => value.parse().ok().map(Self::U32),
            Some(("int64", value)) => value.parse().ok().map(Self::I64),
            Some(("uint64", value)) => value.parse().ok().map(Self::U64),
            Some(("double", value)) => value.parse().ok().map(Self::F64),
            Some(("string", value)) => quoted(value).filter(|(_, after)| after.is_empty()).map(|(item, _)| Self::Text(item)),
            Some(_) => None,
            None => {
                let whole = || text.parse().ok().map(Self::I32);
                let broken = || text.parse().ok().filter(|_| text.contains('.')).map(Self::F64);
                text.parse().ok().map(Self::Bool).or_else(whole).or_else(broken)
            }
        }
    }
}

/// The text between the quotes that it begins with, and what comes after them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut found = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => {
                found.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Some((found, &text[at + 1..])),
            c => found.push(c),
        }
    }
    None
}

/// Puts values one after the other, each where its type has to begin. It begins itself at a multiple of eight.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    /// A text or the path of an object.
    pub(super) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// What has elements that begin at multiples of `align`.
    pub(super) fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        // What is left empty for the first element does not count.
        self.align(align);
        let begin = self.0.len();
        elements(self);
        let length = (self.0.len() - begin) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        value.write(self);
    }

    /// `a(sv)`: what systemd takes for the properties of a unit.
    pub(super) fn properties(&mut self, properties: &[(String, Value)]) {
        self.array(8, |to| {
            for (name, value) in properties {
                to.align(8);
                to.text(name);
                to.variant(value);
            }
        });
    }
}

/// Takes values out again. `None` is too short, or no text.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }

    pub(super) fn signature(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.take(1)?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_where_their_types_do() {
        let mut to = Writer::default();
        to.u8(7);
        to.properties(&[("A".to_owned(), Value::U64(5)), ("Bc".to_owned(), Value::Bool(true))]);
        let expected = [
            vec![7, 0, 0, 0, 40, 0, 0, 0],
            // The name, the signature, and up to the eighth byte nothing.
            vec![1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            vec![2, 0, 0, 0, b'B', b'c', 0, 1, b'b', 0, 0, 0, 1, 0, 0, 0],
        ];
        assert_eq!(to.0, expected.concat());
        let mut from = Reader::new(&to.0);
        assert_eq!((from.u8(), from.u32()), (Some(7), Some(40)));
        assert_eq!((from.text(), from.signature()), (Some("A"), Some("t")));
        let mut short = Reader::new(&[200, 0, 0, 0, b'x']);
        assert_eq!(short.text(), None);
    }

    #[test]
    fn an_array_says_how_long_its_elements_are() {
        let mut to = Writer::default();
        to.variant(&Value::Pairs(vec![("a".into(), "b".into())]));
        // Signature of seven bytes, the length, and the first pair begins at the sixteenth byte.
        assert_eq!(to.0[..8], [5, b'a', b'(', b's', b's', b')', 0, 0]);
        assert_eq!(to.0[8..12], [14, 0, 0, 0]);
        assert_eq!(to.0[16..], [1, 0, 0, 0, b'a', 0, 0, 0, 1, 0, 0, 0, b'b', 0]);
        let mut empty = Writer::default();
        empty.properties(&[]);
        assert_eq!(empty.0, [0; 8]);
    }

    #[test]
    fn texts_of_values() {
        let texts = |items: &[&str]| Value::Texts(items.iter().map(|&i| i.to_owned()).collect());
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("-7", Value::I32(-7)),
            ("uint64 123456789012", Value::U64(123_456_789_012)),
            ("int32 5", Value::I32(5)),
            ("1.5", Value::F64(1.5)),
            ("'inactive-or-failed'", Value::Text("inactive-or-failed".into())),
            (r#""it's""#, Value::Text("it's".into())),
            (r"'it\'s'", Value::Text("it's".into())),
            ("['a.service', 'b.service']", texts(&["a.service", "b.service"])),
            ("[]", texts(&[])),
        ] {
            assert_eq!(Value::parse(text), Some(value), "{text}");
        }
        for bad in ["", "nothing", "'open", "['a' 'b']", "uint64 -1", "uint32 x", "'a' b", "[7]", "byte 7", "inf", "nan"] {
            assert_eq!(Value::parse(bad), None, "{bad}");
        }
    }
}

//! The functions of templates: Go's own, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;

const NAMES: [&str; 22] = [
    "and", "or", "not", "len", "index", "print", "printf", "println", "eq", "ne", "lt", "le", "gt", "ge", "json", "split",
    "join", "title", "lower", "upper", "pad", "truncate",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Go's notion of what counts as true: everything that is not empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut all: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            all.sort();
            format!("map[{}]", all.join(" "))
        }
    }
}

pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = |why: &str| TemplateError::Function { function: name.to_owned(), why: why.to_owned() };
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong("expected a text"));
    let number = |value: &Value| {
        value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| wrong("expected a number that is not negative"))
    };
    Ok(match (name, arguments) {
        ("and", [first, rest @ ..]) => rest.iter().fold(first, |so_far, next| if truth(so_far) { next } else { so_far }).clone(),
        ("or", [first, rest @ ..]) => rest.iter().fold(first, |so_far, next| if truth(so_far) { so_far } else { next }).clone(),
        ("not", [value]) => Value::Bool(!truth(value)),
        ("len", [Value::String(text)]) => Value::from(text.len()),
        ("len", [Value::Array(all)]) => Value::from(all.len()),
        ("len", [Value::Object(map)]) => Value::from(map.len()),
        ("len", [_]) => return Err(wrong("expected a text, a list or a map")),
        ("index", [first, keys @ ..]) => {
            let mut value = first.clone();
            for key in keys {
                value = match (&value, key) {
                    (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or(Value::Null),
                    (Value::Array(all), key) => {
                        all.get(number(key)?).cloned().ok_or_else(|| wrong("there are not so many elements"))?
                    }
                    _ => return Err(wrong("expected a list or a map")),
                };
            }
            value
        }
        ("print", all) => Value::from(printed(all, false)),
        ("println", all) => Value::from(printed(all, true)),
        ("printf", [Value::String(format), rest @ ..]) => Value::from(formatted(format, rest).map_err(|why| wrong(&why))?),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            Value::Bool(rest.iter().any(|other| order(first, other) == Some(Ordering::Equal)))
        }
        ("ne", [a, b]) => Value::Bool(order(a, b) != Some(Ordering::Equal)),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = order(a, b).ok_or_else(|| wrong("these cannot be compared"))?;
            Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        ("json", [value]) => Value::from(value.to_string()),
        ("split", [from, by]) => {
            let (from, by) = (text(from)?, text(by)?);
            match by.is_empty() {
                true => from.chars().map(|c| Value::from(c.to_string())).collect(),
                false => from.split(by.as_str()).map(Value::from).collect(),
            }
        }
        ("join", [Value::Array(all), by]) => Value::from(all.iter().map(shown).collect::<Vec<_>>().join(&text(by)?)),
        ("join", [Value::Null, _]) => Value::from(""),
        ("join", [_, _]) => return Err(wrong("expected a list, and what goes between")),
        ("title", [value]) => Value::from(title(&text(value)?)),
        ("lower", [value]) => Value::from(text(value)?.to_lowercase()),
        ("upper", [value]) => Value::from(text(value)?.to_uppercase()),
        ("pad", [value, before, after]) => {
            let value = text(value)?;
            match value.is_empty() {
                true => Value::from(value),
                false => Value::from(format!("{}{value}{}", blanks(number(before)?), blanks(number(after)?))),
            }
        }
        ("truncate", [value, most]) => Value::from(text(value)?.chars().take(number(most)?).collect::<String>()),
        _ => return Err(wrong(&format!("does not take {} arguments of this kind", arguments.len()))),
    })
}

/// More than anybody pads with is a mistake that need not fill the memory.
fn blanks(count: usize) -> String {
    " ".repeat(count.min(10_000))
}

fn title(text: &str) -> String {
    let mut begins = true;
    let upper = |c: char| c.to_uppercase().collect::<String>();
    let letters = text.chars().map(|c| {
        let letter = if begins { upper(c) } else { c.to_string() };
        begins = c.is_whitespace();
        letter
    });
    letters.collect()
}

/// `None` where the two are of different kinds, or of one that has no order.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        _ => None,
    }
}

/// As Go's `Print`: a blank between two where neither is a text; `Println`: a blank always, and a line's end.
fn printed(all: &[Value], line: bool) -> String {
    let mut text = String::new();
    for (index, value) in all.iter().enumerate() {
        if index > 0 && (line || !(value.is_string() || all[index - 1].is_string())) {
            text.push(' ');
        }
        text.push_str(&shown(value));
    }
    if line {
        text.push('\n');
    }
    text
}

/// Verbs `%s %v %d %q %t %%`, with `-` or `0`, a width and a precision.
fn formatted(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let (mut left, mut zeros, mut width, mut precision) = (false, false, 0usize, None);
        let verb = loop {
            match rest.next().ok_or("the format ends within a verb")? {
                '-' => left = true,
                '0' if width == 0 && precision.is_none() => zeros = true,
                '.' => precision = Some(0),
                digit @ '0'..='9' => {
                    let place = precision.as_mut().unwrap_or(&mut width);
                    *place = (*place * 10 + digit as usize - '0' as usize).min(10_000);
                }
                verb => break verb,
            }
        };
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = arguments.next().ok_or("there are fewer arguments than verbs")?;
        let mut word = match verb {
            's' | 'v' => shown(value),
            'd' if value.is_number() => shown(value),
            't' if value.is_boolean() => shown(value),
            'q' if value.is_string() => value.to_string(),
            'd' | 't' | 'q' => return Err(format!("%{verb} does not take {value}")),
            other => return Err(format!("%{other} is not supported: use %s, %v, %d, %q or %t")),
        };
        if let Some(most) = precision {
            word = word.chars().take(most).collect();
        }
        let missing = width.saturating_sub(word.chars().count());
        match (left, zeros) {
            (true, _) => text.extend([word, " ".repeat(missing)]),
            (false, true) => text.extend(["0".repeat(missing), word]),
            (false, false) => text.extend([" ".repeat(missing), word]),
        }
    }
    if arguments.next().is_some() {
        return Err("there are more arguments than verbs".to_owned());
    }
    Ok(text)
}

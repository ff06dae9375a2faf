//! One description laid over another: an override file over a compose file, a service over the one that it extends. Knows
//! which fields are added to and which are replaced, and nothing of what they mean.
//! Source: Compose Specification, "Merge".

use crate::manifest::tree::{Key, Mark, Node, Scalar, Style, Value};

/// How two values of one field become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The later one counts.
    Replace,
    /// Mappings by their keys, lists one after the other.
    Usual,
    /// A mapping, or a list of `NAME=value`.
    Pairs,
    /// A mapping of names, or a list of them.
    Names,
    /// A list, in which an item replaces another one of the same [`identity`].
    Items,
    /// A list, or a single item.
    Several,
    /// A mapping, or a text that stands for its field `context`.
    Build,
    /// A mapping whose options belong to its driver.
    Logging,
}

/// The rule of the field at `path`, which begins at the root of a compose file.
fn rule(path: &[&str]) -> Rule {
    let ["services", _, field @ ..] = path else {
        return match path {
            [_, _, "labels"] => Rule::Pairs,
            _ => Rule::Usual,
        };
    };
    match field {
        ["command" | "entrypoint"] | ["healthcheck", "test"] => Rule::Replace,
        ["environment" | "labels" | "annotations" | "sysctls" | "extra_hosts"]
        | ["build", "args" | "labels" | "additional_contexts" | "extra_hosts"]
        | ["deploy", "labels"] => Rule::Pairs,
        ["depends_on" | "networks"] | ["x-setpoint", "depends_on"] => Rule::Names,
        ["ports" | "volumes" | "configs" | "secrets" | "devices"] | ["build", "secrets"] => Rule::Items,
        ["env_file" | "label_file" | "dns" | "dns_search" | "dns_opt" | "tmpfs"] => Rule::Several,
        ["build"] => Rule::Build,
        ["logging"] => Rule::Logging,
        _ => Rule::Usual,
    }
}

/// `over` laid over `base`, which are both at `path`.
pub(super) fn merge(base: Node, over: Node, path: &mut Vec<String>) -> Node {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let rule = rule(&names);
    let (base, over) = (prepare(base, rule), prepare(over, rule));
    let at = over.at;
    match (base.value, over.value, rule) {
        (_, Value::Marked(Mark::Override, node), _) => *node,
        // What is empty says nothing, where there is more than one value.
        (value @ (Value::Map(_) | Value::List(_)), Value::Null, _) => Node { at: base.at, value },
        (_, value, Rule::Replace) => Node { at, value },
        (Value::Map(base), Value::Map(over), Rule::Logging) if driver(&base) != driver(&over) && driver(&over).is_some() => {
            drop(base);
            Node { at, value: Value::Map(over) }
        }
        (Value::Map(base), Value::Map(over), _) => Node { at, value: Value::Map(entries(base, over, path)) },
        (Value::List(base), Value::List(over), rule) => Node { at, value: Value::List(items(base, over, rule, &names)) },
        (_, value, _) => Node { at, value },
    }
}

fn entries(mut base: Vec<(Key, Node)>, over: Vec<(Key, Node)>, path: &mut Vec<String>) -> Vec<(Key, Node)> {
    for (key, node) in over {
        let known = base.iter().position(|(known, _)| known.text == key.text);
        if matches!(node.value, Value::Marked(Mark::Reset, _)) {
            if let Some(known) = known {
                base.remove(known);
            }
            continue;
        }
        match known {
            Some(known) => {
                let before = std::mem::replace(&mut base[known].1.value, Value::Null);
                let before = Node { at: base[known].1.at, value: before };
                path.push(key.text.clone());
                base[known] = (key, merge(before, node, path));
                path.pop();
            }
            None => base.push((key, node)),
        }
    }
    base
}

fn items(mut base: Vec<Node>, over: Vec<Node>, rule: Rule, path: &[&str]) -> Vec<Node> {
    let field = path.last().copied().unwrap_or_default();
    for item in over {
        let same = |known: &Node| match rule {
            Rule::Items => identity(field, known).is_some_and(|known| identity(field, &item) == Some(known)),
            _ => matches!((text(known), text(&item)), (Some(known), Some(item)) if known == item),
        };
        match base.iter().position(same) {
            Some(known) => base[known] = item,
            None => base.push(item),
        }
    }
    base
}

/// Both forms of a field as one.
fn prepare(node: Node, rule: Rule) -> Node {
    let at = node.at;
    match (rule, node.value) {
        (Rule::Pairs, Value::List(items)) => Node { at, value: pairs(items) },
        (Rule::Names, Value::List(items)) => {
            let names = |item: &Node| Some((Key { at: item.at, text: text(item)?.to_owned() }, null(item)));
            // What is no name is told of when it is read.
            match items.iter().map(names).collect::<Option<Vec<_>>>() {
                Some(entries) => Node { at, value: Value::Map(entries) },
                None => Node { at, value: Value::List(items) },
            }
        }
        (Rule::Several, value @ Value::Scalar(_)) => Node { at, value: Value::List(vec![Node { at, value }]) },
        (Rule::Build, value @ Value::Scalar(_)) => {
            Node { at, value: Value::Map(vec![(Key { at, text: "context".to_owned() }, Node { at, value })]) }
        }
        (_, value) => Node { at, value },
    }
}

fn pairs(items: Vec<Node>) -> Value {
    let pair = |item: &Node| {
        let text = text(item)?;
        Some(match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((name, value)) => {
                let value = Value::Scalar(Scalar { text: value.to_owned(), style: Style::Quoted });
                (Key { at: item.at, text: name.to_owned() }, Node { at: item.at, value })
            }
            None => (Key { at: item.at, text: text.to_owned() }, null(item)),
        })
    };
    match items.iter().map(pair).collect::<Option<Vec<_>>>() {
        Some(entries) => Value::Map(entries),
        None => Value::List(items),
    }
}

const fn null(of: &Node) -> Node {
    Node { at: of.at, value: Value::Null }
}

fn text(node: &Node) -> Option<&str> {
    if let Value::Scalar(scalar) = &node.value { Some(&scalar.text) } else { None }
}

fn field<'n>(entries: &'n [(Key, Node)], name: &str) -> Option<&'n str> {
    entries.iter().find(|(key, _)| key.text == name).and_then(|(_, node)| text(node))
}

fn driver(entries: &[(Key, Node)]) -> Option<&str> {
    field(entries, "driver")
}

/// What two items of a list have in common that are about the same: where something is mounted, which port is published.
fn identity(of: &str, item: &Node) -> Option<String> {
    match &item.value {
        Value::Map(entries) => match of {
            "ports" => {
                let part = |name, usual| field(entries, name).unwrap_or(usual).to_owned();
                let (ip, published) = (part("host_ip", ""), part("published", ""));
                Some(port(&ip, &published, &part("target", ""), &part("protocol", "tcp")))
            }
            _ => ["target", "source", "id"].into_iter().find_map(|name| field(entries, name)).map(file_name_of(of)),
        },
        _ => {
            let text = text(item)?;
            match of {
                "ports" => {
                    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
                    let (rest, target) = rest.rsplit_once(':').unwrap_or(("", rest));
                    let (ip, published) = rest.rsplit_once(':').unwrap_or(("", rest));
                    Some(port(ip, published, target, protocol))
                }
                "volumes" | "devices" => Some(text.split(':').nth(1).unwrap_or(text).to_owned()),
                _ => Some(text.to_owned()),
            }
        }
    }
}

/// A secret's target may be its bare name, as in the short form.
fn file_name_of(of: &str) -> impl Fn(&str) -> String {
    move |target| match of {
        "secrets" => target.strip_prefix("/run/secrets/").unwrap_or(target).to_owned(),
        "configs" => target.strip_prefix('/').unwrap_or(target).to_owned(),
        _ => target.to_owned(),
    }
}

fn port(ip: &str, published: &str, target: &str, protocol: &str) -> String {
    format!("{ip}:{published}:{target}/{protocol}")
}

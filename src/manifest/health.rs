//! Reads how a container's health is checked: Compose's form, and what setpoint knows beyond it.

use crate::model::Span;
use crate::model::spec::{Healthcheck, HttpTarget, OnUnhealthy, Probe, Startup, TcpTarget};

use super::fields::{Form, SPAN, Table, field};
use super::reader::{Fields, Reader};
use super::tree::{Node, Value};

pub(super) static HEALTHCHECK: Table = Table {
    what: "`healthcheck`",
    fields: &[
        field(
            "test",
            Form::Either(&[Form::Text, Form::List(&Form::Text)]),
            "[CMD, …], [CMD-SHELL, line], [NONE], or a line for the shell",
        ),
        field("interval", SPAN, "Between two checks; 30s unless given"),
        field("timeout", SPAN, "How long a check may take; 30s unless given"),
        field("retries", Form::Integer, "Failures in a row that make it unhealthy; 3 unless given"),
        field("start_period", SPAN, "Failures do not count for so long after the start"),
        field("start_interval", SPAN, "Between two checks during start_period; 5s unless given"),
        field("disable", Form::Bool, "No check, not even the image's"),
        field("http", HTTP, HTTP_ABOUT),
        field("tcp", TCP, TCP_ABOUT),
        field("on_unhealthy", ON_UNHEALTHY, "Restart it when it is unhealthy, or leave it; none unless given"),
        field("startup", Form::Object(&STARTUP), "What must succeed once before anything else is checked"),
        field("x-setpoint", Form::Object(&HEALTH_EXTENSION), "In a compose file: what Compose does not know"),
    ],
    unsupported: &[],
};

const HTTP: Form = Form::Of(|g| g.subschema_for::<HttpTarget>());
const HTTP_ABOUT: &str = "Ask here from inside its network, such as http://localhost:8080/healthz; 200 to 399 is well";
const TCP: Form = Form::Of(|g| g.subschema_for::<TcpTarget>());
const TCP_ABOUT: &str = "Connect here from inside its network, such as 5432";
const ON_UNHEALTHY: Form = Form::Choice(&["none", "restart"]);

pub(super) static HEALTH_EXTENSION: Table = Table {
    what: "`healthcheck.x-setpoint`",
    fields: &[
        field("http", HTTP, HTTP_ABOUT),
        field("tcp", TCP, TCP_ABOUT),
        field("on_unhealthy", ON_UNHEALTHY, "Restart it when it is unhealthy, or leave it; none unless given"),
        field("startup", Form::Object(&STARTUP), "What must succeed once before anything else is checked"),
    ],
    unsupported: &[],
};

pub(super) static STARTUP: Table = Table {
    what: "`startup`",
    fields: &[
        field(
            "test",
            Form::Either(&[Form::Text, Form::List(&Form::Text)]),
            "[CMD, …], [CMD-SHELL, line], or a line for the shell",
        ),
        field("http", HTTP, HTTP_ABOUT),
        field("tcp", TCP, TCP_ABOUT),
        field("interval", SPAN, "Between two checks; 1s unless given"),
        field("timeout", SPAN, "How long a check may take; 30s unless given"),
        field("retries", Form::Integer, "Failures in a row that make it unhealthy; 60 unless given"),
    ],
    unsupported: &[],
};

/// Which kinds of probe there are, by their fields.
const PROBES: [&str; 3] = ["test", "http", "tcp"];

pub(super) fn healthcheck(reader: &mut Reader, node: &Node) -> Option<Healthcheck> {
    let f = reader.fields(node, &HEALTHCHECK)?;
    // Compose leaves `x-` fields to others: what it does not know stands there in a compose file.
    let extension = f.get("x-setpoint").and_then(|node| reader.fields(node, &HEALTH_EXTENSION));
    let disabled = f.get("disable").and_then(|node| reader.boolean(node)).unwrap_or_default();
    let mut check = Healthcheck::new(Probe::None);
    for (name, slot) in [
        ("interval", &mut check.interval),
        ("timeout", &mut check.timeout),
        ("start_period", &mut check.start_period),
        ("start_interval", &mut check.start_interval),
    ] {
        span(reader, &f, name, slot);
    }
    retries(reader, &f, &mut check.retries);
    let either = |name: &str| f.get(name).or_else(|| extension.as_ref()?.get(name));
    if let Some(node) = either("on_unhealthy") {
        let choices = [("none", OnUnhealthy::None), ("restart", OnUnhealthy::Restart)];
        check.on_unhealthy = reader.choice(node, &choices).unwrap_or_default();
    }
    check.startup = either("startup").and_then(|node| startup(reader, node));
    let found = probe(reader, &f, extension.as_ref());
    match found {
        Found::One(_, node) if disabled => {
            reader.error_hint(node.at, "a disabled health check has no `test`", "remove one of the two");
            None
        }
        Found::One(probe, _) => {
            check.test = probe;
            Some(check)
        }
        Found::None if disabled => Some(check),
        Found::None => {
            reader.error_hint(f.at, "a health check needs a `test`", "or `http`, `tcp`, or `disable: true`");
            None
        }
        Found::Wrong => None,
    }
}

fn startup(reader: &mut Reader, node: &Node) -> Option<Startup> {
    let f = reader.fields(node, &STARTUP)?;
    let mut startup = Startup::new(Probe::None);
    span(reader, &f, "interval", &mut startup.interval);
    span(reader, &f, "timeout", &mut startup.timeout);
    retries(reader, &f, &mut startup.retries);
    match probe(reader, &f, None) {
        Found::One(Probe::None, node) => {
            reader.error_hint(node.at, "`NONE` never succeeds", "leave `startup` away");
            None
        }
        Found::One(probe, _) => {
            startup.test = probe;
            Some(startup)
        }
        Found::None => {
            reader.error_hint(f.at, "a startup probe needs a `test`", "or `http` or `tcp`");
            None
        }
        Found::Wrong => None,
    }
}

fn span(reader: &mut Reader, f: &Fields, name: &str, slot: &mut Span) {
    let Some(node) = f.get(name) else { return };
    let Some(span) = reader.parse::<Span>(node) else { return };
    if name != "start_period" && span.0.is_zero() {
        reader.error(node.at, format!("`{name}` must be more than nothing"));
    }
    *slot = span;
}

fn retries(reader: &mut Reader, f: &Fields, slot: &mut u32) {
    let Some(node) = f.get("retries") else { return };
    match reader.integer(node).map(u32::try_from) {
        Some(Ok(retries)) if retries > 0 => *slot = retries,
        Some(_) => reader.error(node.at, "`retries` must be at least 1"),
        None => {}
    }
}

enum Found<'n> {
    None,
    One(Probe, &'n Node),
    /// And it has been said what is wrong.
    Wrong,
}

/// The one probe that stands in these mappings.
fn probe<'n>(reader: &mut Reader, f: &Fields<'n>, extension: Option<&Fields<'n>>) -> Found<'n> {
    let mut all: Vec<_> = PROBES.iter().filter_map(|name| Some((*name, f.get(name)?))).collect();
    // A command needs no place of its own: Compose has one.
    all.extend(extension.iter().flat_map(|f| PROBES[1..].iter().filter_map(|name| Some((*name, f.get(name)?)))));
    let (name, node) = match all.as_slice() {
        [] => return Found::None,
        [one] => *one,
        [_, (name, second), ..] => {
            reader.error_hint(second.at, format!("there is another probe beside `{name}`"), "remove one of the two");
            return Found::Wrong;
        }
    };
    let probe = match name {
        "http" => reader.parse(node).map(Probe::Http),
        "tcp" => reader.parse(node).map(Probe::Tcp),
        _ => command(reader, node),
    };
    probe.map_or(Found::Wrong, |probe| Found::One(probe, node))
}

fn command(reader: &mut Reader, node: &Node) -> Option<Probe> {
    let Value::List(items) = &node.value else { return Some(Probe::Shell(reader.text(node)?.to_owned())) };
    let words: Vec<String> = items.iter().filter_map(|item| reader.text(item).map(str::to_owned)).collect();
    if words.len() != items.len() {
        return None;
    }
    let Some((first, rest)) = words.split_first() else {
        reader.error_hint(node.at, "the test is empty", "write [CMD, program, …], [CMD-SHELL, line] or [NONE]");
        return None;
    };
    match (first.as_str(), rest) {
        ("NONE", []) => Some(Probe::None),
        ("CMD", [_, ..]) => Some(Probe::Command(rest.to_vec())),
        ("CMD-SHELL", [line]) => Some(Probe::Shell(line.clone())),
        _ => {
            let at = items.first().map_or(node.at, |item| item.at);
            reader.error_hint(at, "the test is in none of its forms", "write [CMD, program, …], [CMD-SHELL, line] or [NONE]");
            None
        }
    }
}

//! A plan as people read it: one entry a resource, with a glyph for what becomes of it and a line for each cause.

use std::collections::BTreeMap;

use crate::model::size::human_bytes;
use crate::model::{Digest, ImageRef, Span};
use crate::observed::Answer;

use super::images::DIGEST;
use super::step::{Action, Cause, Kind, Plan, Step, WaitFor};

/// What becomes of a resource, all its steps taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Pull,
    Build,
    Import,
    Load,
    Commit,
    Restore,
    Create,
    Recreate,
    /// The new one first.
    Replace,
    Update,
    Reload,
    Restart,
    Start,
    Stop,
    Remove,
    Repair,
    Push,
    Wait,
    Watch,
}

impl Verb {
    /// The glyph, the word, and the colour.
    const fn look(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pull => ("↓", "pull", "36"),
            Self::Build => ("⚒", "build", "36"),
            Self::Import => ("↓", "import", "36"),
            Self::Load => ("↓", "load", "36"),
            Self::Commit => ("◉", "commit", "36"),
            Self::Restore => ("↶", "restore", "36"),
            Self::Create => ("+", "create", "32"),
            Self::Recreate => ("-/+", "recreate", "33"),
            Self::Replace => ("+/-", "replace", "33"),
            Self::Update => ("~", "update", "33"),
            Self::Reload => ("⟳", "reload", "33"),
            Self::Restart => ("↻", "restart", "33"),
            Self::Start => ("▶", "start", "32"),
            Self::Stop => ("■", "stop", "31"),
            Self::Remove => ("-", "remove", "31"),
            Self::Repair => ("!", "repair", "35"),
            Self::Push => ("↑", "push", "36"),
            Self::Wait => ("…", "wait", "2"),
            Self::Watch => ("…", "watch", "2"),
        }
    }
}

/// Steps that people see as one.
struct Entry<'p> {
    verb: Verb,
    title: String,
    /// What of the resource, where its name does not say it.
    object: Option<String>,
    /// Bytes to download.
    bytes: u64,
    causes: Vec<&'p Cause>,
    /// It is done only if an image turns out to be another one than before; and what is done otherwise.
    spared: Option<Option<Verb>>,
}

/// The plan in lines of text: entries in the order of their first steps, and a summary.
pub fn render(plan: &Plan, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    if plan.is_empty() {
        return format!("Nothing to do: the stack {} is as its manifests say.", plan.stack);
    }
    let mut out = String::new();
    let mut counts: BTreeMap<Verb, usize> = BTreeMap::new();
    let mut bytes = 0u64;
    for entry in entries(plan) {
        *counts.entry(entry.verb).or_default() += 1;
        bytes = bytes.saturating_add(entry.bytes);
        let (glyph, word, code) = entry.verb.look();
        let pad = " ".repeat(3 - glyph.chars().count());
        let object = entry.object.map(|object| format!(" {object}")).unwrap_or_default();
        out.push_str(&format!("{pad}{} {}: {word}{object}\n", paint(code, glyph), paint("1", &entry.title)));
        for cause in entry.causes {
            if let Some(line) = cause_line(cause) {
                out.push_str(&format!("      {line}\n"));
            }
        }
        if let Some(otherwise) = entry.spared {
            let otherwise = otherwise.map(|verb| format!("; otherwise: {}", verb.look().1)).unwrap_or_default();
            out.push_str(&format!("      only if that is another image{otherwise}\n"));
        }
    }
    let parts: Vec<String> = counts
        .iter()
        .filter(|(verb, _)| !matches!(verb, Verb::Wait | Verb::Watch))
        .map(|(verb, count)| {
            let size = if *verb == Verb::Pull && bytes > 0 { format!(" ({})", human_bytes(bytes)) } else { String::new() };
            format!("{count} to {}{size}", verb.look().1)
        })
        .collect();
    out.push_str(&format!("\nPlan: {}; {} unchanged.", parts.join(", "), plan.unchanged.len()));
    out
}

fn entries(plan: &Plan) -> Vec<Entry<'_>> {
    let mut groups: Vec<Vec<&Step>> = Vec::new();
    let mut index: BTreeMap<_, usize> = BTreeMap::new();
    for step in &plan.steps {
        // A wait is an entry of its own: it is about others.
        let wait = if step.action.only_waits() { step.action.verb() } else { "" };
        // A container that is removed because it is one too many is not the one that is declared, and each place that an
        // image is pushed to is one of its own, as is each container of another stack.
        let is_own = step.causes.contains(&Cause::NotDeclared) || step.action == Action::Push || step.beyond().is_some();
        let own = is_own.then_some(&step.target);
        let at = *index.entry((&step.resource, wait, own)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(step);
    }
    groups.into_iter().map(|steps| entry(plan, &steps)).collect()
}

fn entry<'p>(plan: &'p Plan, steps: &[&'p Step]) -> Entry<'p> {
    let has = |action: Action| steps.iter().any(|step| step.action == action);
    let verb = if has(Action::Switch) {
        Verb::Replace
    } else if has(Action::Remove) && has(Action::Create) {
        Verb::Recreate
    } else if has(Action::Create) {
        Verb::Create
    } else if has(Action::Remove) {
        Verb::Remove
    } else if has(Action::Stop) && has(Action::Start) {
        Verb::Restart
    } else if has(Action::Reload) {
        Verb::Reload
    } else if has(Action::Update) {
        Verb::Update
    } else if has(Action::Start) {
        Verb::Start
    } else if has(Action::Stop) {
        Verb::Stop
    } else if has(Action::Pull) {
        Verb::Pull
    } else if has(Action::Build) {
        Verb::Build
    } else if has(Action::Import) {
        Verb::Import
    } else if has(Action::Load) {
        Verb::Load
    } else if has(Action::Commit) {
        Verb::Commit
    } else if has(Action::Restore) {
        Verb::Restore
    } else if has(Action::Push) {
        Verb::Push
    } else if has(Action::Repair) {
        Verb::Repair
    } else if steps.iter().any(|step| matches!(step.action, Action::Watch(_))) {
        Verb::Watch
    } else {
        Verb::Wait
    };
    let mut causes: Vec<&Cause> = Vec::new();
    for cause in steps.iter().flat_map(|step| &step.causes) {
        if !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    let (mut title, mut object, mut bytes) = (String::new(), None, 0);
    if let Some(step) = steps.first() {
        title = step.resource.to_string();
        if step.beyond().is_some() {
            title.clone_from(&step.target);
        }
        if step.resource.kind == Kind::Image {
            (object, bytes) = image(plan, step);
            causes.retain(|cause| !matches!(cause, Cause::Changed { field, .. } if field == DIGEST));
        }
        match step.action {
            Action::Wait(WaitFor::Started) => title.push_str(" started"),
            Action::Wait(WaitFor::Healthy) => title.push_str(" healthy"),
            Action::Wait(WaitFor::Completed) => title.push_str(" completed"),
            Action::Watch(span) if span == Span::default() => object = Some("until it is well".to_owned()),
            Action::Watch(span) => object = Some(format!("for {span}")),
            Action::Delay(span) => object = Some(format!("{span} before the next one")),
            _ if verb == Verb::Replace => object = Some("(start-first)".to_owned()),
            _ => {}
        }
    }
    let certain = |action: Action| steps.iter().any(|step| step.action == action && step.spared_if.is_none());
    let otherwise = [(Action::Stop, Verb::Restart), (Action::Start, Verb::Start), (Action::Repair, Verb::Repair)];
    let otherwise = otherwise.into_iter().find(|(action, _)| certain(*action)).map(|(_, verb)| verb);
    let spared = steps.iter().any(|step| step.spared_if.is_some()).then_some(otherwise);
    Entry { verb, title, object, bytes, causes, spared }
}

/// `nginx:1.27 (sha256:abc… → sha256:def…), 3.2MB`: which image it is, which it was, and how much comes over the network.
fn image(plan: &Plan, step: &Step) -> (Option<String>, u64) {
    let answer = step.target.parse::<ImageRef>().ok().and_then(|reference| plan.answers.get(&reference));
    let resolved = match answer {
        Some(Answer::Is(resolved)) if step.action == Action::Pull => Some(resolved),
        _ => None,
    };
    let mut text = resolved.map_or_else(|| step.target.clone(), |resolved| resolved.pinned.tagged().to_string());
    let changed = step.causes.iter().find_map(|cause| match cause {
        Cause::Changed { field, old, new } if field == DIGEST => Some((old.as_deref(), new.as_deref())),
        _ => None,
    });
    match (changed, resolved) {
        (Some((Some(old), Some(new))), _) => text.push_str(&format!(" ({} → {})", short(old), short(new))),
        (Some((None, Some(new))), _) => text.push_str(&format!(" ({})", short(new))),
        (_, Some(resolved)) => text.push_str(&format!(" ({})", short(&resolved.digest.to_string()))),
        _ => {}
    }
    let bytes = resolved.map_or(0, |resolved| resolved.bytes);
    if resolved.is_some() {
        text.push_str(&format!(", {}", human_bytes(bytes)));
    }
    (Some(text), bytes)
}

fn short(digest: &str) -> String {
    digest.parse::<Digest>().map_or_else(|_| digest.to_owned(), |digest| format!("sha256:{}…", digest.short()))
}

/// A cause in one line; `None` for what the verb says already.
pub fn cause_line(cause: &Cause) -> Option<String> {
    match cause {
        Cause::Missing => None,
        Cause::NotDeclared => Some("no longer declared".to_owned()),
        Cause::Changed { field, old, new } => {
            let show = |value: &Option<String>| value.as_deref().map_or("∅".to_owned(), clip);
            Some(format!("{field}: {} → {}", show(old), show(new)))
        }
        Cause::Drift { what } => Some(format!("drift: {}", clip(what))),
        Cause::Follows { resource, why } => Some(format!("because {resource} {why}")),
    }
}

/// One line of at most so many characters, whatever the value is.
fn clip(text: &str) -> String {
    const MOST: usize = 100;
    let mut shown: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > MOST {
        shown.push('…');
    }
    if shown.is_empty() { "\"\"".to_owned() } else { shown }
}

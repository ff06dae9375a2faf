//! What stacks were before, as people read it: a line a generation, and what differs between two.

use super::table::{self, Cell};
use crate::cli::output::{Tone, paint};
use crate::cli::time::stamp;
use crate::plan::{Cause, Difference, Resource, cause_line};
use crate::reconcile::report::{Comparison, GenerationInfo, History};

/// A block for each stack.
pub fn history(all: &[History], colour: bool) -> String {
    let blocks: Vec<String> = all.iter().map(|one| block(one, all.len() > 1, colour)).collect();
    blocks.join("\n")
}

fn block(history: &History, named: bool, colour: bool) -> String {
    let rows: Vec<[Cell; 5]> = history
        .generations
        .iter()
        .enumerate()
        .map(|(at, one)| {
            let held = history.held == Some(one.generation);
            [
                one.generation.to_string().into(),
                stamp(one.applied).into(),
                outcome(one, at == 0, held),
                changes(&one.changes, one.brings_back).into(),
                one.source.clone().unwrap_or_default().into(),
            ]
        })
        .collect();
    let title = if named { format!("{}\n", paint(colour, Tone::Strong, history.stack.as_str())) } else { String::new() };
    title + &table::render(["GENERATION", "APPLIED", "OUTCOME", "CHANGES", "SOURCE"], &rows, colour)
}

fn outcome(one: &GenerationInfo, newest: bool, held: bool) -> Cell {
    let tone = match one.outcome.as_str() {
        "applied" if newest => Tone::Good,
        "failed" | "interrupted" | "paused" | "quarantined" => Tone::Bad,
        _ => return one.outcome.clone().into(),
    };
    let text = match (newest, held) {
        (true, true) => format!("{}, current, held", one.outcome),
        (true, false) => format!("{}, current", one.outcome),
        (false, _) => one.outcome.clone(),
    };
    Cell::toned(text, tone)
}

/// More than these are only counted.
const MOST: usize = 3;

fn changes(changes: &[Resource], brings_back: Option<u64>) -> String {
    let mut shown: Vec<String> = changes.iter().take(MOST).map(ToString::to_string).collect();
    if changes.len() > MOST {
        shown.push(format!("{} more", changes.len() - MOST));
    }
    let shown = shown.join(", ");
    match brings_back {
        None => shown,
        Some(number) if shown.is_empty() => format!("rollback to {number}"),
        Some(number) => format!("rollback to {number}: {shown}"),
    }
}

/// The differences, a resource and its fields.
pub fn comparison(comparison: &Comparison, colour: bool) -> String {
    let Comparison { stack, from, to, differences } = comparison;
    if differences.is_empty() {
        return format!("generations {from} and {to} of {stack} are the same\n");
    }
    differences.iter().map(|difference| one(difference, colour)).collect()
}

fn one(difference: &Difference, colour: bool) -> String {
    let (glyph, tone) = match difference.causes.as_slice() {
        [Cause::Missing] => ("+", Tone::Good),
        [Cause::NotDeclared] => ("-", Tone::Bad),
        _ => ("~", Tone::Warn),
    };
    let mut text = format!("{} {}\n", paint(colour, tone, glyph), difference.resource);
    let told = difference.causes.iter().filter(|cause| **cause != Cause::NotDeclared);
    text.extend(told.filter_map(cause_line).map(|line| format!("    {line}\n")));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use time::OffsetDateTime;

    use super::*;
    use crate::plan::Kind;

    #[test]
    fn generations_and_what_differs() {
        let resource = |name: &str| Resource { kind: Kind::Container, name: name.parse().unwrap() };
        let info = |generation, outcome: &str, brings_back, changes: &[&str]| GenerationInfo {
            generation,
            applied: OffsetDateTime::UNIX_EPOCH,
            outcome: outcome.into(),
            source: Some("/etc/shop".into()),
            brings_back,
            images: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            changes: changes.iter().map(|name| resource(name)).collect(),
        };
        let generations = vec![
            info(3, "applied", Some(1), &["a", "b", "c", "d", "e"]),
            info(2, "failed", None, &["a"]),
            info(1, "applied", None, &[]),
        ];
        let all = [History { stack: "shop".parse().unwrap(), held: Some(3), generations }];
        insta::assert_snapshot!(history(&all, false), @r"
        GENERATION   APPLIED                OUTCOME                  CHANGES                                                        SOURCE
        3            1970-01-01T00:00:00Z   applied, current, held   rollback to 1: container/a, container/b, container/c, 2 more   /etc/shop
        2            1970-01-01T00:00:00Z   failed                   container/a                                                    /etc/shop
        1            1970-01-01T00:00:00Z   applied                                                                                 /etc/shop
        ");
        let changed = Cause::Changed { field: "spec.command".into(), old: None, new: Some("[run]".into()) };
        let differences = [("a", vec![changed]), ("b", vec![Cause::Missing]), ("c", vec![Cause::NotDeclared])];
        let differences = differences.map(|(name, causes)| Difference { resource: resource(name), causes }).into();
        let mut found = Comparison { stack: "shop".parse().unwrap(), from: 1, to: 2, differences };
        insta::assert_snapshot!(comparison(&found, false), @r"
        ~ container/a
            spec.command: ∅ → [run]
        + container/b
        - container/c
        ");
        found.differences.clear();
        assert_eq!(comparison(&found, false), "generations 1 and 2 of shop are the same\n");
    }
}

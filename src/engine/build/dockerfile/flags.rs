//! The flags of an instruction against those that it has. Knows nothing of what their values mean.

use super::error::{At, Cause};
use super::lines::Line;
use super::split::{Raw, RawFlag};
use super::syntax::Word;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Switch,
    Value,
    /// A value, and it may be given again.
    Values,
}

/// The flags that were given: all of them known, and none twice that may not be.
pub(super) struct Flags(Vec<(&'static str, Option<Word>)>);

impl Flags {
    pub(super) fn read(line: &Line, raw: &Raw<'_>, known: &[(&'static str, Takes)]) -> Result<Self, At> {
        let mut given: Vec<(&'static str, Option<Word>)> = Vec::new();
        for RawFlag { text, at } in &raw.flags {
            let body = text.strip_prefix("--").unwrap_or(text);
            let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
            let shown = || name.chars().take(60).collect::<String>();
            let Some((name, takes)) = known.iter().copied().find(|(known, _)| *known == name) else {
                let known = known.iter().map(|(name, _)| *name).collect();
                return Err(line.at(*at, Cause::Flag { instruction: raw.keyword, flag: shown(), known }));
            };
            if takes != Takes::Values && given.iter().any(|(other, _)| *other == name) {
                return Err(line.at(*at, Cause::FlagTwice { flag: shown() }));
            }
            if takes != Takes::Switch && value.is_none() || takes == Takes::Switch && value == Some("") {
                return Err(line.at(*at, Cause::FlagValue { flag: shown() }));
            }
            if takes == Takes::Switch
                && let Some(value) = value.filter(|v| !v.eq_ignore_ascii_case("true") && !v.eq_ignore_ascii_case("false"))
            {
                return Err(line.at(*at, Cause::FlagSwitch { flag: shown(), value: value.chars().take(60).collect() }));
            }
            // Exact where nothing in the flag was quoted or escaped.
            let place = line.place((at + 3 + name.len()).min(line.text.len()));
            given.push((name, value.map(|value| Word { text: value.to_owned(), place })));
        }
        Ok(Self(given))
    }

    /// Whether a switch is on; `None` where it was not given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(given, _)| *given == name)?;
        Some(value.as_ref().is_none_or(|value| value.text.eq_ignore_ascii_case("true")))
    }

    pub(super) fn value(&self, name: &str) -> Option<Word> {
        self.values(name).next()
    }

    pub(super) fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = Word> + 'f {
        self.0.iter().filter(move |(given, _)| *given == name).filter_map(|(_, value)| value.clone())
    }
}

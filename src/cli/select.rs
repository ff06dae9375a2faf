//! What of a list is shown: `--filter KEY=VALUE`, as Docker has it. Knows nothing of what is listed.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::pattern::InvalidPattern;
use super::time::InvalidTime;

/// One `--filter`: `KEY=VALUE`, or `KEY!=VALUE` where that has a meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
    /// Those for which it does not hold.
    pub without: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidFilter {
    #[error("{text:?} is not a filter: expected KEY=VALUE")]
    Form { text: String },
    #[error("there is no filter {key:?} here")]
    Unknown { key: String, known: &'static [&'static str] },
    #[error("the filter {key:?} cannot be turned round with `!=`")]
    Negated { key: String },
    #[error("the filter {key}={value}: expected {expected}")]
    Value { key: String, value: String, expected: &'static str },
    #[error("the filter {key}: {source}")]
    Pattern { key: String, source: InvalidPattern },
    #[error("the filter {key}: {source}")]
    Time { key: String, source: InvalidTime },
    #[error("the filter {key}={value}: {why}")]
    Subject { key: String, value: String, why: String },
}

impl InvalidFilter {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } => Some(format!("the filters are {}", known.join(", "))),
            _ => None,
        }
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let wrong = || InvalidFilter::Form { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (key, without) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
        let key = key.trim().to_ascii_lowercase();
        if key.is_empty() {
            return Err(wrong());
        }
        Ok(Self { key, value: value.trim().to_owned(), without })
    }
}

/// All filters of a command. Those of one key hold when one of them does, labels when all do; different keys must all hold.
#[derive(Clone, Debug, Default)]
pub struct Filters<'a>(&'a [Filter]);

impl<'a> Filters<'a> {
    /// Refuses what is not one of `known`. Only labels can be turned round.
    pub fn new(all: &'a [Filter], known: &'static [&'static str]) -> Result<Self, InvalidFilter> {
        for Filter { key, without, .. } in all {
            if !known.contains(&key.as_str()) {
                return Err(InvalidFilter::Unknown { key: key.clone(), known });
            }
            if *without && key != "label" {
                return Err(InvalidFilter::Negated { key: key.clone() });
            }
        }
        Ok(Self(all))
    }

    /// What is asked of one key.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &'a str> {
        let all = self.0;
        all.iter().filter(move |filter| filter.key == key).map(|filter| filter.value.as_str())
    }

    /// What is asked of one key, read by `read`, which says what is wrong with a value.
    pub fn read<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, InvalidFilter>) -> Result<Wanted<T>, InvalidFilter> {
        self.values(key).map(read).collect::<Result<Vec<_>, _>>().map(Wanted)
    }

    /// `true`, `false`, or nothing where it is not asked.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, InvalidFilter> {
        let read = |value: &str| match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(invalid(key, value, "true or false")),
        };
        let Wanted(all) = self.read(key, read)?;
        match (all.contains(&true), all.contains(&false)) {
            (true, false) => Ok(Some(true)),
            (false, true) => Ok(Some(false)),
            // Either one, or both.
            (false, false) | (true, true) => Ok(None),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// `label=KEY`, `label=KEY=VALUE` and their contraries, as key, value and whether it is to be absent.
    pub fn labels(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>, bool)> {
        let all = self.0;
        all.iter().filter(|filter| filter.key == "label").map(|filter| {
            let (key, value) =
                filter.value.split_once('=').map_or((filter.value.as_str(), None), |(key, value)| (key, Some(value)));
            (key, value, filter.without)
        })
    }

    /// Whether all filters by label hold for these labels.
    pub fn take_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels().all(|(key, value, without)| {
            let has = labels.get(key).is_some_and(|found| value.is_none_or(|value| value == found));
            has != without
        })
    }
}

/// What is asked of one key. Nothing takes everything.
#[derive(Clone, Debug)]
pub struct Wanted<T>(pub Vec<T>);

impl<T> Wanted<T> {
    /// Whether nothing is asked, or `holds` for one of what is asked.
    pub fn takes(&self, holds: impl FnMut(&T) -> bool) -> bool {
        self.0.is_empty() || self.0.iter().any(holds)
    }
}

/// That a value is not one of its key's.
pub fn invalid(key: &str, value: &str, expected: &'static str) -> InvalidFilter {
    InvalidFilter::Value { key: key.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn filters_are_read() {
        let read = |text: &str| text.parse::<Filter>().map(|f| (f.key, f.value, f.without));
        assert_eq!(read("label=a=b"), Ok(("label".into(), "a=b".into(), false)));
        assert_eq!(read("label!=a"), Ok(("label".into(), "a".into(), true)));
        for bad in ["", "label", "=x", "!=x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let known: &[&str] = &["label", "status"];
        assert!(Filters::new(&filters(&["label!=a", "status=x"]), known).is_ok());
        for bad in ["name=x", "status!=x"] {
            assert!(Filters::new(&filters(&[bad]), known).is_err(), "{bad}");
        }
        let hint = Filters::new(&filters(&["name=x"]), known).unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("the filters are label, status"));
    }

    #[test]
    fn one_of_a_key_and_all_labels() {
        let all = filters(&["status=a", "status=b", "label=x", "label=y=1", "label!=z"]);
        let filters = Filters::new(&all, &["label", "status", "dangling"]).unwrap();
        let status = filters.read("status", |value| Ok(value.to_owned())).unwrap();
        assert!(status.takes(|value| value == "b") && !status.takes(|value| value == "c"));
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(filters.take_labels(&labels(&[("x", ""), ("y", "1")])));
        assert!(!filters.take_labels(&labels(&[("x", ""), ("y", "2")])));
        assert!(!filters.take_labels(&labels(&[("x", ""), ("y", "1"), ("z", "")])));
        assert_eq!(filters.flag("dangling"), Ok(None));
        assert!(!filters.has("dangling"));
    }

    #[test]
    fn flags() {
        for (texts, flag) in [(&["d=true"][..], Some(true)), (&["d=0"], Some(false)), (&["d=1", "d=false"], None)] {
            let all = filters(texts);
            assert_eq!(Filters::new(&all, &["d"]).unwrap().flag("d"), Ok(flag));
        }
        let all = filters(&["d=maybe"]);
        assert!(Filters::new(&all, &["d"]).unwrap().flag("d").is_err());
    }
}

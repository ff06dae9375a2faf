//! Where a container's output is recorded. Docker's names of drivers and options, for those that are meant here.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, serde_as_text};

/// Where and how a container's output is recorded. `None` and empty mean the driver's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    pub driver: LogDriver,
    /// Bytes of one file, of `file`.
    pub max_size: Option<ByteSize>,
    /// Number of files, of `file`.
    pub max_file: Option<u32>,
    /// What lines are tagged with; `{{.Name}}` and its like stand for what is the container's.
    pub tag: Option<String>,
    /// Which of the container's labels go with each line.
    pub labels: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogDriver {
    /// Rotated files of setpoint's own, in the format of the Kubernetes Container Runtime Interface.
    #[default]
    File,
    /// The host's systemd-journald.
    Journald,
    /// Nothing is recorded.
    None,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLogging {
    #[error("there is no log driver {name:?} here")]
    Driver { name: String },
    #[error("the log driver `{driver}` has no option {option:?}")]
    Option { driver: LogDriver, option: String },
    #[error("log option `{option}`: {why}")]
    Value { option: &'static str, why: String },
}

impl InvalidLogging {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Driver { .. } => {
                "the drivers are file, journald and none; what collects logs elsewhere can read the files, whose format is CRI"
                    .into()
            }
            Self::Option { driver: LogDriver::None, .. } => "it has no options".into(),
            Self::Option { driver, .. } => format!("its options are {}", options(*driver).join(", ")),
            Self::Value { option: "tag", .. } => format!("it may contain {}", TAG_FIELDS.join(", ")),
            Self::Value { .. } => "such as max-size=10m or max-file=3".into(),
        }
    }
}

/// What a tag may contain.
const TAG_FIELDS: [&str; 4] = ["{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageName}}"];
/// A file that is smaller is turned over with every few lines.
const SMALLEST: u64 = 4096;
const MOST_FILES: u32 = 1000;

const fn options(driver: LogDriver) -> &'static [&'static str] {
    match driver {
        LogDriver::File => &["max-size", "max-file", "tag", "labels"],
        LogDriver::Journald => &["tag", "labels"],
        LogDriver::None => &[],
    }
}

impl Logging {
    /// The recording by `driver` with these options of Docker's names.
    pub fn new<'a>(driver: LogDriver, all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, InvalidLogging> {
        let mut logging = Self { driver, ..Self::default() };
        for (option, value) in all {
            logging.set(option, value)?;
        }
        Ok(logging)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), InvalidLogging> {
        if !options(self.driver).contains(&option) {
            return Err(InvalidLogging::Option { driver: self.driver, option: option.chars().take(60).collect() });
        }
        let wrong = |option, why: String| InvalidLogging::Value { option, why };
        match option {
            "max-size" => {
                let size: ByteSize =
                    value.parse().map_err(|e: crate::model::size::InvalidSize| wrong("max-size", e.to_string()))?;
                if size.0 < SMALLEST {
                    return Err(wrong("max-size", format!("a file has at least {SMALLEST} bytes")));
                }
                self.max_size = Some(size);
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count| (1..=MOST_FILES).contains(count));
                self.max_file =
                    Some(count.ok_or_else(|| wrong("max-file", format!("expected a number from 1 to {MOST_FILES}")))?);
            }
            "tag" => {
                expand(value, |_| Some("")).map_err(|why| wrong("tag", why))?;
                self.tag = Some(value.to_owned());
            }
            _ => {
                let labels = value.split(',').map(str::trim).filter(|label| !label.is_empty());
                self.labels = labels.map(str::to_owned).collect();
            }
        }
        Ok(())
    }

    /// The tag of a container's lines. `field` gives what `ID`, `FullID`, `Name` and `ImageName` stand for.
    pub fn tag_with(&self, field: impl Fn(&str) -> Option<String>) -> Option<String> {
        // What was accepted can be expanded.
        expand(self.tag.as_ref()?, field).ok()
    }
}

/// Puts in what `{{.Name}}` and its like stand for.
fn expand<S: AsRef<str>>(text: &str, field: impl Fn(&str) -> Option<S>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, after) = rest.split_at(start);
        let end = after.find("}}").ok_or("a `{{` is not closed")?;
        let whole = &after[..end + 2];
        let name = whole.trim_matches(['{', '}']).trim().trim_start_matches('.');
        let known = TAG_FIELDS.iter().any(|known| known.trim_matches(['{', '}', '.']) == name);
        let value = known.then(|| field(name)).flatten().ok_or_else(|| format!("{whole} is not known"))?;
        out.push_str(before);
        out.push_str(value.as_ref());
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

impl FromStr for LogDriver {
    type Err = InvalidLogging;

    fn from_str(text: &str) -> Result<Self, InvalidLogging> {
        match text {
            // What Docker and Podman call files of their own on the host is what `file` is here.
            "file" | "json-file" | "local" | "k8s-file" => Ok(Self::File),
            "journald" => Ok(Self::Journald),
            "none" => Ok(Self::None),
            _ => Err(InvalidLogging::Driver { name: text.chars().take(60).collect() }),
        }
    }
}

impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Journald => "journald",
            Self::None => "none",
        })
    }
}

serde_as_text!(LogDriver, "^(file|json-file|local|k8s-file|journald|none)$", "Where output is recorded");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_meant_here_is_refused_with_advice() {
        let logging = Logging::new("json-file".parse().unwrap(), [("max-size", "1m"), ("max-file", "2"), ("labels", "a, b")]);
        let logging = logging.unwrap();
        assert_eq!((logging.driver, logging.max_size, logging.max_file), (LogDriver::File, Some(ByteSize(1 << 20)), Some(2)));
        assert_eq!(logging.labels.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        let error = "fluentd".parse::<LogDriver>().unwrap_err();
        assert!(error.to_string().contains("fluentd") && error.hint().contains("journald"));
        for (driver, option, value) in [
            (LogDriver::Journald, "max-size", "1m"),
            (LogDriver::None, "tag", "x"),
            (LogDriver::File, "compress", "true"),
            (LogDriver::File, "max-size", "1"),
            (LogDriver::File, "max-size", "many"),
            (LogDriver::File, "max-file", "0"),
            (LogDriver::File, "tag", "{{.Daemon}}"),
            (LogDriver::File, "tag", "{{.Name"),
        ] {
            let error = Logging::new(driver, [(option, value)]).unwrap_err();
            assert!(!error.hint().is_empty(), "{error}");
        }
    }

    #[test]
    fn tags_are_expanded() {
        let logging = Logging::new(LogDriver::Journald, [("tag", "{{.ImageName}}/{{ .Name }}!")]).unwrap();
        assert_eq!(logging.tag_with(|field| Some(field.to_lowercase())).unwrap(), "imagename/name!");
        assert_eq!(Logging::default().tag_with(|_| None), None);
    }
}

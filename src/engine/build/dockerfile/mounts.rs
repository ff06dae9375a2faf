//! `RUN --mount`: options that are read when the file is, and become a typed mount once their variables have values.
//! Source: Dockerfile reference, "RUN --mount".

use super::error::{At, Cause};
use super::syntax::Word;
use crate::engine::build::expand::ExpandError;
use crate::model::{ByteSize, did_you_mean};

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "size",
    "mode",
    "uid",
    "gid",
    "required",
    "env",
];
const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MountError {
    #[error("a double quote is not closed, or stands within an option")]
    Quote,
    #[error("there is no option `{0}`")]
    Key(String),
    #[error("the option `{key}` is given twice")]
    Twice { key: &'static str },
    #[error("the option `{0}` needs a value")]
    NoValue(&'static str),
    #[error("there is no type {0:?} of mounts")]
    Type(String),
    #[error("a mount of type `{kind}` has no option `{key}`")]
    NotOfType { kind: &'static str, key: &'static str },
    #[error("{value:?} is not a value of `{key}`: expected {expected}")]
    Value { key: &'static str, value: String, expected: &'static str },
    #[error("`from` cannot have variables")]
    FromVariable,
    #[error("a secret needs an `id`, or a `target` that it is called after")]
    SecretWithoutName,
    #[error("a secret has an `id` or a `source`, not both")]
    SecretTwice,
    #[error(transparent)]
    Expand(#[from] ExpandError),
}

impl MountError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key(key) => did_you_mean(key, KEYS),
            Self::Type(kind) => did_you_mean(kind, TYPES).or_else(|| Some(format!("there are {}", TYPES.join(", ")))),
            Self::FromVariable => {
                Some("give the image a stage of its own: `FROM $IMAGE AS name`, with ARG before the first FROM".into())
            }
            Self::Expand(error) => error.hint(),
            _ => None,
        }
    }
}

/// A mount as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    pub text: Word,
    /// A stage, an image or a named context.
    pub from: Option<Word>,
    /// The options by their usual names, with their values where they have any.
    options: Vec<(&'static str, Option<String>)>,
}

/// A mount that is there while a command runs, and leaves nothing in its layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    /// Files of the context, or of what [`MountOptions::from`] names. What is written, where that is allowed, is thrown away.
    Bind {
        source: String,
        target: String,
        writable: bool,
    },
    /// A folder that is kept for later builds.
    Cache {
        /// The target, where none was given.
        id: Option<String>,
        /// Where in what [`MountOptions::from`] names the first content comes from.
        source: String,
        target: String,
        read_only: bool,
        sharing: Sharing,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Tmpfs {
        target: String,
        size: Option<ByteSize>,
        read_only: bool,
    },
    Secret {
        id: String,
        /// The file; `None` when the secret is only in the environment.
        target: Option<String>,
        /// The variable that it is in.
        env: Option<String>,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    /// A socket of an agent; where it is without a target is the executor's choice, and it is in `SSH_AUTH_SOCK`.
    Ssh {
        id: String,
        target: Option<String>,
        required: bool,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    #[default]
    Shared,
    /// A second user has a new one.
    Private,
    /// A second user waits.
    Locked,
}

impl MountOptions {
    /// Reads the options. Where there are no variables in them, they are checked altogether.
    pub(super) fn read(text: Word) -> Result<Self, At> {
        let place = text.place;
        Self::parsed(text).map_err(|error| At::new(place, Cause::Mount(error)))
    }

    fn parsed(text: Word) -> Result<Self, MountError> {
        let mut options: Vec<(&'static str, Option<String>)> = Vec::new();
        for field in fields(&text.text)? {
            let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
            let key = key.to_ascii_lowercase();
            let key = KEYS.into_iter().find(|known| *known == key).ok_or_else(|| MountError::Key(shown(&key)))?;
            let (key, value) = match (key, value) {
                ("src", value) => ("source", value.map(str::to_owned)),
                ("dst" | "destination", value) => ("target", value.map(str::to_owned)),
                ("readonly", value) => ("ro", value.map(str::to_owned)),
                ("readwrite", value) => ("rw", value.map(str::to_owned)),
                (key, value) => (key, value.map(str::to_owned)),
            };
            if value.is_none() && !matches!(key, "ro" | "rw" | "required") {
                return Err(MountError::NoValue(key));
            }
            if options.iter().any(|(other, _)| *other == key) {
                return Err(MountError::Twice { key });
            }
            options.push((key, value));
        }
        let from = options.iter().find(|(key, _)| *key == "from").and_then(|(_, value)| value.clone());
        if from.as_ref().is_some_and(|from| from.contains('$')) {
            return Err(MountError::FromVariable);
        }
        let from = from.filter(|from| !from.is_empty()).map(|from| Word { text: from, place: text.place });
        let options = Self { text, from, options };
        if !options.text.text.contains('$') {
            options.resolve(&mut |value| Ok(value.to_owned()))?;
        }
        Ok(options)
    }

    /// The mount, once `expand` has put values in the place of variables. Targets that are not absolute are relative to the
    /// working directory, and an empty one is that itself.
    ///
    /// # Errors
    /// When an option has a value that it cannot have, or that the type does not know.
    pub fn resolve(&self, expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>) -> Result<RunMount, MountError> {
        let mut given = Vec::new();
        for (key, value) in &self.options {
            given.push((*key, value.as_deref().map(&mut *expand).transpose()?));
        }
        let kind = match given.iter().find(|(key, _)| *key == "type") {
            None => "bind",
            Some((_, value)) => {
                let value = value.clone().unwrap_or_default();
                TYPES
                    .into_iter()
                    .find(|known| value.eq_ignore_ascii_case(known))
                    .ok_or_else(|| MountError::Type(shown(&value)))?
            }
        };
        let known: &[&str] = match kind {
            "bind" => &["from", "source", "target", "ro", "rw"],
            "cache" => &["from", "source", "target", "ro", "rw", "id", "sharing", "mode", "uid", "gid"],
            "tmpfs" => &["target", "size", "ro", "rw"],
            "secret" => &["id", "source", "target", "env", "required", "ro", "mode", "uid", "gid"],
            _ => &["id", "target", "required", "ro", "mode", "uid", "gid"],
        };
        if let Some((key, _)) = given.iter().find(|(key, _)| *key != "type" && !known.contains(key)) {
            return Err(MountError::NotOfType { kind, key });
        }
        let values = Values(given);
        let target = values.text("target").filter(|target| !target.is_empty());
        let source = values.text("source").unwrap_or_default();
        let (mode, uid, gid) = (values.number("mode", 8)?, values.number("uid", 10)?, values.number("gid", 10)?);
        let required = values.truth("required")?.unwrap_or(false);
        let writable = match (values.truth("ro")?, values.truth("rw")?) {
            (_, Some(rw)) => Some(rw),
            (ro, None) => ro.map(|ro| !ro),
        };
        if matches!(kind, "secret" | "ssh") && writable == Some(true) {
            return Err(MountError::Value { key: "ro", value: "false".to_owned(), expected: "`true`: it is never written to" });
        }
        let id = values.text("id").filter(|id| !id.is_empty());
        Ok(match kind {
            "bind" => RunMount::Bind { source, target: target.unwrap_or_default(), writable: writable.unwrap_or(false) },
            "cache" => RunMount::Cache {
                id,
                source,
                target: target.unwrap_or_default(),
                read_only: !writable.unwrap_or(true),
                sharing: values.sharing()?,
                mode,
                uid,
                gid,
            },
            "tmpfs" => {
                RunMount::Tmpfs { target: target.unwrap_or_default(), size: values.size()?, read_only: !writable.unwrap_or(true) }
            }
            "secret" => {
                let env = values.text("env").filter(|env| !env.is_empty());
                let id = match (id, Some(source).filter(|source| !source.is_empty())) {
                    (Some(_), Some(_)) => return Err(MountError::SecretTwice),
                    (id, source) => id.or(source).or_else(|| target.as_deref().map(|path| last_name(path).to_owned())),
                };
                let id = id.filter(|id| !id.is_empty()).ok_or(MountError::SecretWithoutName)?;
                let usual = env.is_none().then(|| format!("/run/secrets/{}", last_name(&id)));
                let (mode, uid, gid) = (mode.unwrap_or(0o400), uid.unwrap_or(0), gid.unwrap_or(0));
                RunMount::Secret { target: target.or(usual), id, env, required, mode, uid, gid }
            }
            _ => {
                let (mode, uid, gid) = (mode.unwrap_or(0o600), uid.unwrap_or(0), gid.unwrap_or(0));
                RunMount::Ssh { id: id.unwrap_or_else(|| "default".to_owned()), target, required, mode, uid, gid }
            }
        })
    }
}

/// The options of one mount, with their values.
struct Values(Vec<(&'static str, Option<String>)>);

impl Values {
    fn get(&self, key: &str) -> Option<(&'static str, Option<&str>)> {
        self.0.iter().find(|(given, _)| *given == key).map(|(key, value)| (*key, value.as_deref()))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.1.map(str::to_owned)
    }

    fn truth(&self, key: &str) -> Result<Option<bool>, MountError> {
        let Some((key, value)) = self.get(key) else { return Ok(None) };
        let Some(value) = value else { return Ok(Some(true)) };
        truth(value).map(Some).ok_or_else(|| MountError::Value { key, value: shown(value), expected: "`true` or `false`" })
    }

    fn number(&self, key: &str, radix: u32) -> Result<Option<u32>, MountError> {
        let Some((key, Some(value))) = self.get(key) else { return Ok(None) };
        let digits = value.bytes().all(|b| b.is_ascii_digit());
        let number = u32::from_str_radix(value, radix).ok().filter(|number| digits && (radix != 8 || *number <= 0o7777));
        let expected = if radix == 8 { "an octal number, such as 0755" } else { "a number" };
        number.map(Some).ok_or_else(|| MountError::Value { key, value: shown(value), expected })
    }

    fn size(&self) -> Result<Option<ByteSize>, MountError> {
        let Some((key, Some(value))) = self.get("size") else { return Ok(None) };
        let size = value.parse::<ByteSize>();
        size.map(Some).map_err(|_| MountError::Value { key, value: shown(value), expected: "a number of bytes, such as 512m" })
    }

    fn sharing(&self) -> Result<Sharing, MountError> {
        let Some((key, Some(value))) = self.get("sharing") else { return Ok(Sharing::default()) };
        match value.to_ascii_lowercase().as_str() {
            "shared" => Ok(Sharing::Shared),
            "private" => Ok(Sharing::Private),
            "locked" => Ok(Sharing::Locked),
            _ => Err(MountError::Value { key, value: shown(value), expected: "shared, private or locked" }),
        }
    }
}

/// A line of CSV: fields between commas; one that begins with `"` ends at the next, and `""` in it is a quote.
pub(super) fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => {
                let mut field = String::new();
                let mut quoted = quoted;
                loop {
                    let end = quoted.find('"').ok_or(MountError::Quote)?;
                    field.push_str(&quoted[..end]);
                    quoted = &quoted[end + 1..];
                    match quoted.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            quoted = more;
                        }
                        None => break (field, quoted),
                    }
                }
            }
        };
        found.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(found),
            None => return Err(MountError::Quote),
        }
    }
}

/// As Go reads it.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn last_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

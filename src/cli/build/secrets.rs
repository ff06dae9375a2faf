//! `--secret` and `--ssh`: what the steps of a build may know that nobody else may.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use super::Inputs;
use super::error::{BuildArgsError, words};
use crate::cli::spec::flag;
use crate::files::FileError;
use crate::model::build::{BuildSecret, BuildSsh};
use crate::model::{build_words, did_you_mean};

/// BuildKit's limit.
const LONGEST: u64 = 500 << 10;

/// `id=NAME[,src=FILE|,env=VARIABLE][,type=file|env]`. Without a source it is the variable of that name, else the file of that
/// name.
pub(super) fn secrets(texts: &[String], inputs: &Inputs<'_>) -> Result<Vec<BuildSecret>, BuildArgsError> {
    const FLAG: &str = "--secret";
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for text in texts {
        let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
        for (key, value) in words(FLAG, text, build_words::fields(text))? {
            let value = flag(FLAG, text, value.ok_or_else(|| format!("`{key}` needs a value")))?;
            match key.as_str() {
                "id" => id = Some(value),
                "src" | "source" => file = Some(value),
                "env" => variable = Some(value),
                "type" if matches!(value.as_str(), "file" | "env") => kind = Some(value),
                "type" => return wrong(FLAG, text, format!("`type` is `file` or `env`, and not {value:?}")),
                _ => {
                    let known = ["id", "src", "env", "type"];
                    let hint = did_you_mean(&key, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                    return wrong(FLAG, text, format!("a secret has no `{key}`: {hint}"));
                }
            }
        }
        let id = flag(FLAG, text, id.filter(|id| !id.is_empty()).ok_or("it needs `id=NAME`"))?;
        if kind.as_deref() == Some("env") && variable.is_none() {
            variable = file.take();
        }
        if file.is_some() && variable.is_some() {
            return wrong(FLAG, text, "it is of a file or of a variable, and not of both");
        }
        if !seen.insert(id.clone()) {
            return Err(BuildArgsError::Twice { flag: FLAG, id });
        }
        let environment = &inputs.around.environment;
        if file.is_none() && variable.is_none() {
            match environment.contains_key(&id) && kind.as_deref() != Some("file") || kind.as_deref() == Some("env") {
                true => variable = Some(id.clone()),
                false => file = Some(id.clone()),
            }
        }
        let content = match (variable, file) {
            (Some(variable), _) => match environment.get(&variable) {
                Some(value) => value.clone().into_bytes(),
                None => return Err(BuildArgsError::NoVariable { id, variable }),
            },
            (None, file) => content(&id, inputs.around.cwd.join(file.unwrap_or_default()))?,
        };
        found.push(BuildSecret { id, content });
    }
    Ok(found)
}

fn wrong<T>(name: &'static str, text: &str, why: impl Into<String>) -> Result<T, BuildArgsError> {
    Ok(flag(name, text, Err::<T, String>(why.into()))?)
}

fn content(id: &str, path: PathBuf) -> Result<Vec<u8>, BuildArgsError> {
    let fail = |e| FileError::new("read", &path, e);
    let mut content = Vec::new();
    File::open(&path).map_err(fail)?.take(LONGEST + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > LONGEST {
        return Err(BuildArgsError::LongSecret { id: id.to_owned(), path, limit: LONGEST });
    }
    Ok(content)
}

/// `NAME[=SOCKET]`; without a socket the agent of the environment.
pub(super) fn agents(texts: &[String], inputs: &Inputs<'_>) -> Result<Vec<BuildSsh>, BuildArgsError> {
    const FLAG: &str = "--ssh";
    let mut found: Vec<BuildSsh> = Vec::new();
    for text in texts {
        let (id, socket) = text.split_once('=').map_or((text.as_str(), None), |(id, socket)| (id, Some(socket)));
        if id.is_empty() {
            return wrong(FLAG, text, "expected `default`, or NAME=SOCKET");
        }
        let id = id.to_owned();
        let socket = match socket.filter(|socket| !socket.is_empty()) {
            Some(socket) => socket,
            None => {
                let agent = inputs.around.environment.get("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
                agent.ok_or_else(|| BuildArgsError::NoAgent { id: id.clone() })?
            }
        };
        if socket.contains(',') {
            return wrong(FLAG, text, "one socket for each name");
        }
        let path = inputs.around.cwd.join(socket);
        let meta = fs::metadata(&path).map_err(|e| FileError::new("look at", &path, e))?;
        if !meta.file_type().is_socket() {
            return Err(BuildArgsError::KeyFile { id, path });
        }
        if found.iter().any(|known| known.id == id) {
            return Err(BuildArgsError::Twice { flag: FLAG, id });
        }
        found.push(BuildSsh { id, socket: path });
    }
    Ok(found)
}

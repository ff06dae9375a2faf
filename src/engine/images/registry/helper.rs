//! Credential helpers: programs `docker-credential-NAME` that keep passwords in a system's key store. Knows their
//! protocol, and not which registry has which helper.
//! Source: docker/docker-credential-helpers, "Development": `get`, `store` and `erase` with standard input and output.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::credentials::Credentials;

/// A helper may ask its user for a password, but nobody waits for ever.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a helper answers is some kilobytes.
const MAX_ANSWER: u64 = 1 << 20;
/// The user that stands for "the secret is a token, not a password".
const TOKEN: &str = "<token>";

#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("the credential helper's name {0:?} is not part of a program's name")]
    Name(String),
    #[error("run docker-credential-{name}: {source}")]
    Run { name: String, source: std::io::Error },
    #[error("docker-credential-{name} does not come to an end")]
    Deadline { name: String },
    #[error("docker-credential-{name} {verb}: {}", if said.is_empty() { "it failed" } else { said })]
    Failed { name: String, verb: &'static str, said: String },
    #[error("docker-credential-{name} get: its answer is not understood")]
    Answer { name: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// What the helper has for `server`.
pub(super) async fn get(name: &str, server: &str) -> Result<Option<Credentials>, HelperError> {
    let answer = match run(name, "get", server.as_bytes()).await {
        // The protocol has only this text to tell "I have none" from "I cannot".
        Err(HelperError::Failed { said, .. }) if said.contains("credentials not found") => return Ok(None),
        answer => answer?,
    };
    let entry: Entry = serde_json::from_slice(&answer).map_err(|_| HelperError::Answer { name: name.to_owned() })?;
    Ok(Some(match entry.username.as_str() {
        TOKEN => Credentials::Refresh(entry.secret),
        _ => Credentials::Password { user: entry.username, password: entry.secret },
    }))
}

pub(super) async fn store(name: &str, server: &str, user: &str, password: &str) -> Result<(), HelperError> {
    let entry = Entry { server: server.to_owned(), username: user.to_owned(), secret: password.to_owned() };
    let text = serde_json::to_vec(&entry).map_err(|_| HelperError::Answer { name: name.to_owned() })?;
    run(name, "store", &text).await.map(drop)
}

pub(super) async fn erase(name: &str, server: &str) -> Result<(), HelperError> {
    run(name, "erase", server.as_bytes()).await.map(drop)
}

async fn run(name: &str, verb: &'static str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(HelperError::Name(name.chars().take(60).collect()));
    }
    let fail = |source| HelperError::Run { name: name.to_owned(), source };
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(fail)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let talk = async {
        if let Some(mut stdin) = stdin {
            match stdin.write_all(input).await {
                // One that reads nothing may have its reasons, and says them.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        let mut answer = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok((answer, child.wait().await?))
    };
    let talked = tokio::time::timeout(DEADLINE, talk).await.map_err(|_| HelperError::Deadline { name: name.to_owned() })?;
    let (answer, status) = talked.map_err(fail)?;
    if status.success() {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    Err(HelperError::Failed { name: name.to_owned(), verb, said: said.trim().to_owned() })
}

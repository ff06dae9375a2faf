//! Credential helpers: programs `docker-credential-NAME` that keep passwords in a system's key store. Knows their
//! protocol, and not which registry has which helper.
//! Source: docker/docker-credential-helpers, "Development": `get`, `store` and `erase` with standard input and output.

use std::io::{self, IsTerminal};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

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
    Run { name: String, source: io::Error },
    #[error("docker-credential-{name} {verb}: it did not answer within {} s, and was ended", DEADLINE.as_secs())]
    Deadline { name: String, verb: &'static str },
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
    let mut command = Command::new(format!("docker-credential-{name}"));
    command.arg(verb);
    match tokio::time::timeout(DEADLINE, talk(command, input)).await {
        Err(_) => Err(HelperError::Deadline { name: name.to_owned(), verb }),
        Ok(Err(source)) => Err(HelperError::Run { name: name.to_owned(), source }),
        Ok(Ok((answer, status))) if status.success() => Ok(answer),
        Ok(Ok((answer, _))) => {
            let said = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).take(300).collect::<String>();
            Err(HelperError::Failed { name: name.to_owned(), verb, said: said.trim().to_owned() })
        }
    }
}

/// A helper that runs. Dropping it ends it, and what it has started.
struct Running {
    child: Child,
    /// Whether it is the first of a process group of its own.
    leads: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // `None` when it has been waited for: its number may be somebody else's by now.
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        let Some(pid) = pid else { return };
        let kill = if self.leads { rustix::process::kill_process_group } else { rustix::process::kill_process };
        if let Err(error) = kill(pid, rustix::process::Signal::KILL) {
            tracing::debug!(%error, "a credential helper has ended by itself");
        }
    }
}

/// Gives a helper its input, and gathers its answer.
async fn talk(mut command: Command, input: &[u8]) -> io::Result<(Vec<u8>, ExitStatus)> {
    // One that may ask its user for a password must stay in the foreground of the user's terminal.
    let leads = !io::stdin().is_terminal();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if leads {
        command.process_group(0);
    }
    let mut running = Running { child: command.spawn()?, leads };
    let child = &mut running.child;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input).await {
            // One that reads nothing may have its reasons, and says them.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    }
    Ok((answer, child.wait().await?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    /// Whether a process is there, and not only its entry for somebody to wait for.
    fn lives(pid: &str) -> bool {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let (program, pids) = (folder.path().join("helper"), folder.path().join("pids"));
        let script = format!("#!/bin/sh\nsleep 1000 &\necho $! $$ >{}\nwait\n", pids.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut hanging = Box::pin(talk(Command::new(&program), b"registry.example"));
        let started = || std::fs::read_to_string(&pids).unwrap_or_default();
        // It is waited for until both of its processes are there.
        while !started().ends_with('\n') {
            assert!(tokio::time::timeout(Duration::from_millis(20), &mut hanging).await.is_err());
        }
        assert!(started().split_whitespace().all(lives));
        drop(hanging);
        let begun = Instant::now();
        while started().split_whitespace().any(lives) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} still live", started());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[test]
    fn says_who_has_not_answered() {
        let error = HelperError::Deadline { name: "vault".into(), verb: "get" };
        assert_eq!(error.to_string(), "docker-credential-vault get: it did not answer within 60 s, and was ended");
    }
}

//! The program that connects a network namespace of an ordinary user with the world, slirp4netns: how it is started, and how
//! it is told which of the host's ports it is to pass on. Knows nothing of who asks for that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ADDRESS;
use super::error::RootlessError;
use crate::files;
use crate::model::Protocol;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A port of the host that is passed on to the same port of the user's own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    pub protocol: Protocol,
    pub host: Ipv4Addr,
    pub port: u16,
}

/// The running program. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Slirp {
    pub(super) child: Child,
    _alive: OwnedFd,
}

/// Connects the network namespace of a process. Returns when packets pass.
pub(super) fn start(pid: i32, socket: &Path, log: &Path) -> Result<Slirp, RootlessError> {
    let failed = |source| RootlessError::Run { program: "slirp4netns", source };
    files::remove_all(socket)?;
    let open = |path: &Path| std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(path);
    let said = open(log).map_err(|e| files::FileError::new("open", log, e))?;
    let (ready, says_ready) = rustix::pipe::pipe().map_err(|e| failed(e.into()))?;
    let (told_to_end, alive) = rustix::pipe::pipe().map_err(|e| failed(e.into()))?;
    for ours in [&ready, &alive] {
        rustix::io::fcntl_setfd(ours, rustix::io::FdFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    }
    let spawned = Command::new("slirp4netns")
        .args(["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"])
        .arg(format!("--ready-fd={}", says_ready.as_raw_fd()))
        .arg(format!("--exit-fd={}", told_to_end.as_raw_fd()))
        .arg("--api-socket")
        .arg(socket)
        .args([&pid.to_string(), "tap0"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said)
        .spawn();
    let mut child = match spawned {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(RootlessError::ProgramMissing { program: "slirp4netns", package: "slirp4netns" });
        }
        other => other.map_err(failed)?,
    };
    drop((says_ready, told_to_end));
    let mut word = [0; 1];
    match File::from(ready).read(&mut word) {
        Ok(1) => Ok(Slirp { child, _alive: alive }),
        _ => {
            drop(alive);
            child.wait().map_err(failed)?;
            Err(RootlessError::Slirp { said: files::read_to_string(log)?.trim().lines().collect::<Vec<_>>().join("; ") })
        }
    }
}

/// Makes what is passed on exactly `wanted`, and writes that down for when the program is started again.
///
/// # Errors
/// When a port cannot be had; those before it are passed on then.
pub fn pass_on(run_dir: &Path, wanted: &BTreeSet<Forward>) -> Result<(), RootlessError> {
    let path = super::ports_file(run_dir);
    let text = serde_json::to_vec(wanted).map_err(|source| RootlessError::Format { path: path.clone(), source })?;
    if files::read_if_there(&path)?.as_deref() != Some(text.as_slice()) {
        files::publish(&path, &text, 0o600)?;
    }
    bring_about(&super::ports_socket(run_dir), wanted)
}

/// What differs between what is passed on and `wanted`.
pub fn difference(run_dir: &Path, wanted: &BTreeSet<Forward>) -> Result<Option<String>, RootlessError> {
    let there: BTreeSet<Forward> = list(&super::ports_socket(run_dir))?.into_iter().map(|(_, forward)| forward).collect();
    let differs = wanted.symmetric_difference(&there).next();
    Ok(differs.map(|f| {
        format!("{} port {} of the host is {}passed on", f.protocol.as_str(), f.port, if there.contains(f) { "" } else { "not " })
    }))
}

/// What was written down last.
pub(super) fn written(path: &Path) -> Result<BTreeSet<Forward>, RootlessError> {
    match files::read_if_there(path)? {
        None => Ok(BTreeSet::new()),
        Some(text) => serde_json::from_slice(&text).map_err(|source| RootlessError::Format { path: path.to_owned(), source }),
    }
}

pub(super) fn bring_about(socket: &Path, wanted: &BTreeSet<Forward>) -> Result<(), RootlessError> {
    let there = list(socket)?;
    for (id, forward) in there.iter().filter(|(_, forward)| !wanted.contains(forward)) {
        // One that has gone meanwhile is no error; what is wrong is seen when a port cannot be had.
        let answer = ask(socket, &json!({"execute": "remove_hostfwd", "arguments": {"id": id}}))?;
        refuse(*forward, &answer)?;
    }
    for forward in wanted.iter().filter(|wanted| there.iter().all(|(_, forward)| forward != *wanted)) {
        let arguments = json!({
            "proto": forward.protocol.as_str(),
            "host_addr": forward.host,
            "host_port": forward.port,
            "guest_addr": ADDRESS,
            "guest_port": forward.port,
        });
        let answer = ask(socket, &json!({"execute": "add_hostfwd", "arguments": arguments}))?;
        refuse(*forward, &answer)?;
    }
    Ok(())
}

fn refuse(forward: Forward, answer: &Value) -> Result<(), RootlessError> {
    match answer.get("error") {
        None => Ok(()),
        Some(error) => {
            let said = error["desc"].as_str().unwrap_or("it does not say why").to_owned();
            Err(RootlessError::Forward { protocol: forward.protocol.as_str(), port: forward.port, said })
        }
    }
}

/// What is passed on now, each with the number by which it is removed.
fn list(socket: &Path) -> Result<Vec<(i64, Forward)>, RootlessError> {
    let answer = ask(socket, &json!({"execute": "list_hostfwd"}))?;
    let not_understood = || RootlessError::SlirpAnswer { text: answer.to_string() };
    let entries = answer["entries"].as_array().ok_or_else(not_understood)?;
    let entry = |entry: &Value| {
        let protocol = if entry["proto"] == "udp" { Protocol::Udp } else { Protocol::Tcp };
        let host = entry["host_addr"].as_str()?.parse().ok()?;
        let port = u16::try_from(entry["host_port"].as_u64()?).ok()?;
        Some((entry["id"].as_i64()?, Forward { protocol, host, port }))
    };
    entries.iter().map(|one| entry(one).ok_or_else(not_understood)).collect()
}

/// One question and its answer: a connection each.
fn ask(socket: &Path, question: &Value) -> Result<Value, RootlessError> {
    let failed = |source| RootlessError::SlirpSocket { source };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.write_all(question.to_string().as_bytes()).map_err(failed)?;
    stream.shutdown(Shutdown::Write).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    serde_json::from_str(text.trim()).map_err(|_| RootlessError::SlirpAnswer { text })
}

//! Programs that a bundle wants to be run at fixed moments of the container's life. They get the state on their input.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::fs::{MemfdFlags, memfd_create};

use super::error::OciError;
use super::record::State;

/// Runs the hooks in their order, up to the first that fails.
pub(super) fn run(phase: &'static str, hooks: Option<&Vec<Hook>>, state: &State, env: Option<&[String]>) -> Result<(), OciError> {
    hooks.into_iter().flatten().try_for_each(|hook| {
        run_one(hook, state, env).map_err(|reason| OciError::Hook { phase, path: hook.path().clone(), reason })
    })
}

/// `inherited` is the environment of a hook that names none; without it such a hook has an empty one.
fn run_one(hook: &Hook, state: &State, inherited: Option<&[String]>) -> Result<(), String> {
    if !hook.path().is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let input = serde_json::to_vec(state).map_err(|e| format!("write the state: {e}"))?;
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    let env = hook.env().as_deref().or(inherited).unwrap_or_default();
    command.envs(env.iter().filter_map(|line| line.split_once('=')));
    // What it prints is the caller's to see when it fails, and its output is not that of the container.
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    // A file, because a pipe that nobody reads would stop a hook that says much.
    let said =
        memfd_create("hook", MemfdFlags::CLOEXEC).map(std::fs::File::from).map_err(|e| format!("keep what it says: {e}"))?;
    command.stderr(said.try_clone().map_err(|e| format!("keep what it says: {e}"))?);
    let mut child = command.spawn().map_err(|e| format!("start it: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not care for the state has closed its input.
        match stdin.write_all(&input) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(format!("write the state: {e}")),
            _ => {}
        }
    }
    let status = match hook.timeout() {
        Some(seconds) => wait_at_most(&mut child, Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))?,
        None => child.wait().map_err(|e| format!("wait for it: {e}"))?,
    };
    if status.success() {
        return Ok(());
    }
    let mut text = vec![0; 4096];
    // What cannot be read of it is missing from a message that says what matters.
    let length = said.read_at(&mut text, 0).unwrap_or(0);
    let said = String::from_utf8_lossy(&text[..length]);
    let said = said.trim();
    Err(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") })
}

fn wait_at_most(child: &mut Child, timeout: Duration) -> Result<std::process::ExitStatus, String> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Err(e) => return Err(format!("wait for it: {e}")),
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begun.elapsed() >= timeout => {
                child.kill().and_then(|()| child.wait().map(drop)).map_err(|e| format!("end it: {e}"))?;
                return Err(format!("not done after {} s", timeout.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

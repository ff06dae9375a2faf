//! A further process in a running container, from the side of whoever wants it: the order is written down, and a small
//! process of its own (role `@exec`) carries it out.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::{Containers, ContainersError, exec_role};
use crate::engine::monitor;
use crate::engine::runtime::{self, ExecRequest, Launch};
use crate::files;
use crate::model::ContainerId;
use crate::observed::ContainerState;
use crate::sys;

/// What is to be executed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecSpec {
    pub argv: Vec<String>,
    /// Beside the container's own environment.
    pub env: BTreeMap<String, String>,
    /// Instead of the container's user.
    pub user: Option<String>,
    pub working_dir: Option<String>,
    /// On a terminal of its own: standard error then arrives on standard output.
    pub tty: bool,
    /// With every capability that there is.
    pub privileged: bool,
    /// Rows and columns of that terminal.
    pub window: Option<(u16, u16)>,
}

/// How the names of files with orders begin.
pub(super) const ORDER_PREFIX: &str = "exec-";

/// What the role says on its standard output when a detached command is executed.
pub(super) const EXECUTED: &[u8; 9] = b"executed\n";

/// Whether a file in a container's run-time folder, by its name, is there for a moment only and says nothing of the
/// container.
pub fn is_passing(name: &[u8]) -> bool {
    name.starts_with(b".") || name.starts_with(ORDER_PREFIX.as_bytes()) || name == monitor::LIMITS.as_bytes()
}

/// What the role is told. How the container was started stands in the folder where the order is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The container's first process, and when it was started.
    pid: i32,
    started_ticks: u64,
    spec: ExecSpec,
    /// Nobody waits: the role says that the command is executed, and goes on alone.
    pub(super) detached: bool,
}

impl Order {
    /// Rows and columns of the command's terminal.
    pub(super) const fn window(&self) -> Option<(u16, u16)> {
        self.spec.window
    }

    /// All that the command is started by, in a container that was started by these orders.
    pub(super) fn request(self, mut launch: Launch) -> ExecRequest {
        let spec = self.spec;
        if spec.privileged {
            runtime::grant_all(&mut launch.spec);
        }
        let process = launch.spec.process().as_ref();
        let mut env = process.and_then(|p| p.env().clone()).unwrap_or_default();
        for (name, value) in &spec.env {
            env.retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
            env.push(format!("{name}={value}"));
        }
        if spec.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        let cwd = spec
            .working_dir
            .unwrap_or_else(|| process.map_or_else(|| "/".to_owned(), |p| p.cwd().to_string_lossy().into_owned()));
        ExecRequest {
            pid: self.pid,
            started_ticks: self.started_ticks,
            argv: spec.argv,
            env,
            user: spec.user.or(launch.user),
            groups: launch.groups,
            cwd,
            cgroup: launch.cgroup,
            tty: spec.tty,
            spec: launch.spec,
            filter: launch.filter,
        }
    }
}

impl Containers {
    /// Executes a command in a running container. The child's streams are the command's, and its exit code too; 125, 126 and
    /// 127 with a line on standard error say that the command was not executed.
    pub async fn exec(&self, id: &ContainerId, spec: ExecSpec) -> Result<Child, ContainersError> {
        self.spawn_exec(id, spec, false)
    }

    /// Executes a command that nobody waits for. Returns when it is executed.
    pub async fn exec_detached(&self, id: &ContainerId, spec: ExecSpec) -> Result<(), ContainersError> {
        let mut child = self.spawn_exec(id, spec, true)?;
        drop(child.stdin.take());
        let mut word = [0; EXECUTED.len()];
        let executed = match &mut child.stdout {
            Some(stdout) => stdout.read_exact(&mut word).await.is_ok_and(|_| word == *EXECUTED),
            None => false,
        };
        if executed {
            // It is waited for in the background as long as this program lives, and by nobody afterwards.
            return Ok(());
        }
        let ended = child.wait_with_output().await.map_err(ContainersError::Spawn)?;
        let why = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Err(ContainersError::Start { name: self.called(id), code: ended.status.code().unwrap_or(125), why })
    }

    fn spawn_exec(&self, id: &ContainerId, spec: ExecSpec, detached: bool) -> Result<Child, ContainersError> {
        let status = self.status(id)?;
        let ContainerState::Running { pid, .. } = status.state else {
            return Err(ContainersError::NotRunning { name: self.called(id) });
        };
        if status.paused {
            return Err(ContainersError::Paused { name: self.called(id) });
        }
        let program = self.program.path().map_err(ContainersError::Spawn)?;
        let order = Order { pid, started_ticks: status.started_ticks, spec, detached };
        let text = serde_json::to_vec(&order).map_err(ContainersError::Order)?;
        let token = sys::random_bytes::<8>().map_err(ContainersError::Random)?;
        let run = self.instance.container_run_dir(id);
        let order = run.join(format!("{ORDER_PREFIX}{:016x}.json", u64::from_ne_bytes(token)));
        // By a file, because the arguments of a process are open to all on the host. Nobody knows its name before it is whole.
        files::write_new(&order, &text, 0o600)?;
        let mut command = Command::new(program);
        command.arg0("setpoint").arg(exec_role::ROLE).arg(&order).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A window may change before the role looks.
        let spawned = sys::signal::spawn_blocking(sys::signal::first_queued(), || command.spawn());
        spawned.map_err(|e| {
            drop(files::remove_all(&order));
            ContainersError::Spawn(e)
        })
    }
}

//! Health checks in the making: a process in the container, its output and its time limit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use time::OffsetDateTime;

use super::child;
use super::health::Schedule;
use super::status::Check;
use crate::engine::runtime::{self, ExecRequest, Launch, Process, Stdio};
use crate::model::spec::{Healthcheck, Probe};
use crate::sys;

/// Bytes of a check's output that are kept, and how many checks.
const MAX_OUTPUT: usize = 4096;
const KEPT: usize = 5;

/// The health checks of one run of a container.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) schedule: Schedule,
    pub(super) checks: Vec<Check>,
    request: ExecRequest,
    timeout: Duration,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    /// `None` once it has ended, or once nobody wants to read on.
    output: Option<OwnedFd>,
    text: Vec<u8>,
    began: Instant,
    began_at: OffsetDateTime,
    killed: bool,
}

impl Prober {
    /// `None` when there is nothing to check.
    pub(super) fn new(check: Option<&Healthcheck>, launch: &Launch, container: &Process, now: Instant) -> Option<Self> {
        let check = check?;
        let argv = match &check.test {
            Probe::None => return None,
            Probe::Command(argv) => argv.clone(),
            Probe::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        };
        let process = launch.spec.process().as_ref();
        let request = ExecRequest {
            pid: container.pid,
            started_ticks: container.started_ticks,
            argv,
            env: process.and_then(|p| p.env().clone()).unwrap_or_default(),
            user: launch.user.clone(),
            groups: launch.groups.clone(),
            cwd: process.map_or_else(|| "/".to_owned(), |p| p.cwd().to_string_lossy().into_owned()),
            cgroup: launch.cgroup.clone(),
            tty: false,
            spec: launch.spec.clone(),
        };
        Some(Self { schedule: Schedule::new(check, now), checks: Vec::new(), request, timeout: check.timeout.0, running: None })
    }

    /// What to poll: the process and its output.
    pub(super) fn descriptors(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        let running = self.running.as_ref();
        (running.map(|r| r.process.pidfd.as_fd()), running.and_then(|r| r.output.as_ref()).map(AsFd::as_fd))
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.running {
            None => Some(self.schedule.next()),
            Some(running) if running.killed => None,
            // A timeout of zero is none.
            Some(running) => (!self.timeout.is_zero()).then(|| running.began + self.timeout),
        }
    }

    /// Begins the check that is due, or kills the one that takes too long. True when a result was recorded.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        let Some(running) = &mut self.running else { return self.begin(now) };
        running.killed = true;
        child::kill_group(&running.process);
        false
    }

    fn begin(&mut self, now: Instant) -> bool {
        let began_at = OffsetDateTime::now_utc();
        match spawn(&self.request) {
            Ok((process, output)) => {
                let text = Vec::new();
                self.running = Some(Running { process, output: Some(output), text, began: now, began_at, killed: false });
                false
            }
            Err((code, why)) => {
                self.record(Some(code), why, now, began_at);
                true
            }
        }
    }

    /// Reads what the check prints.
    pub(super) fn read(&mut self) {
        if let Some(running) = &mut self.running {
            running.read();
        }
    }

    /// Takes the end of the check's process. True when a result was recorded.
    pub(super) fn ended(&mut self) -> bool {
        let Some(running) = &self.running else { return false };
        let Some(code) = child::reap(&running.process) else { return false };
        let Some(mut running) = self.running.take() else { return false };
        running.read();
        let mut output = String::from_utf8_lossy(&running.text).into_owned();
        let code = if running.killed {
            output = format!("the check took longer than {} and was killed\n{output}", crate::model::Span(self.timeout));
            None
        } else {
            Some(code)
        };
        self.record(code, output, running.began, running.began_at);
        true
    }

    fn record(&mut self, code: Option<i32>, output: String, began: Instant, began_at: OffsetDateTime) {
        self.schedule.result(code == Some(0), began, Instant::now());
        if self.checks.len() == KEPT {
            self.checks.remove(0);
        }
        self.checks.push(Check { started: began_at, ended: OffsetDateTime::now_utc(), code, output });
    }
}

impl Running {
    fn read(&mut self) {
        let Some(output) = &self.output else { return };
        let mut block = [0; 4096];
        loop {
            match rustix::io::read(output, &mut block) {
                Ok(0) => break,
                Ok(count) => {
                    let room = MAX_OUTPUT - self.text.len();
                    self.text.extend_from_slice(&block[..count.min(room)]);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        self.output = None;
    }
}

/// Starts a check. The error is an exit code and a reason.
fn spawn(request: &ExecRequest) -> Result<(Process, OwnedFd), (i32, String)> {
    let failed = |e: std::io::Error| (125, format!("the check could not be started: {e}"));
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(|e| failed(e.into()))?;
    let stderr = sys::pty::duplicate(&write).map_err(failed)?;
    let stdio = Stdio { stdin: sys::pty::null().map_err(failed)?, stdout: write, stderr };
    match runtime::exec(request, stdio) {
        Ok(process) => Ok((process, read)),
        Err(e) => Err((e.exit_code(), e.to_string())),
    }
}

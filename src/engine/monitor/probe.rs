//! Health checks in the making: a process in the container or a connection into it, its output and its time limit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use time::OffsetDateTime;

use super::child;
use super::health::Schedule;
use super::reach::Reach;
use crate::engine::runtime::{self, ExecRequest, Launch, Process, Stdio};
use crate::model::spec::{Healthcheck, OnUnhealthy, Probe};
use crate::observed::{Check, Health};
use crate::sys;

/// Bytes of a check's output that are kept, and how many checks.
const MAX_OUTPUT: usize = 4096;
const KEPT: usize = 5;

/// The health checks of one run of a container.
#[derive(Debug)]
pub(super) struct Prober {
    check: Healthcheck,
    schedule: Schedule,
    checks: Vec<Check>,
    /// When the run began.
    began: Instant,
    /// A command in the container, but for what is executed.
    request: ExecRequest,
    running: Option<Running>,
    /// What is checked as soon as the check that is under way has been ended, if anything.
    replaced_by: Option<Option<Healthcheck>>,
}

#[derive(Debug)]
struct Running {
    means: Means,
    began: Instant,
    began_at: OffsetDateTime,
    timeout: Duration,
    killed: bool,
}

#[derive(Debug)]
enum Means {
    Command(Command),
    Reach(Reach),
}

#[derive(Debug)]
struct Command {
    process: Process,
    /// `None` once it has ended, or once nobody wants to read on.
    output: Option<OwnedFd>,
    text: Vec<u8>,
}

impl Prober {
    /// The checks of a run that began at `began`. `None` when there is nothing to check.
    pub(super) fn new(check: Option<&Healthcheck>, launch: &Launch, container: &Process, began: Instant) -> Option<Self> {
        let check = check.filter(|check| check.test != Probe::None)?.clone();
        let process = launch.spec.process().as_ref();
        let request = ExecRequest {
            pid: container.pid,
            started_ticks: container.started_ticks,
            argv: Vec::new(),
            env: process.and_then(|p| p.env().clone()).unwrap_or_default(),
            user: launch.user.clone(),
            groups: launch.groups.clone(),
            cwd: process.map_or_else(|| "/".to_owned(), |p| p.cwd().to_string_lossy().into_owned()),
            cgroup: launch.cgroup.clone(),
            tty: false,
            spec: launch.spec.clone(),
            filter: launch.filter.clone(),
        };
        let schedule = Schedule::new(&check, began, Instant::now());
        Some(Self { check, schedule, checks: Vec::new(), began, request, running: None, replaced_by: None })
    }

    pub(super) const fn health(&self) -> Health {
        self.schedule.health()
    }

    /// Failed checks in a row.
    pub(super) const fn failing(&self) -> u32 {
        self.schedule.failing()
    }

    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the container is to be restarted for its health.
    pub(super) fn wants_restart(&self) -> bool {
        self.health() == Health::Unhealthy && self.check.on_unhealthy == OnUnhealthy::Restart
    }

    /// Checks something else from now on, or nothing. False when there is nothing left to do for a prober.
    pub(super) fn replace(&mut self, check: Option<&Healthcheck>) -> bool {
        let check = check.filter(|check| check.test != Probe::None);
        if let Some(Running { means: Means::Command(command), killed, .. }) = &mut self.running {
            // Its process has to be waited for first.
            *killed = true;
            child::kill_group(&command.process);
            self.replaced_by = Some(check.cloned());
            return true;
        }
        self.running = None;
        match check {
            Some(check) => {
                self.renew(check.clone());
                true
            }
            None => false,
        }
    }

    fn renew(&mut self, check: Healthcheck) {
        self.schedule = Schedule::new(&check, self.began, Instant::now());
        self.checks.clear();
        self.check = check;
    }

    /// What to poll: the check itself, and a command's output.
    pub(super) fn descriptors(&self) -> (Option<(BorrowedFd<'_>, PollFlags)>, Option<BorrowedFd<'_>>) {
        match self.running.as_ref().map(|running| &running.means) {
            None => (None, None),
            Some(Means::Reach(reach)) => (Some(reach.descriptor()), None),
            Some(Means::Command(command)) => {
                (Some((command.process.pidfd.as_fd(), PollFlags::IN)), command.output.as_ref().map(AsFd::as_fd))
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.running {
            // It only waits for its end.
            None if self.replaced_by.is_some() => None,
            None => Some(self.schedule.next()),
            Some(running) if running.killed => None,
            // A timeout of zero is none.
            Some(running) => (!running.timeout.is_zero()).then(|| running.began + running.timeout),
        }
    }

    /// Begins the check that is due, or ends the one that takes too long. True when a result was recorded.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        match &mut self.running {
            None => self.begin(now),
            Some(Running { means: Means::Command(command), killed, .. }) => {
                *killed = true;
                child::kill_group(&command.process);
                false
            }
            Some(Running { means: Means::Reach(reach), began, began_at, timeout, .. }) => {
                let (began, began_at) = (*began, *began_at);
                match reach.verdict() {
                    // A body without an end is no reason to doubt the status that came before it.
                    Some((well, said)) => self.record(Some(i32::from(!well)), said, began, began_at),
                    None => {
                        let said = format!("the check took longer than {}", crate::model::Span(*timeout));
                        self.record(None, said, began, began_at);
                    }
                }
                true
            }
        }
    }

    fn begin(&mut self, now: Instant) -> bool {
        let began_at = OffsetDateTime::now_utc();
        let (probe, timeout) = match &self.check.startup {
            Some(startup) if self.schedule.starts_up() => (&startup.test, startup.timeout.0),
            _ => (&self.check.test, self.check.timeout.0),
        };
        let pid = self.request.pid;
        let failed = |e: std::io::Error| (1, e.to_string());
        let means = match probe {
            Probe::Http(target) => Reach::http(pid, target).map(Means::Reach).map_err(failed),
            Probe::Tcp(target) => Reach::tcp(pid, target).map(Means::Reach).map_err(failed),
            Probe::Command(argv) => self.command(argv.clone()),
            Probe::Shell(line) => self.command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]),
            Probe::None => return false,
        };
        match means {
            Ok(means) => {
                self.running = Some(Running { means, began: now, began_at, timeout, killed: false });
                false
            }
            Err((code, why)) => {
                self.record(Some(code), why, now, began_at);
                true
            }
        }
    }

    fn command(&self, argv: Vec<String>) -> Result<Means, (i32, String)> {
        let (process, output) = spawn(&ExecRequest { argv, ..self.request.clone() })?;
        Ok(Means::Command(Command { process, output: Some(output), text: Vec::new() }))
    }

    /// Reads what a command prints.
    pub(super) fn read(&mut self) {
        if let Some(Running { means: Means::Command(command), .. }) = &mut self.running {
            command.read();
        }
    }

    /// Goes on with the check that is under way. True when a result was recorded, or the checks are others now.
    pub(super) fn proceed(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        let (began, began_at) = (running.began, running.began_at);
        match &mut running.means {
            Means::Reach(reach) => {
                let Some((well, said)) = reach.proceed() else { return false };
                self.record(Some(i32::from(!well)), said, began, began_at);
            }
            Means::Command(command) => {
                let Some(code) = child::reap(&command.process) else { return false };
                command.read();
                let mut output = String::from_utf8_lossy(&command.text).into_owned();
                let code = if running.killed {
                    output =
                        format!("the check took longer than {} and was killed\n{output}", crate::model::Span(running.timeout));
                    None
                } else {
                    Some(code)
                };
                self.record(code, output, began, began_at);
            }
        }
        true
    }

    /// Whether a prober has become superfluous: it was to check nothing any more, and what it had begun has ended.
    pub(super) fn is_over(&self) -> bool {
        self.running.is_none() && self.replaced_by == Some(None)
    }

    fn record(&mut self, code: Option<i32>, output: String, began: Instant, began_at: OffsetDateTime) {
        self.running = None;
        match self.replaced_by.take() {
            // What nobody asks any more has no answer that counts.
            Some(Some(check)) => return self.renew(check),
            Some(None) => return self.replaced_by = Some(None),
            None => {}
        }
        self.schedule.result(code == Some(0), began, Instant::now());
        if self.checks.len() == KEPT {
            self.checks.remove(0);
        }
        self.checks.push(Check { started: began_at, ended: OffsetDateTime::now_utc(), code, output });
    }
}

impl Command {
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

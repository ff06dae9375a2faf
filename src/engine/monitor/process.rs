//! The monitor's one loop: a container's process, its output, its clients, its signals and its timers. Single-threaded;
//! it waits for nothing but `poll`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use time::OffsetDateTime;

use super::child;
use super::connections::{ClientId, Connections, Farewell};
use super::error::MonitorError;
use super::job::Job;
use super::joins;
use super::logs::{LogStream, Recorder};
use super::probe::Prober;
use super::protocol::{Reply, Request};
use super::restarts::Restarts;
use super::status::{self, Status};
use super::streams::{self, Streams};
use crate::engine::runtime::cgroups::Cgroup;
use crate::engine::runtime::{self, Process, Scope};
use crate::files::{self, Lock};
use crate::model::{RestartPolicy, Signal, Span};
use crate::observed::{ContainerState, Health};
use crate::sys;
use crate::wire::frame::Frame;

mod attended;
mod care;
mod cgroup;
mod waiting;

use waiting::Event;

/// The process that owns one container.
pub(super) struct Monitor {
    job: Job,
    netns: Option<OwnedFd>,
    /// Held as long as this lives: it is what says that the container has a monitor.
    lock: Lock,
    log: Recorder,
    clients: Connections,
    signals: SignalFd,
    phase: Phase,
    restarts: Restarts,
    /// What is published.
    status: Status,
    /// How many processes the kernel had killed for want of memory when the last run ended.
    oom_kills: u64,
    /// Of a container in a slice: holds the scope, in which its cgroup is, over all its runs.
    scope: Option<Scope>,
    /// The container is not to start again.
    ending: bool,
    /// A user asked for the end.
    stopped: bool,
    /// Until then nothing is read of the output, and no end is seen, because somebody is to come and have all of it.
    awaiting: Option<Instant>,
    /// The size of the terminal's window, where somebody has told it.
    window: Option<(u16, u16)>,
    /// When SIGKILL follows the stop signal.
    kill_at: Option<Instant>,
    /// Empty while there is nothing to read.
    buffer: Vec<u8>,
    /// Something was done since memory was given back.
    untidy: bool,
    /// Limits were set since it was written down what the kernel made of them.
    unnoted: bool,
}

enum Phase {
    Running(Box<Run>),
    /// Between two runs.
    Pausing {
        code: i32,
        until: Instant,
    },
    Over {
        code: i32,
        error: Option<String>,
    },
}

struct Run {
    process: Process,
    began: Instant,
    began_at: OffsetDateTime,
    streams: Streams,
    prober: Option<Prober>,
    /// It is being ended because it is unhealthy, to be started again.
    unwell: bool,
}

/// Bytes of output that are read at once.
const BLOCK: usize = 64 << 10;
/// How long somebody who was to attach is waited for.
const ATTACH: Duration = Duration::from_secs(10);
const STREAMS: [LogStream; 2] = [LogStream::Stdout, LogStream::Stderr];

impl Monitor {
    pub(super) fn new(job: Job, lock: Lock, netns: Option<OwnedFd>) -> Result<Self, MonitorError> {
        let instance = job.instance();
        let durable = instance.container_dir(&job.id);
        let log = Recorder::open(&job.recording, &durable.join(status::LOGS))?;
        let clients = Connections::listen(&instance.container_run_dir(&job.id).join(status::SOCKET))?;
        let mut mask = SigSet::empty();
        mask.add(NixSignal::SIGTERM);
        mask.add(NixSignal::SIGINT);
        mask.thread_block().map_err(MonitorError::Signals)?;
        let signals =
            SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(MonitorError::Signals)?;
        let mut status = Status::new(ContainerState::Created);
        let pid = std::process::id().cast_signed();
        status.monitor = Some((pid, sys::process_start_ticks(pid).map_err(MonitorError::Identity)?));
        Ok(Self {
            job,
            netns,
            lock,
            log,
            clients,
            signals,
            phase: Phase::Over { code: 125, error: None },
            restarts: Restarts::default(),
            status,
            oom_kills: 0,
            scope: None,
            ending: false,
            stopped: false,
            awaiting: None,
            window: None,
            kill_at: None,
            buffer: Vec::new(),
            untidy: true,
            unnoted: false,
        })
    }

    /// Starts the container for the first time. Its process's number.
    pub(super) fn start(&mut self) -> Result<i32, MonitorError> {
        match self.begin_run() {
            Ok(pid) => {
                self.awaiting = self.job.awaits_attach.then(|| Instant::now() + ATTACH);
                Ok(pid)
            }
            Err(e) => {
                self.phase = Phase::Over { code: e.exit_code(), error: Some(e.to_string()) };
                Err(e)
            }
        }
    }

    /// Looks after the container until it has finally exited.
    pub(super) fn run(mut self) -> Result<Farewell, MonitorError> {
        while !matches!(self.phase, Phase::Over { .. }) {
            self.note_limits();
            let events = self.wait()?;
            for event in events {
                self.handle(event);
            }
            if self.clients.sweep() {
                self.take(Frame::StdinEnd);
            }
            self.tick();
        }
        Ok(self.finish())
    }

    fn begin_run(&mut self) -> Result<i32, MonitorError> {
        let on_terminal = self.job.launch.spec.process().as_ref().is_some_and(|process| process.terminal().unwrap_or(false));
        let made =
            if on_terminal { streams::terminal(self.job.stdin_open, self.window) } else { streams::pipes(self.job.stdin_open) };
        let (streams, stdio) = made.map_err(MonitorError::Streams)?;
        // Held until the container has what it joins.
        let joined = joins::resolve(&self.job.joins, &self.job.instance(), &mut self.job.launch.spec)?;
        self.job.launch.shm_of.clone_from(&joined.shm_of);
        self.hold_scope()?;
        let process = runtime::start(&self.job.launch, stdio, self.netns.as_ref().map(AsFd::as_fd))?;
        drop(joined);
        let (pid, began, began_at) = (process.pid, Instant::now(), OffsetDateTime::now_utc());
        let prober = Prober::new(self.job.healthcheck.as_ref(), &self.job.launch, &process, began);
        self.status.started_ticks = process.started_ticks;
        self.status.began = Some(began_at);
        self.status.oom_killed = false;
        self.status.paused = false;
        self.unnoted = true;
        self.phase = Phase::Running(Box::new(Run { process, began, began_at, streams, prober, unwell: false }));
        self.publish(true);
        Ok(pid)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Output(stream) => self.read_output(stream, false),
            Event::Input => {
                if let Phase::Running(run) = &mut self.phase {
                    run.streams.input.flush();
                }
            }
            Event::Exit => self.exited(),
            Event::Probe => {
                if self.prober().is_some_and(Prober::proceed) {
                    self.after_check();
                }
            }
            Event::ProbeOutput => {
                if let Some(prober) = self.prober() {
                    prober.read();
                }
            }
            Event::Signal => {
                // The host goes down, or an administrator wants this container gone: neither is a stop for good.
                while let Ok(Some(_)) = self.signals.read_signal() {
                    self.end(self.job.stop_grace.0, self.job.stop_signal);
                }
            }
            Event::Connect => {
                if let Err(e) = self.clients.accept() {
                    super::note(&format!("accept a client: {e}"));
                    // Out of descriptors or memory: the next round would fail at once again.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Event::Client(id) => {
                self.clients.flush(id);
                for request in self.clients.read(id) {
                    self.answer(id, request);
                }
                for frame in self.clients.frames(id) {
                    self.take(frame);
                }
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if !self.status.paused && self.prober().is_some_and(|prober| prober.tick(now)) {
            self.after_check();
        }
        if self.awaiting.is_some_and(|until| until <= now) {
            self.awaiting = None;
        }
        if self.log.keeps() {
            self.clients.pass_over_stopped(now);
        }
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.kill();
        }
        if let Phase::Pausing { until, .. } = self.phase
            && until <= now
        {
            self.status.restarts += 1;
            if let Err(e) = self.begin_run() {
                self.after_run(e.exit_code(), Duration::ZERO, Some(e.to_string()), self.job.restart);
            }
        }
    }

    fn answer(&mut self, id: ClientId, request: Request) {
        let reply = match request {
            Request::State => Reply::State { status: Box::new(self.snapshot()) },
            Request::Wait { reap } => return self.clients.wait(id, reap),
            Request::Attach(attachment) => {
                self.awaiting = None;
                return self.clients.attach(id, attachment);
            }
            Request::Stop { grace_millis, signal } => {
                self.clients.wait(id, false);
                self.stopped = true;
                return self.end(Duration::from_millis(grace_millis), signal.unwrap_or(self.job.stop_signal));
            }
            Request::Signal { signal } => self.signal(signal),
            Request::Check { check } => {
                self.check_otherwise(check.map(|check| *check));
                Reply::Done
            }
            Request::Behave(behaviour) => self.behave_otherwise(*behaviour),
            Request::Pause => self.pause(),
            Request::Unpause => self.unpause(),
            Request::Update { restart, limits } => {
                let applied = match limits {
                    Some(ref limits) => Cgroup::open(&self.job.launch.cgroup).and_then(|cgroup| cgroup.apply(limits)),
                    None => Ok(()),
                };
                match applied {
                    Ok(()) => {
                        if let Some(limits) = limits {
                            self.job.launch.limits = *limits;
                            self.unnoted = true;
                            // Before anybody is told, who would look at once.
                            self.note_limits();
                        }
                        self.job.restart = restart.unwrap_or(self.job.restart);
                        Reply::Done
                    }
                    Err(e) => Reply::Refused { why: e.to_string() },
                }
            }
        };
        self.clients.reply(id, &reply);
    }

    fn signal(&mut self, signal: Signal) -> Reply {
        let ends = signal == Signal::KILL || signal == self.job.stop_signal;
        if ends && let Err(e) = self.thaw() {
            return Reply::Refused { why: e.to_string() };
        }
        let Phase::Running(run) = &self.phase else { return Reply::NotRunning };
        match sys::signal::send(&run.process.pidfd, signal.number()) {
            Ok(()) => {
                if ends {
                    (self.stopped, self.ending) = (true, true);
                }
                Reply::Done
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Reply::NotRunning,
            Err(e) => Reply::Refused { why: format!("send {signal}: {e}") },
        }
    }

    /// Ends the container for good: at once when it does not run, else by a signal and, after the grace, SIGKILL.
    fn end(&mut self, grace: Duration, signal: Signal) {
        self.ending = true;
        if let Err(e) = self.thaw() {
            super::note(&e.to_string());
        }
        match &self.phase {
            Phase::Over { .. } => {}
            Phase::Pausing { code, .. } => self.phase = Phase::Over { code: *code, error: None },
            Phase::Running(_) => self.ask_to_stop(grace, signal),
        }
    }

    /// Ends the run that is under way: its stop signal and, after the grace, SIGKILL.
    fn ask_to_stop(&mut self, grace: Duration, signal: Signal) {
        let Phase::Running(run) = &self.phase else { return };
        if grace.is_zero() {
            return self.kill();
        }
        let at = Instant::now() + grace;
        if let Err(e) = sys::signal::send(&run.process.pidfd, signal.number())
            && e.raw_os_error() != Some(libc::ESRCH)
        {
            super::note(&format!("send {signal}: {e}"));
        }
        // Whoever has less patience than another decides.
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn kill(&self) {
        if let Phase::Running(run) = &self.phase {
            child::kill_group(&run.process);
        }
    }

    /// Reads a stream once, or to its end.
    fn read_output(&mut self, stream: LogStream, all: bool) {
        let Phase::Running(run) = &mut self.phase else { return };
        let slot = &mut run.streams.output[stream as usize];
        self.buffer.resize(BLOCK, 0);
        while let Some(fd) = slot {
            match rustix::io::read(&*fd, &mut self.buffer) {
                Ok(0) => *slot = None,
                Ok(count) => {
                    if let Err(e) = self.log.record(stream, &self.buffer[..count], OffsetDateTime::now_utc()) {
                        super::note(&format!("output of the container is lost: {e}"));
                    }
                    self.clients.relay(stream, &self.buffer[..count]);
                    if !all {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(e) => {
                    super::note(&format!("read the container's {}: {e}", stream.as_str()));
                    *slot = None;
                }
            }
        }
    }

    fn exited(&mut self) {
        let Phase::Running(run) = &self.phase else { return };
        let Some(code) = child::reap(&run.process) else { return };
        let (ran, unwell) = (run.began.elapsed(), run.unwell);
        self.end_leftovers();
        for stream in STREAMS {
            self.read_output(stream, true);
            if let Err(e) = self.log.finish(stream, OffsetDateTime::now_utc()) {
                super::note(&format!("output of the container is lost: {e}"));
            }
        }
        // An unhealthy run is over, whatever the policy says of one that ends by itself.
        let policy = if unwell { RestartPolicy::Always } else { self.job.restart };
        self.after_run(code, ran, None, policy);
    }

    fn after_run(&mut self, code: i32, ran: Duration, error: Option<String>, policy: RestartPolicy) {
        self.status.paused = false;
        self.kill_at = None;
        let pause = if self.ending { None } else { self.restarts.after_exit(policy, code, ran) };
        match pause {
            Some(delay) => {
                if let Some(why) = error {
                    super::note(&format!("the container could not be started again: {why}"));
                }
                self.phase = Phase::Pausing { code, until: Instant::now() + delay };
                self.status.state = ContainerState::Restarting { code, since: OffsetDateTime::now_utc(), delay: Span(delay) };
                self.publish(false);
            }
            None => self.phase = Phase::Over { code, error },
        }
    }

    /// Brings the status up to date with the phase.
    fn snapshot(&mut self) -> Status {
        if let Phase::Running(run) = &self.phase {
            let prober = run.prober.as_ref();
            let health = prober.map_or(Health::None, Prober::health);
            self.status.failing = prober.map_or(0, Prober::failing);
            self.status.checks = prober.map(|p| p.checks().to_vec()).unwrap_or_default();
            self.status.state = ContainerState::Running { pid: run.process.pid, started: run.began_at, health };
        }
        self.status.clone()
    }

    /// Publishes the status; in the durable folder too when a reboot must find that the container ran.
    fn publish(&mut self, durable: bool) {
        let status = self.snapshot();
        let instance = self.job.instance();
        let text = match serde_json::to_vec(&status) {
            Ok(text) => text,
            Err(e) => return super::note(&format!("write the state: {e}")),
        };
        let mut result = files::publish(&instance.container_run_dir(&self.job.id).join(status::STATE), &text, 0o600);
        if durable {
            result = result.and(files::publish(&instance.container_dir(&self.job.id).join(status::STATE), &text, 0o600));
        }
        if let Err(e) = result {
            super::note(&e.to_string());
        }
    }

    /// Says how it ended, in an order in which whoever is told finds all done.
    pub(super) fn finish(mut self) -> Farewell {
        let (code, error) = match &self.phase {
            Phase::Over { code, error } => (*code, error.clone()),
            Phase::Pausing { code, .. } => (*code, None),
            // Nobody asks this of one that runs.
            Phase::Running(_) => (255, None),
        };
        let at = OffsetDateTime::now_utc();
        self.status.state = ContainerState::Exited { code, at, stopped: self.stopped, error };
        let cleared = Cgroup::at(&self.job.launch.cgroup).and_then(|cgroup| {
            cgroup.kill_all()?;
            cgroup.remove()
        });
        if let Err(e) = cleared {
            super::note(&e.to_string());
        }
        self.publish(true);
        let instance = self.job.instance();
        if !self.job.auto_remove {
            // What this container became must survive a power cut, or it would be started again.
            let state = instance.container_dir(&self.job.id).join(status::STATE);
            let text = serde_json::to_vec(&self.status).unwrap_or_default();
            if let Err(e) = files::publish_durably(&state, &text, 0o600) {
                super::note(&e.to_string());
            }
        }
        if let Err(e) = files::remove_all(&instance.container_run_dir(&self.job.id).join(status::SOCKET)) {
            super::note(&e.to_string());
        }
        drop(self.lock);
        self.clients.finish(code, self.job.auto_remove)
    }
}

//! What the monitor's loop waits for.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Monitor, MonitorError, Phase, STREAMS};
use crate::engine::monitor::connections::ClientId;
use crate::engine::monitor::logs::LogStream;
use crate::engine::monitor::probe::Prober;

/// After so long with nothing to do, memory is given back.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
pub(super) enum Event {
    Exit,
    Output(LogStream),
    Input,
    Signal,
    Connect,
    Client(ClientId),
    Probe,
    ProbeOutput,
}

/// What one `poll` is to wait for.
#[derive(Default)]
struct Watched<'a> {
    events: Vec<Event>,
    fds: Vec<PollFd<'a>>,
}

impl<'a> Watched<'a> {
    fn add(&mut self, event: Event, fd: BorrowedFd<'a>, flags: PollFlags) {
        self.events.push(event);
        self.fds.push(PollFd::from_borrowed_fd(fd, flags));
    }
}

impl Monitor {
    /// Waits until there is something to do, and says what.
    pub(super) fn wait(&mut self) -> Result<Vec<Event>, MonitorError> {
        let mut watched = Watched::default();
        if let Phase::Running(run) = &self.phase {
            // What is not read fills the pipe, and the container waits.
            let reads = self.awaiting.is_none() && !self.clients.is_congested();
            for stream in STREAMS.into_iter().filter(|_| reads) {
                if let Some(fd) = &run.streams.output[stream as usize] {
                    watched.add(Event::Output(stream), fd.as_fd(), PollFlags::IN);
                }
            }
            if let Some(fd) = run.streams.input.wanted() {
                watched.add(Event::Input, fd, PollFlags::OUT);
            }
            if let Some(prober) = &run.prober {
                let (check, output) = prober.descriptors();
                if let Some(fd) = output {
                    watched.add(Event::ProbeOutput, fd, PollFlags::IN);
                }
                if let Some((fd, flags)) = check {
                    watched.add(Event::Probe, fd, flags);
                }
            }
        }
        let takes_input = !matches!(&self.phase, Phase::Running(run) if run.streams.input.is_full());
        for (id, fd, flags) in self.clients.clients(takes_input) {
            watched.add(Event::Client(id), fd, flags);
        }
        watched.add(Event::Connect, self.clients.listener(), PollFlags::IN);
        watched.add(Event::Signal, self.signals.as_fd(), PollFlags::IN);
        if let (Phase::Running(run), None) = (&self.phase, self.awaiting) {
            watched.add(Event::Exit, run.process.pidfd.as_fd(), PollFlags::IN);
        }
        let Watched { events, mut fds } = watched;
        let deadline = self.deadline();
        let rest = self.untidy.then(|| Instant::now() + IDLE);
        let timeout = deadline.into_iter().chain(rest).min().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(e) => return Err(MonitorError::Poll(e)),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let ready: Vec<Event> = events.into_iter().zip(ready).filter_map(|(event, ready)| ready.then_some(event)).collect();
        drop(fds);
        if !ready.is_empty() || deadline.is_some_and(|at| at <= Instant::now()) {
            self.untidy = true;
        } else if rest.is_some_and(|at| at <= Instant::now()) {
            self.rest();
        }
        Ok(ready)
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            // One that stands still answers no question about its health.
            Phase::Running(run) => run.prober.as_ref().filter(|_| !self.status.paused).and_then(Prober::deadline),
            Phase::Pausing { until, .. } => Some(*until),
            Phase::Over { .. } => None,
        };
        let stopped = if self.log.keeps() { self.clients.stopped_at() } else { None };
        phase.into_iter().chain(self.kill_at).chain(self.awaiting).chain(stopped).min()
    }
}

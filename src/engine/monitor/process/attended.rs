//! What those who are attached send, and standing still: a user's hand on a container that runs.

use super::{Monitor, Phase};
use crate::engine::monitor::protocol::Reply;
use crate::engine::runtime::cgroups::{self, Cgroup, CgroupError};
use crate::engine::runtime::kin::Kin;
use crate::wire::frame::Frame;

impl Monitor {
    /// What somebody who is attached sends.
    pub(super) fn take(&mut self, frame: Frame) {
        if let Frame::Resize { rows, columns } = frame {
            self.window = Some((rows, columns));
        }
        let Phase::Running(run) = &mut self.phase else { return };
        match frame {
            Frame::Stdin(bytes) => run.streams.input.push(&bytes),
            // A terminal has no end of its own: whoever types says it by a key.
            Frame::StdinEnd if self.job.stdin_once && run.streams.terminal.is_none() => run.streams.input.end(),
            Frame::Resize { rows, columns } => {
                if let Some(terminal) = &run.streams.terminal
                    && let Err(e) = terminal.resize((rows, columns))
                {
                    crate::engine::monitor::note(&format!("resize the container's terminal: {e}"));
                }
            }
            Frame::Signal(signal) => drop(self.signal(signal)),
            Frame::StdinEnd | Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failure(_) => {}
        }
    }

    pub(super) fn pause(&mut self) -> Reply {
        if !matches!(self.phase, Phase::Running(_)) {
            return Reply::NotRunning;
        }
        if self.status.paused {
            return Reply::Refused { why: "it is paused already".to_owned() };
        }
        match self.stand_still() {
            Ok(()) => {
                self.status.paused = true;
                self.publish(false);
                Reply::Done
            }
            Err(e) => Reply::Refused { why: e.to_string() },
        }
    }

    pub(super) fn unpause(&mut self) -> Reply {
        if !matches!(self.phase, Phase::Running(_)) {
            return Reply::NotRunning;
        }
        if !self.status.paused {
            return Reply::Refused { why: "it is not paused".to_owned() };
        }
        match self.thaw() {
            Ok(()) => Reply::Done,
            Err(e) => Reply::Refused { why: e.to_string() },
        }
    }

    fn stand_still(&self) -> Result<(), CgroupError> {
        match self.kin()? {
            Some(kin) => kin.freeze().map_err(CgroupError::Processes),
            None => Cgroup::open(&self.job.launch.cgroup)?.freeze(),
        }
    }

    /// The container's processes, where there are no cgroups to ask.
    fn kin(&self) -> Result<Option<Kin>, CgroupError> {
        match &self.phase {
            Phase::Running(run) if cgroups::is_absent() => {
                Kin::of(run.process.pid, run.process.started_ticks).map_err(CgroupError::Processes)
            }
            _ => Ok(None),
        }
    }

    /// Lets a container go on that stands still: it could neither handle a signal nor die.
    pub(super) fn thaw(&mut self) -> Result<(), CgroupError> {
        if self.status.paused {
            match self.kin()? {
                Some(kin) => kin.thaw().map_err(CgroupError::Processes)?,
                None => Cgroup::at(&self.job.launch.cgroup)?.thaw()?,
            }
            self.status.paused = false;
            self.publish(false);
        }
        Ok(())
    }
}

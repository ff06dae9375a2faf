//! What the monitor does beside the container's own life: it acts on the container's health, and keeps itself small.

use time::OffsetDateTime;

use super::{Monitor, Phase, Prober};
use crate::engine::monitor::protocol::{Behaviour, Reply};
use crate::engine::monitor::{LOGS, note};
use crate::model::spec::Healthcheck;
use crate::sys;

impl Monitor {
    pub(super) fn prober(&mut self) -> Option<&mut Prober> {
        match &mut self.phase {
            Phase::Running(run) => run.prober.as_mut(),
            Phase::Pausing { .. } | Phase::Over { .. } => None,
        }
    }

    /// Says what a check came to, and acts on it where that is asked for.
    pub(super) fn after_check(&mut self) {
        self.publish(false);
        let Phase::Running(run) = &mut self.phase else { return };
        run.prober.take_if(|prober| prober.is_over());
        if !run.unwell && !self.ending && run.prober.as_ref().is_some_and(Prober::wants_restart) {
            run.unwell = true;
            note("the container is unhealthy, and is restarted for it");
            self.ask_to_stop(self.job.stop_grace.0, self.job.stop_signal);
        }
    }

    /// Checks the container's health in another way from now on, or not at all.
    pub(super) fn check_otherwise(&mut self, check: Option<Healthcheck>) {
        if let Phase::Running(run) = &mut self.phase {
            match &mut run.prober {
                Some(prober) => {
                    if !prober.replace(check.as_ref()) {
                        run.prober = None;
                    }
                }
                None => run.prober = Prober::new(check.as_ref(), &self.job.launch, &run.process, run.began),
            }
        }
        self.job.healthcheck = check;
        self.publish(false);
    }

    /// Ends and records in another way from now on.
    pub(super) fn behave_otherwise(&mut self, behaviour: Behaviour) -> Reply {
        let Behaviour { stop_signal, stop_grace, recording } = behaviour;
        if recording != self.job.recording {
            let folder = self.job.instance().container_dir(&self.job.id).join(LOGS);
            if let Err(error) = self.log.become_one_of(&recording, &folder, OffsetDateTime::now_utc()) {
                return Reply::Refused { why: error.to_string() };
            }
            self.job.recording = recording;
        }
        (self.job.stop_signal, self.job.stop_grace) = (stop_signal, stop_grace);
        Reply::Done
    }

    /// Gives back what is not needed by one who only waits.
    pub(super) fn rest(&mut self) {
        self.untidy = false;
        self.buffer = Vec::new();
        self.log.rest();
        if let Err(e) = sys::memory::give_back() {
            note(&format!("give memory back: {e}"));
        }
    }
}

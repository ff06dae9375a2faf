//! The container's cgroup over its runs: the scope that it is in, where systemd makes that, and what a run leaves in it.

use super::super::note;
use super::super::status::LIMITS;
use super::{Monitor, MonitorError};
use crate::engine::runtime::Scope;
use crate::engine::runtime::cgroups::Cgroup;
use crate::files;

impl Monitor {
    /// Where systemd is to make the container's cgroup, it is asked for it: once, and again where somebody has stopped it.
    pub(super) fn hold_scope(&mut self) -> Result<(), MonitorError> {
        let path = &self.job.launch.cgroup;
        if path.scope().is_some() && self.scope.as_ref().is_none_or(Scope::has_ended) {
            // Its name is to be free.
            self.scope = None;
            self.scope = Scope::start(path, &format!("Container {} of setpoint", self.job.id.short()))?;
            // A new cgroup counts anew.
            self.oom_kills = 0;
        }
        Ok(())
    }

    /// Writes down what the kernel says of limits that have just been set, so that another value is known to be another's.
    pub(super) fn note_limits(&mut self) {
        if !std::mem::take(&mut self.unnoted) {
            return;
        }
        let path = self.job.instance().container_run_dir(&self.job.id).join(LIMITS);
        let values = Cgroup::at(&self.job.launch.cgroup).and_then(|cgroup| cgroup.values());
        let noted = match values {
            Ok(values) => serde_json::to_vec(&values).map_err(|e| e.to_string()),
            Err(e) => Err(e.to_string()),
        };
        match noted.and_then(|text| files::publish(&path, &text, 0o600).map_err(|e| e.to_string())) {
            Ok(()) => {}
            Err(why) => note(&format!("note the limits: {why}")),
        }
    }

    /// The processes that survived the first one, if any, must not meet the next run or hold the cgroup.
    pub(super) fn end_leftovers(&mut self) {
        let result = Cgroup::open(&self.job.launch.cgroup).and_then(|cgroup| {
            // The kernel counts over all runs in the same cgroup.
            let kills = cgroup.oom_kills()?;
            self.status.oom_killed = kills > self.oom_kills;
            self.oom_kills = kills;
            if cgroup.is_populated()? { cgroup.kill_all() } else { Ok(()) }
        });
        if let Err(e) = result {
            note(&e.to_string());
        }
    }
}

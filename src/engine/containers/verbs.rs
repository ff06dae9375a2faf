//! What is done to a container that has been started: the monitor is asked; when there is none, its last state answers.

use std::time::{Duration, Instant};

use super::{Containers, ContainersError};
use crate::engine::monitor::{self, Attached, Attachment, Client, ClientError, Status};
use crate::engine::runtime::cgroups::{self, Cgroup};
use crate::engine::runtime::kin::Kin;
use crate::model::spec::ResourceLimits;
use crate::model::{ContainerId, RestartPolicy, Signal, Span};
use crate::observed::ContainerState;
use crate::sys;

/// How long a monitor may be there without answering: while it starts, and after its container has exited.
const TRANSITION: Duration = Duration::from_secs(60);

impl Containers {
    /// Where the container is in its life.
    pub fn state(&self, id: &ContainerId) -> Result<ContainerState, ContainersError> {
        Ok(self.status(id)?.state)
    }

    /// Its state, its restarts and its health checks.
    pub fn status(&self, id: &ContainerId) -> Result<Status, ContainersError> {
        Ok(self.statuses.read(&self.instance, id)?)
    }

    /// The process that looks after a container that is alive: its pid and, in ticks since the boot, its start. Its death
    /// without a word of its own is the container's death.
    pub fn monitor_of(&self, id: &ContainerId) -> Result<Option<(i32, u64)>, ContainersError> {
        Ok(self.status(id)?.live_monitor())
    }

    /// Ends the container for good: by its stop signal and, after the grace (its own unless another is given), SIGKILL. What
    /// does not run is stopped already.
    pub async fn stop(&self, id: &ContainerId, grace: Option<Span>) -> Result<(), ContainersError> {
        self.stop_by(id, grace, None).await
    }

    /// The same by another signal than its own.
    pub async fn stop_by(&self, id: &ContainerId, grace: Option<Span>, signal: Option<Signal>) -> Result<(), ContainersError> {
        let grace = grace.map_or_else(|| self.get(id).map(|record| record.spec.stop_grace_period), Ok)?;
        let client = Client::new(&self.instance, id);
        let until = Instant::now() + TRANSITION;
        loop {
            match client.stop(grace.0, signal).await {
                Ok(_) => return Ok(()),
                Err(ClientError::Gone) => {}
                Err(source) => return Err(ContainersError::Monitor { name: self.called(id), source }),
            }
            if !self.settling(id, until).await? {
                break;
            }
        }
        // A monitor that was killed took the container's first process along, and not necessarily all others.
        if self.state(id)? == ContainerState::Lost {
            self.clear_cgroup(id)?;
        }
        Ok(())
    }

    pub async fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), ContainersError> {
        match Client::new(&self.instance, id).signal(signal).await {
            Ok(()) => Ok(()),
            Err(ClientError::Gone | ClientError::NotRunning) => Err(ContainersError::NotRunning { name: self.called(id) }),
            Err(source) => Err(ContainersError::Monitor { name: self.called(id), source }),
        }
    }

    /// Waits until the container has finally exited. Its exit code.
    ///
    /// Who asks to `reap` promises to remove the container if it is one that is removed when it exits: then nobody else does
    /// as long as the asker lives.
    pub async fn wait(&self, id: &ContainerId, reap: bool) -> Result<i32, ContainersError> {
        let client = Client::new(&self.instance, id);
        let until = Instant::now() + TRANSITION;
        loop {
            match client.wait(reap).await {
                Ok((code, _)) => return Ok(code),
                Err(ClientError::Gone) => {}
                Err(source) => return Err(ContainersError::Monitor { name: self.called(id), source }),
            }
            if !self.settling(id, until).await? {
                break;
            }
        }
        match self.state(id)? {
            ContainerState::Exited { code, .. } => Ok(code),
            ContainerState::Created if self.get(id).is_ok() => Err(ContainersError::NeverStarted { name: self.called(id) }),
            // Also of one that was lost and has been removed for it.
            ContainerState::Created | ContainerState::Lost => Err(ContainersError::Lost { name: self.called(id) }),
            ContainerState::Running { .. } | ContainerState::Restarting { .. } => {
                Err(ContainersError::Busy { name: self.called(id) })
            }
        }
    }

    /// The output of a container that runs, from now on, and a way to its input.
    pub async fn attach(&self, id: &ContainerId, attachment: Attachment) -> Result<Attached, ContainersError> {
        match Client::new(&self.instance, id).attach(attachment).await {
            Ok(attached) => Ok(attached),
            Err(ClientError::Gone | ClientError::NotRunning) => Err(ContainersError::NotRunning { name: self.called(id) }),
            Err(source) => Err(ContainersError::Monitor { name: self.called(id), source }),
        }
    }

    /// What stands still answers nobody.
    pub fn refuse_paused(&self, id: &ContainerId) -> Result<(), ContainersError> {
        if self.status(id)?.paused { Err(ContainersError::Paused { name: self.called(id) }) } else { Ok(()) }
    }

    /// Lets a container stand still, or go on.
    pub async fn pause(&self, id: &ContainerId, pause: bool) -> Result<(), ContainersError> {
        // Held, so that it meets neither a start nor a look at what stands still for a moment.
        let _held = self.hold(id).await?;
        match Client::new(&self.instance, id).pause(pause).await {
            Ok(()) => Ok(()),
            Err(ClientError::Gone | ClientError::NotRunning) => Err(ContainersError::NotRunning { name: self.called(id) }),
            Err(ClientError::Refused(why)) => Err(ContainersError::Pause { name: self.called(id), why }),
            Err(source) => Err(ContainersError::Monitor { name: self.called(id), source }),
        }
    }

    /// Changes the restart policy and the limits, of the running container too. `None` leaves as it is.
    pub async fn update(
        &self,
        id: &ContainerId,
        restart: Option<RestartPolicy>,
        limits: Option<ResourceLimits>,
    ) -> Result<(), ContainersError> {
        let held = self.hold(id).await?;
        let cgroup = Cgroup::at(&self.cgroup(id)?)?;
        let in_force = limits.clone().map(|limits| cgroup.with_defaults(limits)).transpose()?;
        match Client::new(&self.instance, id).update(restart, in_force).await {
            // Without a monitor the next start reads the record.
            Ok(()) | Err(ClientError::Gone) => {}
            Err(source) => return Err(ContainersError::Monitor { name: self.called(id), source }),
        }
        self.change_spec(&held.id, restart, limits)
    }

    /// The processes of a container, by their numbers here.
    pub fn pids(&self, id: &ContainerId) -> Result<Vec<i32>, ContainersError> {
        if cgroups::is_absent() {
            return match self.kin(id)? {
                Some(kin) => kin.pids().map_err(ContainersError::Processes),
                None => Ok(Vec::new()),
            };
        }
        Ok(Cgroup::at(&self.cgroup(id)?)?.pids()?)
    }

    /// What it uses now.
    pub fn stats(&self, id: &ContainerId) -> Result<cgroups::Stats, ContainersError> {
        if let Some(kin) = self.kin(id)? {
            return kin.stats().map_err(ContainersError::Processes);
        }
        Ok(Cgroup::at(&self.cgroup(id)?)?.stats()?)
    }

    /// Bytes that it has read from disks and written to them.
    pub fn block_io(&self, id: &ContainerId) -> Result<(u64, u64), ContainersError> {
        if cgroups::is_absent() {
            return Ok(cgroups::block_io_of(&self.pids(id)?));
        }
        Ok(Cgroup::at(&self.cgroup(id)?)?.block_io()?)
    }

    /// The processes of a running container, where there are no cgroups to ask.
    pub(super) fn kin(&self, id: &ContainerId) -> Result<Option<Kin>, ContainersError> {
        if !cgroups::is_absent() {
            return Ok(None);
        }
        let status = self.status(id)?;
        match status.state {
            ContainerState::Running { pid, .. } => Kin::of(pid, status.started_ticks).map_err(ContainersError::Processes),
            _ => Ok(None),
        }
    }

    /// Kills what is left in the container's cgroup, and removes it.
    pub(super) fn clear_cgroup(&self, id: &ContainerId) -> Result<(), ContainersError> {
        if cgroups::is_absent() {
            return self.until_dead(id);
        }
        let cgroup = Cgroup::at(&self.cgroup(id)?)?;
        cgroup.kill_all()?;
        // What stands still does not even die.
        cgroup.thaw()?;
        Ok(cgroup.remove()?)
    }

    /// Without cgroups: the first process of a container dies with its monitor, and takes all others along.
    fn until_dead(&self, id: &ContainerId) -> Result<(), ContainersError> {
        let Some((pid, started)) = monitor::last_process(&self.instance, id) else { return Ok(()) };
        let until = Instant::now() + Duration::from_secs(10);
        while sys::process_start_ticks(pid).is_ok_and(|now| now == started) {
            if Instant::now() >= until {
                return Err(ContainersError::Busy { name: self.called(id) });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether there is a monitor that does not answer now, be it that it starts or that it has done its work. Pauses then.
    async fn settling(&self, id: &ContainerId, until: Instant) -> Result<bool, ContainersError> {
        if !monitor::has_monitor(&self.instance, id).map_err(ContainersError::from)? {
            return Ok(false);
        }
        if Instant::now() >= until {
            return Err(ContainersError::Busy { name: self.called(id) });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(true)
    }
}

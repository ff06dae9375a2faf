//! A container that is there becomes another one without a new process: its monitor is told, files that it has mounted are written
//! anew, and its record is changed. Knows neither images nor networks.

use super::recording::recording;
use super::{Containers, ContainersError, Held, Record};
use crate::engine::monitor::{Behaviour, Client, ClientError};
use crate::engine::runtime::cgroups::Cgroup;
use crate::files;
use crate::model::spec::{ContainerSpec, Healthcheck};
use crate::model::{ContainerId, Signal};

/// What others know of what a container becomes.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// How its health is to be checked, with what its image says where it says nothing itself.
    pub healthcheck: Option<Healthcheck>,
    /// The stop signal of its image.
    pub image_signal: Option<Signal>,
}

impl Containers {
    /// Tells the monitor of a container that is alive what of it is other than before.
    pub async fn tell(&self, held: &Held, old: &Record, new: &Record, beside: &Beside) -> Result<(), ContainersError> {
        let id = held.id();
        let client = Client::new(&self.instance, id);
        if old.spec.restart != new.spec.restart || old.spec.limits != new.spec.limits {
            let limits = Cgroup::at(&self.cgroup(id)?)?.with_defaults(new.spec.limits.clone())?;
            self.heard(id, client.update(Some(new.spec.restart), Some(limits)).await)?;
        }
        if old.spec.healthcheck != new.spec.healthcheck {
            self.heard(id, client.check(beside.healthcheck.clone()).await)?;
        }
        let behaviour = |record: &Record| Behaviour {
            stop_signal: record.spec.stop_signal.or(beside.image_signal).unwrap_or(Signal::TERM),
            stop_grace: record.spec.stop_grace_period,
            recording: recording(record),
        };
        let wanted = behaviour(new);
        if behaviour(old) != wanted {
            self.heard(id, client.behave(wanted).await)?;
        }
        Ok(())
    }

    /// Without a monitor the next start reads the record.
    pub(super) fn heard(&self, id: &ContainerId, answer: Result<(), ClientError>) -> Result<(), ContainersError> {
        match answer {
            Ok(()) | Err(ClientError::Gone) => Ok(()),
            Err(source) => Err(ContainersError::Monitor { name: self.called(id), source }),
        }
    }

    /// Gives the files of a container that runs another content, where they have one: its configs, and those that the engine
    /// makes for it, by name. What it does not have mounted is not there.
    pub fn rewrite_files(&self, old: &Record, new: &Record, made: &[(&str, String)]) -> Result<(), ContainersError> {
        let run = self.instance.container_run_dir(&new.id);
        for (name, content) in made {
            let path = run.join(name);
            if files::read_if_there(&path)?.is_some_and(|now| now != content.as_bytes()) {
                files::rewrite(&path, content.as_bytes())?;
            }
        }
        self.rewrite_configs(old, new)
    }

    /// Records what a container is from its next start on.
    pub fn set_spec(&self, held: &Held, spec: &ContainerSpec) -> Result<(), ContainersError> {
        self.write_spec(held.id(), spec)
    }
}

//! Reading what containers have printed, where it is kept here.

use super::recording::details;
use super::{Containers, ContainersError};
use crate::engine::monitor::logs::{LogError, LogQuery, LogReader};
use crate::engine::monitor::{self, LOGS};
use crate::model::ContainerId;
use crate::model::spec::LogDriver;

impl Containers {
    /// What the container printed. A follower's log ends when the container has finally exited.
    pub fn logs(&self, id: &ContainerId, query: LogQuery) -> Result<LogReader, LogError> {
        let (instance, own) = (self.instance.clone(), id.clone());
        // A state that cannot be read is no reason to wait for more.
        self.read(id, query, move || monitor::read_state(&instance, &own).is_ok_and(|state| state.is_alive()))
    }

    /// As [`logs`](Self::logs), over stops and starts: a follower's log ends when the container is removed.
    pub fn logs_until_removed(&self, id: &ContainerId, query: LogQuery) -> Result<LogReader, LogError> {
        let (this, own) = (self.clone(), id.clone());
        self.read(id, query, move || this.get(&own).is_ok())
    }

    /// What goes with each line of a container's log, where its logging names something.
    pub fn log_details(&self, id: &ContainerId) -> Result<Option<String>, ContainersError> {
        Ok(details(&self.get(id)?))
    }

    fn read(
        &self,
        id: &ContainerId,
        query: LogQuery,
        alive: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<LogReader, LogError> {
        if let Ok(record) = self.get(id)
            && record.spec.logging.driver != LogDriver::File
        {
            return Err(LogError::NotKept { name: record.name.to_string(), driver: record.spec.logging.driver });
        }
        LogReader::open(&self.instance.container_dir(id).join(LOGS), &self.instance.container_run_dir(id), query, alive)
    }
}

//! What a crash or a power cut left half-made is finished or undone. What a living process is at work on is left alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::records::Phase;
use super::{Containers, ContainersError};
use crate::engine::monitor::{self, Job};
use crate::engine::runtime::cgroups;
use crate::files::FileError;
use crate::model::ContainerId;
use crate::observed::ContainerState;

/// What a recovery found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Containers, or remains of one, that were removed.
    pub removed: Vec<String>,
    /// Containers that died with their monitor: their processes are cleared away; what they held elsewhere (addresses,
    /// published ports) is for the caller to give back.
    pub lost: Vec<ContainerId>,
    /// Containers that have ended, however, and were to be removed then: for the caller to remove.
    pub unsettled: Vec<ContainerId>,
    /// What could not be cleared away. The next recovery tries again.
    pub failures: Vec<ContainersError>,
    /// Whatever bears the name of a container belongs to one.
    pub is_clean: bool,
}

impl Containers {
    /// Finishes and undoes what was left half-made, as far as nobody is at work on it. Nothing is of those that are known to be `alive`;
    /// and what belongs to no container is looked for only when `sweeps`.
    pub async fn recover(&self, alive: &HashSet<ContainerId>, sweeps: bool) -> Result<Recovered, ContainersError> {
        let mut found = Recovered { is_clean: sweeps, ..Recovered::default() };
        // Folders before rows: a folder comes after its row and goes before it, so one without a row now is nobody's.
        let remains = if sweeps { self.remains()? } else { BTreeSet::new() };
        let rows = self.phases()?;
        let mut cgroups = None;
        for (id, phase) in &*rows {
            let result = match phase {
                Phase::Creating | Phase::Removing => self.undo(id, *phase, &mut found).await,
                Phase::Ready if alive.contains(id) => Ok(()),
                Phase::Ready => self.inspect(id, &mut cgroups, &mut found),
            };
            found.failures.extend(result.err());
        }
        for name in remains {
            let result = self.sweep(&name, &rows, &mut found).await;
            found.failures.extend(result.err());
        }
        found.is_clean &= found.failures.is_empty();
        Ok(found)
    }

    async fn undo(&self, id: &ContainerId, phase: Phase, found: &mut Recovered) -> Result<(), ContainersError> {
        let Some(held) = self.try_hold(id)? else { return Ok(()) };
        // Under the lock once more: whoever held it may have finished.
        if self.phase(id)?.as_deref() == Some(phase.as_str()) {
            self.erase(held).await?;
            found.removed.push(id.to_string());
        }
        Ok(())
    }

    /// All cgroups are listed when the first is asked for.
    fn inspect(
        &self,
        id: &ContainerId,
        cgroups: &mut Option<BTreeSet<String>>,
        found: &mut Recovered,
    ) -> Result<(), ContainersError> {
        // One that runs, and has a monitor that says so, has left nothing behind.
        if matches!(self.state(id)?, ContainerState::Running { .. }) && !self.is_held_still(id) {
            return Ok(());
        }
        // Whoever holds it is starting it or removing it, and a monitor clears up by itself.
        let Some(_held) = self.try_hold(id)? else { return Ok(()) };
        self.thaw_left(id)?;
        // A monitor whose starter was killed may be on its way: without orders it does not start anything.
        if !Job::withdraw(&self.instance.container_run_dir(id))? {
            return Ok(());
        }
        let cgroups = match cgroups {
            Some(cgroups) => cgroups,
            None => cgroups.insert(self.cgroups()?),
        };
        if cgroups.contains(id.as_str()) || cgroups::is_absent() || self.is_elsewhere(id)? {
            self.clear_cgroup(id)?;
        }
        match self.state(id)? {
            ContainerState::Exited { .. } | ContainerState::Lost if self.get(id)?.auto_remove => found.unsettled.push(id.clone()),
            ContainerState::Lost => found.lost.push(id.clone()),
            ContainerState::Exited { .. }
            | ContainerState::Created
            | ContainerState::Running { .. }
            | ContainerState::Restarting { .. } => {}
        }
        Ok(())
    }

    /// The folders that [`Self::recover`] looks through for what belongs to no container, whether or not they are there.
    pub fn folders_of_remains(&self) -> Result<Vec<PathBuf>, ContainersError> {
        let mut folders =
            vec![self.instance.state_dir().join("containers"), self.instance.run_dir().join("containers"), self.locks_dir()];
        for home in self.homes()? {
            folders.extend(cgroups::folders(&home)?);
        }
        Ok(folders)
    }

    /// Names of folders, cgroups and locks: a container's id, or the beginning of one.
    fn remains(&self) -> Result<BTreeSet<String>, ContainersError> {
        let mut names = BTreeSet::new();
        names.extend(entries(&self.instance.state_dir().join("containers"))?);
        names.extend(entries(&self.instance.run_dir().join("containers"))?);
        names.extend(entries(&self.locks_dir())?.into_iter().filter_map(|name| name.strip_suffix(".lock").map(str::to_owned)));
        names.extend(self.cgroups()?);
        Ok(whole(names))
    }

    /// The names of all cgroups below the instance's own parents. What is elsewhere has a row as long as it is there.
    fn cgroups(&self) -> Result<BTreeSet<String>, ContainersError> {
        let mut names = BTreeSet::new();
        for home in self.homes()? {
            names.extend(cgroups::list(&home)?);
        }
        Ok(names)
    }

    /// Removes what has a container's name and no row.
    async fn sweep(&self, name: &str, rows: &BTreeMap<ContainerId, Phase>, found: &mut Recovered) -> Result<(), ContainersError> {
        if rows.keys().any(|id| id.as_str().starts_with(name)) {
            return Ok(());
        }
        // A run-time folder has only the beginning of an id, and all that is done here with the rest is to name paths.
        let Ok(id) = format!("{name:0<64}").parse::<ContainerId>() else { return Ok(()) };
        found.is_clean = false;
        let Some(held) = self.try_hold(&id)? else { return Ok(()) };
        if monitor::has_monitor(&self.instance, &id)? || self.phase(&id)?.is_some() {
            return Ok(());
        }
        self.erase(held).await?;
        found.removed.push(name.to_owned());
        Ok(())
    }
}

/// Without beginnings of other names. A lock has the whole name, and is made before what has the beginning only: whoever holds
/// it is at work on both.
fn whole(names: BTreeSet<String>) -> BTreeSet<String> {
    let begins_another = |name: &String| {
        let mut after = names.range::<String, _>((Bound::Excluded(name), Bound::Unbounded));
        after.next().is_some_and(|next| next.starts_with(name.as_str()))
    };
    names.iter().filter(|name| !begins_another(name)).cloned().collect()
}

/// The names in a folder, none when there is no such folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<String>, ContainersError> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(FileError::new("list", folder, e).into()),
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|e| FileError::new("list", folder, e))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_stands_for_the_whole_name_where_that_is_there() {
        let names = ["aa", "aab", "ab", "b", "ba"].map(str::to_owned);
        assert_eq!(whole(names.into()), ["aab", "ab", "ba"].map(str::to_owned).into());
    }
}

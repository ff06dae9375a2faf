//! What of a container that runs is not as it was made, as far as its cgroup and the files of its configs tell.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Containers, ContainersError, Held, Record};
use crate::engine::monitor::{self, Client};
use crate::engine::runtime::cgroups::{self, Cgroup};
use crate::files;
use crate::model::spec::Mount;
use crate::observed::{Fault, Repair};

/// Which files of a folder [`Containers::faults`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldOf {
    Limits,
    Everything,
}

impl ToldOf {
    /// Whether the file of this name is one of them.
    pub fn counts(self, name: &[u8]) -> bool {
        match self {
            Self::Limits => cgroups::is_limit(name),
            Self::Everything => true,
        }
    }
}

impl Containers {
    /// The folders of the files that [`Self::faults`] reads of a container that runs, whether or not each is there.
    pub fn told_of(&self, record: &Record) -> Result<Vec<(PathBuf, ToldOf)>, ContainersError> {
        let cgroup = Cgroup::at(&self.cgroup(&record.id)?)?;
        let mut folders: Vec<_> = cgroup.limit_folders().map(|folder| (folder, ToldOf::Limits)).collect();
        for kind in [false, true] {
            if record.spec.mounts.iter().any(|mount| matches!(mount, Mount::Config { secret, .. } if *secret == kind)) {
                folders.push((self.folder_of_configs(&record.id, kind), ToldOf::Everything));
            }
        }
        Ok(folders)
    }

    /// The faults of a container that runs. One that ends meanwhile has some or none.
    pub fn faults(&self, record: &Record) -> Result<Vec<Fault>, ContainersError> {
        let live = |field: &str, what| Fault { field: field.to_owned(), what, repair: Repair::Live };
        let mut faults: Vec<Fault> = self.changed_limits(record)?.into_iter().map(|what| live("limits", what)).collect();
        let changed = self.changed_configs(record)?;
        faults.extend(changed.into_iter().map(|target| live("mounts", format!("the content of {target} is another one"))));
        Ok(faults)
    }

    fn changed_limits(&self, record: &Record) -> Result<Vec<String>, ContainersError> {
        let path = self.instance.container_run_dir(&record.id).join(monitor::LIMITS);
        // A monitor that has just started it has not written it down yet, and one of an older version never does.
        let Some(noted) = files::read_if_there(&path)? else { return Ok(Vec::new()) };
        let noted: BTreeMap<String, String> = serde_json::from_slice(&noted).unwrap_or_default();
        let now = Cgroup::at(&self.cgroup(&record.id)?)?.values()?;
        let differs = |(name, was): (String, String)| {
            let is = now.get(name.as_str()).filter(|is| **is != was)?;
            Some(format!("{name} is {:?} instead of {:?}", shown(is), shown(&was)))
        };
        Ok(noted.into_iter().filter_map(differs).collect())
    }

    /// Sets the limits again that a container's record says, and writes its configs anew.
    pub async fn repair(&self, held: &Held) -> Result<(), ContainersError> {
        let record = self.get(held.id())?;
        if !self.changed_limits(&record)?.is_empty() {
            let limits = Cgroup::at(&self.cgroup(&record.id)?)?.with_defaults(record.spec.limits.clone())?;
            self.heard(&record.id, Client::new(&self.instance, &record.id).update(None, Some(limits)).await)?;
        }
        self.rewrite_configs(&record, &record)
    }
}

/// On one line, and not too long.
fn shown(value: &str) -> String {
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    line
}

//! Where the containers' cgroups are: below the instance's own parent, below the unit that systemd has for them where the
//! instance is the host's own, or where a container's specification says.

use std::path::PathBuf;

use rusqlite::OptionalExtension;

use super::records::invalid;
use super::{Containers, ContainersError};
use crate::engine::runtime::CgroupPath;
use crate::engine::runtime::cgroups::{self, Cgroup};
use crate::files;
use crate::model::ContainerId;
use crate::model::spec::CgroupParent;

impl Containers {
    /// Where the cgroup of a container is, and where it would be made if there is none.
    pub(super) fn cgroup(&self, id: &ContainerId) -> Result<CgroupPath, ContainersError> {
        // One that was started before the unit was stays where it is.
        for parent in self.homes()? {
            let home = CgroupPath { parent, name: id.to_string() };
            if Cgroup::at(&home)?.exists() {
                return Ok(home);
            }
        }
        self.cgroup_below(id, self.wanted_parent(id)?.as_ref())
    }

    /// Where the cgroup of a container is to be made.
    pub(super) fn cgroup_below(&self, id: &ContainerId, parent: Option<&CgroupParent>) -> Result<CgroupPath, ContainersError> {
        let name = id.to_string();
        let parent = match parent {
            None => self.homes()?.swap_remove(0),
            Some(parent) => under(parent, &name),
        };
        Ok(CgroupPath { parent, name })
    }

    /// Whether a container has a cgroup below a parent of its own.
    pub(super) fn is_elsewhere(&self, id: &ContainerId) -> Result<bool, ContainersError> {
        match self.wanted_parent(id)? {
            Some(parent) => Ok(Cgroup::at(&self.cgroup_below(id, Some(&parent))?)?.exists()),
            None => Ok(false),
        }
    }

    /// What the row of a container says, whatever its phase is. Whose row is gone has been cleared away. A workshop has none, and
    /// a file instead.
    fn wanted_parent(&self, id: &ContainerId) -> Result<Option<CgroupParent>, ContainersError> {
        let text: Option<String> = self.db.read(|t| {
            t.query_row("SELECT spec ->> 'cgroup_parent' FROM containers WHERE id = ?1", [id.as_str()], |row| row.get(0))
                .optional()
                .map(Option::flatten)
        })?;
        let text = match text {
            Some(text) => Some(text),
            None => files::read_if_there(&self.parent_file(id))?.map(|text| String::from_utf8_lossy(&text).into_owned()),
        };
        text.map(|text| text.parse().map_err(|e| invalid(id.as_str(), "spec", &e))).transpose()
    }

    /// Where it is written what a workshop's cgroup is below, where that is no parent of the instance's own.
    pub(super) fn parent_file(&self, id: &ContainerId) -> PathBuf {
        self.instance.container_run_dir(id).join("cgroup-parent")
    }

    /// The parents of cgroups that are this instance's, that in which new ones are made first.
    pub(super) fn homes(&self) -> Result<Vec<String>, ContainersError> {
        let mut homes = Vec::new();
        if let Some(unit) = self.instance.cgroup_of_unit()
            && cgroups::has_parent(unit)?
        {
            homes.push(unit.to_owned());
        }
        homes.push(self.instance.cgroup_parent());
        Ok(homes)
    }
}

/// In a slice it is in a scope of its own, which systemd makes.
fn under(parent: &CgroupParent, name: &str) -> String {
    match parent.slice() {
        Some(_) => format!("{}/setpoint-{name}.scope", parent.path()),
        None => parent.path(),
    }
}

//! Stopping the processes of a cgroup in their tracks, and letting them go on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Cgroup, CgroupError, Layout, PATIENCE, measure};

/// The file by which the processes of one cgroup are stopped, in the hierarchy that can.
#[derive(Debug)]
pub(in crate::engine::runtime) struct Freezer {
    file: PathBuf,
    unified: bool,
}

impl Freezer {
    /// Of a cgroup's folder in the hierarchy of v1 that has the controller.
    pub(in crate::engine::runtime) fn of_v1(folder: &Path) -> Self {
        Self { file: folder.join("freezer.state"), unified: false }
    }

    /// Of its folder in the unified hierarchy.
    pub(in crate::engine::runtime) fn of_unified(folder: &Path) -> Self {
        Self { file: folder.join("cgroup.freeze"), unified: true }
    }

    /// Freezes every process; when this returns, none runs.
    pub(in crate::engine::runtime) fn freeze(&self) -> Result<(), CgroupError> {
        let word = if self.unified { "1" } else { FROZEN };
        fs::write(&self.file, word).map_err(CgroupError::file("write", &self.file))?;
        let begun = Instant::now();
        while !self.is_frozen()? {
            if begun.elapsed() > PATIENCE {
                // Half frozen is worse than not at all.
                self.thaw()?;
                return Err(CgroupError::Busy { path: self.file.clone(), waited: PATIENCE });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets them go on. What is not there is not frozen.
    pub(in crate::engine::runtime) fn thaw(&self) -> Result<(), CgroupError> {
        match fs::write(&self.file, if self.unified { "0" } else { "THAWED" }) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(CgroupError::file("write", &self.file)),
        }
    }

    pub(in crate::engine::runtime) fn is_frozen(&self) -> Result<bool, CgroupError> {
        if self.unified {
            return Ok(measure::keyed(&self.file.with_file_name("cgroup.events"), "frozen")?.unwrap_or(0) == 1);
        }
        match fs::read_to_string(&self.file) {
            Ok(now) => Ok(now.trim() == FROZEN),
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(e) => Err(CgroupError::file("read", &self.file)(e)),
        }
    }
}

const FROZEN: &str = "FROZEN";

impl Cgroup {
    /// Freezes every process in it; when this returns, none runs.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.freezer()?.freeze()
    }

    /// Lets them go on. What is not there is not frozen.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        if matches!(self.layout, Layout::Absent) {
            return Ok(());
        }
        self.freezer()?.thaw()
    }

    fn freezer(&self) -> Result<Freezer, CgroupError> {
        let unified = self.layout.unified(&self.path);
        match (self.layout, self.layout.folder(&self.path, "freezer"), unified) {
            (Layout::Unified { .. }, _, Some(folder)) => Ok(Freezer::of_unified(&folder)),
            (_, Some(folder), _) => Ok(Freezer::of_v1(&folder)),
            (_, None, Some(folder)) => Ok(Freezer::of_unified(&folder)),
            (_, None, None) => Err(self.lacks("freezer")),
        }
    }
}

//! Stopping the processes of a cgroup in their tracks, and letting them go on.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use super::{Cgroup, CgroupError, Layout, PATIENCE, measure};

impl Cgroup {
    /// Freezes every process in it; when this returns, none runs.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let (file, word) = self.freezer()?;
        fs::write(&file, word.0).map_err(CgroupError::file("write", &file))?;
        let begun = Instant::now();
        while !self.is_frozen()? {
            if begun.elapsed() > PATIENCE {
                // Half frozen is worse than not at all.
                self.thaw()?;
                return Err(CgroupError::Busy { path: file, waited: PATIENCE });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets them go on. What is not there is not frozen.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        if matches!(self.layout, Layout::Absent) {
            return Ok(());
        }
        let (file, word) = self.freezer()?;
        match fs::write(&file, word.1) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(CgroupError::file("write", file)),
        }
    }

    fn is_frozen(&self) -> Result<bool, CgroupError> {
        let (file, word) = self.freezer()?;
        if word == V2 {
            return Ok(measure::keyed(&file.with_file_name("cgroup.events"), "frozen")?.unwrap_or(0) == 1);
        }
        let now = fs::read_to_string(&file).map_err(CgroupError::file("read", file))?;
        Ok(now.trim() == word.0)
    }

    /// The file that is written, and what is written to freeze and to thaw.
    fn freezer(&self) -> Result<(std::path::PathBuf, (&'static str, &'static str)), CgroupError> {
        if let Layout::Unified { .. } = self.layout
            && let Some(folder) = self.layout.unified(&self.path)
        {
            return Ok((folder.join("cgroup.freeze"), V2));
        }
        if let Some(folder) = self.layout.folder(&self.path, "freezer") {
            return Ok((folder.join("freezer.state"), V1));
        }
        match self.layout.unified(&self.path) {
            Some(folder) => Ok((folder.join("cgroup.freeze"), V2)),
            None => Err(self.lacks("freezer")),
        }
    }
}

const V2: (&str, &str) = ("1", "0");
const V1: (&str, &str) = ("FROZEN", "THAWED");

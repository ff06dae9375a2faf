//! What the kernel says of a cgroup's limits, to be compared with what it said when they had just been set: it rounds what it is
//! told, and each version of it in its own way.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};

use super::layout::Layout;
use super::{Cgroup, CgroupError};

/// The files of the unified hierarchy that hold limits.
const UNIFIED: [&str; 11] = [
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "io.bfq.weight",
    "io.max",
    "io.weight",
    "memory.low",
    "memory.max",
    "memory.swap.max",
    "pids.max",
];
/// Those of v1, by their controllers.
const V1: [(&str, &str); 18] = [
    ("blkio", "blkio.bfq.weight"),
    ("blkio", "blkio.bfq.weight_device"),
    ("blkio", "blkio.throttle.read_bps_device"),
    ("blkio", "blkio.throttle.read_iops_device"),
    ("blkio", "blkio.throttle.write_bps_device"),
    ("blkio", "blkio.throttle.write_iops_device"),
    ("blkio", "blkio.weight"),
    ("blkio", "blkio.weight_device"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.shares"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.oom_control"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("pids", "pids.max"),
];

impl Cgroup {
    /// The limits in force, by the names of their files. What this host's kernel does not have is left out.
    ///
    /// Whoever keeps many containers asks often: each folder is walked to once.
    pub fn values(&self) -> Result<BTreeMap<String, String>, CgroupError> {
        let mut values = BTreeMap::new();
        let mut open: Option<(PathBuf, OwnedFd)> = None;
        for (name, folder) in self.limit_files() {
            if open.as_ref().is_none_or(|(known, _)| *known != folder) {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                open = match openat(CWD, &folder, flags, Mode::empty()) {
                    Ok(fd) => Some((folder.clone(), fd)),
                    // A cgroup that is gone.
                    Err(Errno::NOENT) => continue,
                    Err(e) => return Err(CgroupError::file("open", folder)(e.into())),
                };
            }
            let Some((_, fd)) = &open else { continue };
            match read_at(fd, name) {
                // Of what happens when memory runs out, counters follow.
                Ok(text) if name == "memory.oom_control" => {
                    values.insert(name.to_owned(), text.lines().next().unwrap_or_default().to_owned());
                }
                Ok(text) => {
                    values.insert(name.to_owned(), text.trim_end().to_owned());
                }
                // The file of a controller that is not in force here, or a cgroup that is gone.
                Err(Errno::NOENT | Errno::NODEV) => {}
                Err(e) => return Err(CgroupError::file("read", folder.join(name))(e.into())),
            }
        }
        Ok(values)
    }

    /// Each with the folder it is in.
    fn limit_files(&self) -> Vec<(&'static str, PathBuf)> {
        match self.layout {
            Layout::Absent => Vec::new(),
            Layout::Unified { .. } => match self.layout.unified(&self.path) {
                Some(folder) => UNIFIED.iter().map(|name| (*name, folder.clone())).collect(),
                None => Vec::new(),
            },
            Layout::Hybrid { controllers, optional, .. } => {
                let all: Vec<_> = controllers.iter().chain(optional).collect();
                let folder = |controller: &str| {
                    let holds = |controllers: &[String]| controllers.iter().any(|known| known == controller);
                    all.iter().find(|hierarchy| holds(&hierarchy.controllers)).map(|hierarchy| hierarchy.folder(&self.path))
                };
                V1.iter().filter_map(|(controller, name)| Some((*name, folder(controller)?))).collect()
            }
        }
    }
}

/// The content of a small file of the kernel's.
fn read_at(folder: &OwnedFd, name: &str) -> Result<String, Errno> {
    let file = openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut content = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let length = match read(&file, &mut part) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        content.extend_from_slice(&part[..length]);
        // The kernel gives as much as there is room for.
        if length < part.len() {
            return Ok(String::from_utf8_lossy(&content).into_owned());
        }
    }
}

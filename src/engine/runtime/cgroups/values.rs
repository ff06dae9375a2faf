//! What the kernel says of a cgroup's limits, to be compared with what it said when they had just been set: it rounds what it is
//! told, and each version of it in its own way.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};

use super::layout::{Hierarchy, Layout};
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

/// A hierarchy, and the names of the files in it that hold limits.
type Part = (&'static Path, Vec<&'static str>);

impl Cgroup {
    /// The limits in force, by the names of their files. What this host's kernel does not have is left out.
    ///
    /// Whoever keeps many containers asks often: each folder is walked to once.
    pub fn values(&self) -> Result<BTreeMap<&'static str, String>, CgroupError> {
        let mut values = BTreeMap::new();
        for (root, names) in parts(self.layout) {
            let folder = root.join(&self.path.parent).join(&self.path.name);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = match openat(CWD, &folder, flags, Mode::empty()) {
                Ok(fd) => fd,
                // A cgroup that is gone, or one that is not in this hierarchy.
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(CgroupError::file("open", folder)(e.into())),
            };
            for name in names {
                match read_at(&open, name) {
                    // Of what happens when memory runs out, counters follow.
                    Ok(text) if *name == "memory.oom_control" => {
                        values.insert(*name, text.lines().next().unwrap_or_default().to_owned());
                    }
                    Ok(text) => {
                        values.insert(*name, text.trim_end().to_owned());
                    }
                    // The file of a controller that is not in force here, or a cgroup that is gone.
                    Err(Errno::NOENT | Errno::NODEV) => {}
                    Err(e) => return Err(CgroupError::file("read", folder.join(name))(e.into())),
                }
            }
        }
        Ok(values)
    }

    /// The folders that the files of its limits are in, whether or not they are there.
    pub fn limit_folders(&self) -> impl Iterator<Item = PathBuf> {
        parts(self.layout).iter().map(|(root, _)| root.join(&self.path.parent).join(&self.path.name))
    }
}

/// Whether a file of a cgroup holds a limit.
pub fn is_limit(name: &[u8]) -> bool {
    let is = |known: &&str| known.as_bytes() == name;
    UNIFIED.iter().any(is) || V1.iter().map(|(_, name)| name).any(is)
}

/// The hierarchies of the host, which stay as they are.
fn parts(layout: &'static Layout) -> &'static [Part] {
    static PARTS: OnceLock<Vec<Part>> = OnceLock::new();
    PARTS.get_or_init(|| match layout {
        Layout::Absent => Vec::new(),
        Layout::Unified { root } => vec![(root, UNIFIED.to_vec())],
        Layout::Hybrid { controllers, optional, .. } => {
            let names = |hierarchy: &Hierarchy| -> Vec<&'static str> {
                let has = |controller: &str| hierarchy.controllers.iter().any(|known| known == controller);
                V1.iter().filter(|(controller, _)| has(controller)).map(|(_, name)| *name).collect()
            };
            let all = controllers.iter().chain(optional);
            all.map(|hierarchy| (hierarchy.root.as_path(), names(hierarchy))).filter(|(_, names)| !names.is_empty()).collect()
        }
    })
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

//! What a cgroup uses and what happened to it, read from its files.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::layout::Layout;
use super::{CgroupError, CgroupPath};

/// What a cgroup uses at one moment. What has no controller counts 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Bytes, without the file cache that the kernel would give back first: what Docker shows.
    pub memory: u64,
    /// `None` is unlimited.
    pub memory_limit: Option<u64>,
    /// Processor time since the start, in microseconds.
    pub cpu_usec: u64,
    pub pids: u64,
    pub oom_kills: u64,
}

pub(super) fn stats(layout: &Layout, path: &CgroupPath) -> Result<Stats, CgroupError> {
    let in_folder = |controller: &str, file: &str| layout.folder(path, controller).map(|f| f.join(file));
    let number = |controller: &str, file: &str| match in_folder(controller, file) {
        Some(file) => single(&file),
        None => Ok(None),
    };
    let key = |controller: &str, file: &str, key: &str| match in_folder(controller, file) {
        Some(file) => keyed(&file, key),
        None => Ok(None),
    };
    let (used, cache, limit, cpu_usec) = match layout {
        Layout::Unified { .. } => (
            number("memory", "memory.current")?,
            key("memory", "memory.stat", "inactive_file")?,
            number("memory", "memory.max")?,
            key("cpu", "cpu.stat", "usage_usec")?,
        ),
        Layout::Absent => (None, None, None, None),
        Layout::Hybrid { .. } => (
            number("memory", "memory.usage_in_bytes")?,
            key("memory", "memory.stat", "total_inactive_file")?,
            // Unlimited is the largest number of whole pages there.
            number("memory", "memory.limit_in_bytes")?.filter(|limit| *limit < i64::MAX as u64 / 2),
            number("cpuacct", "cpuacct.usage")?.map(|nanoseconds| nanoseconds / 1000),
        ),
    };
    Ok(Stats {
        memory: used.unwrap_or(0).saturating_sub(cache.unwrap_or(0)),
        memory_limit: limit,
        cpu_usec: cpu_usec.unwrap_or(0),
        pids: number("pids", "pids.current")?.unwrap_or(0),
        oom_kills: oom_kills(layout, path)?,
    })
}

pub(super) fn oom_kills(layout: &Layout, path: &CgroupPath) -> Result<u64, CgroupError> {
    let file = match layout {
        Layout::Unified { .. } | Layout::Absent => "memory.events",
        Layout::Hybrid { .. } => "memory.oom_control",
    };
    match layout.folder(path, "memory") {
        Some(folder) => Ok(keyed(&folder.join(file), "oom_kill")?.unwrap_or(0)),
        None => Ok(0),
    }
}

/// The number after `key` at the start of a line.
pub(super) fn keyed(file: &Path, key: &str) -> Result<Option<u64>, CgroupError> {
    Ok(read(file)?.and_then(|text| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())))
}

/// A file's only number; `max` and a missing file are none.
fn single(file: &Path) -> Result<Option<u64>, CgroupError> {
    Ok(read(file)?.and_then(|text| text.trim().parse().ok()))
}

fn read(file: &Path) -> Result<Option<String>, CgroupError> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        // The cgroup is gone, perhaps at this moment.
        Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(e) => Err(CgroupError::file("read", file)(e)),
    }
}

//! Who is in a cgroup, and what they read and wrote.

use std::fs;
use std::io;
use std::path::Path;

use super::{Cgroup, CgroupError, Layout};

impl Cgroup {
    /// The processes in it and in those below it, by their numbers here. One that is gone has none.
    pub fn pids(&self) -> Result<Vec<i32>, CgroupError> {
        let mut pids = Vec::new();
        gather(&self.layout.witness(&self.path), &mut pids)?;
        pids.sort_unstable();
        Ok(pids)
    }

    /// Bytes that were read from disks and written to them. Where no controller counts them, those of the processes that
    /// are still there.
    pub fn block_io(&self) -> Result<(u64, u64), CgroupError> {
        if let (Layout::Unified { .. }, Some(folder)) = (self.layout, self.layout.unified(&self.path))
            && let Ok(text) = fs::read_to_string(folder.join("io.stat"))
        {
            let sum = |key: &str| -> u64 {
                text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum()
            };
            return Ok((sum("rbytes="), sum("wbytes=")));
        }
        Ok(block_io_of(&self.pids()?))
    }
}

/// Bytes that these processes read from disks and wrote to them.
pub fn block_io_of(pids: &[i32]) -> (u64, u64) {
    let of_one = |pid: &i32| {
        // One that has ended meanwhile counts nothing.
        let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap_or(0);
        (field("read_bytes:"), field("write_bytes:"))
    };
    pids.iter().map(of_one).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn gather(folder: &Path, pids: &mut Vec<i32>) -> Result<(), CgroupError> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV);
    let procs = folder.join("cgroup.procs");
    match fs::read_to_string(&procs) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok())),
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(CgroupError::file("read", procs)(e)),
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(CgroupError::file("list", folder)(e)),
    };
    for entry in entries {
        let entry = entry.map_err(CgroupError::file("list", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&entry.path(), pids)?;
        }
    }
    Ok(())
}

//! Limits beside the three usual ones: weights, processors by their numbers, rates of disks, and what happens when memory
//! runs out. Of v1 hierarchies, those of `cpuset` and `blkio` are joined only where such a limit is wanted.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::layout::{self, Hierarchy, Layout};
use super::{Cgroup, CgroupError, make_folder, v1};
use crate::model::spec::{DeviceRate, DeviceWeight, IdList, ResourceLimits};

/// What a limit is without one.
const NO_SOFT_LIMIT: &str = "-1";

impl Cgroup {
    /// Makes these limits what they are to be, also on processes that run.
    pub(super) fn apply_further(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        self.memory(limits)?;
        self.shares(limits)?;
        self.processors(limits)?;
        self.disks(limits)
    }

    fn memory(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let v2 = self.is_v2();
        let wanted = limits.memory_reservation.is_some();
        if let Some(folder) = self.limited("memory", if v2 { "memory.low" } else { "memory.soft_limit_in_bytes" }, wanted)? {
            let bytes = limits.memory_reservation.map(|size| size.0.to_string());
            let (file, none) = if v2 { ("memory.low", "0") } else { ("memory.soft_limit_in_bytes", NO_SOFT_LIMIT) };
            write(&folder.join(file), bytes.as_deref().unwrap_or(none))?;
        }
        if let Some(folder) = self.limited("memory", "memory.oom_control", limits.oom_kill_disable)? {
            let file = folder.join("memory.oom_control");
            let now = fs::read_to_string(&file).map_err(CgroupError::file("read", &file))?;
            let disabled = now.lines().any(|line| line == "oom_kill_disable 1");
            if disabled != limits.oom_kill_disable {
                write(&file, if limits.oom_kill_disable { "1" } else { "0" })?;
            }
        }
        Ok(())
    }

    fn shares(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let v2 = self.is_v2();
        let file = if v2 { "cpu.weight" } else { "cpu.shares" };
        let Some(folder) = self.limited("cpu", file, limits.cpu_shares.is_some())? else { return Ok(()) };
        let shares = limits.cpu_shares.unwrap_or(1024);
        let value = if v2 { weight_of_shares(shares) } else { shares };
        write(&folder.join(file), &value.to_string())
    }

    fn processors(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let wanted = limits.cpuset_cpus.is_some() || limits.cpuset_mems.is_some();
        let Some(folder) = self.joined("cpuset", wanted)? else { return Ok(()) };
        for (file, list) in [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)] {
            let path = folder.join(file);
            if !path.exists() {
                if list.is_some() {
                    return Err(self.lacks("cpuset"));
                }
                continue;
            }
            let value = match list.as_ref().map(IdList::as_str) {
                Some(value) => value.to_owned(),
                None if self.is_v2() => String::new(),
                // A cpuset of v1 without numbers has no processor at all.
                None => of_parent(&folder, file)?,
            };
            write(&path, &value)?;
        }
        self.move_in(&folder)
    }

    fn disks(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let rates: [(&str, &str, &[DeviceRate]); 4] = [
            ("blkio.throttle.read_bps_device", "rbps", &limits.device_read_bps),
            ("blkio.throttle.write_bps_device", "wbps", &limits.device_write_bps),
            ("blkio.throttle.read_iops_device", "riops", &limits.device_read_iops),
            ("blkio.throttle.write_iops_device", "wiops", &limits.device_write_iops),
        ];
        let weights = &limits.blkio_weight_device;
        let wanted = limits.blkio_weight.is_some() || !weights.is_empty() || rates.iter().any(|(.., rates)| !rates.is_empty());
        let v2 = self.is_v2();
        let Some(folder) = self.joined(if v2 { "io" } else { "blkio" }, wanted)? else { return Ok(()) };
        let first = |files: [&str; 2]| files.iter().map(|file| folder.join(file)).find(|file| file.exists());
        let lacking = || CgroupError::NoWeight { path: folder.clone() };
        if let Some(weight) = limits.blkio_weight {
            let file = first(if v2 { ["io.bfq.weight", "io.weight"] } else { ["blkio.bfq.weight", "blkio.weight"] });
            let file = file.ok_or_else(lacking)?;
            write(&file, &scaled(&file, weight).to_string())?;
        }
        let file = first(if v2 { ["io.bfq.weight", "io.weight"] } else { ["blkio.bfq.weight_device", "blkio.weight_device"] });
        match file {
            None if weights.is_empty() => {}
            None => return Err(lacking()),
            Some(file) => weigh(&file, weights, self.fresh)?,
        }
        for (old, new, rates) in rates {
            let file = folder.join(if v2 { "io.max" } else { old });
            let line = |device: &str, rate: Option<u64>| match (v2, rate) {
                (true, rate) => format!("{device} {new}={}", rate.map_or_else(|| "max".to_owned(), |rate| rate.to_string())),
                (false, rate) => format!("{device} {}", rate.unwrap_or(0)),
            };
            // Those of before that are wanted no more.
            if !self.fresh {
                let now = fs::read_to_string(&file).map_err(CgroupError::file("read", &file))?;
                for device in now.lines().filter_map(|limit| limit.split_ascii_whitespace().next()) {
                    write(&file, &line(device, None))?;
                }
            }
            for rate in rates {
                write(&file, &line(&device_number(&rate.path)?, Some(rate.rate)))?;
            }
        }
        self.move_in(&folder)
    }

    /// The folder of a controller that not every container is in. `None` when nothing is wanted and it is not in it.
    fn joined(&self, controller: &'static str, wanted: bool) -> Result<Option<PathBuf>, CgroupError> {
        match self.layout {
            Layout::Absent if wanted => Err(self.lacks(controller)),
            Layout::Absent => Ok(None),
            Layout::Unified { root } => {
                let Some(folder) = self.layout.unified(&self.path) else { return Ok(None) };
                let enabled = || fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
                let has = |text: String| text.split_ascii_whitespace().any(|word| word == controller);
                if !wanted {
                    // There may be a limit to lift.
                    return Ok((!self.fresh && has(enabled())).then_some(folder));
                }
                for above in layout::way_down(root, &self.path.parent) {
                    // What it says then is that the controller is missing.
                    drop(fs::write(above.join("cgroup.subtree_control"), format!("+{controller}")));
                }
                if has(enabled()) { Ok(Some(folder)) } else { Err(self.lacks(controller)) }
            }
            Layout::Hybrid { optional, .. } => {
                let Some(hierarchy) = optional.iter().find(|h| h.controllers.iter().any(|c| c == controller)) else {
                    return if wanted { Err(self.lacks(controller)) } else { Ok(None) };
                };
                let folder = hierarchy.folder(&self.path);
                if !folder.exists() {
                    if !wanted {
                        return Ok(None);
                    }
                    let above = layout::way_down(&hierarchy.root, &self.path.parent).into_iter().skip(1);
                    for folder in above.chain([folder.clone()]) {
                        make_folder(&folder)?;
                        inherit(hierarchy, &folder)?;
                    }
                }
                Ok(Some(folder))
            }
        }
    }

    /// Processes that run already are to be in it too.
    fn move_in(&self, folder: &Path) -> Result<(), CgroupError> {
        if self.fresh || self.is_v2() {
            return Ok(());
        }
        let list = self.layout.witness(&self.path).join("cgroup.procs");
        let pids = fs::read_to_string(&list).map_err(CgroupError::file("read", list))?;
        pids.lines().filter_map(|line| line.trim().parse().ok()).try_for_each(|pid| v1::add(folder, pid))
    }

    /// The folders of hierarchies that not every container is in, where this one is.
    pub(super) fn optional_folders(&self) -> Vec<PathBuf> {
        match self.layout {
            Layout::Unified { .. } | Layout::Absent => Vec::new(),
            Layout::Hybrid { optional, .. } => {
                optional.iter().map(|h| h.folder(&self.path)).filter(|folder| folder.exists()).collect()
            }
        }
    }

    fn is_v2(&self) -> bool {
        matches!(self.layout, Layout::Unified { .. })
    }

    pub(super) fn lacks(&self, controller: &'static str) -> CgroupError {
        if matches!(self.layout, Layout::Absent) {
            return CgroupError::NotDelegated { controller };
        }
        CgroupError::NoController { controller, path: self.layout.witness(&self.path) }
    }
}

/// A cpuset of v1 begins empty, and then takes no process.
fn inherit(hierarchy: &Hierarchy, folder: &Path) -> Result<(), CgroupError> {
    if hierarchy.controllers.iter().any(|c| c == "cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let path = folder.join(file);
            let now = fs::read_to_string(&path).map_err(CgroupError::file("read", &path))?;
            if now.trim().is_empty() {
                write(&path, &of_parent(folder, file)?)?;
            }
        }
    }
    Ok(())
}

fn of_parent(folder: &Path, file: &str) -> Result<String, CgroupError> {
    let path = folder.parent().unwrap_or(folder).join(file);
    fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(CgroupError::file("read", path))
}

/// A weight on the scale of a file. That of a disk with the scheduler bfq is that of v1; the other one meets it at its ends.
fn scaled(file: &Path, weight: u16) -> u64 {
    match file.ends_with("io.weight") {
        true => 1 + (u64::from(weight) - 10) * 9999 / 990,
        false => weight.into(),
    }
}

/// Sets the weights at single disks, and takes back those of before that are wanted no more.
fn weigh(file: &Path, weights: &[DeviceWeight], fresh: bool) -> Result<(), CgroupError> {
    if !fresh {
        let none = if file.ends_with("blkio.weight_device") { "0" } else { "default" };
        let now = fs::read_to_string(file).map_err(CgroupError::file("read", file))?;
        let devices = now.lines().filter_map(|line| line.split_ascii_whitespace().next());
        for device in devices.filter(|device| device.contains(':')) {
            write(file, &format!("{device} {none}"))?;
        }
    }
    for one in weights {
        let line = format!("{} {}", device_number(&one.path)?, scaled(file, one.weight));
        write(file, &line).map_err(|error| match error {
            CgroupError::File { source, .. } if source.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
                let why = "it has no weights; give it the scheduler bfq, or remove the limit";
                CgroupError::file("weigh the disk", &one.path)(io::Error::new(io::ErrorKind::Unsupported, why))
            }
            other => other,
        })?;
    }
    Ok(())
}

/// `MAJOR:MINOR` of a disk.
fn device_number(path: &str) -> Result<String, CgroupError> {
    use std::os::unix::fs::FileTypeExt;
    let meta = fs::metadata(path).map_err(CgroupError::file("find the disk", path))?;
    if !meta.file_type().is_block_device() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no disk");
        return Err(CgroupError::file("limit", path)(source));
    }
    let number = meta.st_rdev();
    Ok(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    fs::write(path, text).map_err(CgroupError::file("write", path))
}

/// From the shares of v1, 2 to 262144, to the weights of v2, 1 to 10000: both ends meet, and both defaults (1024 and 100). It is
/// the curve that runtimes agreed on in 2025; the straight line before it made 39 of the default.
pub(in crate::engine::runtime) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let doublings = (shares as f64).log2();
            let exponent = (doublings * doublings + 125.0 * doublings) / 612.0 - 7.0 / 34.0;
            (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight_of_shares;

    #[test]
    fn weights_meet_at_their_ends_and_defaults() {
        assert_eq!([0, 2, 1024, 22_000, 262_144, 500_000].map(weight_of_shares), [1, 1, 100, 1204, 10_000, 10_000]);
    }
}

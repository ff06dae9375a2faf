//! Resources as the files of the v1 hierarchies have them.

use std::fs;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::hierarchies::Hierarchies;
use super::{CgroupError, set};

pub(super) fn apply(hierarchies: &Hierarchies, path: &Path, resources: &LinuxResources) -> Result<(), CgroupError> {
    // A controller is only missed by who names a limit of it.
    let folder = |controller: &str, what: &str| {
        let missing = || CgroupError::NoController { controller: controller.to_owned(), what: what.to_owned() };
        hierarchies.folder(controller, path).ok_or_else(missing)
    };
    if let Some(wanted) = resources.memory() {
        memory(hierarchies, path, wanted)?;
    }
    if let Some(wanted) = resources.cpu() {
        if names_time(wanted) {
            cpu(&folder("cpu", "linux.resources.cpu")?, wanted)?;
        }
        for (file, value) in [("cpuset.cpus", wanted.cpus()), ("cpuset.mems", wanted.mems())] {
            if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
                set(&folder("cpuset", file)?, file, value)?;
            }
        }
    }
    // No limit at all is what a fresh cgroup has; 0 is what docker writes for it.
    if let Some(limit) = resources.pids().map(|p| p.limit()) {
        let value = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        set(&folder("pids", "linux.resources.pids")?, "pids.max", &value)?;
    }
    if let Some(wanted) = resources.block_io() {
        block_io(&folder("blkio", "linux.resources.blockIO")?, wanted)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let folder = folder("hugetlb", "linux.resources.hugepageLimits")?;
        set(&folder, &format!("hugetlb.{}.limit_in_bytes", limit.page_size()), &limit.limit().to_string())?;
        let reserved = format!("hugetlb.{}.rsvd.limit_in_bytes", limit.page_size());
        if folder.join(&reserved).exists() {
            set(&folder, &reserved, &limit.limit().to_string())?;
        }
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id() {
            set(&folder("net_cls", "linux.resources.network.classID")?, "net_cls.classid", &class.to_string())?;
        }
        for priority in network.priorities().iter().flatten() {
            let folder = folder("net_prio", "linux.resources.network.priorities")?;
            set(&folder, "net_prio.ifpriomap", &format!("{} {}", priority.name(), priority.priority()))?;
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let value = super::v2::rdma(device, limit);
        set(&folder("rdma", "linux.resources.rdma")?, "rdma.max", &value)?;
    }
    Ok(())
}

fn memory(hierarchies: &Hierarchies, path: &Path, wanted: &LinuxMemory) -> Result<(), CgroupError> {
    super::v2::refuse_kernel_memory(wanted)?;
    let named = [wanted.limit(), wanted.reservation(), wanted.swap(), wanted.kernel_tcp()].iter().any(Option::is_some)
        || wanted.swappiness().is_some()
        || wanted.disable_oom_killer().is_some();
    if !named {
        return Ok(());
    }
    let missing = || CgroupError::NoController { controller: "memory".into(), what: "linux.resources.memory".into() };
    let folder = hierarchies.folder("memory", path).ok_or_else(missing)?;
    let text = |bytes: i64| bytes.to_string();
    let (limit_file, swap_file) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
    // With an unlimited memory, the sum with swap is unlimited too.
    let swap = wanted.swap().or(wanted.limit().filter(|l| *l == -1)).filter(|s| *s != 0);
    let swap = if folder.join(swap_file).exists() || wanted.swap().is_some_and(|s| s > 0) { swap } else { None };
    match (wanted.limit().filter(|l| *l != 0), swap) {
        (Some(limit), Some(swap)) => {
            // The sum may not be below memory at any moment, so that it goes first where both rise.
            if set(&folder, limit_file, &text(limit)).is_ok() {
                set(&folder, swap_file, &text(swap))?;
            } else {
                set(&folder, swap_file, &text(swap))?;
                set(&folder, limit_file, &text(limit))?;
            }
        }
        (Some(limit), None) => set(&folder, limit_file, &text(limit))?,
        (None, Some(swap)) => set(&folder, swap_file, &text(swap))?,
        (None, None) => {}
    }
    if let Some(bytes) = wanted.reservation().filter(|b| *b != 0) {
        set(&folder, "memory.soft_limit_in_bytes", &text(bytes))?;
    }
    if let Some(bytes) = wanted.kernel_tcp().filter(|b| *b != 0) {
        set(&folder, "memory.kmem.tcp.limit_in_bytes", &text(bytes))?;
    }
    if let Some(percent) = wanted.swappiness() {
        set(&folder, "memory.swappiness", &percent.to_string())?;
    }
    match wanted.disable_oom_killer() {
        Some(true) => set(&folder, "memory.oom_control", "1"),
        // It is how a cgroup begins, and is written only where it may have been changed.
        Some(false) | None => Ok(()),
    }
}

fn names_time(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some()
        || cpu.quota().is_some()
        || cpu.period().is_some()
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || cpu.realtime_runtime().is_some()
        || cpu.realtime_period().is_some()
}

fn cpu(folder: &Path, wanted: &LinuxCpu) -> Result<(), CgroupError> {
    if let Some(period) = wanted.realtime_period().filter(|p| *p != 0) {
        set(folder, "cpu.rt_period_us", &period.to_string())?;
    }
    if let Some(runtime) = wanted.realtime_runtime().filter(|r| *r != 0) {
        set(folder, "cpu.rt_runtime_us", &runtime.to_string())?;
    }
    if let Some(shares) = wanted.shares().filter(|s| *s != 0) {
        set(folder, "cpu.shares", &shares.to_string())?;
    }
    let period = wanted.period().filter(|p| *p != 0).map(|p| p.to_string());
    let quota = wanted.quota().filter(|q| *q != 0).map(|q| q.to_string());
    match (period, quota) {
        // With the old partner one of them may be out of bounds, depending on which goes first.
        (Some(period), Some(quota)) => {
            if set(folder, "cpu.cfs_period_us", &period).is_ok() {
                set(folder, "cpu.cfs_quota_us", &quota)?;
            } else {
                set(folder, "cpu.cfs_quota_us", &quota)?;
                set(folder, "cpu.cfs_period_us", &period)?;
            }
        }
        (Some(period), None) => set(folder, "cpu.cfs_period_us", &period)?,
        (None, Some(quota)) => set(folder, "cpu.cfs_quota_us", &quota)?,
        (None, None) => {}
    }
    if let Some(burst) = wanted.burst() {
        set(folder, "cpu.cfs_burst_us", &burst.to_string())?;
    }
    match wanted.idle() {
        Some(idle) => set(folder, "cpu.idle", &idle.to_string()),
        None => Ok(()),
    }
}

fn block_io(folder: &Path, wanted: &LinuxBlockIo) -> Result<(), CgroupError> {
    // Which of the two is there depends on the disk's scheduler.
    let weight_file = if folder.join("blkio.weight").exists() { "blkio.weight" } else { "blkio.bfq.weight" };
    if let Some(weight) = wanted.weight().filter(|w| *w != 0) {
        set(folder, weight_file, &weight.to_string())?;
    }
    if let Some(weight) = wanted.leaf_weight().filter(|w| *w != 0) {
        set(folder, "blkio.leaf_weight", &weight.to_string())?;
    }
    for device in wanted.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        if let Some(weight) = device.weight() {
            set(folder, &format!("{weight_file}_device"), &line(weight))?;
        }
        if let Some(weight) = device.leaf_weight() {
            set(folder, "blkio.leaf_weight_device", &line(weight))?;
        }
    }
    let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("blkio.throttle.read_bps_device", wanted.throttle_read_bps_device()),
        ("blkio.throttle.write_bps_device", wanted.throttle_write_bps_device()),
        ("blkio.throttle.read_iops_device", wanted.throttle_read_iops_device()),
        ("blkio.throttle.write_iops_device", wanted.throttle_write_iops_device()),
    ];
    for (file, devices) in throttles {
        for device in devices.iter().flatten() {
            set(folder, file, &format!("{}:{} {}", device.major(), device.minor(), device.rate()))?;
        }
    }
    Ok(())
}

/// A new cgroup of this controller has no processors and no memory nodes, and nothing can be moved into it, until it is
/// given those of its parent.
pub(super) fn inherit_cpuset(root: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut folder = root.to_owned();
    for name in path {
        let parent = folder.clone();
        folder.push(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |folder: &Path| {
                let path = folder.join(file);
                fs::read_to_string(&path).map_err(CgroupError::file("read", path))
            };
            if read(&folder)?.trim().is_empty() {
                set(&folder, file, read(&parent)?.trim())?;
            }
        }
    }
    Ok(())
}

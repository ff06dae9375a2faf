//! Resources as the files of the unified hierarchy have them: the specification's numbers are those of v1, and are
//! converted in the way that the ecosystem agreed on.

use std::fs;
use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxRdma, LinuxResources, LinuxThrottleDevice};

use super::super::super::cgroups::weight_of_shares;
use super::{CgroupError, set};

/// Hands all controllers down to where the cgroup is going to be. One that cannot be had is missed by who limits it.
pub(super) fn hand_down(root: &Path, path: &Path) {
    let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    let mut folder = root.to_owned();
    for name in path {
        let file = folder.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).unwrap_or_default();
        for controller in available.split_ascii_whitespace() {
            if !enabled.split_ascii_whitespace().any(|e| e == controller) {
                // One at a time, because one that is not to be had would take the others with it.
                drop(fs::write(&file, format!("+{controller}")));
            }
        }
        folder.push(name);
        // The folder is made here already, so that the next round can write into it; making the rest tells what is wrong.
        drop(fs::create_dir(&folder));
    }
}

pub(super) fn apply(folder: &Path, resources: &LinuxResources) -> Result<(), CgroupError> {
    if let Some(wanted) = resources.memory() {
        memory(folder, wanted)?;
    }
    if let Some(wanted) = resources.cpu() {
        cpu(folder, wanted)?;
    }
    if let Some(limit) = resources.pids().map(|p| p.limit()) {
        set(folder, "pids.max", &if limit > 0 { limit.to_string() } else { "max".to_owned() })?;
    }
    if let Some(wanted) = resources.block_io() {
        block_io(folder, wanted)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        set(folder, &format!("hugetlb.{}.max", limit.page_size()), &limit.limit().to_string())?;
        let reserved = format!("hugetlb.{}.rsvd.max", limit.page_size());
        if folder.join(&reserved).exists() {
            set(folder, &reserved, &limit.limit().to_string())?;
        }
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        set(folder, "rdma.max", &rdma(device, limit))?;
    }
    let network = resources.network().as_ref();
    if network.is_some_and(|n| n.class_id().is_some() || n.priorities().as_ref().is_some_and(|p| !p.is_empty())) {
        return Err(CgroupError::NoController { controller: "net_cls".into(), what: "linux.resources.network".into() });
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        if file.is_empty() || file.contains('/') || file.starts_with('.') {
            return Err(CgroupError::Unified { reason: format!("{file:?} is not the name of a file") });
        }
        // Some files take one line a write.
        for line in value.lines() {
            set(folder, file, line)?;
        }
    }
    Ok(())
}

/// -1 is unlimited.
fn bytes(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// How much swap alone, where the specification has the sum of memory and swap, as v1 had it; -1 is unlimited.
pub(super) fn swap(wanted: &LinuxMemory) -> Result<Option<i64>, CgroupError> {
    match (wanted.swap().filter(|s| *s != 0), wanted.limit().filter(|l| *l != 0)) {
        (None, _) => Ok(None),
        (Some(-1), _) => Ok(Some(-1)),
        (Some(sum), Some(limit)) if limit >= 0 && sum >= limit => Ok(Some(sum - limit)),
        (Some(sum), _) => {
            let reason =
                format!("memory.swap {sum} is the sum of memory and swap, and needs a memory.limit that is not above it");
            Err(CgroupError::Unified { reason })
        }
    }
}

fn memory(folder: &Path, wanted: &LinuxMemory) -> Result<(), CgroupError> {
    refuse_kernel_memory(wanted)?;
    let refused = |present: bool, what: &str| match present {
        true => Err(CgroupError::Memory { reason: format!("{what}: cgroup v2 has none; remove it") }),
        false => Ok(()),
    };
    refused(wanted.kernel_tcp().is_some_and(|b| b > 0), "kernelTCP")?;
    refused(wanted.swappiness().is_some(), "swappiness")?;
    refused(wanted.disable_oom_killer() == Some(true), "disableOOMKiller")?;
    let limit = wanted.limit().filter(|l| *l != 0);
    if let (Some(true), Some(limit)) = (wanted.check_before_update(), limit.filter(|l| *l > 0)) {
        // Of v1 the kernel itself refuses that; here it would kill.
        let file = folder.join("memory.current");
        let text = fs::read_to_string(&file).map_err(CgroupError::file("read", file))?;
        if text.trim().parse::<i64>().is_ok_and(|used| used > limit) {
            let reason = format!("limit {limit}: {} bytes are in use, and checkBeforeUpdate is set", text.trim());
            return Err(CgroupError::Memory { reason });
        }
    }
    // With an unlimited memory swap is unlimited too, where it is counted.
    let implied = || (limit == Some(-1) && folder.join("memory.swap.max").exists()).then_some(-1);
    let swap = swap(wanted)?.or_else(implied).map(bytes);
    if let Some(swap) = swap {
        set(folder, "memory.swap.max", &swap)?;
    }
    if let Some(limit) = limit {
        set(folder, "memory.max", &bytes(limit))?;
    }
    match wanted.reservation().filter(|r| *r != 0) {
        Some(reservation) => set(folder, "memory.low", &bytes(reservation)),
        None => Ok(()),
    }
}

/// A limit of the kernel's memory alone was in v1 of kernels before 5.16.
pub(super) fn refuse_kernel_memory(wanted: &LinuxMemory) -> Result<(), CgroupError> {
    match wanted.kernel() {
        Some(bytes) if bytes > 0 => {
            let reason = "kernel: kernels count it as memory; remove it, and set the limit of both".to_owned();
            Err(CgroupError::Memory { reason })
        }
        _ => Ok(()),
    }
}

fn cpu(folder: &Path, wanted: &LinuxCpu) -> Result<(), CgroupError> {
    if let Some(idle) = wanted.idle() {
        set(folder, "cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = wanted.shares().filter(|s| *s != 0) {
        set(folder, "cpu.weight", &weight_of_shares(shares).to_string())?;
    }
    let quota = wanted.quota().map(|q| if q > 0 { q.to_string() } else { "max".to_owned() });
    match (quota, wanted.period().filter(|p| *p != 0)) {
        (Some(quota), Some(period)) => set(folder, "cpu.max", &format!("{quota} {period}"))?,
        (Some(quota), None) => set(folder, "cpu.max", &quota)?,
        (None, Some(period)) => {
            let old = fs::read_to_string(folder.join("cpu.max")).unwrap_or_default();
            let quota = old.split_ascii_whitespace().next().unwrap_or("max");
            set(folder, "cpu.max", &format!("{quota} {period}"))?;
        }
        (None, None) => {}
    }
    if let Some(burst) = wanted.burst() {
        set(folder, "cpu.max.burst", &burst.to_string())?;
    }
    if wanted.realtime_runtime().is_some_and(|r| r != 0) || wanted.realtime_period().is_some_and(|p| p != 0) {
        return Err(CgroupError::NoController { controller: "realtime cpu".into(), what: "cpu.realtimeRuntime".into() });
    }
    for (file, value) in [("cpuset.cpus", wanted.cpus()), ("cpuset.mems", wanted.mems())] {
        if let Some(value) = value.as_ref().filter(|v| !v.is_empty()) {
            set(folder, file, value)?;
        }
    }
    Ok(())
}

/// From 10..=1000 to 1..=10000.
pub(super) fn weight_of_block_io(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn block_io(folder: &Path, wanted: &LinuxBlockIo) -> Result<(), CgroupError> {
    let bfq = folder.join("io.bfq.weight").exists();
    if let Some(weight) = wanted.weight().filter(|w| *w != 0) {
        match bfq {
            true => set(folder, "io.bfq.weight", &weight.to_string())?,
            false => set(folder, "io.weight", &format!("default {}", weight_of_block_io(weight)))?,
        }
    }
    if wanted.leaf_weight().is_some_and(|w| w != 0) {
        return Err(CgroupError::NoController { controller: "leaf weight".into(), what: "blockIO.leafWeight".into() });
    }
    for device in wanted.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            let (file, value) =
                if bfq { ("io.bfq.weight", u64::from(weight)) } else { ("io.weight", weight_of_block_io(weight)) };
            set(folder, file, &format!("{}:{} {value}", device.major(), device.minor()))?;
        }
    }
    let throttles: [(&str, &Option<Vec<LinuxThrottleDevice>>); 4] = [
        ("rbps", wanted.throttle_read_bps_device()),
        ("wbps", wanted.throttle_write_bps_device()),
        ("riops", wanted.throttle_read_iops_device()),
        ("wiops", wanted.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            set(folder, "io.max", &format!("{}:{} {key}={rate}", device.major(), device.minor()))?;
        }
    }
    Ok(())
}

pub(super) fn rdma(device: &str, limit: &LinuxRdma) -> String {
    let part = |name: &str, value: Option<u32>| value.map(|v| format!(" {name}={v}")).unwrap_or_default();
    format!("{device}{}{}", part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_at_their_ends() {
        assert_eq!((weight_of_block_io(10), weight_of_block_io(1000)), (1, 10_000));
    }
}

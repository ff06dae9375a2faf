//! What every container has: mounts, and paths of the kernel's file systems that are hidden or read-only: what Docker or
//! Podman hides is hidden, what either has read-only is at least that.

use std::path::PathBuf;
use std::sync::OnceLock;

use oci_spec::runtime::Mount;

use super::super::mounts::INSIDE;
use super::super::shown;
use super::{HostMount, SpecError};
use crate::model::spec::{ContainerSpec, IpcMode};

/// They tell of the host, or act on it.
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Those above, and of each processor how hot it ran: that tells what others compute on it.
pub(super) fn masked() -> &'static [String] {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    ALL.get_or_init(|| {
        let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
        let throttled = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|path| path.is_dir());
        let mut throttled: Vec<String> = throttled.map(|path| path.to_string_lossy().into_owned()).collect();
        throttled.sort();
        MASKED.iter().map(|path| (*path).to_owned()).chain(throttled).collect()
    })
}

pub(super) const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub(super) fn mounts(container: &ContainerSpec) -> Result<Vec<Mount>, SpecError> {
    // The kernel's own file systems can be written by who may do anything.
    let kernel = if container.privileged { "nosuid,noexec,nodev" } else { "nosuid,noexec,nodev,ro" };
    let size = container.shm_size.map_or(SHM_SIZE, |size| size.0);
    let shm = match container.ipc {
        IpcMode::Private | IpcMode::Shareable => Some(format!("nosuid,noexec,nodev,mode=1777,size={size}")),
        IpcMode::None | IpcMode::Host | IpcMode::Container(_) if container.shm_size.is_some() => return Err(SpecError::ShmSize),
        // The other container's is handed over by itself.
        IpcMode::None | IpcMode::Host | IpcMode::Container(_) => None,
    };
    let mut all: Vec<Mount> = [
        ("/proc", "proc", "nosuid,noexec,nodev"),
        ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        ("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("/sys", "sysfs", kernel),
        ("/sys/fs/cgroup", "cgroup", kernel),
        ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ]
    .into_iter()
    .map(|(target, kind, options)| mount(target, kind, PathBuf::from(kind), words(options)))
    .collect();
    if let Some(options) = shm {
        all.push(mount("/dev/shm", "tmpfs", PathBuf::from("tmpfs"), words(&options)));
    }
    if container.ipc == IpcMode::Host {
        all.push(mount("/dev/shm", "bind", PathBuf::from("/dev/shm"), words("rbind,rprivate,nosuid,noexec,nodev")));
    }
    Ok(all)
}

/// What `/dev/shm` has room for, unless told otherwise. Docker's figure.
const SHM_SIZE: u64 = 64 << 20;

fn words(options: &str) -> Vec<String> {
    options.split(',').map(str::to_owned).collect()
}

pub(super) fn own_mount(own: &HostMount) -> Mount {
    match own {
        HostMount::Bind { source, target, read_only } => {
            let options = ["rbind", "rprivate", if *read_only { "ro" } else { "rw" }];
            mount(target, "bind", source.clone(), options.map(str::to_owned).to_vec())
        }
        HostMount::Part { root, inside, target, read_only } => {
            let mut options = ["rbind", "rprivate", if *read_only { "ro" } else { "rw" }].map(str::to_owned).to_vec();
            options.push(format!("{INSIDE}={inside}"));
            mount(target, "bind", root.clone(), options)
        }
        HostMount::Tmpfs { target, size, mode } => {
            let mut options = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
            options.extend(size.map(|bytes| format!("size={bytes}")));
            options.extend(mode.map(|bits| format!("mode={bits:o}")));
            mount(target, "tmpfs", PathBuf::from("tmpfs"), options)
        }
        HostMount::View { view, target } => mount(target, shown::TYPE, view.inside.clone(), view.options()),
        HostMount::Special { base, options } => {
            let mut made = own_mount(base);
            let mut all = made.options().clone().unwrap_or_default();
            all.extend(options.iter().cloned());
            made.set_options(Some(all));
            made
        }
    }
}

fn mount(target: &str, kind: &str, source: PathBuf, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(options));
    mount
}

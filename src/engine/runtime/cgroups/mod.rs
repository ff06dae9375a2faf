//! One cgroup a container: made, limited, filled, measured, killed and removed, on hosts of the unified hierarchy (v2) and of
//! the hybrid one (controllers in hierarchies of v1, beside a unified one without). Knows nothing of containers.
//!
//! The crate `cgroups-rs` finds the hierarchies and writes the limits. Making, filling and measuring are done here: on the
//! way of every start, by descriptor, and with a v2 hierarchy that a process is born in instead of moved to.

mod freeze;
mod further;
mod layout;
mod measure;
mod members;
mod v1;
mod values;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use serde::{Deserialize, Serialize};

pub(super) use freeze::Freezer;
pub(super) use further::weight_of_shares;
pub use layout::LEAF;
pub(super) use layout::Layout;
pub use measure::Stats;
pub use members::block_io_of;
pub(super) use v1::door;
#[cfg(test)]
pub(super) use v1::kill_frozen;
pub use values::is_limit;

use crate::model::spec::{ResourceLimits, SwapLimit};
use crate::sys;
use crate::sys::devices::{Access, DeviceKind, DeviceRule, Policy, Rule};

/// Where a cgroup is, below the root of every hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPath {
    /// One folder's name (all of an instance), or a path of several; in a slice of systemd, down to a scope.
    pub parent: String,
    /// One folder's name in it.
    pub name: String,
}

impl CgroupPath {
    /// The slice and the scope that it is in, where systemd is to make these.
    pub fn scope(&self) -> Option<(&str, &str)> {
        let (above, scope) = self.parent.rsplit_once('/')?;
        let slice = above.rsplit('/').next().filter(|name| name.ends_with(".slice"))?;
        scope.ends_with(".scope").then_some((slice, scope))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("limit {limit} of {}: {source}", path.display())]
    Limit { limit: &'static str, path: PathBuf, source: cgroups_rs::fs::error::Error },
    #[error(
        "this host's cgroups have no {controller} controller for {}, so the limit cannot be kept; enable the controller or remove the limit",
        path.display()
    )]
    NoController { controller: &'static str, path: PathBuf },
    #[error("a limit of {controller} needs cgroups that are this user's own, and the host has delegated none to this session")]
    NotDelegated { controller: &'static str },
    #[error("this host's disks have no weights for {}; remove the limit, or give the disks the scheduler bfq", path.display())]
    NoWeight { path: PathBuf },
    #[error("the processes of the container: {0}")]
    Processes(io::Error),
    #[error("restrict the devices of {}: {source}", path.display())]
    Devices { path: PathBuf, source: io::Error },
    #[error("cgroup {} still has processes after {} s", path.display(), .waited.as_secs())]
    Busy { path: PathBuf, waited: Duration },
    #[error("{text:?} is not the name of a cgroup")]
    Name { text: String },
}

impl CgroupError {
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }
}

/// A cgroup in every hierarchy that matters.
#[derive(Debug)]
pub struct Cgroup {
    layout: &'static Layout,
    path: CgroupPath,
    /// Made just now, so nothing of it needs to be undone.
    fresh: bool,
}

/// How long [`Cgroup::remove`] waits for dead processes to leave.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Makes what of it is missing.
    pub fn create(path: &CgroupPath) -> Result<Self, CgroupError> {
        let mut cgroup = Self::at(path)?;
        // Another process may remove an empty parent at this moment, which then is made again.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match cgroup.make() {
                Err(CgroupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound && attempts < 10 => {}
                other => {
                    cgroup.fresh = other?;
                    return Ok(cgroup);
                }
            }
        }
    }

    /// An existing one.
    pub fn open(path: &CgroupPath) -> Result<Self, CgroupError> {
        let cgroup = Self::at(path)?;
        if is_absent() {
            return Ok(cgroup);
        }
        let folder = cgroup.layout.witness(path);
        match fs::metadata(&folder) {
            Ok(_) => Ok(cgroup),
            Err(e) => Err(CgroupError::file("open", folder)(e)),
        }
    }

    /// Whether or not there is any: for whoever clears up.
    pub fn at(path: &CgroupPath) -> Result<Self, CgroupError> {
        checked_path(&path.parent)?;
        checked(&path.name)?;
        Ok(Self { layout: Layout::of_host(), path: path.clone(), fresh: false })
    }

    /// Whether there is any.
    pub fn exists(&self) -> bool {
        self.layout.witness(&self.path).exists()
    }

    /// Whether none of it was there.
    fn make(&self) -> Result<bool, CgroupError> {
        if let Layout::Unified { root } = self.layout {
            layout::hand_down(root, &self.path.parent)?;
        }
        let mut fresh = true;
        for folder in self.layout.folders(&self.path) {
            fresh &= match (make_folder(&folder), folder.parent()) {
                (Err(CgroupError::File { source, .. }), Some(parent)) if source.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(parent).map_err(CgroupError::file("create", parent))?;
                    make_folder(&folder)?
                }
                (made, _) => made?,
            };
        }
        Ok(fresh)
    }

    /// The folder in which a process can be born. `None` where there is no unified hierarchy.
    pub fn birthplace(&self) -> Result<Option<OwnedFd>, CgroupError> {
        use rustix::fs::{Mode, OFlags};
        let Some(folder) = self.layout.unified(&self.path) else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&folder, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(e) => Err(CgroupError::file("open", folder)(e.into())),
        }
    }

    /// The files through which a process that was born in [`Cgroup::birthplace`] moves itself to where it could not be born, by
    /// [`enter`]. A thread that moves nobody but itself waits for no other process of the host; whoever moves another waits for
    /// all of them, for milliseconds.
    pub fn doors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        match self.layout {
            Layout::Unified { .. } | Layout::Absent => Ok(Vec::new()),
            Layout::Hybrid { controllers, .. } => {
                let usual = controllers.iter().map(|h| h.folder(&self.path));
                usual.chain(self.optional_folders()).map(|folder| v1::door(&folder)).collect()
            }
        }
    }

    /// Moves a process from wherever it is.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        let optional = self.optional_folders();
        self.layout.folders(&self.path).iter().chain(&optional).try_for_each(|folder| v1::add(folder, pid))
    }

    /// Makes the limits what they are to be, also on processes that run; `None` lifts one.
    pub fn apply(&self, limits: &ResourceLimits) -> Result<(), CgroupError> {
        let v2 = matches!(self.layout, Layout::Unified { .. });
        let wanted = limits.memory.map(|m| i64::try_from(m.0).unwrap_or(i64::MAX));
        if let Some(folder) = self.limited("memory", if v2 { "memory.max" } else { "memory.limit_in_bytes" }, wanted.is_some())? {
            self.limit_memory(&folder, wanted, limits.memory_swap, v2)?;
        }
        let by_time = limits.cpus.is_some() || limits.cpu_quota.is_some() || limits.cpu_period.is_some();
        if let Some(folder) = self.limited("cpu", if v2 { "cpu.max" } else { "cpu.cfs_quota_us" }, by_time)? {
            // Thousandths of a processor are tenths of a millisecond in a period of 100 ms.
            let of_cpus = limits.cpus.map(|c| i64::from(c.millis()) * 100);
            let quota = of_cpus.or(limits.cpu_quota.and_then(|quota| i64::try_from(quota).ok())).unwrap_or(-1);
            let cpu = CpuController::new(folder.clone(), folder.clone(), v2);
            cpu.set_cfs_quota_and_period(Some(quota), Some(limits.cpu_period.unwrap_or(100_000)))
                .map_err(|source| CgroupError::Limit { limit: "cpus", path: folder, source })?;
        }
        let pids = limits.pids.filter(|n| *n != ResourceLimits::ANY_PIDS);
        if let Some(folder) = self.limited("pids", "pids.max", pids.is_some())? {
            let most = pids.map_or(MaxValue::Max, |n| MaxValue::Value(i64::from(n)));
            PidController::new(folder.clone(), folder.clone(), v2).set_pid_max(most).map_err(|source| CgroupError::Limit {
                limit: "pids",
                path: folder,
                source,
            })?;
        }
        self.apply_further(limits)
    }

    /// The limits of a container of which nothing else is known: those that are asked for, and the default one on processes
    /// where this host counts them.
    pub fn with_defaults(&self, limits: ResourceLimits) -> Result<ResourceLimits, CgroupError> {
        if limits.pids.is_some() {
            return Ok(limits);
        }
        let counted = match self.layout {
            // A scope is systemd's to make, which hands all controllers down to it.
            Layout::Unified { root } if self.path.scope().is_some() => layout::offers(root, "pids"),
            Layout::Unified { .. } | Layout::Hybrid { .. } | Layout::Absent => {
                self.layout.has_controller(&self.path.parent, "pids")?
            }
        };
        Ok(ResourceLimits { pids: counted.then_some(ResourceLimits::DEFAULT_PIDS), ..limits })
    }

    /// Swap may be as much again as memory unless told otherwise, as with Docker; a kernel that does not count swap has no
    /// such limit.
    fn limit_memory(&self, folder: &Path, wanted: Option<i64>, both: Option<SwapLimit>, v2: bool) -> Result<(), CgroupError> {
        let memory = MemController::new(folder.to_owned(), folder.to_owned(), v2);
        let failed = |source| CgroupError::Limit { limit: "memory", path: folder.to_owned(), source };
        let swap_file = if v2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        let swap = folder.join(swap_file).exists().then(|| match (wanted, both) {
            (None, _) | (_, Some(SwapLimit::Unlimited)) => -1,
            (Some(bytes), Some(SwapLimit::Bytes(both))) => {
                let both = i64::try_from(both.0).unwrap_or(i64::MAX);
                if v2 { both.saturating_sub(bytes) } else { both }
            }
            (Some(bytes), None) if v2 => bytes,
            (Some(bytes), None) => bytes.saturating_mul(2),
        });
        if let (None, Some(SwapLimit::Bytes(_))) = (swap, both) {
            return Err(CgroupError::NoController { controller: "swap", path: folder.to_owned() });
        }
        let limit = wanted.unwrap_or(-1);
        match (memory.set_limit(limit), swap) {
            (Ok(()), Some(swap)) => memory.set_memswap_limit(swap).map_err(failed),
            (Ok(()), None) => Ok(()),
            // On v1 the sum with swap may not be below memory, so when both rise the sum has to go first.
            (Err(_), Some(swap)) => memory.set_memswap_limit(swap).and_then(|()| memory.set_limit(limit)).map_err(failed),
            (Err(e), None) => Err(failed(e)),
        }
    }

    /// The folder of a limit's file. `None` when nothing is wanted and nothing can be there to lift.
    fn limited(&self, controller: &'static str, file: &str, wanted: bool) -> Result<Option<PathBuf>, CgroupError> {
        if self.fresh && !wanted {
            return Ok(None);
        }
        match self.layout.folder(&self.path, controller).filter(|f| f.join(file).exists()) {
            Some(folder) => Ok(Some(folder)),
            None if wanted => Err(self.lacks(controller)),
            None => Ok(None),
        }
    }

    /// Device nodes other than the harmless ones can be made, as images contain them, but not used.
    /// `further` rules stand above the usual ones. In a user namespace there is nothing to restrict: nobody there makes a node
    /// that leads to a device, and those of the host that a container is given have an owner and a mode.
    pub fn restrict_devices(&self, further: &[Rule]) -> Result<(), CgroupError> {
        if sys::userns::is_inside() {
            return Ok(());
        }
        let rules: Vec<Rule> = DEVICES.iter().map(|rule| Rule::from(*rule)).chain(further.iter().copied()).collect();
        if let Some(folder) = self.layout.folder(&self.path, "devices") {
            return v1::restrict_devices(&folder, &rules);
        }
        let path = self.layout.witness(&self.path);
        let Some(folder) = self.birthplace()? else {
            return Err(CgroupError::NoController { controller: "devices", path });
        };
        let policy = Policy { rules: &rules, otherwise: false };
        policy.enforce(folder.as_fd()).map_err(|source| CgroupError::Devices { path, source })
    }

    /// Sends SIGKILL to every process in it, in such a way that none escapes by forking.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        match (self.layout.unified(&self.path), self.layout) {
            (Some(folder), _) => {
                let file = folder.join("cgroup.kill");
                match fs::write(&file, "1") {
                    Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.exists() => Ok(()),
                    other => other.map_err(CgroupError::file("write", file)),
                }
            }
            (None, Layout::Hybrid { .. }) => match self.layout.folder(&self.path, "freezer") {
                Some(folder) => v1::kill_frozen(&folder),
                None => Err(CgroupError::NoController { controller: "freezer", path: self.layout.witness(&self.path) }),
            },
            // It ends with the first process of its pid namespace.
            (None, Layout::Unified { .. } | Layout::Absent) => Ok(()),
        }
    }

    /// Whether any process is in it. A missing cgroup has none.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        if is_absent() {
            return Ok(false);
        }
        match self.layout.unified(&self.path) {
            Some(folder) => Ok(measure::keyed(&folder.join("cgroup.events"), "populated")?.unwrap_or(0) == 1),
            None => {
                let file = self.layout.witness(&self.path).join("cgroup.procs");
                match fs::read_to_string(&file) {
                    Ok(text) => Ok(!text.trim().is_empty()),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
                    Err(e) => Err(CgroupError::file("read", file)(e)),
                }
            }
        }
    }

    /// Removes it everywhere, with what the container made in it. Waits a little for dead processes to leave, because the
    /// kernel lets go of them a moment after their parent has been told.
    pub fn remove(&self) -> Result<(), CgroupError> {
        remove_folders(self.layout.folders(&self.path).into_iter().chain(self.optional_folders()))
    }

    /// What it uses now.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        measure::stats(self.layout, &self.path)
    }

    /// How often the kernel killed a process of it for want of memory. A missing cgroup counts none.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        measure::oom_kills(self.layout, &self.path)
    }
}

/// Whether there are no cgroups at all for this process to put others into.
pub fn is_absent() -> bool {
    matches!(Layout::of_host(), Layout::Absent)
}

/// The version of this host's cgroups, and the controllers that containers can have limits of.
pub fn about() -> (&'static str, Vec<String>) {
    match Layout::of_host() {
        Layout::Absent => ("none", Vec::new()),
        Layout::Unified { root } => {
            let all = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            ("v2", all.split_ascii_whitespace().map(str::to_owned).collect())
        }
        Layout::Hybrid { controllers, optional, .. } => {
            ("v1", controllers.iter().chain(optional).flat_map(|hierarchy| hierarchy.controllers.clone()).collect())
        }
    }
}

/// The names of all cgroups of a parent, in whatever hierarchy they are (left over).
pub fn list(parent: &str) -> Result<BTreeSet<String>, CgroupError> {
    checked_path(parent)?;
    let mut names = BTreeSet::new();
    for folder in Layout::of_host().all_parents(parent) {
        match fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(CgroupError::file("list", folder)(e)),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(CgroupError::file("list", &folder))?;
                    if entry.file_type().is_ok_and(|t| t.is_dir()) {
                        names.extend(entry.file_name().into_string());
                    }
                }
            }
        }
    }
    Ok(names)
}

/// The folders in which [`list`] looks, whether or not they are there.
pub fn folders(parent: &str) -> Result<Vec<PathBuf>, CgroupError> {
    checked_path(parent)?;
    Ok(Layout::of_host().all_parents(parent))
}

/// Whether there is such a parent, be it that somebody else has made it.
pub fn has_parent(parent: &str) -> Result<bool, CgroupError> {
    checked_path(parent)?;
    Ok(Layout::of_host().parents(parent).iter().any(|folder| folder.is_dir()))
}

/// Removes the parent of all, which must have no cgroup left.
pub fn remove_parent(parent: &str) -> Result<(), CgroupError> {
    checked_path(parent)?;
    for folder in Layout::of_host().all_parents(parent) {
        match fs::remove_dir(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(CgroupError::file("remove", folder)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// The same for every container: nodes can be made, and only the harmless ones and terminals be used.
pub(super) const DEVICES: [DeviceRule; 11] = {
    const fn usable(major: u32, minor: Option<u32>) -> DeviceRule {
        DeviceRule { kind: DeviceKind::Character, major: Some(major), minor, access: Access::All }
    }
    const fn makeable(kind: DeviceKind) -> DeviceRule {
        DeviceRule { kind, major: None, minor: None, access: Access::Make }
    }
    [
        makeable(DeviceKind::Character),
        makeable(DeviceKind::Block),
        usable(1, Some(3)),
        usable(1, Some(5)),
        usable(1, Some(7)),
        usable(1, Some(8)),
        usable(1, Some(9)),
        usable(5, Some(0)),
        usable(5, Some(1)),
        usable(5, Some(2)),
        usable(136, None),
    ]
};

/// A folder's name and nothing else, so that no path leads elsewhere.
/// Moves the calling thread, the only one of its process, through what [`Cgroup::doors`] has opened.
pub fn enter(doors: &[OwnedFd]) -> io::Result<()> {
    doors.iter().try_for_each(|door| rustix::io::write(door, b"0").map(drop).map_err(Into::into))
}

fn checked(name: &str) -> Result<(), CgroupError> {
    let ok = !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 200
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if ok { Ok(()) } else { Err(CgroupError::Name { text: name.chars().take(80).collect() }) }
}

/// Such names, one in the other.
fn checked_path(path: &str) -> Result<(), CgroupError> {
    path.split('/').try_for_each(checked)
}

/// Whether it was missing.
fn make_folder(folder: &Path) -> Result<bool, CgroupError> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(CgroupError::file("create", folder)(e)),
    }
}

/// Removes the folders of one cgroup, with what the container made in them. Waits a little for dead processes to leave.
pub(in crate::engine::runtime) fn remove_folders(folders: impl IntoIterator<Item = PathBuf>) -> Result<(), CgroupError> {
    let begun = Instant::now();
    let mut pause = Duration::from_micros(200);
    for folder in folders {
        loop {
            match remove_tree(&folder) {
                Ok(()) => break,
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                    if begun.elapsed() > PATIENCE {
                        return Err(CgroupError::Busy { path: folder, waited: PATIENCE });
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
                Err(e) => return Err(CgroupError::file("remove", folder)(e)),
            }
        }
    }
    Ok(())
}

/// Files of a cgroup vanish with their folder; only the folders are removed, the innermost first.
pub(in crate::engine::runtime) fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {
            let entries = match fs::read_dir(folder) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            let mut had_folders = false;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    had_folders = true;
                    remove_tree(&entry.path())?;
                }
            }
            match fs::remove_dir(folder) {
                _ if !had_folders => Err(e),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        }
        other => other,
    }
}

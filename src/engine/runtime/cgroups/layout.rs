//! Where this host's cgroup hierarchies are, and which of them containers are put into.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cgroups_rs::fs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode, mountinfo_self};

use super::{CgroupError, CgroupPath, make_folder};
use crate::sys;

/// The hierarchies of a host.
#[derive(Debug)]
pub(in crate::engine::runtime) enum Layout {
    /// One hierarchy (v2) with all controllers.
    Unified { root: PathBuf },
    /// Controllers in hierarchies of v1, and perhaps a unified one without any, for the processes.
    Hybrid {
        controllers: Vec<Hierarchy>,
        /// Those that a container is in only where a limit of it needs them.
        optional: Vec<Hierarchy>,
        unified: Option<PathBuf>,
    },
    /// None that this process may write to: those of an ordinary user to whom the host has delegated none.
    Absent,
}

/// One hierarchy of v1.
#[derive(Debug)]
pub(in crate::engine::runtime) struct Hierarchy {
    pub(in crate::engine::runtime) root: PathBuf,
    /// In the order of the mount's options.
    pub(in crate::engine::runtime) controllers: Vec<String>,
}

impl Hierarchy {
    pub(super) fn folder(&self, path: &CgroupPath) -> PathBuf {
        self.root.join(&path.parent).join(&path.name)
    }
}

/// The name of the cgroup in which the engine's own processes of an ordinary user are, beside those of the containers: a
/// cgroup that hands controllers down has no processes itself.
pub const LEAF: &str = "setpoint-engine";

/// The controllers of v1 that something here needs: three limits, the accounts, the freezer and the device filter. In all
/// others a container stays where its monitor is.
const NEEDED: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "freezer", "devices"];

/// Further ones that some limits need.
const OPTIONAL: [&str; 2] = ["cpuset", "blkio"];

impl Layout {
    /// Found once: hierarchies are mounted at the boot.
    pub(in crate::engine::runtime) fn of_host() -> &'static Self {
        static LAYOUT: OnceLock<Layout> = OnceLock::new();
        LAYOUT.get_or_init(Self::detect)
    }

    fn detect() -> Self {
        let root = Path::new(UNIFIED_MOUNTPOINT);
        if sys::userns::is_inside() {
            return Self::delegated(root);
        }
        if is_cgroup2_unified_mode() {
            return Self::Unified { root: root.to_owned() };
        }
        let mut controllers: Vec<Hierarchy> = Vec::new();
        let mut optional: Vec<Hierarchy> = Vec::new();
        for mount in mountinfo_self() {
            let names: Vec<String> = mount.super_opts.iter().filter(|o| KNOWN.contains(&o.as_str())).cloned().collect();
            let seen = controllers.iter().chain(&optional).any(|h| h.controllers == names);
            let has = |known: &[&str]| names.iter().any(|n| known.contains(&n.as_str()));
            if !seen && has(&NEEDED) {
                controllers.push(Hierarchy { root: mount.mount_point, controllers: names });
            } else if !seen && has(&OPTIONAL) {
                optional.push(Hierarchy { root: mount.mount_point, controllers: names });
            }
        }
        let unified = root.join("unified");
        // The file is there in every cgroup but the root, and in the root since kernel 5.14 only this one tells the version.
        let unified = unified.join("cgroup.subtree_control").exists().then_some(unified);
        Self::Hybrid { controllers, optional, unified }
    }

    /// In a user namespace: where this process is in the leaf of what was delegated to the user, that which is around the
    /// leaf; or all that is seen, where that can be written to.
    fn delegated(mount: &Path) -> Self {
        let writable = |root: &Path| {
            is_cgroup2_unified_mode() && rustix::fs::access(root.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok()
        };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| mount.join(path));
        let around =
            own.filter(|path| path.file_name().is_some_and(|name| name == LEAF)).and_then(|path| Some(path.parent()?.to_owned()));
        match around.filter(|root| writable(root)) {
            Some(root) => Self::Unified { root },
            None if writable(mount) => Self::Unified { root: mount.to_owned() },
            None => Self::Absent,
        }
    }

    /// The cgroup's folder in every hierarchy.
    pub(super) fn folders(&self, path: &CgroupPath) -> Vec<PathBuf> {
        self.parents(&path.parent).into_iter().map(|p| p.join(&path.name)).collect()
    }

    /// A parent's folder in every hierarchy.
    pub(super) fn parents(&self, parent: &str) -> Vec<PathBuf> {
        match self {
            Self::Absent => Vec::new(),
            Self::Unified { root } => vec![root.join(parent)],
            Self::Hybrid { controllers, unified, .. } => {
                controllers.iter().map(|h| &h.root).chain(unified).map(|root| root.join(parent)).collect()
            }
        }
    }

    /// A parent's folder in every hierarchy that a container may be in.
    pub(super) fn all_parents(&self, parent: &str) -> Vec<PathBuf> {
        let mut all = self.parents(parent);
        if let Self::Hybrid { optional, .. } = self {
            all.extend(optional.iter().map(|h| h.root.join(parent)));
        }
        all
    }

    /// The cgroup's folder where this controller is.
    pub(super) fn folder(&self, path: &CgroupPath, controller: &str) -> Option<PathBuf> {
        match self {
            Self::Absent => None,
            // Devices have no controller there, but a program.
            Self::Unified { .. } if controller == "devices" => None,
            Self::Unified { .. } => self.unified(path),
            Self::Hybrid { controllers, .. } => {
                controllers.iter().find(|h| h.controllers.iter().any(|c| c == controller)).map(|h| h.folder(path))
            }
        }
    }

    /// Whether the controller is to be had below `parent`, which is made.
    pub(super) fn has_controller(&self, parent: &str, controller: &str) -> Result<bool, CgroupError> {
        match self {
            Self::Absent => Ok(false),
            Self::Unified { root } => {
                hand_down(root, parent)?;
                let file = root.join(parent).join("cgroup.subtree_control");
                Ok(fs::read_to_string(file).is_ok_and(|all| all.split_ascii_whitespace().any(|one| one == controller)))
            }
            Self::Hybrid { controllers, .. } => Ok(controllers.iter().any(|h| h.controllers.iter().any(|c| c == controller))),
        }
    }

    /// The cgroup's folder in the unified hierarchy.
    pub(super) fn unified(&self, path: &CgroupPath) -> Option<PathBuf> {
        match self {
            Self::Absent => None,
            Self::Unified { root } => Some(root.join(&path.parent).join(&path.name)),
            Self::Hybrid { unified, .. } => unified.as_ref().map(|root| root.join(&path.parent).join(&path.name)),
        }
    }

    /// The folder that stands for the cgroup in messages and questions.
    pub(super) fn witness(&self, path: &CgroupPath) -> PathBuf {
        self.unified(path)
            .or_else(|| self.folder(path, "freezer"))
            .or_else(|| self.folders(path).pop())
            .unwrap_or_else(|| Path::new(UNIFIED_MOUNTPOINT).join(&path.parent).join(&path.name))
    }
}

/// All controllers that v1 ever had: what else stands among a mount's options is none.
const KNOWN: [&str; 15] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "blkio",
    "perf_event",
    "net_prio",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
    "debug",
];

/// Whether the v2 hierarchy has this controller at its root.
pub(super) fn offers(root: &Path, controller: &str) -> bool {
    fs::read_to_string(root.join("cgroup.controllers")).is_ok_and(|all| all.split_ascii_whitespace().any(|one| one == controller))
}

/// Every folder from the root of a hierarchy down to `parent`, the root first.
pub(super) fn way_down(root: &Path, parent: &str) -> Vec<PathBuf> {
    let mut folder = root.to_owned();
    let below = parent.split('/').map(|name| {
        folder.push(name);
        folder.clone()
    });
    std::iter::once(root.to_owned()).chain(below.collect::<Vec<_>>()).collect()
}

/// Makes `parent`, and hands the controllers of the v2 hierarchy down to its children. A controller that the host keeps to
/// itself (because this root is a part of somebody else's hierarchy and has processes of its own, for example) is missing
/// afterwards, and whoever wants to set its limit is told so then.
pub(super) fn hand_down(root: &Path, parent: &str) -> Result<(), CgroupError> {
    const WANTED: [&str; 3] = ["cpu", "memory", "pids"];
    for (depth, folder) in way_down(root, parent).into_iter().enumerate() {
        if depth > 0 {
            make_folder(&folder)?;
        }
        let file = folder.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&file).unwrap_or_default();
        for controller in WANTED {
            if !enabled.split_ascii_whitespace().any(|e| e == controller) {
                // One at a time, because one that is not to be had would take the others with it.
                drop(fs::write(&file, format!("+{controller}")));
            }
        }
    }
    Ok(())
}

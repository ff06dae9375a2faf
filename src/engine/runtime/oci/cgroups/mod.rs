//! The cgroup of an OCI container: at any path, in every hierarchy of the host, with all the resources that a bundle can
//! name. Knows nothing of what runs in it.

mod delegation;
mod devices;
mod hierarchies;
pub(super) mod properties;
mod usage;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

use super::super::cgroups::{self as shared, Freezer, door};
use hierarchies::Hierarchies;
pub(super) use properties::Dialect;

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("write {value:?} to {}: {source}", path.display())]
    Limit { value: String, path: PathBuf, source: io::Error },
    #[error("this host has no {controller} controller of cgroups, so {what} cannot be set; remove it from the bundle")]
    NoController { controller: String, what: String },
    #[error("no hierarchy of cgroups is mounted; mount cgroup2 at /sys/fs/cgroup")]
    NoHierarchy,
    #[error("linux.cgroupsPath {}: it must have names only, and no `..`", path.display())]
    Path { path: PathBuf },
    #[error("resources.unified: {reason}")]
    Unified { reason: String },
    #[error("linux.cgroupsPath {}: {reason}; name another one", path.display())]
    Unfit { path: PathBuf, reason: &'static str },
    #[error("--cgroup {text}: {reason}")]
    Below { text: String, reason: String },
    #[error("linux.resources.memory.{reason}")]
    Memory { reason: String },
    #[error("linux.resources.devices: {reason}")]
    DeviceRule { reason: String },
    #[error("restrict the devices of {}: {source}", path.display())]
    Devices { path: PathBuf, source: io::Error },
    /// What is done alike for the engine's own containers.
    #[error(transparent)]
    Shared(#[from] shared::CgroupError),
    #[error("cgroup {} still has processes after {} s", path.display(), .waited.as_secs())]
    Busy { path: PathBuf, waited: Duration },
}

impl CgroupError {
    fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

/// One cgroup in all hierarchies.
#[derive(Debug)]
pub(super) struct Cgroup {
    hierarchies: Hierarchies,
    /// Below the root of each.
    path: PathBuf,
}

impl Cgroup {
    /// Whether or not it exists.
    pub(super) fn at(path: &Path) -> Result<Self, CgroupError> {
        let plain: PathBuf = path.components().filter(|c| !matches!(c, Component::RootDir | Component::CurDir)).collect();
        let names_only = plain.components().all(|c| matches!(c, Component::Normal(_)));
        if !names_only || plain.as_os_str().is_empty() {
            return Err(CgroupError::Path { path: path.to_owned() });
        }
        Ok(Self { hierarchies: Hierarchies::of_host()?, path: plain })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses one that is somebody else's: what is in it would be limited, and killed, with the container.
    pub(super) fn refuse_others(&self) -> Result<(), CgroupError> {
        let unfit = |reason| Err(CgroupError::Unfit { path: self.path.clone(), reason });
        if !self.processes()?.is_empty() {
            return unfit("there are processes in it already");
        }
        if self.is_frozen()? { unfit("it is frozen") } else { Ok(()) }
    }

    /// Makes what of it is missing.
    pub(super) fn create(&self) -> Result<(), CgroupError> {
        if let (Some(root), true) = (&self.hierarchies.unified, self.hierarchies.is_unified()) {
            v2::hand_down(root, &self.path);
        }
        for folder in self.hierarchies.folders(&self.path) {
            fs::create_dir_all(&folder).map_err(CgroupError::file("create", folder))?;
        }
        match self.hierarchies.v1.iter().find(|h| h.controllers.iter().any(|c| c == "cpuset")) {
            Some(cpuset) => v1::inherit_cpuset(&cpuset.root, &self.path),
            None => Ok(()),
        }
    }

    /// Makes the resources what they are to be; what is not named stays. Devices are left to [`Cgroup::restrict_devices`].
    pub(super) fn apply(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        if let (Some(root), true) = (&self.hierarchies.unified, self.hierarchies.is_unified()) {
            return v2::apply(&root.join(&self.path), resources);
        }
        if resources.unified().as_ref().is_some_and(|u| !u.is_empty()) {
            let reason = "this host's controllers are in hierarchies of v1, which have no unified files; remove it".to_owned();
            return Err(CgroupError::Unified { reason });
        }
        v1::apply(&self.hierarchies, &self.path, resources)
    }

    /// What of device nodes may be used. Without any rules nothing is restricted.
    pub(super) fn restrict_devices(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let rules = devices::rules(resources.devices().as_deref().unwrap_or_default())?;
        if rules.is_empty() {
            return Ok(());
        }
        if let Some(folder) = self.hierarchies.folder("devices", &self.path) {
            return devices::write(&folder, &rules);
        }
        match &self.hierarchies.unified {
            Some(root) => devices::load(&root.join(&self.path), &rules),
            None => Err(CgroupError::NoController { controller: "devices".into(), what: "linux.resources.devices".into() }),
        }
    }

    /// The folder in which a process can be born.
    pub(super) fn birthplace(&self) -> Result<Option<OwnedFd>, CgroupError> {
        self.birthplace_at(&self.path)
    }

    fn birthplace_at(&self, path: &Path) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(root) = &self.hierarchies.unified else { return Ok(None) };
        let folder = root.join(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&folder, flags, Mode::empty());
        opened.map(Some).map_err(|e| CgroupError::file("open", folder)(e.into()))
    }

    /// The files through which a thread moves itself into the hierarchies of v1, by [`enter`](crate::engine::runtime::cgroups::enter).
    pub(super) fn doors(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        self.hierarchies.v1.iter().map(|h| Ok(door(&h.root.join(&self.path))?)).collect()
    }

    /// Every process in it and in the cgroups below it.
    pub(super) fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        let Some(folder) = self.witness() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        collect(&folder, &mut found)?;
        Ok(found)
    }

    /// The hierarchy that stands for all: where every process is that is in the cgroup.
    fn witness(&self) -> Option<PathBuf> {
        let of_v1 = || {
            self.hierarchies
                .folder("freezer", &self.path)
                .or_else(|| self.hierarchies.v1.first().map(|h| h.root.join(&self.path)))
        };
        self.hierarchies.unified.as_ref().map(|root| root.join(&self.path)).or_else(of_v1)
    }

    /// Kills every process in it, so that none escapes by forking.
    pub(super) fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(folder) = self.hierarchies.unified.as_ref().map(|root| root.join(&self.path)) {
            let file = folder.join("cgroup.kill");
            // What is frozen by v1 dies only when it is thawed.
            self.thaw()?;
            return match fs::write(&file, "1") {
                Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.exists() => Ok(()),
                other => other.map_err(CgroupError::file("write", file)),
            };
        }
        let begun = Instant::now();
        loop {
            let processes = self.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            self.freeze()?;
            for pid in self.processes()? {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    // One that has ended meanwhile needs no killing.
                    let _killed = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            self.thaw()?;
            if begun.elapsed() > PATIENCE {
                return Err(CgroupError::Busy { path: self.path.clone(), waited: PATIENCE });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn freeze(&self) -> Result<(), CgroupError> {
        Ok(self.freezer()?.freeze()?)
    }

    /// What is not there is not frozen.
    pub(super) fn thaw(&self) -> Result<(), CgroupError> {
        Ok(self.freezer()?.thaw()?)
    }

    pub(super) fn is_frozen(&self) -> Result<bool, CgroupError> {
        Ok(self.freezer()?.is_frozen()?)
    }

    fn freezer(&self) -> Result<Freezer, CgroupError> {
        if let Some(folder) = self.hierarchies.folder("freezer", &self.path) {
            return Ok(Freezer::of_v1(&folder));
        }
        match &self.hierarchies.unified {
            Some(root) => Ok(Freezer::of_unified(&root.join(&self.path))),
            None => Err(CgroupError::NoController { controller: "freezer".into(), what: "a pause".into() }),
        }
    }

    /// Removes it everywhere, once the dead have left it.
    pub(super) fn remove(&self) -> Result<(), CgroupError> {
        Ok(shared::remove_folders(self.hierarchies.folders(&self.path))?)
    }

    /// Removes the parent of those containers that name no cgroup of their own, if this was the last of them.
    pub(super) fn remove_default_parent(&self) {
        if self.path.parent() == Some(Path::new(super::DEFAULT_CGROUP)) {
            for folder in self.hierarchies.folders(Path::new(super::DEFAULT_CGROUP)) {
                // Another container may be in it, now or in a moment: then it stays.
                drop(fs::remove_dir(folder));
            }
        }
    }
}

/// How a hierarchy of this host is shown to a container.
#[derive(Debug)]
pub(super) struct View {
    /// The folder's name, and further names for it.
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    /// The file system's type and its options.
    pub(super) kind: &'static str,
    pub(super) options: Vec<(String, Option<String>)>,
    /// As `/proc/self/cgroup` names them.
    pub(super) controllers: String,
    /// Where the host has it.
    pub(super) root: PathBuf,
}

/// Whether this host's controllers are in the unified hierarchy.
pub(super) fn is_unified() -> Result<bool, CgroupError> {
    Ok(Hierarchies::of_host()?.is_unified())
}

/// All hierarchies of this host.
pub(super) fn views() -> Result<Vec<View>, CgroupError> {
    let Hierarchies { v1, unified } = Hierarchies::of_host()?;
    let of_v1 = v1.into_iter().map(|hierarchy| {
        let joined = hierarchy.controllers.join(",");
        let name = hierarchy.root.file_name().map_or_else(|| joined.clone(), |n| n.to_string_lossy().into_owned());
        let options = hierarchy.controllers.iter().flat_map(|c| match c.split_once('=') {
            // A hierarchy without controllers has a name instead.
            Some((key, value)) => vec![("none".to_owned(), None), (key.to_owned(), Some(value.to_owned()))],
            None => vec![(c.clone(), None)],
        });
        let aliases = hierarchy.controllers.iter().filter(|c| **c != name && !c.contains('=')).cloned().collect();
        View { options: options.collect(), aliases, name, kind: "cgroup", controllers: joined, root: hierarchy.root }
    });
    let of_v2 = unified.map(|root| View {
        name: "unified".to_owned(),
        aliases: Vec::new(),
        kind: "cgroup2",
        options: Vec::new(),
        controllers: String::new(),
        root,
    });
    Ok(of_v1.chain(of_v2).collect())
}

fn collect(folder: &Path, found: &mut Vec<i32>) -> Result<(), CgroupError> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV);
    let file = folder.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(e) if gone(&e) => return Ok(()),
        // Of a threaded cgroup the processes are told by the one above it.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(e) => return Err(CgroupError::file("read", file)(e)),
    }
    let entries = match fs::read_dir(folder) {
        Err(e) if gone(&e) => return Ok(()),
        other => other.map_err(CgroupError::file("list", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(CgroupError::file("list", folder))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found)?;
        }
    }
    Ok(())
}

/// Writes one value into one file of a cgroup.
fn set(folder: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = folder.join(file);
    match fs::OpenOptions::new().write(true).open(&path).and_then(|mut f| io::Write::write_all(&mut f, value.as_bytes())) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let controller = file.split('.').next().unwrap_or(file).to_owned();
            Err(CgroupError::NoController { controller, what: file.to_owned() })
        }
        Err(source) => Err(CgroupError::Limit { value: value.to_owned(), path, source }),
    }
}

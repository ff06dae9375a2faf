//! All cgroup hierarchies of this host, as they are mounted here. A bundle may name limits of any of them.

use std::path::{Path, PathBuf};

use super::CgroupError;

/// The hierarchies of a host.
#[derive(Debug)]
pub(super) struct Hierarchies {
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<PathBuf>,
}

/// One hierarchy of v1, with or without controllers.
#[derive(Debug)]
pub(super) struct Hierarchy {
    pub(super) root: PathBuf,
    pub(super) controllers: Vec<String>,
}

impl Hierarchies {
    pub(super) fn of_host() -> Result<Self, CgroupError> {
        let file = Path::new("/proc/self/mountinfo");
        let table = std::fs::read_to_string(file).map_err(CgroupError::file("read", file))?;
        let found = Self::parse(&table);
        if found.v1.is_empty() && found.unified.is_none() { Err(CgroupError::NoHierarchy) } else { Ok(found) }
    }

    fn parse(table: &str) -> Self {
        let mut found = Self { v1: Vec::new(), unified: None };
        for line in table.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let mut back = back.split(' ');
            let (kind, options) = (back.next(), back.nth(1).unwrap_or_default());
            let Some(root) = front.split(' ').nth(4).map(PathBuf::from) else { continue };
            match kind {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(root),
                Some("cgroup") => {
                    let named = |o: &&str| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children" | "noprefix" | "seclabel");
                    let controllers: Vec<String> = options.split(',').filter(named).map(str::to_owned).collect();
                    // The same hierarchy may be mounted at several places.
                    if !found.v1.iter().any(|h| h.controllers == controllers) {
                        found.v1.push(Hierarchy { root, controllers });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether the unified hierarchy has the controllers.
    pub(super) fn is_unified(&self) -> bool {
        !self.v1.iter().any(|h| h.controllers.iter().any(|c| !c.starts_with("name=")))
    }

    /// The folder of a cgroup where this controller of v1 is.
    pub(super) fn folder(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        self.v1.iter().find(|h| h.controllers.iter().any(|c| c == controller)).map(|h| h.root.join(path))
    }

    /// The folder of a cgroup in every hierarchy.
    pub(super) fn folders(&self, path: &Path) -> Vec<PathBuf> {
        self.v1.iter().map(|h| &h.root).chain(&self.unified).map(|root| root.join(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_hosts() {
        let hybrid = "24 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n\
            25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            26 24 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            27 24 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            28 24 0:25 / /sys/fs/cgroup/again rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
        let found = Hierarchies::parse(hybrid);
        assert!(!found.is_unified());
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.folder("cpuacct", Path::new("a/b")).unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/a/b"));
        assert_eq!(found.folders(Path::new("x")).len(), 3);
        let unified = Hierarchies::parse("24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(unified.is_unified() && unified.folder("cpu", Path::new("x")).is_none());
    }
}

//! A cgroup for others to divide: given to the container's user where the specification says so, and the cgroups below it that
//! a further process can be put in.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Uid, chownat};

use super::{Cgroup, CgroupError};

/// Where a further process goes.
#[derive(Debug)]
pub(in super::super) struct Place {
    pub(in super::super) birthplace: Option<OwnedFd>,
    pub(in super::super) doors: Vec<OwnedFd>,
}

/// What the kernel lists in `/sys/kernel/cgroup/delegate`, as the specification has it for kernels that do not.
const FILES: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

impl Cgroup {
    /// Makes it a user's of the host: the folder and the files by which it is divided, and no limit. Of v1 nothing is, where
    /// that would be no boundary.
    pub(in super::super) fn delegate(&self, owner: u32) -> Result<(), CgroupError> {
        let (Some(root), true) = (&self.hierarchies.unified, self.hierarchies.is_unified()) else { return Ok(()) };
        let folder = root.join(&self.path);
        let listed = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_else(|_| FILES.join("\n"));
        let files = listed.lines().map(str::trim).filter(|name| !name.is_empty()).map(|name| folder.join(name));
        for path in std::iter::once(folder.clone()).chain(files) {
            match chownat(CWD, &path, Some(Uid::from_raw(owner)), None, AtFlags::SYMLINK_NOFOLLOW) {
                // Not every cgroup has every file that is listed.
                Err(rustix::io::Errno::NOENT) if path != folder => {}
                other => other.map_err(|e| CgroupError::file("give away", path)(io::Error::from(e)))?,
            }
        }
        Ok(())
    }

    /// The cgroup, or one below it that exists already: of all controllers, or of some of v1 (`cpu,cpuacct:/name`).
    pub(in super::super) fn below(&self, wanted: &[String]) -> Result<Place, CgroupError> {
        let mut own = self.path.clone();
        // The cgroup of each hierarchy of v1, in their order.
        let mut paths: Vec<PathBuf> = self.hierarchies.v1.iter().map(|_| own.clone()).collect();
        for text in wanted {
            let (controllers, path) = text.split_once(':').map_or((None, text.as_str()), |(front, back)| (Some(front), back));
            let invalid = |reason: &str| CgroupError::Below { text: text.clone(), reason: reason.to_owned() };
            let plain: PathBuf = Path::new(path).components().filter(|c| !matches!(c, Component::RootDir)).collect();
            if !plain.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
                return Err(invalid("it must be below the container's cgroup"));
            }
            let path = self.path.join(plain);
            match controllers {
                None => {
                    own.clone_from(&path);
                    paths.fill(path);
                }
                Some(names) => {
                    for name in names.split(',') {
                        let found = self.hierarchies.v1.iter().position(|h| h.controllers.iter().any(|c| c == name));
                        let found = found.ok_or_else(|| invalid("this host has no such controller of cgroup v1"))?;
                        paths[found].clone_from(&path);
                    }
                }
            }
        }
        let doors = self.hierarchies.v1.iter().zip(&paths).map(|(hierarchy, path)| Ok(super::door(&hierarchy.root.join(path))?));
        Ok(Place { birthplace: self.birthplace_at(&own)?, doors: doors.collect::<Result<_, CgroupError>>()? })
    }
}

//! `/dev/shm` of another container, as a mount for this one.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::failure::{At, Failure, Stage};

const PLACE: &str = "/dev/shm";
const MAGIC_OF_TMPFS: u64 = 0x0102_1994;

/// What is mounted at `/dev/shm` in another mount namespace. A mount can only be copied by who is in its namespace, so
/// this process is there for a moment, as itself.
pub(super) fn of(mounts: &Path) -> Result<OwnedFd, Failure> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &str, flags| rustix::fs::open(path, flags, Mode::empty()).at(Stage::ShareMemory, path);
    let there = rustix::fs::open(mounts, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::ShareMemory, mounts.to_string_lossy())?;
    let home = open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC)?;
    let root = open("/", folder)?;
    setns(&there, CloneFlags::CLONE_NEWNS).at(Stage::ShareMemory, "enter its mounts")?;
    let copied = copy();
    // Entering a mount namespace changes the root as well.
    setns(&home, CloneFlags::CLONE_NEWNS).at(Stage::ShareMemory, "come back")?;
    rustix::process::fchdir(&root).at(Stage::ShareMemory, "come back")?;
    rustix::process::chroot(".").at(Stage::ShareMemory, "come back")?;
    copied
}

/// No link of that container's making leads elsewhere, and what is there is memory.
fn copy() -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = rustix::fs::openat2(CWD, PLACE, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).at(Stage::ShareMemory, PLACE)?;
    let kind = rustix::fs::fstatfs(&place).at(Stage::ShareMemory, PLACE)?.f_type;
    if u64::try_from(kind).ok() != Some(MAGIC_OF_TMPFS) {
        return Err(Failure::new(Stage::ShareMemory, format!("{PLACE} is no tmpfs"), rustix::io::Errno::INVAL));
    }
    let copy = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place.as_fd(), "", copy).at(Stage::ShareMemory, PLACE)
}

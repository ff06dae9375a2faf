//! The contents of `/dev`: the nodes, links and the console that every container has.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::failure::{At, Failure, Stage};
use super::mounts::attach;
use crate::sys;

/// Character devices that give nothing of the host away, by name, major and minor.
pub(super) const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

pub(super) const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Fills the file system that is going to be `/dev`. The caller's umask is empty.
pub(super) fn populate(dev: &OwnedFd) -> Result<(), Failure> {
    for (name, major, minor) in NODES {
        if sys::userns::is_inside() {
            break;
        }
        let device = rustix::fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device).at(Stage::MakeDevice, name)?;
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, dev, name).at(Stage::MakeDevice, name)?;
    }
    Ok(())
}

/// In a user namespace nobody makes nodes: those of the host are mounted instead. To be done when `dev` is in its place.
pub(super) fn borrow_nodes(dev: &OwnedFd) -> Result<(), Failure> {
    for (name, major, minor) in NODES {
        let id = rustix::fs::makedev(major, minor);
        let path = format!("/dev/{name}");
        let node = host_node(Path::new(&path), FileType::CharacterDevice, id).at(Stage::MakeDevice, name)?;
        mount_node(&node, dev, OsStr::new(name)).at(Stage::MakeDevice, name)?;
    }
    Ok(())
}

/// A mount of the host's node, looked at before it is believed.
pub(super) fn host_node(path: &Path, kind: FileType, id: rustix::fs::Dev) -> Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let stat = rustix::fs::fstat(&tree)?;
    let same = FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == id;
    if same { Ok(tree) } else { Err(Errno::NODEV) }
}

/// Mounts a node on a new file.
pub(super) fn mount_node(node: &OwnedFd, folder: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
    let place = rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    attach(node, place)
}

/// The container's terminal is its console. It is found by its path, because a mount can only be made of what this mount
/// namespace has, and the descriptor is from outside.
pub(super) fn add_console(dev: &OwnedFd, terminal: &OwnedFd) -> Result<(), Failure> {
    let path = rustix::termios::ttyname(terminal, Vec::new()).at(Stage::SetTerminal, "find its name")?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, clone).at(Stage::SetTerminal, "/dev/console")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::CLOEXEC;
    let place = || -> Result<OwnedFd, Errno> {
        rustix::fs::openat(dev, "console", flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::openat(dev, "console", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    };
    attach(&tree, place().at(Stage::SetTerminal, "/dev/console")?).at(Stage::SetTerminal, "/dev/console")
}

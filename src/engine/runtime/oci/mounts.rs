//! The mounts of a bundle: each made detached, given its attributes, and only then attached to a descriptor inside the root,
//! so that no name is resolved twice. Runs in the process that becomes the container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsPickFlags, MountAttrFlags, OpenTreeFlags, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fspick, open_tree,
};

use super::super::failure::{At, Failure, Stage};
use super::super::mounts::{attach, new_file_system};
use super::super::root::{Kind, Root, file_type};
use super::devices;
use super::options::{Attributes, Options};
use crate::sys::mounts::{Change, change};

pub(super) const CLONE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_EMPTY_PATH);

/// What a bind is made of, got hold of while that was possible.
#[derive(Debug)]
pub(super) enum Source {
    /// A detached mount that has its mappings already.
    Tree(OwnedFd),
    /// A place of the host.
    Place(OwnedFd),
}

/// Opens the sources of all binds that have none yet. In a user namespace this is to be done before its root is become:
/// folders of the host on the way may be the host's root's alone.
pub(super) fn open_sources(mounts: &[Mount], bundle: &Path, sources: &mut Vec<Option<Source>>) -> Result<(), Failure> {
    sources.resize_with(mounts.len(), || None);
    for (mount, source) in mounts.iter().zip(sources) {
        let options = Options::parse(mount);
        if !options.bind || options.remount || source.is_some() {
            continue;
        }
        let path = source_path(mount, bundle)?;
        let place = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        *source = Some(Source::Place(place.at(Stage::Mount, format!("{} at {}", path.display(), name(mount)))?));
    }
    Ok(())
}

pub(super) fn source_path(mount: &Mount, bundle: &Path) -> Result<std::path::PathBuf, Failure> {
    let missing = || Failure::new(Stage::ReadSpec, format!("mount {}: no source", name(mount)), Errno::INVAL);
    // A relative one is below the bundle.
    Ok(bundle.join(mount.source().as_ref().ok_or_else(missing)?))
}

/// Makes all mounts in order.
pub(super) fn mount_all(root: &Root, spec: &Spec, sources: Vec<Option<Source>>) -> Result<(), Failure> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    for (mount, source) in mounts.iter().zip(sources) {
        let options = Options::parse(mount);
        if options.remount {
            remount(root, mount, &options)?;
            continue;
        }
        match (mount.typ().as_deref(), source) {
            (_, Some(source)) => bind(root, mount, &options, source)?,
            (Some("cgroup"), _) => super::cgroup_mount::mount(root, mount, &options, has_own(spec, LinuxNamespaceType::Cgroup))?,
            (Some(kind), _) => mount_new(root, spec, mount, kind, &options)?,
            (None, _) => return Err(Failure::new(Stage::ReadSpec, format!("mount {}: no type", name(mount)), Errno::INVAL)),
        }
    }
    Ok(())
}

/// Whether the container is in a namespace of this kind that is not the caller's.
pub(super) fn has_own(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    spec.linux().as_ref().and_then(|l| l.namespaces().as_ref()).is_some_and(|n| n.iter().any(|n| n.typ() == kind))
}

fn remount(root: &Root, mount: &Mount, options: &Options) -> Result<(), Failure> {
    let target = root.open(mount.destination()).at(Stage::Mount, name(mount))?;
    reconfigure(&target, &options.data).at(Stage::Mount, name(mount))?;
    apply(&target, options).at(Stage::Mount, name(mount))
}

/// Changes options of a file system that is mounted.
fn reconfigure(mount: &OwnedFd, data: &[(String, Option<String>)]) -> Result<(), Errno> {
    if data.is_empty() {
        return Ok(());
    }
    let context = fspick(mount, "", FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC)?;
    for (key, value) in data {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(&context, key.as_str())?,
        }
    }
    fsconfig_reconfigure(&context)
}

/// The attributes and the propagation, on a mount that is attached or not.
pub(super) fn apply(mount: &OwnedFd, options: &Options) -> std::io::Result<()> {
    let one = |what: Attributes, deep| match what.is_empty() {
        true => Ok(()),
        false => change(mount, Change { set: what.set, clear: what.clear, ..Change::default() }, deep),
    };
    one(options.deep, true)?;
    one(options.attributes, false)?;
    options
        .propagation
        .iter()
        .try_for_each(|(propagation, deep)| change(mount, Change { propagation: *propagation, ..Change::default() }, *deep))
}

fn bind(root: &Root, mount: &Mount, options: &Options, source: Source) -> Result<(), Failure> {
    let about = || format!("{} at {}", mount.source().as_deref().unwrap_or(Path::new("")).display(), name(mount));
    let tree = match source {
        Source::Tree(tree) => tree,
        Source::Place(place) => {
            let flags = if options.recursive { CLONE | OpenTreeFlags::AT_RECURSIVE } else { CLONE };
            open_tree(&place, "", flags).at(Stage::Mount, about())?
        }
    };
    let kind = match file_type(&tree).at(Stage::Mount, about())? {
        FileType::Directory => Kind::Folder,
        _ => Kind::File,
    };
    let target = root.ensure(mount.destination(), kind).at(Stage::PrepareTarget, name(mount))?;
    // A copy of a shared mount is its peer, and what is mounted in the container would appear on the host, unless asked for.
    if options.propagation.is_empty() {
        private(&tree, true).at(Stage::Mount, about())?;
    }
    apply(&tree, options).at(Stage::Mount, about())?;
    attach(&tree, &target).at(Stage::Mount, about())
}

pub(super) fn private(tree: &OwnedFd, deep: bool) -> std::io::Result<()> {
    change(tree, Change { propagation: libc::MS_PRIVATE, ..Change::default() }, deep)
}

fn mount_new(root: &Root, spec: &Spec, mount: &Mount, kind: &str, options: &Options) -> Result<(), Failure> {
    let mut data: Vec<(&str, Option<&str>)> = options.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    let source = mount.source().as_deref().map(|s| s.to_string_lossy().into_owned());
    if let Some(source) = source.as_deref().filter(|s| !s.is_empty()) {
        data.push(("source", Some(source)));
    }
    // Those that are left out label their files themselves.
    let label = spec.linux().as_ref().and_then(|l| l.mount_label().as_deref()).filter(|label| !label.is_empty());
    if let Some(label) = label.filter(|_| !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup2")) {
        data.push(("context", Some(label)));
    }
    let about = || name(mount);
    let made = new_file_system(kind, &data, MountAttrFlags::empty()).at(Stage::Mount, about())?;
    let is_dev = kind == "tmpfs" && mount.destination() == Path::new("/dev");
    let target = if is_dev || matches!(kind, "proc" | "sysfs" | "mqueue") {
        // Later steps trust what is below these, so an image must not move them elsewhere by a symlink.
        root.ensure_plain_folder(mount.destination()).map_err(|e| not_ordinary(e, kind, mount))?
    } else {
        root.ensure(mount.destination(), Kind::Folder).at(Stage::PrepareTarget, about())?
    };
    if options.copy_up {
        copy_up(&target, &made).map_err(|e| Failure::new(Stage::Mount, about(), e))?;
    }
    if !is_dev {
        apply(&made, options).at(Stage::Mount, about())?;
        return attach(&made, &target).at(Stage::Mount, about());
    }
    // Nodes may be binds, which need a mount that is attached, and the last option may be that nothing is written there.
    attach(&made, &target).at(Stage::Mount, about())?;
    devices::populate(&made, spec)?;
    apply(&made, options).at(Stage::Mount, about())
}

fn not_ordinary(error: Errno, kind: &str, mount: &Mount) -> Failure {
    let about = match error {
        Errno::LOOP | Errno::NOTDIR => format!("{}: {kind} must be mounted on ordinary directory", name(mount)),
        _ => name(mount),
    };
    Failure::new(Stage::PrepareTarget, about, error)
}

/// Copies what is in a folder into a new file system, with owners, modes and links. Device nodes stay behind.
fn copy_up(from: &OwnedFd, into: &OwnedFd) -> std::io::Result<()> {
    let from = rustix::fs::openat(from, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    copy_metadata(&from, into)?;
    for entry in rustix::fs::Dir::read_from(&from)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        if matches!(entry_name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(&from, entry_name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(into, entry_name, mode)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(&from, entry_name, flags, Mode::empty())?;
                copy_up(&inner, &rustix::fs::openat(into, entry_name, flags, Mode::empty())?)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&from, entry_name, Vec::new())?;
                rustix::fs::symlinkat(target, into, entry_name)?;
            }
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut old: std::fs::File = rustix::fs::openat(&from, entry_name, read, Mode::empty())?.into();
                let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let new = rustix::fs::openat(into, entry_name, write, mode)?;
                std::io::copy(&mut old, &mut std::fs::File::from(new.try_clone()?))?;
                copy_metadata(&old, &new)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy_metadata(from: impl AsFd, into: &OwnedFd) -> std::io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(into));
    // A detached root is no file that can be opened by its descriptor for writing, but its link in proc leads to it.
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(CWD, &place, Some(owner.0), Some(owner.1), rustix::fs::AtFlags::empty())?;
    rustix::fs::chmodat(CWD, &place, Mode::from_raw_mode(stat.st_mode & 0o7777), rustix::fs::AtFlags::empty())?;
    Ok(())
}

pub(super) fn name(mount: &Mount) -> String {
    mount.destination().display().to_string()
}

//! The device nodes of a container: those that every one has, and those of its bundle.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxNamespaceType, Spec};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, makedev, mknodat, openat, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::open_tree;

use super::super::dev;
use super::super::failure::{At, Failure, Stage};
use super::super::mounts::attach;
use super::super::root::{Kind, Root};
use super::mounts::{CLONE, has_own};

/// Fills what is going to be `/dev`, before anybody sees it. The umask is empty.
pub(super) fn populate(dev: &OwnedFd, spec: &Spec) -> Result<(), Failure> {
    for (name, major, minor) in dev::NODES {
        let device = makedev(major, minor);
        let host = Path::new("/dev").join(name);
        make(dev, &host, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device, spec)?;
    }
    for (name, target) in dev::LINKS {
        match symlinkat(target, dev, name) {
            Err(Errno::EXIST) => {}
            other => other.at(Stage::MakeDevice, name)?,
        }
    }
    Ok(())
}

/// Makes the nodes of the bundle, and the usual ones in a `/dev` that no mount has made. One that is bound is left alone.
pub(super) fn make_all(root: &Root, spec: &Spec) -> Result<(), Failure> {
    let at_dev = spec.mounts().iter().flatten().find(|m| m.destination() == Path::new("/dev"));
    if at_dev.is_none() {
        let folder = root.ensure_plain_folder(Path::new("/dev")).at(Stage::PrepareTarget, "/dev")?;
        populate(&folder, spec)?;
    }
    for device in spec.linux().iter().flat_map(|l| l.devices().iter().flatten()) {
        make_listed(root, device, spec)?;
    }
    Ok(())
}

fn make_listed(root: &Root, device: &LinuxDevice, spec: &Spec) -> Result<(), Failure> {
    let path = device.path();
    // It leads to that of the container's own terminals, and the host's would be one of the host's.
    if path == Path::new("/dev/ptmx") {
        return Ok(());
    }
    let about = || path.display().to_string();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(Stage::MakeDevice, about(), Errno::INVAL));
    };
    let folder = root.ensure(parent, Kind::Folder).at(Stage::PrepareTarget, about())?;
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(Failure::new(Stage::MakeDevice, format!("{}: no type", about()), Errno::INVAL)),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| Failure::new(Stage::MakeDevice, about(), Errno::INVAL));
    let numbers = if kind == FileType::Fifo { 0 } else { makedev(number(device.major())?, number(device.minor())?) };
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o7777);
    make(&folder, path, kind, mode, numbers, spec)?;
    // A node that was bound from the host is the host's, whose owner and mode stay.
    if !has_own(spec, LinuxNamespaceType::User) {
        let owner = (device.uid().map(Uid::from_raw), device.gid().map(Gid::from_raw));
        chownat(&folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).at(Stage::MakeDevice, about())?;
        chmodat(&folder, name, mode, AtFlags::empty()).at(Stage::MakeDevice, about())?;
    }
    Ok(())
}

/// `path` is the host's of the same device; its last name is that of the node in `folder`.
fn make(folder: &OwnedFd, path: &Path, kind: FileType, mode: Mode, device: u64, spec: &Spec) -> Result<(), Failure> {
    let about = || path.display().to_string();
    let name = path.file_name().unwrap_or_default();
    if has_own(spec, LinuxNamespaceType::User) && kind != FileType::Fifo {
        return bind_from_host(folder, path).at(Stage::MakeDevice, about());
    }
    match mknodat(folder, name, kind, mode, device) {
        Err(Errno::EXIST) => {
            // The image's own is good if it is the same, and what else stands there is not taken for it.
            let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).at(Stage::MakeDevice, about())?;
            let same = FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == device);
            if same { Ok(()) } else { Err(Failure::new(Stage::MakeDevice, about(), Errno::EXIST)) }
        }
        other => other.at(Stage::MakeDevice, about()),
    }
}

/// The kernel lets nobody make a node in a user namespace, but it can be bound.
fn bind_from_host(folder: impl AsFd, path: &Path) -> Result<(), Errno> {
    let tree = open_tree(CWD, path, CLONE)?;
    let name = path.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(&folder, name, flags, Mode::from_raw_mode(0o666))?);
    let place = openat(&folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    attach(&tree, &place)
}

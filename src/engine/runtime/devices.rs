//! Devices that a specification has beside the harmless ones: their nodes, and the rules for their use.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid};

use super::dev;
use super::failure::{At, Failure, Stage};
use super::own_users::Users;
use super::root::{Kind, Root};
use crate::sys;
use crate::sys::devices::{DeviceKind, Rule};

/// Makes the node in the container. The caller's umask is empty.
pub(super) fn make(root: &Root, device: &LinuxDevice, users: Option<&Users>) -> Result<(), Failure> {
    let path = device.path();
    let about = || path.to_string_lossy().into_owned();
    let wrong = |why: &str| Failure::new(Stage::MakeDevice, format!("{}: {why}", path.display()), Errno::INVAL);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(wrong("it is no path")) };
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P | LinuxDeviceType::A => return Err(wrong("it is no device")),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| wrong("its numbers are none"));
    let id = rustix::fs::makedev(number(device.major())?, number(device.minor())?);
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o666) & 0o777);
    let folder = root.ensure(Path::new(folder), Kind::Folder).at(Stage::MakeDevice, about())?;
    if sys::userns::is_inside() {
        return borrow(&folder, name, path, kind, id).at(Stage::MakeDevice, about());
    }
    match rustix::fs::mknodat(&folder, name, kind, mode, id) {
        // Such as those that every container has.
        Err(Errno::EXIST) => {
            let there = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).at(Stage::MakeDevice, about())?;
            let same = FileType::from_raw_mode(there.st_mode) == kind && there.st_rdev == id;
            return if same { Ok(()) } else { Err(wrong("something else is there")) };
        }
        other => other.at(Stage::MakeDevice, about())?,
    }
    // With users of its own, whose it is on the host is whose it is in the container; who is nobody there leaves it to root.
    let (uid, gid) = (device.uid().filter(|id| *id != 0), device.gid().filter(|id| *id != 0));
    let (uid, gid) = match users {
        Some(users) => (uid.and_then(|id| users.host_uid(id)), gid.and_then(|id| users.host_gid(id))),
        None => (uid, gid),
    };
    if uid.is_some() || gid.is_some() {
        rustix::fs::chownat(&folder, name, uid.map(Uid::from_raw), gid.map(Gid::from_raw), AtFlags::SYMLINK_NOFOLLOW)
            .at(Stage::MakeDevice, about())?;
    }
    Ok(())
}

/// In a user namespace nobody makes nodes: that of the host is mounted, with its owner and mode.
fn borrow(folder: &OwnedFd, name: &OsStr, path: &Path, kind: FileType, id: rustix::fs::Dev) -> Result<(), Errno> {
    if let Ok(there) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        let same = FileType::from_raw_mode(there.st_mode) == kind && there.st_rdev == id;
        return if same { Ok(()) } else { Err(Errno::EXIST) };
    }
    let node = match dev::host_node(path, kind, id) {
        Ok(node) => node,
        // The container has it by another name than the host.
        Err(_) => dev::host_node(&find(Path::new("/dev"), kind, id).ok_or(Errno::NODEV)?, kind, id)?,
    };
    dev::mount_node(&node, folder, name)
}

/// A node of the host, by what it is. The host's `/dev` is still where it was.
fn find(folder: &Path, kind: FileType, id: rustix::fs::Dev) -> Option<PathBuf> {
    // Folders of other users cannot be looked into, and what goes at this moment is not there.
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let stat = rustix::fs::lstat(entry.path()).ok()?;
        let found = FileType::from_raw_mode(stat.st_mode);
        if found == FileType::Directory {
            return find(&entry.path(), kind, id);
        }
        (found == kind && stat.st_rdev == id).then(|| entry.path())
    })
}

/// The specification's rules for devices.
pub(super) fn rules(spec: &Spec) -> Vec<Rule> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    rules
        .iter()
        .map(|rule| Rule {
            allow: rule.allow(),
            kind: match rule.typ().unwrap_or(LinuxDeviceType::A) {
                LinuxDeviceType::B => Some(DeviceKind::Block),
                LinuxDeviceType::C | LinuxDeviceType::U => Some(DeviceKind::Character),
                LinuxDeviceType::A | LinuxDeviceType::P => None,
            },
            major: rule.major().and_then(|n| u32::try_from(n).ok()),
            minor: rule.minor().and_then(|n| u32::try_from(n).ok()),
            access: rule.access().as_deref().unwrap_or("rwm").chars().fold(0, |all, letter| {
                all | match letter {
                    'r' => Rule::READ,
                    'w' => Rule::WRITE,
                    'm' => Rule::MAKE,
                    _ => 0,
                }
            }),
        })
        .collect()
}

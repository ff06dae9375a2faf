//! The mounts of a container: made detached, given their attributes, then attached to a descriptor inside the root. So no
//! mount is ever seen with more rights than it is to have, and no name is resolved twice.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::cgroups::Layout;
use super::dev;
use super::failure::{At, Failure, Stage};
use super::own_users::Users;
use super::root::{Kind, Root, file_type, on_proc};
use super::shown;
use crate::files::Beneath;
use crate::sys;
use crate::sys::mounts::{Change, change, set_attributes};

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Makes all mounts in order, except those of cgroups, which it returns: they can be made only in the cgroup itself.
///
/// Where some of them follow the host (see [`any_follows`]), all others are kept from doing so.
pub(super) fn mount_all<'a>(
    root: &Root,
    mounts: &'a [Mount],
    terminal: Option<&OwnedFd>,
    follows: bool,
    users: Option<&(Users, OwnedFd)>,
) -> Result<Vec<&'a Mount>, Failure> {
    let mut late = Vec::new();
    for mount in mounts {
        let mut options = Options::parse(mount)?;
        if let Some((users, _)) = users {
            let about = || format!("mount {}: its owner is not among the container's own", name(mount));
            options.on_host(users).at(Stage::ReadSpec, about())?;
        }
        match mount.typ().as_deref() {
            Some("cgroup" | "cgroup2") => late.push(mount),
            Some(shown::TYPE) => show(root, mount, &options, follows)?,
            _ if options.bind => bind(root, mount, &options, follows, users.map(|(_, space)| space))?,
            Some(kind) => mount_new(root, mount, kind, &options, terminal)?,
            None => return Err(Failure::new(Stage::ReadSpec, format!("mount {}: no type", name(mount)), Errno::INVAL)),
        }
    }
    Ok(late)
}

/// The container's view of its own cgroup. Call it in the new cgroup namespace.
pub(super) fn mount_cgroups(root: &Root, mounts: &[&Mount]) -> Result<(), Failure> {
    for mount in mounts {
        let options = Options::parse(mount)?;
        let target = root.ensure_plain_folder(mount.destination()).at(Stage::PrepareTarget, name(mount))?;
        match Layout::of_host() {
            // There is none to be seen.
            Layout::Absent => {
                let empty = new_file_system("tmpfs", &[("size", Some("0")), ("mode", Some("555"))], READ_ONLY);
                attach(&empty.at(Stage::Mount, name(mount))?, &target).at(Stage::Mount, name(mount))?;
            }
            Layout::Unified { .. } => {
                attach(&new_file_system("cgroup2", &[], options.attributes).at(Stage::Mount, name(mount))?, &target)
                    .at(Stage::Mount, name(mount))?;
            }
            Layout::Hybrid { controllers, unified, .. } => {
                let stage = || format!("{} (v1)", name(mount));
                let folder =
                    new_file_system("tmpfs", &[("mode", Some("755"))], MountAttrFlags::empty()).at(Stage::Mount, stage())?;
                attach(&folder, &target).at(Stage::Mount, stage())?;
                let attach_one = |directory: &str, kind: &str, data: &[(&str, Option<&str>)]| -> Result<(), Errno> {
                    rustix::fs::mkdirat(&folder, directory, Mode::from_raw_mode(0o755))?;
                    let place = rustix::fs::openat(&folder, directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                    attach(&new_file_system(kind, data, options.attributes)?, &place)
                };
                for hierarchy in controllers {
                    let data: Vec<(&str, Option<&str>)> = hierarchy.controllers.iter().map(|c| (c.as_str(), None)).collect();
                    let directory = hierarchy.controllers.join(",");
                    attach_one(&directory, "cgroup", &data).at(Stage::Mount, stage())?;
                    for alias in hierarchy.controllers.iter().filter(|c| **c != directory) {
                        rustix::fs::symlinkat(&directory, &folder, alias).at(Stage::Mount, stage())?;
                    }
                }
                if unified.is_some() {
                    attach_one("unified", "cgroup2", &[]).at(Stage::Mount, stage())?;
                }
                set_attributes(&folder, options.attributes, false).at(Stage::Mount, stage())?;
            }
        }
    }
    Ok(())
}

/// Files become empty, folders become empty and read-only. What is not there needs no mask.
pub(super) fn mask(root: &Root, paths: &[String]) -> Result<(), Failure> {
    // One empty folder is enough for all: there may be one to hide for each of many processors.
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = if_there(root, path).at(Stage::MaskPath, path)? else { continue };
        let cover = match (file_type(&target).at(Stage::MaskPath, path)?, &empty) {
            (FileType::Directory, Some(attached)) => open_tree(attached, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH),
            (FileType::Directory, None) => new_file_system("tmpfs", &[("size", Some("0")), ("mode", Some("555"))], READ_ONLY),
            _ => null_device(),
        };
        let cover = cover.at(Stage::MaskPath, path)?;
        attach(&cover, &target).at(Stage::MaskPath, path)?;
        if file_type(&cover).at(Stage::MaskPath, path)? == FileType::Directory {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// The host's own, looked at before it is believed: what is mounted in its place would be in every container.
fn null_device() -> Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, "/dev/null", CLONE)?;
    let stat = rustix::fs::fstat(&tree)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(tree) } else { Err(Errno::NODEV) }
}

pub(super) fn protect(root: &Root, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let Some(target) = if_there(root, path).at(Stage::ProtectPath, path)? else { continue };
        let tree = open_tree(&target, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::AT_RECURSIVE)
            .at(Stage::ProtectPath, path)?;
        set_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, true).at(Stage::ProtectPath, path)?;
        attach(&tree, &target).at(Stage::ProtectPath, path)?;
    }
    Ok(())
}

const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

pub(super) fn if_there(root: &Root, path: &str) -> Result<Option<OwnedFd>, Errno> {
    match root.open_plain(Path::new(path), OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

/// The source is the host's; it brings its own mounts along if the option says so, all with the attributes asked for.
/// Whether what is mounted on the host later is to be seen through one of the mounts.
pub(super) fn any_follows(mounts: &[Mount]) -> bool {
    mounts.iter().flat_map(|mount| mount.options().iter().flatten()).any(|option| matches!(option.as_str(), "slave" | "rslave"))
}

fn bind(root: &Root, mount: &Mount, options: &Options, follows: bool, space: Option<&OwnedFd>) -> Result<(), Failure> {
    let missing = || Failure::new(Stage::ReadSpec, format!("mount {}: no source", name(mount)), Errno::INVAL);
    let source = mount.source().as_ref().ok_or_else(missing)?;
    let flags = if options.recursive { CLONE | OpenTreeFlags::AT_RECURSIVE } else { CLONE };
    let about = || format!("{} at {}", source.display(), name(mount));
    let tree = match &options.inside {
        None => open_tree(CWD, source, flags),
        Some(inside) => part(source, inside).and_then(|fd| open_tree(fd, "", flags | OpenTreeFlags::AT_EMPTY_PATH)),
    };
    let tree = tree.at(Stage::Mount, about())?;
    if let Some(space) = space {
        match (map_owners(&tree, space, options.recursive), options.owners) {
            // Whoever is nobody in there may read what all may read.
            (Err(Errno::INVAL | Errno::OPNOTSUPP), Owners::AsCanBe) => {}
            (Err(Errno::INVAL), Owners::Mapped) => {
                let why = "the owners of files there, or of what is mounted below, cannot be the container's own";
                return Err(Failure::new(Stage::Mount, format!("{}: {why}", about()), Errno::INVAL));
            }
            (mapped, _) => mapped.at(Stage::Mount, about())?,
        }
    }
    if !options.attributes.is_empty() {
        set_attributes(&tree, options.attributes, options.recursive).at(Stage::Mount, about())?;
    }
    if follows && !options.follows {
        let apart = Change { propagation: u64::from(MountPropagationFlags::PRIVATE.bits()), ..Change::default() };
        change(&tree, apart, options.recursive).at(Stage::Mount, about())?;
    }
    let kind = match file_type(&tree).at(Stage::Mount, about())? {
        FileType::Directory => Kind::Folder,
        _ => Kind::File,
    };
    let target = root.ensure(mount.destination(), kind).at(Stage::PrepareTarget, name(mount))?;
    if on_proc(&target).at(Stage::PrepareTarget, name(mount))? && !may_be_covered(root, &target, &tree) {
        return Err(Failure::new(Stage::PrepareTarget, format!("{}: it is in /proc", name(mount)), Errno::PERM));
    }
    attach(&tree, &target).at(Stage::Mount, about())
}

/// What is at a path within a folder, by links of that folder at most.
fn part(root: &Path, inside: &str) -> Result<OwnedFd, Errno> {
    let folder = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Beneath::over(folder, root.to_owned()).resolve(Path::new(inside), OFlags::PATH)
}

/// What is shown of the host without a copy.
fn show(root: &Root, mount: &Mount, options: &Options, follows: bool) -> Result<(), Failure> {
    let inside = mount.source().as_deref().unwrap_or(Path::new(""));
    let tree = shown::detached(&options.data, inside, &name(mount))?;
    set_attributes(&tree, options.attributes | MountAttrFlags::MOUNT_ATTR_NODEV, false).at(Stage::Mount, name(mount))?;
    if follows {
        let apart = Change { propagation: u64::from(MountPropagationFlags::PRIVATE.bits()), ..Change::default() };
        change(&tree, apart, false).at(Stage::Mount, name(mount))?;
    }
    let is_folder = file_type(&tree).at(Stage::Mount, name(mount))? == FileType::Directory;
    let kind = if is_folder { Kind::Folder } else { Kind::File };
    let target = root.ensure(mount.destination(), kind).at(Stage::PrepareTarget, name(mount))?;
    if on_proc(&target).at(Stage::PrepareTarget, name(mount))? {
        return Err(Failure::new(Stage::PrepareTarget, format!("{}: it is in /proc", name(mount)), Errno::PERM));
    }
    attach(&tree, &target).at(Stage::Mount, name(mount))
}

/// The owners of the files of a mount that is attached nowhere yet are seen as the users of `space`, and what these make
/// belongs on the disk to whom they are in there.
pub(super) fn map_owners(tree: &OwnedFd, space: &OwnedFd, recursive: bool) -> Result<(), Errno> {
    let mapped = Change { mapped: Some(space.as_fd()), ..Change::default() };
    change(tree, mapped, recursive).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))
}

/// Files of `/proc` that only tell how much there is of something: whoever shows a container its own share mounts a file
/// over them. Over anything else of it nothing goes, because this program and others trust what they read and write there.
const COVERABLE: [&str; 9] = ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"];

/// By what the descriptor is and not by how it was called: a link of the image may call it anything.
fn may_be_covered(root: &Root, target: &OwnedFd, source: &OwnedFd) -> bool {
    let same = |path: &str| -> Result<bool, Errno> {
        let known = root.open_plain(&Path::new("proc").join(path), OFlags::PATH)?;
        let (a, b) = (rustix::fs::fstat(known)?, rustix::fs::fstat(target)?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    };
    on_proc(source) == Ok(false) && COVERABLE.iter().any(|path| same(path) == Ok(true))
}

fn mount_new(root: &Root, mount: &Mount, kind: &str, options: &Options, terminal: Option<&OwnedFd>) -> Result<(), Failure> {
    let data: Vec<(&str, Option<&str>)> = options.data.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    let made = match (new_file_system(kind, &data, options.attributes), of_the_host(kind)) {
        // The namespace that it tells of is the host's, so that there is none to be made in a user namespace.
        (Err(Errno::PERM), Some(path)) if sys::userns::is_inside() => match shared(path, options.attributes) {
            // Nor has the host mounted one.
            Err(Errno::NOENT) => return Ok(()),
            shared => shared,
        },
        (made, _) => made,
    };
    let made = made.at(Stage::Mount, name(mount))?;
    let is_dev = kind == "tmpfs" && mount.destination() == Path::new("/dev");
    if is_dev {
        dev::populate(&made)?;
    }
    let target = if is_dev || kind == "proc" || kind == "sysfs" {
        // Later steps trust what is below these, so an image must not move them elsewhere by a symlink.
        root.ensure_plain_folder(mount.destination())
    } else {
        root.ensure(mount.destination(), Kind::Folder)
    };
    let target = target.at(Stage::PrepareTarget, name(mount))?;
    if on_proc(&target).at(Stage::PrepareTarget, name(mount))? {
        return Err(Failure::new(Stage::PrepareTarget, format!("{}: it is in /proc", name(mount)), Errno::PERM));
    }
    attach(&made, target).at(Stage::Mount, name(mount))?;
    if is_dev && sys::userns::is_inside() {
        dev::borrow_nodes(&made)?;
    }
    match terminal {
        Some(terminal) if is_dev => dev::add_console(&made, terminal),
        _ => Ok(()),
    }
}

/// Where the host has mounted a file system that tells of a namespace.
fn of_the_host(kind: &str) -> Option<&'static str> {
    match kind {
        "proc" => Some("/proc"),
        "sysfs" => Some("/sys"),
        "mqueue" => Some("/dev/mqueue"),
        _ => None,
    }
}

/// What is mounted at a path of the host, once more.
fn shared(path: &str, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE)?;
    set_attributes(&tree, attributes, true).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(tree)
}

/// A new file system, mounted nowhere yet.
pub(super) fn new_file_system(kind: &str, data: &[(&str, Option<&str>)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if !data.iter().any(|(key, _)| *key == "source") {
        fsconfig_set_string(&context, "source", kind)?;
    }
    for (key, value) in data {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    move_mount(mount, "", target, "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

fn name(mount: &Mount) -> String {
    mount.destination().display().to_string()
}

/// A mount's options, sorted by who understands them.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    bind: bool,
    recursive: bool,
    /// What is mounted on the host later is seen here.
    follows: bool,
    attributes: MountAttrFlags,
    owners: Owners,
    /// Only this of the source.
    inside: Option<String>,
    /// The file system's own.
    data: Vec<(String, Option<String>)>,
}

/// Whose the files of a bind are where the container's users are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owners {
    /// The container's, as the numbers say.
    Mapped,
    /// The same where the file system knows how; else they stay the host's.
    AsCanBe,
}

/// The option for [`Owners::AsCanBe`], which no file system has.
pub(super) const OWNERS_AS_CAN_BE: &str = "x-owners-as-can-be";

/// The option that says a path within the source of a bind.
pub(super) const INSIDE: &str = "x-inside";

impl Options {
    fn parse(mount: &Mount) -> Result<Self, Failure> {
        let mut parsed = Self {
            bind: mount.typ().as_deref() == Some("bind"),
            recursive: false,
            follows: false,
            attributes: MountAttrFlags::empty(),
            owners: Owners::Mapped,
            inside: None,
            data: Vec::new(),
        };
        for option in mount.options().iter().flatten() {
            match option.as_str() {
                "bind" => (parsed.bind, parsed.recursive) = (true, false),
                "rbind" => (parsed.bind, parsed.recursive) = (true, true),
                "ro" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
                "nosuid" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NOSUID,
                "nodev" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NODEV,
                "noexec" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
                "noatime" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME,
                "strictatime" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME,
                "nodiratime" => parsed.attributes |= MountAttrFlags::MOUNT_ATTR_NODIRATIME,
                // A later word stands above an earlier one.
                "rw" => parsed.attributes -= MountAttrFlags::MOUNT_ATTR_RDONLY,
                "suid" => parsed.attributes -= MountAttrFlags::MOUNT_ATTR_NOSUID,
                "dev" => parsed.attributes -= MountAttrFlags::MOUNT_ATTR_NODEV,
                "exec" => parsed.attributes -= MountAttrFlags::MOUNT_ATTR_NOEXEC,
                OWNERS_AS_CAN_BE => parsed.owners = Owners::AsCanBe,
                "slave" | "rslave" => parsed.follows = true,
                "private" | "rprivate" => parsed.follows = false,
                // What a mount is anyway.
                "relatime" | "defaults" | "atime" | "diratime" => {}
                "shared" | "rshared" | "unbindable" | "runbindable" => {
                    let about =
                        format!("mount {}: the propagation {option} is not supported; use rslave or leave it out", name(mount));
                    return Err(Failure::new(Stage::ReadSpec, about, Errno::OPNOTSUPP));
                }
                _ => parsed.data.push(match option.split_once('=') {
                    Some((INSIDE, inside)) if parsed.bind => {
                        parsed.inside = Some(inside.to_owned());
                        continue;
                    }
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (option.clone(), None),
                }),
            }
        }
        Ok(parsed)
    }

    /// Ids of the container's own become what they are on the host, to which the file systems are mounted.
    fn on_host(&mut self, users: &Users) -> Result<(), Errno> {
        for (key, value) in &mut self.data {
            let Some(id) = value.as_deref().and_then(|id| id.parse().ok()) else { continue };
            let there = match key.as_str() {
                "uid" => users.host_uid(id),
                "gid" => users.host_gid(id),
                _ => continue,
            };
            *value = Some(there.ok_or(Errno::INVAL)?.to_string());
        }
        Ok(())
    }
}

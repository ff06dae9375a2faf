//! Trees of the host that a container is shown as they are: folders laid over each other, or a path in that, perhaps with changes that
//! are thrown away. Mounted in the container's mount namespace only, and nothing is copied.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, OpenTreeFlags, UnmountFlags, mount, open_tree, unmount};

use super::failure::{At, Failure, Stage};
use super::overlay;
use super::root::Root;

/// The type that such a mount has in a specification. No file system of the kernel is called so.
pub(super) const TYPE: &str = "x-setpoint-view";
/// The option of one that shows a file.
const FILE: &str = "x-file";
const LAYER: &str = "x-layer";
const CHANGES: &str = "x-changes";
const WORK: &str = "x-work";
const IDENTITY: &str = "x-identity";

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Folders, the topmost first.
    pub layers: Vec<PathBuf>,
    /// Device and number of the lowest of these: another folder that has its path by now is refused.
    pub identity: Option<(u64, u64)>,
    /// A folder for what the container changes, and one for the overlay's own use. Without them nothing is to be changed.
    pub changes: Option<(PathBuf, PathBuf)>,
    /// What is shown of it: a path without links on the way, relative to its root.
    pub inside: PathBuf,
    pub is_folder: bool,
}

impl View {
    /// The options that say it, beside `inside`, which is the mount's source.
    pub(super) fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = self.layers.iter().map(|layer| format!("{LAYER}={}", layer.display())).collect();
        if let Some((upper, work)) = &self.changes {
            options.push(format!("{CHANGES}={}", upper.display()));
            options.push(format!("{WORK}={}", work.display()));
        } else {
            options.push("ro".to_owned());
        }
        options.extend(self.identity.map(|(device, number)| format!("{IDENTITY}={device}:{number}")));
        options.extend((!self.is_folder).then(|| FILE.to_owned()));
        options
    }

    /// Whether options can say it: they are text.
    pub fn can_be_said(&self) -> bool {
        let changes = self.changes.iter().flat_map(|(upper, work)| [upper, work]);
        self.layers.iter().chain(changes).chain([&self.inside]).all(|path| path.to_str().is_some())
    }
}

/// Whether a mount is a view of a file.
pub fn shows_file(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some(TYPE) && mount.options().iter().flatten().any(|option| option == FILE)
}

/// What the options of a mount say, attached nowhere.
pub(super) fn detached(options: &[(String, Option<String>)], inside: &Path, about: &str) -> Result<OwnedFd, Failure> {
    let of =
        |wanted: &'static str| options.iter().filter(move |(key, _)| key == wanted).filter_map(|(_, value)| value.as_deref());
    let layers: Vec<&Path> = of(LAYER).map(Path::new).collect();
    let opened = layers.iter().map(|layer| open(layer)).collect::<Result<Vec<OwnedFd>, Failure>>()?;
    let lowest = opened.last().ok_or_else(|| Failure::new(Stage::ReadSpec, format!("{about}: no folder"), Errno::INVAL))?;
    let found = fstat(lowest).at(Stage::Mount, about)?;
    if of(IDENTITY).next().is_some_and(|identity| identity != format!("{}:{}", found.st_dev, found.st_ino)) {
        let about = format!("{about}: another folder has the path of what was to be shown");
        return Err(Failure::new(Stage::Mount, about, Errno::STALE));
    }
    let changes = of(CHANGES).next().zip(of(WORK).next());
    let (place, whole) = match (opened.as_slice(), changes) {
        ([_], None) => (None, opened.into_iter().next()),
        _ => {
            let place = changes.map_or(layers[0], |(upper, _)| Path::new(upper));
            mount_overlay(&opened, changes, place).at(Stage::Mount, about)?;
            (Some(place), Some(open(place)?))
        }
    };
    let whole = whole.ok_or_else(|| Failure::new(Stage::ReadSpec, about, Errno::INVAL))?;
    let shown = Root::of(whole)
        .open_plain(if inside.as_os_str().is_empty() { Path::new(".") } else { inside }, OFlags::PATH | OFlags::CLOEXEC)
        .and_then(|shown| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
            open_tree(shown, "", flags)
        });
    if let Some(place) = place {
        // The clone lives on, and the next one opens its folders as they are.
        unmount(place, UnmountFlags::DETACH).at(Stage::Mount, about)?;
    }
    shown.at(Stage::Mount, about)
}

/// Lays folders over each other, over a folder that nobody in this namespace needs meanwhile.
fn mount_overlay(layers: &[OwnedFd], changes: Option<(&str, &str)>, place: &Path) -> Result<(), Errno> {
    let plain = |path: &str| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let named = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower = layers.iter().map(named).collect::<Vec<_>>().join(":");
    let changes = changes.map(|(upper, work)| Ok::<_, Errno>((plain(upper)?, plain(work)?))).transpose()?;
    let (flags, upper) = match &changes {
        Some((upper, work)) => (MountFlags::empty(), format!("upperdir={},workdir={},volatile,", named(upper), named(work))),
        None => (MountFlags::RDONLY, String::new()),
    };
    let options = format!("lowerdir={lower},{upper}{}", overlay::options());
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount("overlay", place, "overlay", flags, options.as_c_str())
}

fn open(folder: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at(Stage::Mount, folder.to_string_lossy())
}

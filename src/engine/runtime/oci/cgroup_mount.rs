//! What a container sees at `/sys/fs/cgroup`: its own cgroup as the root of every hierarchy that the host has.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, open_tree};

use super::super::failure::{At, Failure, Stage};
use super::super::mounts::{attach, new_file_system};
use super::super::root::Root;
use super::cgroups::{self, View};
use super::mounts::{self, CLONE};
use super::options::Options;

/// With a cgroup namespace the hierarchies are mounted anew; without one the container's folders of the host's are bound.
pub(super) fn mount(root: &Root, mount: &Mount, options: &Options, own_namespace: bool) -> Result<(), Failure> {
    let about = || mounts::name(mount);
    let target = root.ensure_plain_folder(mount.destination()).at(Stage::PrepareTarget, about())?;
    let views = cgroups::views().map_err(|e| Failure::new(Stage::Mount, format!("{}: {e}", about()), Errno::IO))?;
    let make = |view: &View| -> std::io::Result<std::os::fd::OwnedFd> {
        let made = if own_namespace {
            let data: Vec<(&str, Option<&str>)> = view.options.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
            new_file_system(view.kind, &data, MountAttrFlags::empty())?
        } else {
            let tree = open_tree(CWD, own_folder(view)?, CLONE)?;
            mounts::private(&tree, true)?;
            tree
        };
        mounts::apply(&made, options)?;
        Ok(made)
    };
    if let [only] = views.as_slice()
        && only.kind == "cgroup2"
    {
        return attach(&make(only).at(Stage::Mount, about())?, &target).at(Stage::Mount, about());
    }
    let folder = new_file_system("tmpfs", &[("mode", Some("755"))], MountAttrFlags::empty()).at(Stage::Mount, about())?;
    attach(&folder, &target).at(Stage::Mount, about())?;
    for view in &views {
        let one = || format!("{} ({})", about(), view.name);
        rustix::fs::mkdirat(&folder, &view.name, Mode::from_raw_mode(0o755)).at(Stage::Mount, one())?;
        let place =
            rustix::fs::openat(&folder, &view.name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Stage::Mount, one())?;
        attach(&make(view).at(Stage::Mount, one())?, &place).at(Stage::Mount, one())?;
        for alias in &view.aliases {
            rustix::fs::symlinkat(&view.name, &folder, alias).at(Stage::Mount, one())?;
        }
    }
    mounts::apply(&folder, options).at(Stage::Mount, about())
}

/// The folder of this process's cgroup in the hierarchy, on the host.
fn own_folder(view: &View) -> std::io::Result<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let found = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let controllers = parts.nth(1)?;
        let path = parts.next()?;
        let same = if view.kind == "cgroup2" { controllers.is_empty() } else { controllers == view.controllers };
        same.then(|| view.root.join(path.trim_start_matches('/')))
    });
    found.ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::NotFound, format!("no cgroup in {}", Path::new(&view.root).display()))
    })
}

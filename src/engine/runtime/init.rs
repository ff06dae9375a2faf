//! The child's side: what the new process does to itself, in order, until it is the container's first process.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxNamespaceType, Process as ProcessSpec, Spec};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::enter::{self, Becoming};
use super::failure::{At, Channel, Failure, Stage};
use super::launch::{Launch, Network, Stdio};
use super::root::{Kind, Root};
use super::spaces::{self, Space};
use super::start::Tools;
use super::{devices, mounts, overlay, own_users, shm, sysctl, users};
use crate::sys;

/// Becomes the container's first process. Returns only what went wrong.
pub(super) fn run(
    launch: &Launch,
    stdio: &Stdio,
    netns: Option<BorrowedFd<'_>>,
    tools: &Tools<'_>,
    doors: Vec<OwnedFd>,
    channel: &Channel,
) -> Failure {
    match attempt(launch, stdio, netns, tools, doors, channel) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn attempt(
    launch: &Launch,
    stdio: &Stdio,
    netns: Option<BorrowedFd<'_>>,
    tools: &Tools<'_>,
    doors: Vec<OwnedFd>,
    channel: &Channel,
) -> Result<Infallible, Failure> {
    let spec = &launch.spec;
    let process = spec.process().as_ref().ok_or_else(|| missing("process"))?;
    enter::harden(channel)?;
    enter::join_cgroups(&doors)?;
    drop(doors);
    enter::set_oom_score(process)?;
    sys::process::reset_signals().at(Stage::ResetSignals, "")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    if let (Network::Given, Some(netns)) = (launch.network, netns)
        && !(sys::userns::is_inside() && sys::userns::is_own("net", netns).at(Stage::JoinNetwork, "")?)
    {
        nix::sched::setns(netns, CloneFlags::CLONE_NEWNET).at(Stage::JoinNetwork, "")?;
    }
    if launch.network == Network::New {
        sys::loopback::raise().at(Stage::RaiseLoopback, "")?;
    }
    for (kind, flag) in [(LinuxNamespaceType::Ipc, CloneFlags::CLONE_NEWIPC), (LinuxNamespaceType::Uts, CloneFlags::CLONE_NEWUTS)]
    {
        if let Space::At(path) = spaces::of(spec, kind) {
            let there = std::fs::File::open(path).at(Stage::JoinNamespaces, kind.to_string())?;
            let name = if kind == LinuxNamespaceType::Ipc { "ipc" } else { "uts" };
            if sys::userns::is_inside() && sys::userns::is_own(name, &there).at(Stage::JoinNamespaces, name)? {
                continue;
            }
            nix::sched::setns(&there, flag).at(Stage::JoinNamespaces, kind.to_string())?;
        }
    }
    set_names(spec)?;
    let shm = launch.shm_of.as_deref().map(shm::of).transpose()?;
    let wanted = spec.mounts().as_deref().unwrap_or_default();
    // Nothing that is mounted from here on shall reach the host, and nothing of the host's shall arrive, unless a mount
    // is there for that.
    let follows = mounts::any_follows(wanted);
    let apart = if follows { MountPropagationFlags::DOWNSTREAM } else { MountPropagationFlags::PRIVATE };
    mount_change("/", apart | MountPropagationFlags::REC).at(Stage::IsolateMounts, "/")?;
    if let Some((users, _)) = tools.users {
        own_users::act_as_root_of(users)?;
    }
    let root = overlay::mount(&launch.root, tools.users)?;
    let terminal = process.terminal().unwrap_or(false).then_some(&stdio.stdin);
    let late = mounts::mount_all(&root, wanted, terminal, follows, tools.users)?;
    if let Some(shm) = shm {
        let place = root.ensure_plain_folder(Path::new("/dev/shm")).at(Stage::PrepareTarget, "/dev/shm")?;
        mounts::attach(&shm, &place).at(Stage::Mount, "/dev/shm")?;
    }
    for device in spec.linux().iter().filter_map(|linux| linux.devices().as_ref()).flatten() {
        devices::make(&root, device, tools.users.map(|(users, _)| users))?;
    }
    // The place in the cgroups is the root of the namespace.
    if spaces::of(spec, LinuxNamespaceType::Cgroup) == Space::New {
        nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).at(Stage::NewCgroupNamespace, "")?;
    }
    mounts::mount_cgroups(&root, &late)?;
    if let Some(linux) = spec.linux() {
        sysctl::set_all(&root, linux.sysctl().as_ref())?;
        mounts::protect(&root, linux.readonly_paths().as_deref().unwrap_or_default())?;
        mounts::mask(&root, linux.masked_paths().as_deref().unwrap_or_default())?;
    }
    make_working_dir(&root, process)?;
    if spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
        root.make_read_only().at(Stage::MountRoot, "read-only")?;
    }
    pivot(&root)?;
    drop(root);
    let mut identity = match &launch.user {
        Some(user) => users::look_up(user)?,
        None => users::of_spec(process.user()),
    };
    users::add_groups(&mut identity, &launch.groups)?;
    let becoming = Becoming {
        process,
        identity: &identity,
        argv: process.args().as_deref().unwrap_or_default(),
        env: process.env().as_deref().unwrap_or_default(),
        cwd: &process.cwd().to_string_lossy(),
        terminal: process.terminal().unwrap_or(false),
        stdio,
        filter: tools.filter,
        init: tools.init,
        users: tools.users.map(|(users, space)| (users, space.as_fd())),
        first: true,
        channel,
    };
    enter::shed(&becoming)?;
    enter::become_program(&becoming)
}

fn set_names(spec: &Spec) -> Result<(), Failure> {
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).at(Stage::SetHostname, name)?;
    }
    if let Some(name) = spec.domainname() {
        rustix::system::setdomainname(name.as_bytes()).at(Stage::SetHostname, name)?;
    }
    Ok(())
}

fn make_working_dir(root: &Root, process: &ProcessSpec) -> Result<(), Failure> {
    let cwd = process.cwd();
    // A working directory may be on a path that exists only for the program, such as /proc/self: then it is entered later.
    root.ensure(cwd, Kind::Folder).map(drop).at(Stage::MakeWorkingDir, cwd.to_string_lossy())
}

/// The new root becomes `/`, and the host's mounts are gone.
fn pivot(root: &Root) -> Result<(), Failure> {
    rustix::process::fchdir(root.fd()).at(Stage::PivotRoot, "enter")?;
    // The old root ends up on top of the new one, at the same place, from where it is taken away. No folder is needed for it.
    nix::unistd::pivot_root(".", ".").at(Stage::PivotRoot, "pivot")?;
    unmount(".", UnmountFlags::DETACH).at(Stage::PivotRoot, "detach the host's")?;
    rustix::process::chdir("/").at(Stage::PivotRoot, "/")
}

fn missing(part: &str) -> Failure {
    Failure { stage: Stage::ReadSpec, subject: part.to_owned(), errno: libc::EINVAL }
}

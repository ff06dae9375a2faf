//! The process that becomes the container: what it does to itself, in order, until it waits to be started, and from there
//! to the program.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::process::DumpableBehavior;
use serde::{Deserialize, Serialize};

use super::super::failure::{At, Channel, Failure, Stage};
use super::super::mounts as paths;
use super::super::root::{Kind, Root};
use super::super::{enter, sysctl};
use super::mounts::{self, Source, has_own};
use super::namespaces::{self, Namespaces};
use super::process::{self, Filter, Labels, Program};
use super::record::{State, Status};
use super::{console, devices, hooks, rootfs, waiting};
use crate::sys;

/// What it tells its creator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Said {
    Failed(Failure),
    /// A process in between has made the one that becomes the container.
    Born {
        pid: i32,
    },
    /// Everything is mounted, and nothing entered: the moment of the hooks in the runtime's namespaces.
    Mounted,
    /// The descriptor on which system calls are asked about.
    Listens {
        descriptor: i32,
    },
    /// What is of interest to who looks for a mistake.
    Noted(String),
    /// It waits to be started, or is about to execute its program. What was asked for and is not to be had goes with it.
    Ready {
        warnings: Vec<String>,
    },
}

/// All that it needs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) spec: Spec,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    /// As hooks in the container are told.
    pub(super) state: State,
    pub(super) namespaces: Namespaces,
    pub(super) sources: Vec<Option<Source>>,
    /// Through which it enters its cgroups.
    pub(super) doors: Vec<OwnedFd>,
    pub(super) filter: Option<Filter>,
    pub(super) console: Option<OwnedFd>,
    /// At which it waits.
    pub(super) listener: OwnedFd,
    /// So many descriptors that systemd has passed.
    pub(super) activated: u32,
    pub(super) no_pivot: bool,
    pub(super) inherit_keyring: bool,
}

/// Becomes the container. Returns only what went wrong before it was ready; after that its starter is told, and it ends.
pub(super) fn run(plan: Plan, channel: &Channel) -> Failure {
    let ready = match set_up(plan, channel) {
        Err(failure) => return failure,
        Ok(ready) => ready,
    };
    ready.wait_and_execute()
}

fn set_up(mut plan: Plan, channel: &Channel) -> Result<Ready, Failure> {
    let in_user_namespace = has_own(&plan.spec, LinuxNamespaceType::User);
    // Until the program runs, nobody in the container may look into this process: its file is the host's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::ResetSignals, "dumpable")?;
    sys::process::reset_signals().at(Stage::ResetSignals, "")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::setsid().at(Stage::SetSession, "")?;
    channel.await_go().at(Stage::AwaitStarter, "")?;
    enter::join_cgroups(&plan.doors)?;
    plan.doors.clear();
    if !plan.namespaces.needs_two_steps() {
        plan.namespaces.join()?;
    }
    let mut sources = std::mem::take(&mut plan.sources);
    mounts::open_sources(plan.spec.mounts().as_deref().unwrap_or_default(), &plan.bundle, &mut sources)?;
    let place = rootfs::open_place(&plan.rootfs)?;
    let labels = match plan.spec.process() {
        Some(process) => Labels::open(process)?,
        None => Labels::default(),
    };
    if in_user_namespace {
        namespaces::become_root()?;
    }
    if plan.namespaces.new.contains(CloneFlags::CLONE_NEWCGROUP) {
        nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).at(Stage::NewCgroupNamespace, "")?;
    }
    if plan.namespaces.new.contains(CloneFlags::CLONE_NEWNET) {
        sys::loopback::raise().at(Stage::RaiseLoopback, "")?;
    }
    let root = furnish(&plan, &place, sources, channel)?;
    drop(place);
    become_ready(plan, &root, labels, channel)
}

/// Mounts everything, lets the hooks run that come before the root is entered, and enters it.
fn furnish(plan: &Plan, place: &OwnedFd, sources: Vec<Option<Source>>, channel: &Channel) -> Result<Root, Failure> {
    let spec = &plan.spec;
    let named = |name: &Option<String>| name.clone().filter(|n| !n.is_empty());
    if let Some(name) = named(spec.hostname()) {
        rustix::system::sethostname(name.as_bytes()).at(Stage::SetHostname, &name)?;
    }
    if let Some(name) = named(spec.domainname()) {
        rustix::system::setdomainname(name.as_bytes()).at(Stage::SetHostname, &name)?;
    }
    let root = rootfs::mount(place, spec)?;
    mounts::mount_all(&root, spec, sources)?;
    devices::make_all(&root, spec)?;
    say(channel, &Said::Mounted)?;
    channel.await_go().at(Stage::AwaitStarter, "")?;
    let state = State { status: Status::Creating, pid: own_pid(), ..plan.state.clone() };
    let of_creation = spec.hooks().as_ref().and_then(|h| h.create_container().as_ref());
    run_hooks("createContainer", of_creation, &state, None)?;
    if let Some(linux) = spec.linux() {
        sysctl::set_all(&root, linux.sysctl().as_ref())?;
        paths::protect(&root, linux.readonly_paths().as_deref().unwrap_or_default())?;
        paths::mask(&root, linux.masked_paths().as_deref().unwrap_or_default())?;
    }
    if let Some(cwd) = spec.process().as_ref().map(Process::cwd) {
        root.ensure(cwd, Kind::Folder).at(Stage::MakeWorkingDir, cwd.to_string_lossy())?;
    }
    if plan.console.is_some() {
        // While it can still be made: the root may be read-only in a moment.
        root.ensure(Path::new("/dev/console"), Kind::File).at(Stage::SetTerminal, "/dev/console")?;
    }
    if spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false) {
        root.make_read_only().at(Stage::MountRoot, "read-only")?;
    }
    rootfs::enter(&root, spec, plan.no_pivot)?;
    Ok(root)
}

fn run_hooks(
    phase: &'static str,
    listed: Option<&Vec<oci_spec::runtime::Hook>>,
    state: &State,
    env: Option<&[String]>,
) -> Result<(), Failure> {
    hooks::run(phase, listed, state, env).map_err(|e| Failure {
        stage: Stage::RunHook,
        subject: e.to_string(),
        errno: libc::ECANCELED,
    })
}

/// As the container sees it, which is what its hooks are told.
fn own_pid() -> Option<i32> {
    Some(rustix::process::getpid().as_raw_nonzero().get())
}

/// The rest of what can be done before it is started.
fn become_ready(plan: Plan, root: &Root, labels: Labels, channel: &Channel) -> Result<Ready, Failure> {
    let Plan { spec, state, filter, console, listener, activated, inherit_keyring, .. } = plan;
    if let Some(personality) = spec.linux().as_ref().and_then(|l| l.personality().as_ref()) {
        process::set_personality(personality)?;
    }
    if let Some(policy) = spec.linux().as_ref().and_then(|l| l.memory_policy().as_ref()) {
        process::set_memory_policy(policy)?;
    }
    let Some(process) = spec.process().clone() else {
        say(channel, &Said::Ready { warnings: Vec::new() })?;
        return Ok(Ready { spec, state, listener, program: None, filter: None });
    };
    let identity = process::identity(&process);
    if let Some(socket) = console {
        console::take(root, &process, &socket, true)?;
    } else {
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            enter::give_to(stream, identity.uid)?;
        }
    }
    let mut warnings = process::prepare(&process, has_own(&spec, LinuxNamespaceType::User), !inherit_keyring)?;
    warnings.extend(process::missing_capabilities(&process)?);
    process::become_user(&process, &identity, labels)?;
    let program = Program::find(&process, &identity, activated)?;
    let filter = process::confine(&process, filter, |listener| {
        say(channel, &Said::Listens { descriptor: listener.as_raw_fd() })?;
        channel.await_go().at(Stage::SendListener, "")
    })?;
    say(channel, &Said::Ready { warnings })?;
    Ok(Ready { spec, state, listener, program: Some(program), filter })
}

pub(super) fn say(channel: &Channel, said: &Said) -> Result<(), Failure> {
    let text = serde_json::to_vec(said).map_err(std::io::Error::from).at(Stage::AwaitStarter, "")?;
    channel.send(&text).at(Stage::AwaitStarter, "")
}

/// A container that waits to be started.
struct Ready {
    spec: Spec,
    state: State,
    listener: OwnedFd,
    /// `None` of a container without a process, which cannot be started.
    program: Option<Program>,
    /// What is still to be loaded.
    filter: Option<Filter>,
}

impl Ready {
    fn wait_and_execute(self) -> ! {
        let connection = match waiting::wait(&self.listener) {
            Ok(connection) => connection,
            Err(_) => sys::clone::exit_now(1),
        };
        let failure = match self.execute() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        // Whoever started it may be gone: then there is nobody to tell.
        drop(waiting::report(&connection, &failure));
        sys::clone::exit_now(1)
    }

    fn execute(&self) -> Result<std::convert::Infallible, Failure> {
        let state = State { status: Status::Created, pid: own_pid(), ..self.state.clone() };
        let hooks = self.spec.hooks().as_ref().and_then(|h| h.start_container().as_ref());
        let env = self.spec.process().as_ref().and_then(|p| p.env().as_deref());
        run_hooks("startContainer", hooks, &state, env)?;
        let Some(program) = &self.program else {
            return Err(Failure { stage: Stage::ReadSpec, subject: "process".to_owned(), errno: libc::EINVAL });
        };
        if let Some(filter) = &self.filter {
            filter.load()?;
        }
        Err(program.execute())
    }
}

//! Creating a container: the creator's side. It makes the cgroup and the process, helps the process where that lacks the
//! rights, runs the hooks of the runtime's namespaces, and leaves a process that waits to be started.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxResources, LinuxTimeOffset, Spec};
use rustix::process::PidfdGetfdFlags;

use super::super::ended;
use super::super::failure::{Channel, Failure, Stage};
use super::bundle::{self, Bundle};
use super::cgroups::Cgroup;
use super::error::OciError;
use super::init::{self, Plan, Said};
use super::mounts::{CLONE, Source, source_path};
use super::namespaces::{self, Namespaces, TIME};
use super::net_devices::{self, Moved};
use super::options::Options;
use super::placement::Placement;
use super::process::{self, Filter};
use super::record::{Folder, Record, State, Status};
use super::{console, hooks, listening, waiting};
use crate::files::{FileError, Lock};
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// What `create` and `run` are told beside the bundle.
#[derive(Debug, Default)]
pub struct CreateOptions {
    pub bundle: PathBuf,
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    pub no_pivot: bool,
    /// Whether systemd makes the cgroup.
    pub systemd_cgroup: bool,
    /// The descriptors that systemd has passed.
    pub activated: u32,
    /// A socket that gets a descriptor of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// The container has the session keyring of the caller.
    pub inherit_keyring: bool,
}

/// A container that waits to be started. Its process is a child of the caller, and nobody has waited for it.
#[derive(Debug)]
pub struct Created {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// What was asked for and could not be given, for a warning.
    pub warnings: Vec<String>,
}

/// Creates a container.
///
/// # Assumptions
/// The process has one thread, and all its descriptors but those that the container is to have close on exec.
///
/// # Errors
/// Typed by the step that failed; then nothing of the container is left, and its `poststop` hooks have run.
pub fn create(root: &Path, id: &str, options: &CreateOptions, terminal: Option<OwnedFd>) -> Result<Created, OciError> {
    let folder = Folder::of(root, id)?;
    let bundle = Bundle::read(&options.bundle)?;
    let wants_terminal = bundle.spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
    let console = match (wants_terminal, &options.console_socket, terminal) {
        (true, Some(path), _) => Some(console::connect_to(path)?),
        (true, None, Some(terminal)) => Some(terminal),
        (true, None, None) => return Err(OciError::NoConsole),
        (false, Some(_), _) => return Err(OciError::UselessConsole),
        (false, None, _) => None,
    };
    if let Some(process) = bundle.spec.process() {
        bundle::check_labels(process)?;
    }
    let placement = Placement::of(&bundle.spec, id, options.systemd_cgroup)?;
    let lock = folder.claim()?;
    let created = placement.make(&bundle.spec, id).and_then(|mut placed| {
        let unit = placed.unit.as_deref();
        let created = Creation { folder: &folder, bundle: &bundle, cgroup: &placed.cgroup, unit, options }.run(console, lock);
        match &created {
            Ok(_) => placed.is_taken(),
            Err(_) => placed.undo(),
        }
        created
    });
    if created.is_err() {
        // The failure is what the caller is told; a folder that stays is taken away by who claims the name next.
        drop(folder.remove());
    }
    created
}

/// The host's number of the container's user, where the container is to divide its cgroup itself: it has a cgroup namespace
/// of its own, and sees its cgroup at a place where it can write.
fn cgroup_owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let new =
        |n: &oci_spec::runtime::LinuxNamespace| n.typ() == oci_spec::runtime::LinuxNamespaceType::Cgroup && n.path().is_none();
    let writable = |mount: &oci_spec::runtime::Mount| {
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    if !linux.namespaces().iter().flatten().any(new) || !spec.mounts().iter().flatten().any(writable) {
        return None;
    }
    let inner = spec.process().as_ref()?.user().uid();
    let Some(mappings) = linux.uid_mappings().as_ref().filter(|m| !m.is_empty()) else { return Some(inner) };
    mappings.iter().find_map(|m| {
        let offset = inner.checked_sub(m.container_id()).filter(|offset| *offset < m.size())?;
        m.host_id().checked_add(offset)
    })
}

struct Creation<'a> {
    folder: &'a Folder,
    bundle: &'a Bundle,
    cgroup: &'a Cgroup,
    unit: Option<&'a str>,
    options: &'a CreateOptions,
}

impl Creation<'_> {
    fn run(&self, console: Option<OwnedFd>, lock: Lock) -> Result<Created, OciError> {
        let spec = &self.bundle.spec;
        let namespaces = Namespaces::of(spec)?;
        let filter = Filter::compile(spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()))?;
        self.cgroup.create()?;
        if let Some(resources) = spec.linux().as_ref().and_then(|l| l.resources().as_ref()) {
            self.limit(resources)?;
        }
        if let Some(owner) = cgroup_owner(spec) {
            self.cgroup.delegate(owner)?;
        }
        self.folder.write_spec(&self.bundle.text)?;
        let plan = Plan {
            spec: spec.clone(),
            bundle: self.bundle.path.clone(),
            rootfs: self.bundle.rootfs.clone(),
            state: State::of(&self.record(0, 0), Status::Creating),
            sources: self.mapped_sources()?,
            doors: self.cgroup.doors()?,
            listener: waiting::open(self.folder.path())?,
            namespaces,
            filter,
            console,
            activated: self.options.activated,
            no_pivot: self.options.no_pivot,
            inherit_keyring: self.options.inherit_keyring,
        };
        let (own, childs) = Channel::pair().map_err(OciError::step("make a socket pair"))?;
        let birthplace = self.cgroup.birthplace()?;
        let new = self.clone_init(plan, own, childs, birthplace, lock)?;
        let mut moved = None;
        match self.accompany(&new, &mut moved) {
            Ok(warnings) => Ok(Created { pid: new.pid, pidfd: new.pidfd, warnings }),
            Err(error) => {
                let error = new.abandon(error);
                if let Some(moved) = moved {
                    Moved::give_back(moved);
                }
                let state = State::of(&self.record(new.pid, 0), Status::Stopped);
                // What went wrong first is told; hooks that clear up after a failure have nobody to fail for.
                drop(hooks::run("poststop", spec.hooks().as_ref().and_then(|h| h.poststop().as_ref()), &state, None));
                Err(error)
            }
        }
    }

    fn limit(&self, resources: &LinuxResources) -> Result<(), OciError> {
        self.cgroup.apply(resources)?;
        Ok(self.cgroup.restrict_devices(resources)?)
    }

    fn record(&self, pid: i32, started_ticks: u64) -> Record {
        let spec = &self.bundle.spec;
        let own_mounts = super::mounts::has_own(spec, oci_spec::runtime::LinuxNamespaceType::Mount);
        let created = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339);
        Record {
            oci_version: spec.version().clone(),
            id: self.folder.id().to_owned(),
            pid,
            started_ticks,
            bundle: self.bundle.path.clone(),
            rootfs: self.bundle.rootfs.clone(),
            cgroup: self.cgroup.path().to_owned(),
            unit: self.unit.map(str::to_owned),
            created: created.unwrap_or_default(),
            annotations: spec.annotations().clone().unwrap_or_default(),
            mounts_on_host: !own_mounts,
        }
    }

    /// The binds whose owners are mapped: only the host's root can make them.
    fn mapped_sources(&self) -> Result<Vec<Option<Source>>, OciError> {
        let spec = &self.bundle.spec;
        let of_container = spec.linux().as_ref();
        let mut sources = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            let options = Options::parse(mount);
            let own = mount.uid_mappings().as_ref().zip(mount.gid_mappings().as_ref()).filter(|(u, _)| !u.is_empty());
            let inherited = || {
                of_container.and_then(|l| l.uid_mappings().as_ref().zip(l.gid_mappings().as_ref())).filter(|(u, _)| !u.is_empty())
            };
            let mappings = match (own, options.mapped) {
                (Some(own), _) => own,
                (None, Some(_)) => inherited().ok_or_else(|| OciError::Invalid {
                    path: self.bundle.path.join("config.json"),
                    reason: format!("mount {}: idmap without mappings", mount.destination().display()),
                })?,
                (None, None) => {
                    sources.push(None);
                    continue;
                }
            };
            if !options.bind {
                let part = format!("mappings of mount {}, which is no bind", mount.destination().display());
                return Err(OciError::Unsupported { part, hint: "bind a folder" });
            }
            let path = source_path(mount, &self.bundle.path)?;
            let deep = options.recursive;
            let flags = if deep { CLONE | rustix::mount::OpenTreeFlags::AT_RECURSIVE } else { CLONE };
            let tree = rustix::mount::open_tree(rustix::fs::CWD, &path, flags).map_err(|e| FileError::new("open", &path, e))?;
            let users = namespaces::mapping(mappings.0, mappings.1)?;
            let change = crate::sys::mounts::Change { mapped: Some(users.as_fd()), ..Default::default() };
            crate::sys::mounts::change(&tree, change, options.mapped.unwrap_or(deep))
                .map_err(|e| FileError::new("map the owners of", &path, e))?;
            sources.push(Some(Source::Tree(tree)));
        }
        Ok(sources)
    }

    fn clone_init(
        &self,
        plan: Plan,
        own: Channel,
        childs: Channel,
        birthplace: Option<OwnedFd>,
        lock: Lock,
    ) -> Result<NewProcess, OciError> {
        let steps = plan.namespaces.needs_two_steps();
        // The cgroup namespace is to have the container's cgroup as its root, so that it is made when the process is there.
        let born = plan.namespaces.new - CloneFlags::CLONE_NEWCGROUP - TIME;
        let at_home =
            AtHome::leave(&plan.namespaces, self.bundle.spec.linux().as_ref().and_then(|l| l.time_offsets().as_ref()), steps)?;
        let place = birthplace.as_ref().map(AsFd::as_fd);
        let cloned = if steps { clone_process(CloneFlags::empty(), None) } else { clone_process(born, place) };
        match cloned.map_err(OciError::step("clone a process"))? {
            Cloned::Child => {
                drop((own, lock));
                let failure = if steps { between(plan, &childs, born, place) } else { init::run(plan, &childs) };
                // Nobody listens any more where this fails.
                drop(init::say(&childs, &Said::Failed(failure)));
                exit_now(1)
            }
            Cloned::Parent { pid, pidfd } => {
                drop((childs, plan));
                let first = NewProcess { pid, pidfd, channel: own };
                if let Err(error) = at_home.come_back() {
                    return Err(first.abandon(error));
                }
                if steps { first.next() } else { Ok(first) }
            }
        }
    }

    /// From the birth of the process until it waits to be started.
    fn accompany(&self, new: &NewProcess, moved: &mut Option<Moved>) -> Result<Vec<String>, OciError> {
        let spec = &self.bundle.spec;
        let linux = spec.linux().as_ref();
        let namespaces = linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
        let user = namespaces.iter().find(|n| n.typ() == oci_spec::runtime::LinuxNamespaceType::User);
        if user.is_some_and(|n| n.path().is_none()) {
            let mappings = |of: Option<&Option<Vec<_>>>| of.and_then(Option::clone).unwrap_or_default();
            namespaces::map_users(
                new.pid,
                &mappings(linux.map(|l| l.uid_mappings())),
                &mappings(linux.map(|l| l.gid_mappings())),
            )?;
        }
        let process = spec.process().as_ref();
        if let Some(score) = process.and_then(|p| p.oom_score_adj()) {
            let path = format!("/proc/{}/oom_score_adj", new.pid);
            std::fs::write(&path, score.to_string()).map_err(|e| FileError::new("write", path, e))?;
        }
        let ticks = crate::sys::process_start_ticks(new.pid).map_err(OciError::step("read the start time of the process"))?;
        let record = self.record(new.pid, ticks);
        let state = State::of(&record, Status::Creating);
        let mut warnings;
        new.go()?;
        loop {
            match new.said()? {
                Said::Failed(failure) => return Err(failure.into()),
                Said::Born { .. } | Said::Noted(_) => {}
                Said::Mounted => {
                    if let Some(devices) = linux.and_then(|l| l.net_devices().as_ref()).filter(|d| !d.is_empty()) {
                        *moved = Some(net_devices::move_all(devices, new.pid)?);
                    }
                    let listed = spec.hooks().as_ref();
                    hooks::run("prestart", listed.and_then(prestart), &state, None)?;
                    hooks::run("createRuntime", listed.and_then(|h| h.create_runtime().as_ref()), &state, None)?;
                    new.go()?;
                }
                Said::Listens { descriptor } => {
                    let taken = rustix::process::pidfd_getfd(&new.pidfd, descriptor, PidfdGetfdFlags::empty());
                    let taken = taken.map_err(|e| OciError::step("take the listener for system calls")(e.into()))?;
                    listening::send(spec, &state, &taken, "seccompFd", new.pid)?;
                    new.go()?;
                }
                Said::Ready { warnings: told } => {
                    warnings = told;
                    break;
                }
            }
        }
        if let (Some(process), Some(_)) = (process, user) {
            warnings.extend(set_limits_of(new.pid, process)?);
        }
        self.folder.write(&record)?;
        if let Some(path) = &self.options.pidfd_socket {
            new.send_descriptor(path)?;
        }
        if let Some(path) = &self.options.pid_file {
            crate::files::publish(path, new.pid.to_string().as_bytes(), 0o644)?;
        }
        Ok(warnings)
    }
}

fn prestart(hooks: &oci_spec::runtime::Hooks) -> Option<&Vec<oci_spec::runtime::Hook>> {
    hooks.prestart().as_ref()
}

/// The limits of a process in a user namespace, which may not raise them itself.
pub(super) fn set_limits_of(pid: i32, process: &oci_spec::runtime::Process) -> Result<Vec<String>, OciError> {
    let mut warnings = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        warnings.extend(process::set_limit(rustix::process::Pid::from_raw(pid), limit)?);
    }
    Ok(warnings)
}

/// The process in between: joins what is to be joined, and makes the container's process as a sibling of itself.
fn between(plan: Plan, channel: &Channel, born: CloneFlags, place: Option<std::os::fd::BorrowedFd<'_>>) -> Failure {
    if let Err(failure) = plan.namespaces.join_all() {
        return failure;
    }
    match clone_process(born | CloneFlags::CLONE_PARENT, place) {
        Err(e) => Failure::new(Stage::JoinNamespace, "clone", e),
        Ok(Cloned::Child) => init::run(plan, channel),
        Ok(Cloned::Parent { pid, .. }) => match init::say(channel, &Said::Born { pid }) {
            Ok(()) => exit_now(0),
            Err(failure) => failure,
        },
    }
}

/// The namespaces that a process gets by its parent being in them at its birth: the creator enters them for one moment.
struct AtHome(Vec<(CloneFlags, OwnedFd)>);

impl AtHome {
    fn leave(
        namespaces: &Namespaces,
        offsets: Option<&std::collections::HashMap<String, LinuxTimeOffset>>,
        steps: bool,
    ) -> Result<Self, OciError> {
        let mut home = Vec::new();
        let own = |name: &str| -> Result<OwnedFd, OciError> {
            let path = format!("/proc/self/ns/{name}");
            std::fs::File::open(&path).map(Into::into).map_err(|e| FileError::new("open", path, e).into())
        };
        if let Some((_, pid)) = namespaces.joined.iter().find(|(f, _)| *f == CloneFlags::CLONE_NEWPID && !steps) {
            home.push((CloneFlags::CLONE_NEWPID, own("pid")?));
            nix::sched::setns(pid, CloneFlags::CLONE_NEWPID)
                .map_err(|e| Failure::new(Stage::JoinNamespace, "pid", std::io::Error::from(e)))?;
        }
        if namespaces.new.contains(TIME) {
            home.push((TIME, own("time")?));
            nix::sched::unshare(TIME).map_err(|e| Failure::new(Stage::SetClock, "new namespace", std::io::Error::from(e)))?;
            let lines: Vec<String> = offsets
                .into_iter()
                .flatten()
                .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)))
                .collect();
            if !lines.is_empty() {
                std::fs::write("/proc/self/timens_offsets", lines.concat())
                    .map_err(|e| Failure::new(Stage::SetClock, lines.concat().trim().to_owned(), e))?;
            }
        }
        Ok(Self(home))
    }

    fn come_back(self) -> Result<(), OciError> {
        self.0.into_iter().try_for_each(|(flag, fd)| {
            nix::sched::setns(fd, flag).map_err(|e| OciError::Step { action: "return to the own namespaces", source: e.into() })
        })
    }
}

/// A child that is on its way.
pub(super) struct NewProcess {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) channel: Channel,
}

impl NewProcess {
    pub(super) fn go(&self) -> Result<(), OciError> {
        self.channel.go().map_err(OciError::step("let the container's process go on"))
    }

    /// Hands the descriptor of the process to whoever listens at the path.
    pub(super) fn send_descriptor(&self, path: &Path) -> Result<(), OciError> {
        let socket = console::connect_to(path)?;
        console::send_descriptor(socket, b"pidfd", &self.pidfd).map_err(OciError::step("send the process's descriptor"))
    }

    fn said(&self) -> Result<Said, OciError> {
        match self.said_or_executed()? {
            Some(said) => Ok(said),
            None => Err(OciError::Died { how: ended::how(&self.pidfd) }),
        }
    }

    /// What it says next; `None` when it has closed its end, by executing its program or by dying.
    pub(super) fn said_or_executed(&self) -> Result<Option<Said>, OciError> {
        let failed = || OciError::step("hear from the container's process");
        let mut buffer = [0; 16384];
        match self.channel.receive(&mut buffer).map_err(failed())? {
            0 => Ok(None),
            length => serde_json::from_slice(&buffer[..length]).map(Some).map_err(|e| failed()(e.into())),
        }
    }

    /// The process that the one in between has made.
    fn next(self) -> Result<Self, OciError> {
        match self.said() {
            Ok(Said::Born { pid }) => {
                ended::reap(&self.pidfd).map_err(OciError::step("wait for the process in between"))?;
                // It is a child of this process that nobody has waited for, so that its number is its own.
                let number = rustix::process::Pid::from_raw(pid).ok_or(OciError::Died { how: "without a number".to_owned() })?;
                let pidfd = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty());
                let pidfd = pidfd.map_err(|e| OciError::step("open the container's process")(e.into()))?;
                Ok(Self { pid, pidfd, channel: self.channel })
            }
            Ok(Said::Failed(failure)) => Err(self.abandon(failure.into())),
            Ok(_) => Err(self.abandon(OciError::Died { how: "out of turn".to_owned() })),
            Err(error) => Err(self.abandon(error)),
        }
    }

    /// Kills and reaps it; the error passes through.
    pub(super) fn abandon(&self, error: OciError) -> OciError {
        ended::abandon(&self.pidfd);
        error
    }
}

//! A further process in a container: joins what the first one has, with the container's own settings where nothing else is
//! asked for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{Linux, Process, Spec};

use super::super::enter;
use super::super::failure::{At, Channel, Failure, Stage};
use super::super::root::Root;
use super::bundle;
use super::cgroups::Cgroup;
use super::error::OciError;
use super::init::{self, Said};
use super::lifecycle;
use super::namespaces::{self, TIME};
use super::process::{self, Filter, Labels, Program};
use super::record::{self, State, Status};
use super::{console, listening};
use crate::files::FileError;
use crate::sys;
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// What `exec` is told beside the process.
#[derive(Debug, Default)]
pub struct ExecOptions {
    pub console_socket: Option<PathBuf>,
    pub pid_file: Option<PathBuf>,
    /// Join also when the container is paused: then it waits with it.
    pub ignore_paused: bool,
    /// A socket that gets a descriptor of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// Cgroups below the container's, as `path` or `controller,controller:path`.
    pub cgroups: Vec<String>,
    pub activated: u32,
}

/// A process that runs its program, a child of the caller that nobody has waited for.
#[derive(Debug)]
pub struct Executed {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub warnings: Vec<String>,
    /// What is of interest to who looks for a mistake.
    pub notes: Vec<String>,
}

/// The process as the container's specification has it: what a command is executed with when nothing else is said.
pub fn process_of(root: &Path, id: &str) -> Result<Process, OciError> {
    let (folder, _) = lifecycle::open(root, id)?;
    Ok(folder.spec()?.process().clone().unwrap_or_default())
}

/// Starts a process in a container. Returns when it executes its program.
///
/// # Assumptions
/// The process has one thread, and all its descriptors but those that the new one is to have close on exec.
pub fn exec(
    root: &Path,
    id: &str,
    wanted: &Process,
    options: &ExecOptions,
    terminal: Option<OwnedFd>,
) -> Result<Executed, OciError> {
    let (folder, container) = lifecycle::open(root, id)?;
    let refused = |status| OciError::Status { verb: "exec in", id: id.to_owned(), status };
    match record::status(&folder, &container)? {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        other => return Err(refused(other)),
    }
    bundle::check_process(wanted).map_err(|reason| OciError::Argument { what: "process", reason })?;
    bundle::check_labels(wanted)?;
    let spec = folder.spec()?;
    let console = match (wanted.terminal().unwrap_or(false), &options.console_socket, terminal) {
        (true, Some(path), _) => Some(console::connect_to(path)?),
        (true, None, Some(terminal)) => Some(terminal),
        (true, None, None) => return Err(OciError::NoConsole),
        (false, Some(_), _) => return Err(OciError::UselessConsole),
        (false, None, _) => None,
    };
    let filter = Filter::compile(spec.linux().as_ref().and_then(|l| l.seccomp().as_ref()))?;
    let target = record::process(&container).ok_or_else(|| refused(Status::Stopped))?;
    let place = Cgroup::at(&container.cgroup)?.below(&options.cgroups)?;
    let join = Join::new(&spec, wanted, target, console, filter, place.doors, container.pid, options.activated)?;
    let state = State::of(&container, Status::Running);
    join.run(place.birthplace, &state, options)
}

struct Join {
    spec: Spec,
    process: Process,
    target: OwnedFd,
    /// Those in which the container's first process is and this one is not.
    namespaces: CloneFlags,
    console: Option<OwnedFd>,
    filter: Option<Filter>,
    doors: Vec<OwnedFd>,
    activated: u32,
}

impl Join {
    #[expect(clippy::too_many_arguments, reason = "it is the list of what the new process needs")]
    fn new(
        spec: &Spec,
        process: &Process,
        target: OwnedFd,
        console: Option<OwnedFd>,
        filter: Option<Filter>,
        doors: Vec<OwnedFd>,
        pid: i32,
        activated: u32,
    ) -> Result<Self, OciError> {
        let mut namespaces = CloneFlags::empty();
        for (name, flag) in [
            ("user", CloneFlags::CLONE_NEWUSER),
            ("mnt", CloneFlags::CLONE_NEWNS),
            ("pid", CloneFlags::CLONE_NEWPID),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("net", CloneFlags::CLONE_NEWNET),
            ("cgroup", CloneFlags::CLONE_NEWCGROUP),
            ("time", TIME),
        ] {
            let link = |of: &str| {
                let path = format!("/proc/{of}/ns/{name}");
                std::fs::read_link(&path).map_err(|e| FileError::new("read", path, e))
            };
            // A kernel without this kind of namespace has none to join.
            let Ok(own) = link("self") else { continue };
            if link(&pid.to_string())? != own {
                namespaces |= flag;
            }
        }
        Ok(Self { spec: spec.clone(), process: process.clone(), target, namespaces, console, filter, doors, activated })
    }

    fn run(self, birthplace: Option<OwnedFd>, state: &State, options: &ExecOptions) -> Result<Executed, OciError> {
        let (own, childs) = Channel::pair().map_err(OciError::step("make a socket pair"))?;
        // The kernel moves it between processors by its cgroup, so that the first choice is made before it is in it.
        let affinity = self.process.exec_cpu_affinity().clone();
        let home = std::fs::File::open("/proc/self/ns/pid").map_err(OciError::step("open the own pid namespace"))?;
        let in_pid = self.namespaces.contains(CloneFlags::CLONE_NEWPID);
        if in_pid {
            nix::sched::setns(&self.target, CloneFlags::CLONE_NEWPID)
                .map_err(|e| Failure::new(Stage::JoinNamespace, "pid", std::io::Error::from(e)))?;
        }
        // With a first choice of processors it must not be born in the cgroup.
        let first = affinity.as_ref().and_then(|a| a.initial().as_ref()).filter(|i| !i.is_empty());
        let place = birthplace.as_ref().map(AsFd::as_fd);
        let cloned = clone_process(CloneFlags::empty(), place).map_err(OciError::step("clone a process"))?;
        match cloned {
            Cloned::Child => {
                drop(own);
                let failure = match self.become_further(first, &childs) {
                    Ok(never) => match never {},
                    Err(failure) => failure,
                };
                // Nobody listens any more where this fails.
                drop(init::say(&childs, &Said::Failed(failure)));
                exit_now(1)
            }
            Cloned::Parent { pid, pidfd } => {
                drop(childs);
                let new = super::create::NewProcess { pid, pidfd, channel: own };
                let restored = if in_pid { nix::sched::setns(&home, CloneFlags::CLONE_NEWPID) } else { Ok(()) };
                let restored =
                    restored.map_err(|e| OciError::Step { action: "return to the own pid namespace", source: e.into() });
                match restored.and_then(|()| self.accompany(&new, state, options)) {
                    Ok((warnings, notes)) => Ok(Executed { pid: new.pid, pidfd: new.pidfd, warnings, notes }),
                    Err(error) => Err(new.abandon(error)),
                }
            }
        }
    }

    fn accompany(
        &self,
        new: &super::create::NewProcess,
        state: &State,
        options: &ExecOptions,
    ) -> Result<(Vec<String>, Vec<String>), OciError> {
        if let Some(score) = self.process.oom_score_adj() {
            let path = format!("/proc/{}/oom_score_adj", new.pid);
            std::fs::write(&path, score.to_string()).map_err(|e| FileError::new("write", path, e))?;
        }
        if let Some(path) = &options.pidfd_socket {
            new.send_descriptor(path)?;
        }
        if let Some(path) = &options.pid_file {
            crate::files::publish(path, new.pid.to_string().as_bytes(), 0o644)?;
        }
        // A root that is none on the host may not raise a limit: there it is done from outside.
        let limited = match self.namespaces.contains(CloneFlags::CLONE_NEWUSER) {
            true => super::create::set_limits_of(new.pid, &self.process)?,
            false => Vec::new(),
        };
        new.go()?;
        let (mut warnings, mut notes, mut ready) = (limited, Vec::new(), false);
        loop {
            match new.said_or_executed()? {
                Some(Said::Failed(failure)) => return Err(failure.into()),
                Some(Said::Born { .. } | Said::Mounted) => {}
                Some(Said::Noted(note)) => notes.push(note),
                Some(Said::Listens { descriptor }) => {
                    let flags = rustix::process::PidfdGetfdFlags::empty();
                    let taken = rustix::process::pidfd_getfd(&new.pidfd, descriptor, flags);
                    let taken = taken.map_err(|e| OciError::step("take the listener for system calls")(e.into()))?;
                    listening::send(&self.spec, state, &taken, "seccompFd", new.pid)?;
                    new.go()?;
                }
                // The last word before the program; what follows is a failure, or the end of the channel.
                Some(Said::Ready { warnings: told }) => {
                    ready = true;
                    warnings.extend(told);
                }
                None if ready => return Ok((warnings, notes)),
                None => return Err(OciError::Died { how: "before it could say why".to_owned() }),
            }
        }
    }

    fn become_further(self, first: Option<&String>, channel: &Channel) -> Result<std::convert::Infallible, Failure> {
        let process = &self.process;
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .at(Stage::ResetSignals, "dumpable")?;
        sys::process::reset_signals().at(Stage::ResetSignals, "")?;
        rustix::process::setsid().at(Stage::SetSession, "")?;
        channel.await_go().at(Stage::AwaitStarter, "")?;
        if let Some(mask) = process::set_affinity(first)? {
            init::say(channel, &Said::Noted(format!("the processors before the cgroup is joined: affinity: {mask}")))?;
        }
        enter::join_cgroups(&self.doors)?;
        drop(process::set_affinity(process.exec_cpu_affinity().as_ref().and_then(|a| a.cpu_affinity_final().as_ref()))?);
        let labels = Labels::open(process)?;
        let others = self.namespaces - CloneFlags::CLONE_NEWPID;
        if !others.is_empty() {
            nix::sched::setns(&self.target, others).at(Stage::JoinNamespaces, "")?;
        }
        let in_user_namespace = others.contains(CloneFlags::CLONE_NEWUSER);
        if in_user_namespace {
            namespaces::become_root()?;
        }
        if let Some(personality) = self.spec.linux().as_ref().and_then(|l: &Linux| l.personality().as_ref()) {
            process::set_personality(personality)?;
        }
        let identity = process::identity(process);
        match &self.console {
            Some(socket) => {
                let root = Root::open_at(Path::new("/")).at(Stage::SetTerminal, "/")?;
                console::take(&root, process, socket, false)?;
            }
            None => {
                for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
                    enter::give_to(stream, identity.uid)?;
                }
            }
        }
        let mut warnings = process::prepare(process, in_user_namespace, true)?;
        warnings.extend(process::missing_capabilities(process)?);
        process::become_user(process, &identity, labels)?;
        let program = Program::find(process, &identity, self.activated)?;
        let filter = process::confine(process, self.filter, |listener| {
            init::say(channel, &Said::Listens { descriptor: listener.as_raw_fd() })?;
            channel.await_go().at(Stage::SendListener, "")
        })?;
        init::say(channel, &Said::Ready { warnings })?;
        if let Some(filter) = filter {
            filter.load()?;
        }
        Err(program.execute())
    }
}

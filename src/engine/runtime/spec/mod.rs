//! From what a container is to be, and its image, to the specification of the process that is started. Pure, except that
//! `cap_add: [ALL]` means all that this process may give away, and that hidden paths are those of this host's processors.

mod confine;
mod defaults;

use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{
    Capabilities, LinuxCapabilities, Mount, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec,
};

use super::capabilities;
use super::enter::DEFAULT_PATH;
use super::mounts::OWNERS_AS_CAN_BE;
use super::seccomp::Filter;
use super::shown::View;
use crate::model::ContainerId;
use crate::model::spec::{ContainerSpec, DeviceAccess, NamespaceMode, Ulimit, UserRange};

/// All that decides a specification.
#[derive(Debug)]
pub struct SpecInput<'a> {
    pub id: &'a ContainerId,
    pub hostname: &'a str,
    pub container: &'a ContainerSpec,
    pub image: &'a ImageConfiguration,
    /// Volumes, folders of the host, configs, `/etc/hosts` and the like, as paths of the host.
    pub mounts: Vec<HostMount>,
    /// Devices of the host, beside the harmless ones.
    pub devices: Vec<HostDevice>,
    /// The standard streams are a terminal.
    pub terminal: bool,
    /// The host's ids of its own users, where it has any.
    pub users: Option<UserRange>,
}

/// A mount that a container has beside the usual ones. `target` is absolute within the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMount {
    Bind {
        source: PathBuf,
        target: String,
        read_only: bool,
    },
    /// What is at a path within a folder that containers write to: no link of theirs leads out of it.
    Part {
        root: PathBuf,
        inside: String,
        target: String,
        read_only: bool,
    },
    Tmpfs {
        target: String,
        /// In bytes.
        size: Option<u64>,
        mode: Option<u32>,
    },
    /// Folders of the host as they are, without a copy.
    View {
        view: View,
        target: String,
    },
    /// One of the others, with further options.
    Special {
        base: Box<HostMount>,
        options: Vec<String>,
    },
}

impl HostMount {
    /// A file of the engine's own, that all may read. It may be on a file system that cannot map owners: one in memory
    /// can since kernel 6.3.
    pub fn of_engine(source: PathBuf, target: String) -> Self {
        let base = Self::Bind { source, target, read_only: false };
        Self::Special { base: Box::new(base), options: vec![OWNERS_AS_CAN_BE.to_owned()] }
    }

    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Part { target, .. } | Self::Tmpfs { target, .. } | Self::View { target, .. } => {
                target
            }
            Self::Special { base, .. } => base.target(),
        }
    }
}

/// A device node of the host that the container has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// In the container.
    pub path: PathBuf,
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub access: DeviceAccess,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    #[error("no command: neither the container nor its image says what to run; set `command` or `entrypoint`")]
    NoCommand,
    #[error("working directory {path:?} is not absolute")]
    WorkingDir { path: String },
    #[error("mount target {path:?} is not an absolute path other than `/`, without `..`")]
    MountTarget { path: String },
    #[error("unknown capability {name:?}")]
    Capability { name: String },
    #[error(
        "sysctl {name:?} is not the container's own: only net.* (unless the network is the host's), fs.mqueue.*, kernel.shm*, kernel.msg* and kernel.sem are"
    )]
    Sysctl { name: String },
    #[error("unknown ulimit {name:?}")]
    Ulimit { name: String },
    #[error("ulimit {name}: the soft limit is above the hard one")]
    UlimitOrder { name: String },
    #[error("environment variable {name:?} is not a name")]
    Variable { name: String },
    #[error("{what} could not be put together: {reason}")]
    Assemble { what: &'static str, reason: String },
    #[error("the seccomp profile cannot be used: {why}")]
    Profile { why: String },
    #[error("labels of SELinux are not supported: {label:?}; leave it out, or use `label=disable`")]
    Label { label: String },
    #[error("the size of /dev/shm cannot be set where it is not the container's own")]
    ShmSize,
    #[error("{what} contains a zero byte")]
    Zero { what: &'static str },
}

/// The specification of a container's first process and, instead of the rules that belong in it, what its system calls are
/// filtered by. Namespaces that are another container's have no path yet.
pub fn build(input: &SpecInput<'_>) -> Result<(Spec, Filter), SpecError> {
    let container = input.container;
    let capabilities = if container.privileged {
        capabilities::combine(&["ALL".to_owned()].into(), &container.cap_drop)
    } else {
        capabilities::combine(&container.cap_add, &container.cap_drop)
    };
    let capabilities = capabilities.map_err(|name| SpecError::Capability { name })?;

    let mut root = Root::default();
    root.set_path(PathBuf::from("/")).set_readonly(Some(container.read_only));
    let own_names = container.uts == NamespaceMode::Private;
    let annotations = &container.annotations;
    let mut spec = Spec::default();
    spec.set_root(Some(root))
        .set_hostname(own_names.then(|| input.hostname.to_owned()))
        .set_domainname(container.domainname.clone().filter(|_| own_names))
        .set_mounts(Some(mounts(container, &input.mounts)?))
        .set_process(Some(process(input, &capabilities)?))
        .set_annotations((!annotations.is_empty()).then(|| annotations.clone().into_iter().collect()))
        .set_linux(Some(confine::linux(input)?));
    Ok((spec, confine::filter(container, &capabilities)?))
}

/// The user that the process is to run as: the container's, else the image's.
pub fn user(container: &ContainerSpec, image: &ImageConfiguration) -> Option<String> {
    let of_image = || image.config().as_ref().and_then(|c| c.user().clone());
    container.user.clone().or_else(of_image).filter(|user| !user.is_empty())
}

fn process(input: &SpecInput<'_>, capabilities: &Capabilities) -> Result<Process, SpecError> {
    let args = command(input.container, input.image)?;
    let env = environment(input)?;
    if args.iter().any(|a| a.contains('\0')) {
        return Err(SpecError::Zero { what: "the command" });
    }
    let rlimits: Vec<PosixRlimit> = input.container.ulimits.iter().map(rlimit).collect::<Result<_, _>>()?;
    let mut process = Process::default();
    process
        .set_terminal(Some(input.terminal))
        .set_args(Some(args))
        .set_env(Some(env))
        .set_cwd(PathBuf::from(working_dir(input.container, input.image)?))
        .set_capabilities(Some(capability_sets(capabilities)))
        .set_rlimits(Some(rlimits))
        .set_oom_score_adj(input.container.oom_score_adj.map(i32::from))
        .set_apparmor_profile(confine::apparmor(input.container))
        .set_no_new_privileges(Some(confine::no_new_privileges(input.container)));
    Ok(process)
}

/// Docker's rules: an entrypoint of the container's own does away with the image's command too.
fn command(container: &ContainerSpec, image: &ImageConfiguration) -> Result<Vec<String>, SpecError> {
    let config = image.config().as_ref();
    let image_entrypoint = config.and_then(|c| c.entrypoint().clone()).unwrap_or_default();
    let image_command = config.and_then(|c| c.cmd().clone()).unwrap_or_default();
    let (mut args, fallback) = match &container.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), Vec::new()),
        None => (image_entrypoint, image_command),
    };
    // `entrypoint: [""]` is how one says: none.
    if args.first().is_some_and(String::is_empty) {
        args.clear();
    }
    args.extend(container.command.clone().unwrap_or(fallback));
    if args.first().is_none_or(String::is_empty) { Err(SpecError::NoCommand) } else { Ok(args) }
}

fn working_dir(container: &ContainerSpec, image: &ImageConfiguration) -> Result<String, SpecError> {
    let of_image = || image.config().as_ref().and_then(|c| c.working_dir().clone());
    let path = container.working_dir.clone().or_else(of_image).filter(|p| !p.is_empty()).unwrap_or_else(|| "/".to_owned());
    if path.starts_with('/') && !path.contains('\0') { Ok(path) } else { Err(SpecError::WorkingDir { path }) }
}

/// The image's variables, then the container's, each once, where it first stood.
fn environment(input: &SpecInput<'_>) -> Result<Vec<String>, SpecError> {
    let mut lines: Vec<(String, String)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("HOSTNAME".into(), input.hostname.to_owned())];
    if input.terminal {
        lines.push(("TERM".into(), "xterm".into()));
    }
    let of_image = input.image.config().as_ref().and_then(|c| c.env().as_ref());
    let image = of_image.into_iter().flatten().filter_map(|line| line.split_once('=')).filter(|(n, _)| !n.is_empty());
    let container = input.container.environment.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    for (name, value) in image.chain(container) {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(SpecError::Variable { name: name.to_owned() });
        }
        if value.contains('\0') {
            return Err(SpecError::Zero { what: "an environment variable" });
        }
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => lines.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(lines.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn rlimit((name, limit): (&String, &Ulimit)) -> Result<PosixRlimit, SpecError> {
    let kind: PosixRlimitType =
        format!("RLIMIT_{}", name.to_ascii_uppercase()).parse().map_err(|_| SpecError::Ulimit { name: name.clone() })?;
    if limit.soft > limit.hard {
        return Err(SpecError::UlimitOrder { name: name.clone() });
    }
    let built = PosixRlimitBuilder::default().typ(kind).soft(limit.soft).hard(limit.hard).build();
    built.map_err(|e| SpecError::Assemble { what: "a ulimit", reason: e.to_string() })
}

/// Nothing is inheritable or ambient: a program of another user than root gets no capability by itself.
fn capability_sets(capabilities: &Capabilities) -> LinuxCapabilities {
    let all = capabilities.clone();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(all.clone()))
        .set_permitted(Some(all.clone()))
        .set_effective(Some(all))
        .set_inheritable(None)
        .set_ambient(None);
    sets
}

/// The usual mounts, then the container's, those nearer to the root first, so that none hides another.
fn mounts(container: &ContainerSpec, own: &[HostMount]) -> Result<Vec<Mount>, SpecError> {
    let mut sorted: Vec<&HostMount> = own.iter().collect();
    sorted.sort_by_key(|m| Path::new(m.target()).components().count());
    let mut all: Vec<Mount> = defaults::mounts(container)?;
    // A container may bring its own, say, /dev/shm: then there is just that one.
    all.retain(|d| !sorted.iter().any(|m| Path::new(m.target()) == d.destination()));
    for mount in sorted {
        let path = Path::new(mount.target());
        let plain = path.is_absolute()
            && path.components().count() > 1
            && !path.components().any(|c| c == std::path::Component::ParentDir)
            && !mount.target().contains('\0');
        if !plain {
            return Err(SpecError::MountTarget { path: mount.target().to_owned() });
        }
        all.push(defaults::own_mount(mount));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;

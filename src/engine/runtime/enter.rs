//! The last stretch, the same for a container's first process and for each further one: from a privileged process inside
//! the container to the program, as its user, with no more than it may have.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sched::CloneFlags;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType, Process as ProcessSpec};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{Gid, Uid};

use super::failure::{At, Channel, Failure, Report, Stage};
use super::launch::Stdio;
use super::own_users::{self, Users};
use super::users::Identity;
use super::{capabilities, cgroups, seccomp, small_init};
use crate::sys;

/// Where programs are looked for when the environment does not say. Docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that decides what the process becomes.
pub(super) struct Becoming<'a> {
    pub(super) process: &'a ProcessSpec,
    pub(super) identity: &'a Identity,
    pub(super) argv: &'a [String],
    pub(super) env: &'a [String],
    pub(super) cwd: &'a str,
    pub(super) terminal: bool,
    pub(super) stdio: &'a Stdio,
    pub(super) filter: &'a seccomp::Program,
    /// The program of the init, where the program is to have one.
    pub(super) init: Option<&'a OwnedFd>,
    /// Where the users are the container's own: what they are on the host, and their namespace or a process in it.
    pub(super) users: Option<(&'a Users, BorrowedFd<'a>)>,
    /// It is the container's first process, and not one that joins it.
    pub(super) first: bool,
    pub(super) channel: &'a Channel,
}

/// To be done before the process is seen by anything in the container.
pub(super) fn harden(channel: &Channel) -> Result<(), Failure> {
    // Until `execve` nobody in the container may look into this process: it still holds the host's files, and its
    // program file is the host's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Stage::ResetSignals, "dumpable")?;
    die_with_starter(channel)
}

/// Moves the process to where it could not be born.
pub(super) fn join_cgroups(doors: &[OwnedFd]) -> Result<(), Failure> {
    cgroups::enter(doors).at(Stage::JoinCgroup, "")
}

/// Gives up all that the process is not to have: the host's files, other capabilities, another user.
pub(super) fn shed(b: &Becoming<'_>) -> Result<(), Failure> {
    set_streams(b.stdio, owner_on_host(b)?)?;
    let users = b.users.map(|(_, space)| space.as_raw_fd());
    close_all_but([Some(b.channel.fd().as_raw_fd()), b.init.map(AsRawFd::as_raw_fd), users])?;
    // Raising one is for the host's root.
    for limit in b.process.rlimits().iter().flatten() {
        set_limit(limit)?;
    }
    if let Some((_, space)) = b.users {
        own_users::join(space)?;
        if b.first {
            // Mounts that its own root may add to, and take nothing away from.
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).at(Stage::IsolateMounts, "of its own users")?;
        }
        sys::process::close_range(space.as_raw_fd() as u32, space.as_raw_fd() as u32).at(Stage::CloseFiles, "")?;
    }
    match sys::process::new_session_keyring() {
        // A kernel without keyrings has none to protect.
        Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {}
        other => other.at(Stage::SetKeyring, "")?,
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(b.process.user().umask().unwrap_or(0o022)));
    let wanted = b.process.capabilities().as_ref();
    if !renounces(b) {
        // Who may still get privileges can load a filter only as long as it has some. The filter has to allow the rest of this.
        load(b.filter)?;
    }
    capabilities::limit_bounding(wanted)?;
    become_user(b.identity)?;
    enter_working_dir(b.cwd)?;
    capabilities::set(wanted, b.identity.uid)?;
    if renounces(b) {
        rustix::thread::set_no_new_privs(true).at(Stage::SetNoNewPrivileges, "")?;
    }
    Ok(())
}

/// Becomes the program, after [`shed`]. Returns only what went wrong.
pub(super) fn become_program(b: &Becoming<'_>) -> Result<Infallible, Failure> {
    rustix::process::setsid().at(Stage::SetSession, "")?;
    if b.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).at(Stage::SetTerminal, "")?;
    }
    // The change of credentials cleared it, and no child inherits it.
    die_with_starter(b.channel)?;
    let env = complete_env(b.env, b.identity);
    let candidates = candidates(b.argv, &env)?;
    refuse_own_program(&candidates)?;
    let argv = c_strings(b.argv)?;
    let env = c_strings(&env)?;
    if let Some(program) = b.init {
        small_init::divide(program.as_fd(), b.terminal, &env, b.channel, || if renounces(b) { load(b.filter) } else { Ok(()) })?;
    }
    b.channel.report(&Report::Executing).at(Stage::AwaitStarter, "")?;
    // After this line only what the filter allows is possible.
    if renounces(b) {
        load(b.filter)?;
    }
    Err(execute(&b.argv[0], &candidates, &argv, &env))
}

fn renounces(b: &Becoming<'_>) -> bool {
    b.process.no_new_privileges().unwrap_or(false)
}

fn load(filter: &seccomp::Program) -> Result<(), Failure> {
    if filter.is_empty() { Ok(()) } else { sys::seccomp::load(filter).at(Stage::SetSeccomp, "") }
}

/// Death of the starter is death of this process, and it has not happened already.
pub(super) fn die_with_starter(channel: &Channel) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Stage::SetParentDeathSignal, "")?;
    // The parent's pid says nothing in a pid namespace of one's own, so the channel is asked.
    if channel.is_deserted().at(Stage::SetParentDeathSignal, "")? {
        return Err(Failure::new(Stage::StarterDied, "", Errno::SRCH));
    }
    Ok(())
}

/// What the user of the process is to the host.
fn owner_on_host(b: &Becoming<'_>) -> Result<u32, Failure> {
    let Some((users, _)) = b.users else { return Ok(b.identity.uid) };
    let gone = |who: String| Failure::new(Stage::SetUser, format!("{who}, which is not among the container's own"), Errno::INVAL);
    if let Some(gid) = [b.identity.gid].iter().chain(&b.identity.groups).find(|gid| users.host_gid(**gid).is_none()) {
        return Err(gone(format!("of group {gid}")));
    }
    users.host_uid(b.identity.uid).ok_or_else(|| gone(b.identity.uid.to_string()))
}

fn set_streams(stdio: &Stdio, owner: u32) -> Result<(), Failure> {
    // All three may be among the numbers that are about to be replaced, so they are moved out of the way first.
    let high = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).at(Stage::SetStreams, "");
    let (stdin, stdout, stderr) = (high(&stdio.stdin)?, high(&stdio.stdout)?, high(&stdio.stderr)?);
    for stream in [&stdin, &stdout, &stderr] {
        give_to(stream, owner)?;
    }
    rustix::stdio::dup2_stdin(&stdin).at(Stage::SetStreams, "stdin")?;
    rustix::stdio::dup2_stdout(&stdout).at(Stage::SetStreams, "stdout")?;
    rustix::stdio::dup2_stderr(&stderr).at(Stage::SetStreams, "stderr")
}

/// A program opens `/dev/stdout` anew, which its user may do only as the owner of the pipe or terminal behind it.
pub(super) fn give_to(stream: impl AsFd, owner: u32) -> Result<(), Failure> {
    let stat = rustix::fs::fstat(&stream).at(Stage::SetStreams, "")?;
    let null = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let ours = match kind {
        rustix::fs::FileType::Fifo => true,
        rustix::fs::FileType::CharacterDevice => stat.st_rdev != null,
        _ => false,
    };
    if !ours || stat.st_uid == owner {
        return Ok(());
    }
    match rustix::fs::fchown(&stream, Some(Uid::from_raw(owner)), None) {
        // A stream that belongs to somebody else stays theirs; it can be used all the same, just not opened anew.
        Err(Errno::PERM | Errno::ROFS | Errno::INVAL) => Ok(()),
        other => other.at(Stage::SetStreams, "owner"),
    }
}

/// Closed, not just marked: through an inherited folder the working directory could be one of the host's.
fn close_all_but(kept: [Option<RawFd>; 3]) -> Result<(), Failure> {
    let mut kept: Vec<u32> = kept.into_iter().flatten().map(|fd| fd as u32).collect();
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept {
        if fd > from {
            sys::process::close_range(from, fd - 1).at(Stage::CloseFiles, "")?;
        }
        from = fd + 1;
    }
    sys::process::close_range(from, u32::MAX).at(Stage::CloseFiles, "")
}

pub(super) fn set_limit(limit: &PosixRlimit) -> Result<(), Failure> {
    let value = |n: u64| (n != u64::MAX).then_some(n);
    let wanted = Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) };
    rustix::process::setrlimit(resource(limit.typ()), wanted).at(Stage::SetLimit, limit.typ().to_string())
}

pub(super) fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// A container is never to be spared before the host, so a score below the starter's own is for who may set it. To be done
/// while `/proc` is the host's: what a container has in its place may lead the writing elsewhere.
pub(super) fn set_oom_score(process: &ProcessSpec) -> Result<(), Failure> {
    let Some(score) = process.oom_score_adj() else { return Ok(()) };
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).at(Stage::SetOomScore, score.to_string())
}

pub(super) fn become_user(identity: &Identity) -> Result<(), Failure> {
    let name = || identity.uid.to_string();
    // To the kernel this number means: as it was, which is root.
    if [identity.uid, identity.gid].iter().chain(&identity.groups).any(|id| *id == u32::MAX) {
        return Err(Failure::new(Stage::SetUser, name(), Errno::RANGE));
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups).at(Stage::SetUser, name())?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Stage::SetUser, name())?;
    // The permitted capabilities are to survive until they are set as wanted.
    rustix::thread::set_keep_capabilities(true).at(Stage::SetUser, name())?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Stage::SetUser, name())?;
    rustix::thread::set_keep_capabilities(false).at(Stage::SetUser, name())
}

pub(super) fn enter_working_dir(cwd: &str) -> Result<(), Failure> {
    rustix::process::chdir(cwd).at(Stage::EnterWorkingDir, cwd)?;
    // A folder outside the root has no path from the root. However it was reached, it must not be reached.
    let reached = rustix::process::getcwd(Vec::new()).at(Stage::EnterWorkingDir, cwd)?;
    if reached.as_bytes().starts_with(b"/") { Ok(()) } else { Err(Failure::new(Stage::EnterWorkingDir, cwd, Errno::XDEV)) }
}

/// `PATH` and `HOME` when the environment has none.
pub(super) fn complete_env(env: &[String], identity: &Identity) -> Vec<String> {
    let mut env = env.to_vec();
    let has = |env: &[String], name: &str| env.iter().any(|line| line.split_once('=').is_some_and(|(n, _)| n == name));
    if !has(&env, "PATH") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={}", identity.home));
    }
    env
}

/// The paths at which the command may be, in order.
pub(super) fn candidates(argv: &[String], env: &[String]) -> Result<Vec<CString>, Failure> {
    let command = argv.first().filter(|c| !c.is_empty()).ok_or_else(|| Failure::new(Stage::Execute, "", Errno::NOENT))?;
    if command.contains('/') {
        return c_strings(std::slice::from_ref(command));
    }
    let path = env.iter().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let paths: Vec<String> = path
        .split(':')
        .map(|folder| Path::new(if folder.is_empty() { "." } else { folder }).join(OsStr::new(command)))
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    c_strings(&paths)
}

/// An image may call `/proc/self/exe` its command, by a symlink: that is this program, the host's, which a container must
/// not get hold of, since it could be written to when nobody runs it.
pub(super) fn refuse_own_program(candidates: &[CString]) -> Result<(), Failure> {
    use rustix::fs::{CWD, OFlags, ResolveFlags};

    use crate::sys::resolve::open_by;
    for candidate in candidates {
        if let Err(Errno::LOOP) = open_by(CWD, candidate.as_c_str(), OFlags::PATH, ResolveFlags::NO_MAGICLINKS) {
            return Err(Failure::new(Stage::Execute, candidate.to_string_lossy(), Errno::LOOP));
        }
    }
    Ok(())
}

pub(super) fn execute(command: &str, candidates: &[CString], argv: &[CString], env: &[CString]) -> Failure {
    let mut worst = nix::errno::Errno::ENOENT;
    for candidate in candidates {
        let Err(errno) = nix::unistd::execve(candidate, argv, env);
        match errno {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {}
            // Something is there that may not be executed; a later folder may have something better.
            nix::errno::Errno::EACCES => worst = errno,
            _ => return Failure::new(Stage::Execute, command, errno),
        }
    }
    Failure::new(Stage::Execute, command, worst)
}

pub(super) fn c_strings(strings: &[String]) -> Result<Vec<CString>, Failure> {
    strings
        .iter()
        .map(|s| CString::new(OsStr::new(s).as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL)))
        .collect::<Result<_, _>>()
        .at(Stage::ReadSpec, "arguments and environment: a zero byte")
}

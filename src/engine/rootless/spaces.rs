//! The namespaces themselves: made by a process that then does nothing in them, or found again at one that outlived it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::Signal;

use super::error::RootlessError;
use super::ids::Ids;
use super::record::Names;
use crate::sys;
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// The process in the namespaces. It ends when this is dropped, or its maker ends.
#[derive(Debug)]
pub(super) struct Pin {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    _channel: OwnedFd,
}

fn keeper(action: &'static str) -> impl FnOnce(io::Error) -> RootlessError {
    move |source| RootlessError::Keeper { action, source }
}

/// New namespaces, with these users.
pub(super) fn make(ids: &Ids) -> Result<Pin, RootlessError> {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
    let (ours, theirs) = pair()?;
    match clone_process(flags, None).map_err(refused)? {
        Cloned::Child => {
            drop(ours);
            // The users come first: until then this process is nobody.
            pin(&theirs, || await_word(&theirs).and_then(|()| settle_in()))
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let made = Pin { pid, pidfd, _channel: ours };
            ids.give_to(pid)?;
            send_word(&made._channel).map_err(keeper("set up"))?;
            made.until_ready()
        }
    }
}

/// A process in the namespaces of those that the last keeper left, if any of them is there.
pub(super) fn find(names: &Names) -> Result<Option<Pin>, RootlessError> {
    let Some((there, net)) = survivors(names).map_err(keeper("look for"))? else { return Ok(None) };
    let open = |pid: i32, kind: &str| File::open(format!("/proc/{pid}/ns/{kind}")).map_err(keeper("open"));
    let (user, mounts) = (open(there, "user")?, open(there, "mnt")?);
    let network = net.map(|pid| open(pid, "net")).transpose()?;
    let (ours, theirs) = pair()?;
    match clone_process(CloneFlags::empty(), None).map_err(keeper("enter"))? {
        Cloned::Child => {
            drop(ours);
            pin(&theirs, || {
                setns(user, CloneFlags::CLONE_NEWUSER)?;
                setns(mounts, CloneFlags::CLONE_NEWNS)?;
                match network {
                    Some(network) => setns(network, CloneFlags::CLONE_NEWNET)?,
                    // The networks are made again when they are needed.
                    None => unshare(CloneFlags::CLONE_NEWNET)?,
                }
                sys::loopback::raise()
            })
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            Pin { pid, pidfd, _channel: ours }.until_ready().map(Some)
        }
    }
}

/// A process that has the user namespace and the mounts, and one that has the network.
fn survivors(names: &Names) -> io::Result<Option<(i32, Option<i32>)>> {
    let (mut there, mut network) = (None, None);
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Those of other users tell nothing.
        let Ok(found) = Names::of(pid) else { continue };
        if found.user == names.user {
            there = there.or((found.mnt == names.mnt).then_some(pid));
            network = network.or((found.net == names.net).then_some(pid));
        }
    }
    Ok(there.map(|pid| (pid, network)))
}

/// The life of the process in the namespaces.
fn pin(channel: &OwnedFd, set_up: impl FnOnce() -> io::Result<()>) -> ! {
    let attempt = || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        set_up()?;
        // Whoever is to join has to be able to look at this process, which the change of its rights took away.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::thread::set_name(c"setpoint-spaces")?;
        keep_only(channel)?;
        send_word(channel)
    };
    let code = match attempt() {
        // Until the keeper closes its end.
        Ok(()) => {
            await_word(channel).ok();
            0
        }
        Err(e) => e.raw_os_error().unwrap_or(libc::EIO),
    };
    exit_now(code)
}

/// Neither the keeper's lock nor the stream to its starter is to live as long as this process.
fn keep_only(channel: &OwnedFd) -> io::Result<()> {
    let null = sys::pty::null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    drop(null);
    let kept = channel.as_raw_fd().cast_unsigned();
    if kept > 3 {
        sys::process::close_range(3, kept - 1)?;
    }
    sys::process::close_range(kept + 1, u32::MAX)
}

/// In new namespaces: what is mounted on the host later is seen here, and nothing of here is seen there.
fn settle_in() -> io::Result<()> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    sys::loopback::raise()
}

impl Pin {
    fn until_ready(self) -> Result<Self, RootlessError> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        if await_word(&self._channel).is_ok() {
            return Ok(self);
        }
        let ended = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(|e| keeper("wait for")(e.into()))?;
        let code = ended.and_then(|ended| ended.exit_status()).unwrap_or(libc::EIO);
        Err(refused(io::Error::from_raw_os_error(code)))
    }
}

/// What a host may have against it.
fn refused(source: io::Error) -> RootlessError {
    let setting = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let reason = if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        Some("as root: sysctl kernel.unprivileged_userns_clone=1")
    } else if setting("/proc/sys/user/max_user_namespaces") == "0" {
        Some("as root: sysctl user.max_user_namespaces=28633")
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        Some(
            "AppArmor lets only programs with a profile do so; give setpoint one with `userns,`, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else {
        None
    };
    RootlessError::Namespace { source, reason }
}

fn pair() -> Result<(OwnedFd, OwnedFd), RootlessError> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| keeper("make a channel to")(e.into()))
}

fn send_word(channel: &OwnedFd) -> io::Result<()> {
    Ok(rustix::net::send(channel, b"go", SendFlags::NOSIGNAL).map(drop)?)
}

/// # Errors
/// Also when the other end is closed.
fn await_word(channel: &OwnedFd) -> io::Result<()> {
    let mut word = [0; 8];
    loop {
        match rustix::net::recv(channel, &mut word, RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            other => return Ok(other.map(drop)?),
        }
    }
}

//! What the process that becomes the container tells its starter: a closed protocol over a socket pair of packets.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

/// What the child was doing when it failed. The words go between `could not` and the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    ResetSignals,
    AwaitStarter,
    ReadSpec,
    JoinNetwork,
    RaiseLoopback,
    JoinNamespaces,
    JoinCgroup,
    NewCgroupNamespace,
    IsolateMounts,
    MountRoot,
    PrepareTarget,
    Mount,
    MakeDevice,
    MaskPath,
    ProtectPath,
    SetSysctl,
    SetHostname,
    MakeWorkingDir,
    PivotRoot,
    FindUser,
    SetSession,
    SetTerminal,
    SetStreams,
    SetLimit,
    SetOomScore,
    SetKeyring,
    CloseFiles,
    EnterWorkingDir,
    SetUser,
    SetCapabilities,
    SetNoNewPrivileges,
    SetParentDeathSignal,
    StarterDied,
    SetSeccomp,
    StartInit,
    ShareMemory,
    Execute,
    JoinNamespace,
    MapUsers,
    SetPropagation,
    MoveNetDevice,
    RunHook,
    SendTerminal,
    SendListener,
    SetScheduling,
    SetLabel,
    SetClock,
    SetPersonality,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResetSignals => "reset the signals",
            Self::AwaitStarter => "wait for the starter",
            Self::ReadSpec => "use the specification's",
            Self::JoinNetwork => "join the network namespace",
            Self::RaiseLoopback => "raise the loopback link",
            Self::JoinNamespaces => "join the container's namespaces",
            Self::JoinCgroup => "join the cgroup",
            Self::NewCgroupNamespace => "make a cgroup namespace",
            Self::IsolateMounts => "isolate the mounts",
            Self::MountRoot => "mount the root file system",
            Self::PrepareTarget => "prepare the mount point",
            Self::Mount => "mount",
            Self::MakeDevice => "make the device",
            Self::MaskPath => "mask",
            Self::ProtectPath => "make read-only",
            Self::SetSysctl => "set the sysctl",
            Self::SetHostname => "set the host name",
            Self::MakeWorkingDir => "make the working directory",
            Self::PivotRoot => "change the root",
            Self::FindUser => "find in the image the user or group",
            Self::SetSession => "start a session",
            Self::SetTerminal => "take the terminal",
            Self::SetStreams => "set the standard streams",
            Self::SetLimit => "set the limit",
            Self::SetOomScore => "set the OOM score",
            Self::SetKeyring => "set the keyring",
            Self::CloseFiles => "close inherited files",
            Self::EnterWorkingDir => "enter the working directory",
            Self::SetUser => "become the user",
            Self::SetCapabilities => "set the capabilities",
            Self::SetNoNewPrivileges => "renounce new privileges",
            Self::SetParentDeathSignal => "tie the process to its starter",
            Self::StarterDied => "go on: the starter died",
            Self::SetSeccomp => "load the system call filter",
            Self::StartInit => "start the init",
            Self::ShareMemory => "share the memory of the other container:",
            Self::Execute => "execute",
            Self::JoinNamespace => "join the namespace",
            Self::MapUsers => "map the users of the namespace",
            Self::SetPropagation => "set the propagation of",
            Self::MoveNetDevice => "move the network device",
            Self::RunHook => "run the hook",
            Self::SendTerminal => "send the terminal",
            Self::SendListener => "send the listener for system calls",
            Self::SetScheduling => "set the scheduling:",
            Self::SetLabel => "set the security label",
            Self::SetClock => "set the clock",
            Self::SetPersonality => "set the personality",
        })
    }
}

/// One failed step of the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub stage: Stage,
    /// A path or a name; empty where the stage says all.
    pub subject: String,
    pub errno: i32,
}

impl Failure {
    pub(super) fn new(stage: Stage, subject: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error().unwrap_or(match error.kind() {
            io::ErrorKind::NotFound => libc::ENOENT,
            _ => libc::EINVAL,
        });
        Self { stage, subject: subject.into(), errno }
    }
}

/// `.at(stage, subject)` on results whose error is the kernel's.
pub(super) trait At<T> {
    fn at(self, stage: Stage, subject: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, stage: Stage, subject: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|e| Failure::new(stage, subject, e))
    }
}

/// From child to starter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The process that is to execute the command, by its number in the starter's pid namespace. It waits for [`Channel::go`].
    Born {
        pid: i32,
    },
    /// The next system call is `execve`: an end of the channel after this means that it succeeded.
    Executing,
    Failed(Failure),
}

/// One end of the channel. The other end's process closes its own by `execve` or by dying.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// From starter to child, as a single byte: the child is in its cgroups and may go on.
const GO: &[u8] = b"go";

impl Channel {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (starter, child) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(starter), Self(child)))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    pub(super) fn report(&self, report: &Report) -> io::Result<()> {
        self.send(&serde_json::to_vec(report)?)
    }

    /// The child's next report; `None` when it closed its end.
    pub(super) fn next_report(&self) -> io::Result<Option<Report>> {
        let mut buffer = [0; 8192];
        match self.receive(&mut buffer)? {
            0 => Ok(None),
            length => Ok(Some(serde_json::from_slice(&buffer[..length])?)),
        }
    }

    /// Lets the child go on. A child that is gone already has left a report, or its end will tell.
    pub(super) fn go(&self) -> io::Result<()> {
        match self.send(GO) {
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            other => other,
        }
    }

    /// Waits for [`Channel::go`].
    pub(super) fn await_go(&self) -> io::Result<()> {
        let mut buffer = [0; 8];
        match self.receive(&mut buffer)? {
            0 => Err(io::Error::from_raw_os_error(libc::EPIPE)),
            _ => Ok(()),
        }
    }

    /// Whether the other end is closed. Nothing is waited for.
    pub(super) fn is_deserted(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                // Said once, before what is still queued, when the other end was closed with a message unread: the `go`
                // to a child that had failed by then. Its report is what comes next.
                Err(Errno::CONNRESET) => {}
                other => return Ok(other?.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_channel() {
        let (starter, child) = Channel::pair().unwrap();
        starter.go().unwrap();
        child.await_go().unwrap();
        let failed = Report::Failed(Failure::new(Stage::Mount, "/data", Errno::NOENT));
        child.report(&failed).unwrap();
        assert!(!starter.is_deserted().unwrap());
        drop(child);
        assert!(starter.is_deserted().unwrap());
        assert_eq!(starter.next_report().unwrap(), Some(failed));
        assert_eq!(starter.next_report().unwrap(), None);
        starter.go().unwrap();

        // The child fails before it reads what it was sent.
        let (starter, child) = Channel::pair().unwrap();
        let failed = Report::Failed(Failure::new(Stage::Mount, "/data", Errno::NOENT));
        child.report(&failed).unwrap();
        starter.go().unwrap();
        drop(child);
        assert_eq!(starter.next_report().unwrap(), Some(failed));
        assert_eq!(starter.next_report().unwrap(), None);
    }
}

//! The role `@rootless`: the process that keeps a user's namespaces and the program that connects their network. It lives until it
//! is told to end; both go with it. Single-threaded; it waits for nothing but `poll`.

use std::ffi::OsString;
use std::io::{self, Write, stderr, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::RootlessError;
use super::ids::Ids;
use super::record::{Folder, Names, Process, Record};
use super::slirp::{self, Slirp};
use super::spaces::{self, Pin};
use crate::files::Lock;
use crate::sys::{self, Daemonized};

/// What is said to the starter when all stands. Anything else is why it does not.
pub(super) const READY: &str = "ready";

/// How long after its end the program is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// The role's entry: `<run-time folder>`. Standard output is where the starter is told how it went, and standard error its log.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let [run_dir] = arguments else {
        drop(writeln!(stderr(), "usage: {} <run folder>", super::ROLE));
        return ExitCode::FAILURE;
    };
    match sys::daemonize() {
        Ok(Daemonized::Starter) => return ExitCode::SUCCESS,
        Ok(Daemonized::Daemon) => {}
        Err(e) => {
            tell(&format!("leave the starter's session: {e}"));
            return ExitCode::FAILURE;
        }
    }
    match begin(Path::new(run_dir)).and_then(Keeper::serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(&e.to_string());
            drop(writeln!(stderr(), "{e}"));
            ExitCode::FAILURE
        }
    }
}

/// The starter may be gone, and after the beginning it is.
fn tell(text: &str) {
    drop(writeln!(stdout(), "{text}").and_then(|()| stdout().flush()));
}

struct Keeper {
    folder: Folder,
    /// Held as long as this lives.
    _lock: Lock,
    pin: Pin,
    slirp: Slirp,
}

fn begin(run_dir: &Path) -> Result<Keeper, RootlessError> {
    let failed = |action| move |source| RootlessError::Keeper { action, source };
    let folder = Folder::of(run_dir);
    std::env::set_current_dir("/").map_err(failed("set up"))?;
    let Some(lock) = Lock::try_take(&folder.lock())? else {
        return Err(RootlessError::NotStarted { said: "another one has begun".to_owned() });
    };
    let ids = Ids::of_caller()?;
    // The containers of a keeper that was killed live on in its namespaces.
    let found = match Record::read(&folder)? {
        Some(former) => spaces::find(&former.names)?,
        None => None,
    };
    let pin = match found {
        Some(pin) => pin,
        None => spaces::make(&ids)?,
    };
    let slirp = connect(&folder, &pin)?;
    let own = std::process::id().cast_signed();
    let record = Record {
        keeper: Process::identify(own).map_err(failed("identify the keeper of"))?,
        pin: Process::identify(pin.pid).map_err(failed("identify the process in"))?,
        names: Names::of(pin.pid).map_err(failed("name"))?,
    };
    record.write(&folder)?;
    Ok(Keeper { folder, _lock: lock, pin, slirp })
}

fn connect(folder: &Folder, pin: &Pin) -> Result<Slirp, RootlessError> {
    let slirp = slirp::start(pin.pid, &folder.socket(), &folder.path().join("slirp.log"))?;
    let wanted = slirp::written(&folder.ports())?;
    if !wanted.is_empty()
        && let Err(e) = slirp::bring_about(&folder.socket(), &wanted)
    {
        // Whoever looks at the networks next puts it right, or is told.
        drop(writeln!(stderr(), "{e}"));
    }
    Ok(slirp)
}

impl Keeper {
    /// Until the process in the namespaces ends, which nobody but a user brings about.
    fn serve(mut self) -> Result<(), RootlessError> {
        let failed = |action| move |source: io::Error| RootlessError::Keeper { action, source };
        tell(READY);
        // Whoever reads to the end must not wait as long as this lives.
        let null = sys::pty::null().map_err(failed("let the starter go from"))?;
        rustix::stdio::dup2_stdout(&null).map_err(|e| failed("let the starter go from")(e.into()))?;
        loop {
            let program = self.program().map_err(failed("watch the network of"))?;
            let mut fds = [
                PollFd::from_borrowed_fd(self.pin.pidfd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(program.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(failed("watch")(e.into())),
            }
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
            if fds[1].revents().is_empty() {
                continue;
            }
            self.slirp.child.wait().map_err(failed("watch the network of"))?;
            loop {
                std::thread::sleep(PAUSE);
                match connect(&self.folder, &self.pin) {
                    Ok(slirp) => {
                        self.slirp = slirp;
                        break;
                    }
                    Err(e) => drop(writeln!(stderr(), "{e}")),
                }
            }
        }
    }

    /// Not waited for yet, so the number is its own.
    fn program(&self) -> io::Result<OwnedFd> {
        let pid = Pid::from_raw(self.slirp.child.id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }
}

//! The way in: from a command that an ordinary user has typed to the same command, executed anew where the user is root. And
//! the end of it all.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::RootlessError;
use super::keeper::READY;
use super::record::{Folder, Record};
use super::{ROLE, delegate};
use crate::files::{self, FileError, Lock};
use crate::model::Instance;

/// The log begins anew when it has grown to this.
const MAX_LOG: u64 = 64 << 10;
/// How long the keeper may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process has to go in: it is not root.
pub fn is_needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// The state root and the run-time root of an ordinary user. Source: the XDG Base Directory Specification.
pub fn default_roots() -> Result<(PathBuf, PathBuf), RootlessError> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share"))).ok_or(RootlessError::NoHome)?;
    let run = match variable("XDG_RUNTIME_DIR") {
        Some(path) => path,
        // What a session would have said: a shell of su(1) has none, and the folder may be there all the same.
        None => {
            let user = rustix::process::getuid().as_raw();
            let usual = PathBuf::from(format!("/run/user/{user}"));
            if usual.is_dir() { usual } else { PathBuf::from(format!("/tmp/setpoint-{user}")) }
        }
    };
    Ok((data.join("setpoint"), run.join("setpoint")))
}

/// Executes this program once more, with the same arguments, inside the user's namespaces. Returns only what went wrong.
///
/// # Assumptions
/// The process has one thread, and nothing of its state is worth keeping but its arguments, environment, folder and streams.
pub fn enter(instance: &Instance) -> Result<Infallible, RootlessError> {
    check_kernel()?;
    let folder = Folder::of(instance.run_dir());
    files::create_dirs(folder.path(), 0o700)?;
    refuse_foreign(instance.run_dir())?;
    // Before: the user is asked who it is, and is the user only outside.
    delegate::settle(instance, &folder)?;
    let record = ensure(instance, &folder)?;
    let here = std::env::current_dir();
    join(&record)?;
    if let Ok(here) = here {
        // One that was removed, or is not seen there, is left: then the command works at the root.
        drop(std::env::set_current_dir(here));
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "setpoint".into());
    let failed = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .env("SETPOINT_STATE_DIR", instance.state_dir())
        .env("SETPOINT_RUN_DIR", instance.run_dir())
        .exec();
    Err(RootlessError::Execute(failed))
}

/// Ends the keeper, and with it what it keeps as far as nobody else uses it. One that does not live has ended already.
pub fn leave(run_dir: &Path) -> Result<(), RootlessError> {
    let folder = Folder::of(run_dir);
    let failed = |source| RootlessError::Keeper { action: "end", source };
    let Some(record) = Record::read(&folder)? else { return Ok(()) };
    let process = Pid::from_raw(record.keeper.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(process) = process
        && record.keeper.lives()
        && Lock::is_held(&folder.lock())?
    {
        pidfd_send_signal(process, Signal::TERM).map_err(|e| failed(e.into()))?;
        let until = Instant::now() + PATIENCE;
        while Lock::is_held(&folder.lock())? || record.pin.lives() {
            if Instant::now() > until {
                return Err(failed(std::io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(files::remove_all(&folder.record()).and_then(|()| files::remove_all(&folder.ports()))?)
}

/// Whoever else could write there could make this process join whatever they like.
fn refuse_foreign(run_dir: &Path) -> Result<(), RootlessError> {
    let meta = |path: &Path| std::fs::symlink_metadata(path).map_err(|e| FileError::new("look at", path, e));
    let own = rustix::process::geteuid().as_raw();
    // The folder around it counts where it is this program's too.
    let around =
        run_dir.parent().filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("setpoint-")));
    for path in around.into_iter().chain([run_dir, Folder::of(run_dir).path()]) {
        let meta = meta(path)?;
        if !meta.is_dir() || meta.uid() != own || meta.mode() & 0o022 != 0 {
            return Err(RootlessError::ForeignRunDir { path: path.to_owned() });
        }
    }
    Ok(())
}

/// Source: the kernel's change log: overlayfs in user namespaces came with 5.11.
fn check_kernel() -> Result<(), RootlessError> {
    let found = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = found.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < (5, 11) => Err(RootlessError::OldKernel { found }),
        _ => Ok(()),
    }
}

/// The keeper that lives, or a new one.
fn ensure(instance: &Instance, folder: &Folder) -> Result<Record, RootlessError> {
    if let Some(record) = Record::of_living(folder)? {
        return Ok(record);
    }
    let _starting = Lock::wait(&folder.starting())?;
    // Whoever held it before may have started one.
    if let Some(record) = Record::of_living(folder)? {
        return Ok(record);
    }
    start(instance.run_dir(), folder)?;
    Record::of_living(folder)?.ok_or_else(|| RootlessError::NotStarted { said: "it ended at once".to_owned() })
}

fn start(run_dir: &Path, folder: &Folder) -> Result<(), RootlessError> {
    let failed = |source| RootlessError::Keeper { action: "start a keeper of", source };
    let path = folder.log();
    let large = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG);
    let log = std::fs::OpenOptions::new().create(true).append(!large).write(true).truncate(large).open(&path);
    let log = log.map_err(|e| FileError::new("open", &path, e))?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("setpoint")
        .arg(ROLE)
        .arg(run_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(failed)?;
    }
    child.wait().map_err(failed)?;
    if said.trim() == READY { Ok(()) } else { Err(RootlessError::NotStarted { said: said.trim().to_owned() }) }
}

fn join(record: &Record) -> Result<(), RootlessError> {
    let pid = record.pin.pid;
    let open = |kind: &'static str, what: &'static str| {
        File::open(format!("/proc/{pid}/ns/{kind}")).map_err(|source| RootlessError::Join { what, source })
    };
    let (user, mounts) = (open("user", "user")?, open("mnt", "mount")?);
    // Only now do the numbers surely mean the process that was recorded.
    if !record.pin.lives() {
        return Err(RootlessError::Join { what: "user", source: std::io::ErrorKind::NotFound.into() });
    }
    let joined = |what| move |e: nix::errno::Errno| RootlessError::Join { what, source: e.into() };
    setns(user, CloneFlags::CLONE_NEWUSER).map_err(joined("user"))?;
    setns(mounts, CloneFlags::CLONE_NEWNS).map_err(joined("mount"))
}

//! The DNS server of an instance: one process for all its networks, which goes on while no daemon runs. This is how it is
//! started, found and stopped; what it does is in `server`.

mod answer;
mod forward;
mod pass;
mod server;
pub(super) mod zone;

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use self::forward::Upstream;
use self::server::ServerError;
use self::zone::{Files, SPEAKS, Serving, Zone};
use super::error::NetworkError;
use crate::engine::rootless;
use crate::files::{self, FileError, Lock};

/// The role's name on the command line.
pub const ROLE: &str = "@dns";
/// The second argument that makes the process the server itself rather than its starter.
const SERVE: &str = "serve";
/// What the server writes to its starter once it listens.
const READY: &str = "ready";
/// How long a start, or a new gateway's sockets, may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum RoleError {
    #[error("usage: {ROLE} <run folder>")]
    Usage,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("start the server: {0}")]
    Start(io::Error),
    #[error("{0}")]
    Ended(String),
    #[error("leave the starter's session: {0}")]
    Session(io::Error),
    #[error("make a runtime: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// The role `@dns <run folder>`: starts the server, detached, and returns when it listens. `arguments` are those after
/// the role's name.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let result = match arguments {
        [run_dir] => start_detached(Path::new(run_dir)),
        [run_dir, verb] if verb == SERVE => serve(Path::new(run_dir)),
        _ => Err(RoleError::Usage),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The starter reads it; a server's goes to its log. Where neither can be written, nobody listens.
            drop(writeln!(io::stderr(), "{e}"));
            ExitCode::FAILURE
        }
    }
}

/// Starts the server as a child of nobody: this process is only there to end, so that whoever asked need not wait for
/// a child that it never had a use for.
fn start_detached(run_dir: &Path) -> Result<(), RoleError> {
    let files = Files::of(run_dir);
    files::create_dirs(files.folder(), 0o700)?;
    let log = std::fs::File::create(files.log()).map_err(|e| FileError::new("create", files.log(), e))?;
    // What stood before the role's name on this command line is how the program is told its role.
    let program: Vec<OsString> = std::env::args_os().skip(1).take_while(|a| a != ROLE).collect();
    let mut child = Command::new("/proc/self/exe")
        .arg0("setpoint")
        .args(program)
        .args([OsStr::new(ROLE), run_dir.as_os_str(), OsStr::new(SERVE)])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(RoleError::Start)?;
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in lines {
        if line.map_err(RoleError::Start)?.ends_with(READY) {
            return Ok(());
        }
    }
    let status = child.wait().map_err(RoleError::Start)?;
    let said = files::read_to_string(&files.log())?;
    Err(RoleError::Ended(if said.trim().is_empty() { status.to_string() } else { said.trim().to_owned() }))
}

fn serve(run_dir: &Path) -> Result<(), RoleError> {
    let files = Files::of(run_dir);
    let mut ready = Some(|| {
        // Nobody reads it any more when the starter was killed; the server is of use all the same.
        let mut out = io::stdout();
        drop(writeln!(out, "{READY}").and_then(|()| out.flush()));
        // Whoever reads to the end must not wait as long as the server lives. Without a null device it does.
        if let Ok(null) = crate::sys::pty::null() {
            rustix::stdio::dup2_stdout(&null).ok();
        }
    });
    rustix::process::setsid().map_err(|e| RoleError::Session(e.into()))?;
    loop {
        let Some(lock) = Lock::try_take(&files.lock())? else {
            // Another serves already, which is all that was asked for.
            ready.take().into_iter().for_each(|say| say());
            return Ok(());
        };
        note_holder(&files, &lock)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RoleError::Runtime)?;
        let say = ready.take();
        let upstream = if rootless::is_inside(run_dir) { Upstream::at(rootless::NAMES) } else { Upstream::default() };
        runtime.block_on(server::serve(&files, upstream, || say.into_iter().for_each(|say| say())))?;
        drop(runtime);
        drop(lock);
        // Whoever published a network before the lock was released took this server for alive: serve it after all.
        if server::read_zone(&files)?.networks.is_empty() {
            return Ok(());
        }
    }
}

/// Writes the process's id and start time into the lock, which tell it from a later process of the same id.
fn note_holder(files: &Files, lock: &Lock) -> Result<(), FileError> {
    let pid = std::process::id();
    let started = own_start().map_err(|e| FileError::new("read", "/proc/self/stat", e))?;
    let note = format!("{pid} {started}\n");
    let fail = |e| FileError::new("write", files.lock(), e);
    let mut file = lock.file();
    file.set_len(0).map_err(fail)?;
    file.write_all(note.as_bytes()).map_err(fail)
}

fn own_start() -> io::Result<u64> {
    crate::sys::process_start_ticks(rustix::process::getpid().as_raw_nonzero().get())
}

/// The engine's side.
#[derive(Clone, Debug)]
pub(super) struct Dns {
    files: Files,
    run_dir: PathBuf,
    /// The program and what it needs to be told before a role's name.
    program: Vec<OsString>,
}

impl Dns {
    pub(super) fn new(run_dir: &Path, program: Vec<OsString>) -> Self {
        Self { files: Files::of(run_dir), run_dir: run_dir.to_owned(), program }
    }

    pub(super) fn publish(&self, zone: &Zone) -> Result<(), NetworkError> {
        files::create_dirs(self.files.folder(), 0o700)?;
        let text = serde_json::to_vec(zone).map_err(NetworkError::Zone)?;
        if files::read_if_there(&self.files.zone())?.as_deref() != Some(text.as_slice()) {
            files::publish(&self.files.zone(), &text, 0o600)?;
        }
        Ok(())
    }

    pub(super) fn is_alive(&self) -> Result<bool, NetworkError> {
        Ok(Lock::is_held(&self.files.lock())?)
    }

    /// Whether a server runs that an older version has started, which understands less of a zone than this one says.
    pub(super) fn is_old(&self) -> Result<bool, NetworkError> {
        Ok(self.is_alive()? && self.serving()?.is_some_and(|serving| serving.speaks < SPEAKS))
    }

    /// What keeps the server from listening at `gateway`; `None` when it listens.
    pub(super) fn fault(&self, gateway: IpAddr) -> Result<Option<String>, NetworkError> {
        if !self.is_alive()? {
            return Ok(Some("its DNS server does not run".to_owned()));
        }
        Ok(self.serving()?.and_then(|s| s.gateways.into_iter().find(|g| g.address == gateway)).and_then(|g| g.error))
    }

    /// Starts the server where it does not run, and waits until it listens at `gateways`, whose zone is published.
    pub(super) fn ensure(&self, gateways: &[IpAddr]) -> Result<(), NetworkError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            if !self.is_alive()? {
                self.start()?;
            }
            let serving = self.serving()?.unwrap_or_default();
            let missing = gateways.iter().find(|ip| serving.gateways.iter().all(|g| g.address != **ip));
            let Some(missing) = missing else {
                let refused = serving.gateways.into_iter().find_map(|g| Some((g.address, g.error?)));
                return match refused.filter(|(ip, _)| gateways.contains(ip)) {
                    Some((gateway, message)) => Err(NetworkError::DnsListen { gateway, message }),
                    None => Ok(()),
                };
            };
            if Instant::now() > deadline {
                return Err(NetworkError::DnsSlow { gateway: *missing, seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn serving(&self) -> Result<Option<Serving>, NetworkError> {
        let text = files::read_if_there(&self.files.serving())?;
        let holder = files::read_if_there(&self.files.lock())?.unwrap_or_default();
        let holder = String::from_utf8_lossy(&holder).split_whitespace().next().and_then(|pid| pid.parse().ok());
        // What a former server left, or one of another version, is as good as nothing: the next word is waited for.
        let serving: Option<Serving> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(serving.filter(|s| Some(s.pid) == holder))
    }

    fn start(&self) -> Result<(), NetworkError> {
        let (program, before) = match self.program.split_first() {
            Some((program, before)) => (program.as_os_str(), before),
            None => (OsStr::new("/proc/self/exe"), &[][..]),
        };
        let output = Command::new(program)
            .args(before)
            .args([OsStr::new(ROLE), self.run_dir.as_os_str()])
            .stdin(Stdio::null())
            .output()
            .map_err(NetworkError::DnsStart)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(NetworkError::DnsFailed { message: said.trim().lines().last().unwrap_or("it did not say why").to_owned() })
    }

    /// Ends the server: by an empty zone, and when that does not help by a signal to exactly the process that holds the
    /// lock.
    pub(super) fn stop(&self) -> Result<(), NetworkError> {
        if !self.is_alive()? {
            return Ok(());
        }
        self.publish(&Zone::default())?;
        if self.gone_within(Duration::from_secs(2))? {
            return Ok(());
        }
        let note = files::read_to_string(&self.files.lock())?;
        let mut words = note.split_whitespace();
        let pid = words.next().and_then(|w| w.parse::<i32>().ok());
        let started = words.next().and_then(|w| w.parse::<u64>().ok());
        if let Some(id) = pid
            && let Some(pid) = Pid::from_raw(id)
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && started.is_some_and(|started| crate::sys::process_start_ticks(id).is_ok_and(|now| now == started))
            && self.is_alive()?
        {
            pidfd_send_signal(process, Signal::KILL).map_err(|e| NetworkError::DnsStop(e.into()))?;
        }
        if self.gone_within(Duration::from_secs(5))? {
            Ok(())
        } else {
            Err(NetworkError::DnsStop(io::Error::from(io::ErrorKind::TimedOut)))
        }
    }

    fn gone_within(&self, time: Duration) -> Result<bool, NetworkError> {
        let deadline = Instant::now() + time;
        while self.is_alive()? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }
}

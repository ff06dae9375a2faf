//! Cgroups for an ordinary user: the service manager of the user's session is asked for a scope that is the user's own, in
//! which this process then is. Without one there are no limits, and everything else works.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::error::RootlessError;
use super::record::Folder;
use crate::engine::runtime::cgroups::LEAF;
use crate::files::Lock;
use crate::model::Instance;

const MOUNT: &str = "/sys/fs/cgroup";
const MAGIC_OF_CGROUP2: u64 = 0x6367_7270;
/// How long the service manager may take to make a scope.
const PATIENCE: Duration = Duration::from_secs(10);
const MANAGER: [&str; 5] =
    ["--user", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Brings this process into the leaf of a cgroup that is delegated to the user, if there is any to be had.
pub(super) fn settle(instance: &Instance, folder: &Folder) -> Result<(), RootlessError> {
    if !is_unified() || is_settled() {
        return Ok(());
    }
    let unit = format!("{}.scope", instance.cgroup_parent());
    if has_bus() {
        if attach(&unit) {
            return Ok(());
        }
        // One at a time makes a scope.
        let _starting = Lock::wait(&folder.starting())?;
        if attach(&unit) || create(&unit) {
            return Ok(());
        }
    }
    // No service manager, or one that does not want: a cgroup that is the user's own by other means will do.
    if let Some(own) = own() {
        enter_leaf(&own.join(LEAF)).ok();
    }
    Ok(())
}

fn is_unified() -> bool {
    rustix::fs::statfs(MOUNT).is_ok_and(|on| on.f_type as u64 == MAGIC_OF_CGROUP2)
}

/// The cgroup that this process is in.
fn own() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| Path::new(MOUNT).join(path))
}

fn is_settled() -> bool {
    own().is_some_and(|own| own.file_name().is_some_and(|name| name == LEAF))
}

/// Makes the leaf and moves there.
fn enter_leaf(leaf: &Path) -> io::Result<()> {
    match std::fs::create_dir(leaf) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    std::fs::write(leaf.join("cgroup.procs"), "0")
}

fn has_bus() -> bool {
    let at_usual_place = || std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists());
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() || at_usual_place()
}

fn call(method: &str, arguments: &[&str]) -> Option<Output> {
    let pid = std::process::id().to_string();
    let arguments = arguments.iter().map(|argument| if *argument == "PID" { pid.as_str() } else { argument });
    let output = Command::new("busctl").arg("--quiet").args(MANAGER).arg(method).args(arguments).stdin(Stdio::null()).output();
    output.ok().filter(|output| output.status.success())
}

/// Moves this process into the leaf of a scope that is there.
fn attach(unit: &str) -> bool {
    call("AttachProcessesToUnit", &["ssau", unit, &format!("/{LEAF}"), "1", "PID"]).is_some() && is_settled()
}

/// Makes a scope with this process in it.
fn create(unit: &str) -> bool {
    let before = own();
    let arguments = ["ssa(sv)a(sa(sv))", unit, "fail", "2", "PIDs", "au", "1", "PID", "Delegate", "b", "true", "0"];
    if call("StartTransientUnit", &arguments).is_none() {
        return false;
    }
    // The answer says that it will be done.
    let until = Instant::now() + PATIENCE;
    while own() == before {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    own().is_some_and(|own| enter_leaf(&own.join(LEAF)).is_ok())
}

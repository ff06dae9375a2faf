//! Engines of others, each with everything of its own below one folder and in a mount namespace of its own, and the runtime
//! that they are told to use. Dropping one ends it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bundle::{PATIENCE, Ran};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program under the name that makes it an OCI runtime, whatever its arguments are.
pub(crate) fn runtime_in(folder: &Path) -> PathBuf {
    let runtime = folder.join("setpoint-oci");
    let own = Path::new(env!("CARGO_BIN_EXE_setpoint"));
    if fs::hard_link(own, &runtime).is_err() {
        fs::copy(own, &runtime).unwrap();
    }
    assert!(fs::metadata(&runtime).unwrap().mode() & 0o100 != 0);
    runtime
}

/// A daemon, with what it prints in a file of its folder.
pub(crate) struct Daemon {
    pub(crate) folder: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts it where `/run` and the folder of settings are empty, and seen by it alone.
    pub(crate) fn start(folder: &Path, settings: &str, command: &[&str]) -> Self {
        let log = File::create(folder.join("log")).unwrap();
        let script = "mkdir -p \"$0\"; mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, settings])
            .args(command)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", folder)
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `make test` installs what the tests need", command[0]));
        Self { folder: folder.to_owned(), child }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits until its client gets an answer.
    #[track_caller]
    pub(crate) fn answers(&mut self, mut ask: Command) {
        let begun = Instant::now();
        while !ask.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "no answer ({ended:?})\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a client says. What it leaves running must not hold its output.
    pub(crate) fn ran(command: &mut Command) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        let status = command
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .status()
            .unwrap();
        Ran::of(&Output { status, stdout: fs::read(out).unwrap(), stderr: fs::read(err).unwrap() })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let asked = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let begun = Instant::now();
        while asked.is_ok() && matches!(self.child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

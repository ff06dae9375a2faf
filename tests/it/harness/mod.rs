//! A host for one test: private mount and network namespaces, short roots under `/tmp`, the built program to run in it,
//! and at the end a look for anything that was left behind. Knows nothing of what the tests try.

pub(crate) mod image;
pub(crate) mod leftovers;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod registry;
pub(crate) mod user;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use setpoint::model::Instance;

pub(crate) use image::BUSYBOX;
pub(crate) use process::{Daemon, Ran, Running};
pub(crate) use pty::Typist;
pub(crate) use registry::Registry;
pub(crate) use user::User;

/// How long any one command may take before the test fails. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A host with one instance of setpoint. Dropping it resets the instance and fails the test if anything is left.
pub(crate) struct Host {
    pub(crate) instance: Instance,
    /// For the test's own files; removed at the end.
    pub(crate) dir: PathBuf,
    /// Who types the commands; root unless there is one.
    pub(crate) user: Option<User>,
    /// There until the end.
    root: Option<tempfile::TempDir>,
}

impl Host {
    /// Puts the calling thread, and all that it starts from now on, on a host of its own.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces, mounts and cgroups: run them as root");
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("unshare mount and network namespaces");
        tool("mount", &["--make-rprivate", "/"]);
        tool("ip", &["link", "set", "lo", "up"]);
        Self::beside()
    }

    /// Another instance in the namespaces that the calling thread has already.
    pub(crate) fn beside() -> Self {
        let root = tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap();
        let dir = root.path().join("w");
        fs::create_dir(&dir).unwrap();
        let instance = Instance::new(root.path().join("s"), root.path().join("r"), None);
        Self { instance, dir, user: None, root: Some(root) }
    }

    /// As [`Host::new`], where all commands are typed by an ordinary user, whose instance is at the usual places.
    pub(crate) fn of_user() -> Self {
        let mut host = Self::new();
        let user = User::new(host.root.as_ref().unwrap().path());
        host.instance = Instance::new(user.home.join(".local/share/setpoint"), user.runtime.join("setpoint"), None);
        host.user = Some(user);
        host
    }

    /// The program with these arguments, in this instance and with nothing else of the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = self.user.as_ref().map_or(Path::new(env!("CARGO_BIN_EXE_setpoint")), |user| &user.program);
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null());
        match &self.user {
            Some(user) => user.dress(&mut command),
            None => {
                command.env("HOME", &self.dir);
                command.env("SETPOINT_STATE_DIR", self.instance.state_dir()).env("SETPOINT_RUN_DIR", self.instance.run_dir());
            }
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn sp(&self, args: &[&str]) -> Ran {
        self.start(args).wait(PATIENCE)
    }

    /// Starts the program and lets it run.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::spawn(self.command(args))
    }

    /// Starts the program with this on its standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Running {
        let path = self.dir.join("input");
        // Another one may still read what it was given.
        fs::remove_file(&path).ok();
        fs::write(&path, input).unwrap();
        let mut command = self.command(args);
        command.stdin(fs::File::open(path).unwrap());
        Running::spawn(command)
    }

    /// Starts `daemon --source SOURCE`, and waits until it answers.
    pub(crate) fn daemon(&self, source: &Path) -> Daemon {
        Daemon::start(self, source)
    }

    /// Imports the busybox image that the tests run.
    pub(crate) fn with_busybox(self) -> Self {
        self.sp(&["import", image::busybox_tar().to_str().unwrap(), BUSYBOX]).ok();
        self
    }

    /// Writes a file below the test's folder, whole or not at all, so that a watching daemon never sees half of it.
    pub(crate) fn write(&self, path: &str, content: &str) -> PathBuf {
        let path = self.dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A name that no source takes for a manifest.
        let draft = path.with_extension("draft~");
        fs::write(&draft, content).unwrap();
        fs::rename(&draft, &path).unwrap();
        path
    }

    /// What `inspect` says of one container.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let found = self.sp(&["inspect", name]).ok().json();
        match found {
            Value::Array(mut all) if all.len() == 1 => all.remove(0),
            other => panic!("inspect {name} printed {other}"),
        }
    }

    /// A running container's first process, by its number on the host.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        self.running_pid(name).unwrap_or_else(|| panic!("{name} does not run: {}", self.inspect(name)))
    }

    /// As [`Host::pid`]; `None` when there is no such container or it does not run.
    pub(crate) fn running_pid(&self, name: &str) -> Option<i32> {
        let ran = self.sp(&["inspect", name]);
        if ran.code != 0 {
            return None;
        }
        let pid = ran.json()[0]["state"]["pid"].as_i64()?;
        (pid > 0).then(|| i32::try_from(pid).unwrap())
    }

    /// The names of all containers, sorted.
    pub(crate) fn containers(&self) -> Vec<String> {
        let listed = self.sp(&["ps", "-a", "--json"]).ok().json();
        let mut names: Vec<_> = listed.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// The names of the running containers, sorted.
    pub(crate) fn running(&self) -> Vec<String> {
        let listed = self.sp(&["ps", "--json"]).ok().json();
        let mut names: Vec<_> = listed.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- containers when the test failed:\n{}", self.sp_unchecked(&["ps", "-a"]));
        }
        // A reset gives what runs a second to end, which most of it lets pass.
        let said = self.sp_unchecked(&["ps", "-q"]);
        let is_id = |line: &&str| line.len() == 12 && line.bytes().all(|digit| digit.is_ascii_hexdigit());
        let running: Vec<&str> = said.lines().filter(is_id).collect();
        if !running.is_empty() {
            self.sp_unchecked(&[&["kill"], &running[..]].concat());
        }
        let reset = self.sp_unchecked(&["system", "reset", "--force", "--volumes"]);
        let left = leftovers::of(&self.instance);
        if !left.is_empty() {
            leftovers::end(&self.instance);
            let report = format!("left behind by {}:\n  {}\nreset said: {reset}", self.dir.display(), left.join("\n  "));
            if std::thread::panicking() { eprintln!("{report}") } else { panic!("{report}") }
        }
        drop(self.user.take());
        if let Some(Err(error)) = self.root.take().map(tempfile::TempDir::close)
            && !std::thread::panicking()
        {
            panic!("the test's folder stays: {error}");
        }
    }
}

impl Host {
    /// For the way out, where a second panic would abort: never panics, and returns all that was said.
    fn sp_unchecked(&self, args: &[&str]) -> String {
        let log = self.dir.join("way-out.log");
        let run = || -> std::io::Result<String> {
            let file = fs::File::create(&log)?;
            let mut child = self.command(args).stdout(file.try_clone()?).stderr(file).spawn()?;
            let end = Instant::now() + PATIENCE;
            let status = loop {
                match child.try_wait()? {
                    Some(status) => break status.to_string(),
                    None if Instant::now() > end => {
                        child.kill()?;
                        child.wait()?;
                        break "killed, it took too long".to_owned();
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            };
            Ok(format!("{}({status})", fs::read_to_string(&log)?))
        };
        run().unwrap_or_else(|e| format!("setpoint {args:?}: {e}"))
    }
}

/// Looks again and again until `look` gives something, and fails with `what` when that takes too long.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`wait_for`], for what is true or not.
#[track_caller]
pub(crate) fn wait_until(what: &str, patience: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, patience, || look().then_some(()));
}

/// Runs a program of the system, which must succeed, and returns its output.
#[track_caller]
pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; `make test` installs what the tests need"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

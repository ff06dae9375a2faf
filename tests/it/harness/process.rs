//! The program as a process: what it printed, how it ended, and the daemon. Knows nothing of what its output means.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Host, PATIENCE, wait_until};

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    line: String,
    /// The exit code; 128 + the signal when a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.fails_with(0)
    }

    #[track_caller]
    pub(crate) fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of `{}`\n--- stdout\n{}\n--- stderr\n{}", self.line, self.stdout, self.stderr);
        self
    }

    /// Both streams contain what each of `parts` says, in either.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.stdout.contains(part) || self.stderr.contains(part),
                "`{}` does not say {part:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.line,
                self.stdout,
                self.stderr
            );
        }
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("`{}` printed no JSON ({e}): {}", self.line, self.stdout))
    }

    /// What was printed on stdout, without the white space around it.
    pub(crate) fn out(&self) -> &str {
        self.stdout.trim()
    }
}

/// A command that runs. Dropping it kills it.
pub(crate) struct Running {
    line: String,
    child: Child,
    stdout: Collector,
    stderr: Collector,
}

struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Collector {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

impl Running {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let line = std::iter::once(command.get_program()).chain(command.get_args());
        let line = line.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Collector::of(child.stdout.take().unwrap());
        let stderr = Collector::of(child.stderr.take().unwrap());
        Self { line, child, stdout, stderr }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, and for the end of its output: what it leaves running must not hold its streams.
    #[track_caller]
    pub(crate) fn wait(mut self, patience: Duration) -> Ran {
        let end = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                let (line, out, err) = (self.line.clone(), self.stdout.text(), self.stderr.text());
                panic!("`{line}` has not ended within {patience:?}\n--- stdout\n{out}\n--- stderr\n{err}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let end = Instant::now() + Duration::from_secs(10);
        while !(self.stdout.thread.is_finished() && self.stderr.thread.is_finished()) {
            assert!(Instant::now() < end, "`{}` ended, but something it started holds its stdout or stderr", self.line);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ran { line: self.line.clone(), code: code_of(status), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A daemon of the host's instance. Dropping it kills it, which must disturb no container.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn start(host: &Host, source: &Path) -> Self {
        let log = host.dir.join("daemon.log");
        let sink = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = host
            .command(&["daemon", "--source", source.to_str().unwrap()])
            .stdout(sink.try_clone().unwrap())
            .stderr(sink)
            .spawn()
            .unwrap();
        let mut daemon = Self { child, log };
        let socket = host.instance.socket();
        wait_until("the daemon answers", Duration::from_secs(30), || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "the daemon ended: {}", daemon.said());
            std::os::unix::net::UnixStream::connect(socket).is_ok()
        });
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that daemons of this host have logged.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end, as systemd does.
    pub(crate) fn stop(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the daemon ignores SIGTERM: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        let code = code_of(self.child.wait().unwrap());
        assert_eq!(code, 0, "the daemon's exit code; it said {}", self.said());
    }

    /// Ends it without warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            let from = said.len().saturating_sub(20_000);
            eprintln!("--- the daemon said:\n{}", String::from_utf8_lossy(&said.as_bytes()[from..]));
        }
        // Fails when it has ended already, which is as well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

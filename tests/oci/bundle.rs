//! A bundle of busybox with a root of its own for records, and what is typed about it. All of it is gone when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// So long may a slow machine take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bundle {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Value,
    pub(crate) id: String,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    #[track_caller]
    pub(crate) fn fails_with(self, words: &str) {
        assert!(self.code != 0 && self.err.contains(words), "{words:?} is not in {self:?}");
    }
}

impl Bundle {
    /// Runs `script` by the image's shell.
    pub(crate) fn new(script: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("sp-oci-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "data"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "echo", "sleep", "id", "grep", "ls", "mkdir", "mount", "stat", "tty", "readlink", "touch", "true", "wc",
            "hostname",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n").unwrap();
        let mut bundle = Self { folder, config: Value::Null, id };
        bundle.oci(&["spec", "--bundle", bundle.path()]).ok();
        bundle.config = serde_json::from_slice(&fs::read(bundle.folder.path().join("config.json")).unwrap()).unwrap();
        bundle.config["process"]["terminal"] = json!(false);
        bundle.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        bundle.config["root"]["readonly"] = json!(false);
        bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id));
        bundle
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.folder.path().join("rootfs")
    }

    pub(crate) fn state_root(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_setpoint"));
        command.arg("oci").arg("--root").arg(self.state_root()).args(words).stdin(Stdio::null());
        command
    }

    /// Types a command, and waits for its end. What it leaves running must not hold its output, so that goes to files.
    pub(crate) fn oci(&self, words: &[&str]) -> Ran {
        let scratch = tempfile::tempdir().unwrap();
        let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
        let mut command = self.command(words);
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let status = command.status().unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap().trim_end().to_owned();
        Ran { code: status.code().unwrap_or(-1), out: text(&out), err: text(&err) }
    }

    pub(crate) fn write(&self) {
        fs::write(self.folder.path().join("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// `run`, in the foreground.
    pub(crate) fn run(&self) -> Ran {
        self.write();
        self.oci(&["run", "--bundle", self.path(), &self.id])
    }

    #[track_caller]
    pub(crate) fn create(&self) {
        self.write();
        self.oci(&["create", "--bundle", self.path(), &self.id]).ok();
    }

    #[track_caller]
    pub(crate) fn start(&self) {
        self.oci(&["start", &self.id]).ok();
    }

    pub(crate) fn verb(&self, verb: &str) -> Ran {
        self.oci(&[verb, &self.id])
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.verb("state").ok()).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, status: &str) {
        let begun = Instant::now();
        while self.state()["status"] != status {
            assert!(begun.elapsed() < PATIENCE, "not {status}: {}", self.state());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The folders of its cgroup that there are.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = table.lines().filter(|l| l.contains(" - cgroup")).filter_map(|l| l.split(' ').nth(4));
        let mut found: Vec<PathBuf> = roots.map(|root| Path::new(root).join(&self.id)).filter(|p| p.exists()).collect();
        found.sort();
        found.dedup();
        found
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let removed = self.oci(&["delete", "--force", &self.id]);
        if !std::thread::panicking() {
            assert_eq!(removed.code, 0, "{removed:?}");
            assert!(self.cgroups().is_empty(), "left over: {:?}", self.cgroups());
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(self.path()), "a mount is left over");
        }
    }
}

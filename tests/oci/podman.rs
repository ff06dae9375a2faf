//! Podman drives this runtime: create, start, exec, pause, kill and delete come from it and from conmon.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::bundle::{Bundle, Ran};

/// Podman with everything of its own below one folder, in a mount namespace of its own.
struct Podman {
    image: Bundle,
    folder: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().join("setpoint-oci");
        // By its name alone the program is the OCI runtime.
        let own = Path::new(env!("CARGO_BIN_EXE_setpoint"));
        if fs::hard_link(own, &runtime).is_err() {
            fs::copy(own, &runtime).unwrap();
        }
        assert!(fs::metadata(&runtime).unwrap().mode() & 0o100 != 0);
        Self { image: Bundle::new("true"), folder }
    }

    fn run(&self, words: &[&str]) -> Ran {
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("podman");
        command
            .args(["--root", &below("root"), "--runroot", &below("runroot"), "--tmpdir", &below("tmp")])
            .args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"])
            .args(["--runtime", &below("setpoint-oci")])
            .args(words);
        Ran::of(&command.output().unwrap())
    }

    fn start(&self, options: &[&str], command: &[&str]) -> Ran {
        let rootfs = self.image.rootfs().display().to_string();
        let mut words = vec!["run", "--network", "none"];
        words.extend(options);
        words.extend(["--rootfs", &rootfs]);
        words.extend(command);
        self.run(&words)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let removed = self.run(&["rm", "--all", "--force", "--time", "0"]);
        if !std::thread::panicking() {
            assert_eq!(removed.code, 0, "{removed:?}");
        }
    }
}

#[test]
fn podman_runs_containers_with_it() {
    let podman = Podman::new();
    assert_eq!(podman.start(&["--rm"], &["echo", "hello"]).ok(), "hello");
    assert_eq!(podman.start(&["--rm"], &["sh", "-c", "exit 6"]).code, 6);
    let missing = podman.start(&["--rm"], &["/nothing"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    let options = ["--rm", "--user", "33:44", "--cap-drop", "all", "--read-only", "--pids-limit", "50", "--hostname", "inner"];
    let script = "id -u; hostname; touch /x || echo no; grep CapEff /proc/self/status";
    assert_eq!(podman.start(&options, &["sh", "-c", script]).ok(), "33\ninner\nno\nCapEff:\t0000000000000000");

    podman.start(&["--detach", "--name", "w"], &["sleep", "1000"]).ok();
    assert_eq!(podman.run(&["exec", "w", "sh", "-c", "echo in; exit 4"]).code, 4);
    podman.run(&["pause", "w"]).ok();
    assert_eq!(podman.run(&["inspect", "--format", "{{.State.Status}}", "w"]).ok(), "paused");
    podman.run(&["unpause", "w"]).ok();
    assert_eq!(podman.run(&["exec", "w", "echo", "again"]).ok(), "again");
    podman.run(&["kill", "w"]).ok();
    assert_eq!(podman.run(&["wait", "w"]).ok(), "137");
    podman.run(&["rm", "w"]).ok();
}

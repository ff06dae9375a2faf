//! Podman drives this runtime: create, start, exec, pause, kill and delete come from it and from conmon.

use std::fs;
use std::process::Command;

use crate::bundle::{Bundle, Ran};
use crate::engines::{Daemon, runtime_in};

/// Podman with everything of its own below one folder, in a mount namespace of its own.
struct Podman {
    image: Bundle,
    folder: tempfile::TempDir,
}

impl Podman {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        runtime_in(folder.path());
        Self { image: Bundle::new("true"), folder }
    }

    fn command(&self, words: &[&str]) -> Command {
        let below = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("podman");
        command
            .args(["--root", &below("root"), "--runroot", &below("runroot"), "--tmpdir", &below("tmp")])
            .args(["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs", "--events-backend", "file"])
            .args(["--runtime", &below("setpoint-oci")])
            .args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&self.command(words).output().unwrap())
    }

    /// With an image `busy:1`, for what takes no folder.
    fn with_image() -> Self {
        let podman = Self::new();
        let tar = podman.folder.path().join("busy.tar");
        let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(podman.image.rootfs()).arg(".").status().unwrap();
        assert!(packed.success());
        podman.run(&["import", "--quiet", tar.to_str().unwrap(), "busy:1"]).ok();
        podman
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

#[test]
fn podman_has_terminals_health_and_an_end() {
    let podman = Podman::new();
    // A first process that nobody has told what to do about a signal gets none.
    let script = "trap 'exit 9' TERM; while :; do sleep 0.1; done";
    podman
        .start(
            &["--detach", "--name", "w", "--health-cmd", "test -e /data/well", "--health-interval", "disable"],
            &["sh", "-c", script],
        )
        .ok();
    assert_ne!(podman.run(&["healthcheck", "run", "w"]).code, 0);
    podman.run(&["exec", "w", "touch", "/data/well"]).ok();
    podman.run(&["healthcheck", "run", "w"]).ok();
    let typed: Vec<String> = {
        let command = podman.command(&["exec", "-it", "w", "tty"]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| format!("'{}'", word.to_str().unwrap())).collect()
    };
    let typed = Daemon::ran(Command::new("script").args(["-qec", &typed.join(" "), "/dev/null"]));
    assert!(typed.out.contains("/dev/pts/0"), "{typed:?}");
    assert!(podman.run(&["top", "w"]).ok().contains("sh -c"));
    podman.run(&["stop", "--time", "30", "w"]).ok();
    assert_eq!(podman.run(&["inspect", "--format", "{{.State.ExitCode}}", "w"]).ok(), "9");
    podman.run(&["start", "w"]).ok();
    podman.run(&["rm", "--force", "--time", "0", "w"]).ok();
}

#[test]
fn podman_maps_users_and_gives_everything() {
    let podman = Podman::new();
    for name in ["", "data", "etc"] {
        std::os::unix::fs::chown(podman.image.rootfs().join(name), Some(200_000), Some(200_000)).unwrap();
    }
    let mapped = ["--rm", "--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536", "--ulimit", "nofile=100:100"];
    let script = "id -u; ulimit -n; echo >> /data/new && stat -c %u /data/new; grep -c 200000 /proc/self/uid_map";
    assert_eq!(podman.start(&mapped, &["sh", "-c", script]).ok(), "0\n100\n0\n1");
    let ran = podman
        .start(&["--rm", "--privileged"], &["sh", "-c", "ls /dev/ptmx && echo x > /proc/sys/kernel/domainname && echo all"]);
    assert!(ran.out.ends_with("all"), "{ran:?}");
    let limited = ["--rm", "--memory", "32m", "--cpus", "0.5", "--cpuset-cpus", "0", "--tmpfs", "/t:size=1m", "--read-only"];
    let script = "cat /sys/fs/cgroup/cpuset/cpuset.cpus || cat /sys/fs/cgroup/cpuset.cpus; touch /t/x && echo yes";
    assert_eq!(podman.start(&limited, &["sh", "-c", script]).out, "0\nyes");
}

#[test]
fn podman_shares_namespaces_in_pods() {
    let podman = Podman::with_image();
    let words = ["pod", "create", "--name", "p", "--network", "none", "--infra-image", "busy:1", "--infra-command", "sleep 1000"];
    podman.run(&words).ok();
    podman.run(&["run", "--detach", "--pod", "p", "--name", "first", "busy:1", "sleep", "1000"]).ok();
    let script = "for name in net ipc uts; do readlink /proc/self/ns/$name; done";
    let second = podman.run(&["run", "--rm", "--pod", "p", "busy:1", "sh", "-c", script]).ok();
    assert_eq!(podman.run(&["exec", "first", "sh", "-c", script]).ok(), second);
    podman.run(&["pod", "rm", "--force", "--time", "0", "p"]).ok();
}

#[test]
fn podman_builds_with_it() {
    let podman = Podman::with_image();
    let file = podman.folder.path().join("Dockerfile");
    fs::create_dir(podman.folder.path().join("context")).unwrap();
    let below = |name: &str| podman.folder.path().join(name).display().to_string();
    let first = "FROM busy:1\nRUN busybox chmod 777 /data && echo built > /made && id -u >> /made\n";
    fs::write(&file, format!("{first}USER 33\nRUN id -u > /data/who\n")).unwrap();
    let words = ["build", "--quiet", "--network", "none", "--isolation", "oci", "--tag", "localhost/built:1", "--file"];
    let (file, context) = (below("Dockerfile"), below("context"));
    let ran = podman.run(&[words.as_slice(), &[&file, &context]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let out = podman.run(&["run", "--rm", "--network", "none", "localhost/built:1", "cat", "/made", "/data/who"]).ok();
    assert_eq!(out, "built\n0\n33");
}

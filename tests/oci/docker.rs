//! Docker's daemon drives this runtime, by containerd and its shim: what its users type.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bundle::{Bundle, Ran};
use crate::engines::{Daemon, runtime_in, until};

/// What is first in it ends first.
struct Docker {
    daemon: Daemon,
    folder: tempfile::TempDir,
    /// What every container of it has in its cgroup's name.
    parent: String,
}

impl Docker {
    /// With an image `busy:1`.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let image = Bundle::new("true");
        let parent = format!("/{}-docker", image.id);
        let runtime = format!("setpoint={}", runtime_in(folder.path()).display());
        let (data, exec, pid, host) = (at("data"), at("exec"), at("pid"), format!("unix://{}", at("socket")));
        let words = [
            "dockerd",
            "--data-root",
            &data,
            "--exec-root",
            &exec,
            "--pidfile",
            &pid,
            "--host",
            &host,
            "--storage-driver",
            "vfs",
            "--bridge",
            "none",
            "--iptables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            "--cgroup-parent",
            &parent,
            "--add-runtime",
            &runtime,
            "--default-runtime",
            "setpoint",
        ];
        let daemon = Daemon::start(folder.path(), "/etc/docker", &words);
        let mut docker = Self { daemon, folder, parent };
        let ask = docker.command(&["version"]);
        docker.daemon.answers(ask);
        let tar = docker.folder.path().join("busy.tar");
        let packed = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(image.rootfs()).arg(".").status().unwrap();
        assert!(packed.success());
        docker.run(&["import", tar.to_str().unwrap(), "busy:1"]).ok();
        docker
    }

    fn command(&self, words: &[&str]) -> Command {
        // The one of the daemon's package, where there is another one too.
        let own = Path::new("/usr/bin/docker");
        let mut command = Command::new(if own.exists() { own } else { Path::new("docker") });
        command.args(["--host", &format!("unix://{}", self.folder.path().join("socket").display())]).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Daemon::ran(&mut self.command(words))
    }

    /// `docker run` of the image.
    fn start_one(&self, options: &[&str], command: &[&str]) -> Ran {
        let mut words = vec!["run", "--network", "none"];
        words.extend(options);
        words.push("busy:1");
        words.extend(command);
        self.run(&words)
    }

    /// What is typed at a terminal.
    fn at_a_terminal(&self, words: &[&str]) -> Ran {
        let command = self.command(words);
        let typed: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        Daemon::ran(Command::new("script").args(["-qec", &typed.join(" "), "/dev/null"]))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        for id in self.run(&["ps", "--all", "--quiet"]).out.lines() {
            self.run(&["rm", "--force", id]);
        }
        let pid = fs::read_to_string(self.folder.path().join("exec/containerd/containerd.pid")).unwrap_or_default();
        let containerd = pid.trim().parse().ok().map(Pid::from_raw);
        // The daemon ends it too; where it cannot, nobody else does.
        if let Some(pid) = containerd {
            kill(pid, Signal::SIGTERM).ok();
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for root in table.lines().filter(|l| l.contains(" - cgroup")).filter_map(|l| l.split(' ').nth(4)) {
            fs::remove_dir(format!("{root}{}", self.parent)).ok();
        }
    }
}

#[test]
fn docker_runs_containers_with_it() {
    let docker = Docker::start();
    let ran = docker.start_one(&["--rm"], &["sh", "-c", "echo hello; exit 7"]);
    assert_eq!((ran.code, ran.out.as_str()), (7, "hello"), "{ran:?}\n{}", docker.daemon.log());
    assert_eq!(docker.start_one(&["--rm"], &["/nothing"]).code, 127);
    let options = [
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "all",
        "--user",
        "33:44",
        "--ulimit",
        "nofile=64:64",
        "--security-opt",
        "no-new-privileges",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--hostname",
        "inner",
    ];
    let script = "id -u; hostname; ulimit -n; touch /x || echo no; touch /tmp/x && echo tmp; grep CapBnd /proc/self/status";
    let out = docker.start_one(&options, &["sh", "-c", script]).ok();
    assert_eq!(out, "33\ninner\n64\nno\ntmp\nCapBnd:\t0000000000000000");
    let typed = docker.at_a_terminal(&["run", "--rm", "--network", "none", "-it", "busy:1", "tty"]);
    assert!(typed.out.contains("/dev/pts/0"), "{typed:?}");
}

#[test]
fn docker_looks_after_containers_with_it() {
    let docker = Docker::start();
    let options = ["--detach", "--name", "web", "--memory", "32m", "--memory-swap", "32m", "--pids-limit", "50", "--init"];
    docker.start_one(&options, &["sleep", "1000"]).ok();
    let status = |expected: &str| docker.run(&["inspect", "--format", "{{.State.Status}}", "web"]).ok() == expected;
    let ran = docker.run(&["exec", "web", "sh", "-c", "echo in; exit 4"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, "in"), "{ran:?}");
    let typed = docker.at_a_terminal(&["exec", "-it", "web", "tty"]);
    assert!(typed.out.contains("/dev/pts/0"), "{typed:?}");
    docker.run(&["pause", "web"]).ok();
    assert!(status("paused"));
    docker.run(&["unpause", "web"]).ok();
    assert!(status("running"));
    let stats = docker.run(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "web"]).ok();
    assert!(stats.contains("32MiB") && stats.ends_with(" 2"), "{stats}");
    assert!(docker.run(&["top", "web"]).ok().contains("sleep 1000"));
    docker.run(&["update", "--memory", "64m", "--memory-swap", "64m", "web"]).ok();
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max";
    assert_eq!(docker.run(&["exec", "web", "sh", "-c", limit]).ok(), "67108864");
    assert_eq!(docker.run(&["exec", "web", "busybox", "tail", "/dev/zero"]).code, 137);
    docker.run(&["stop", "--time", "30", "web"]).ok();
    assert_eq!(docker.run(&["inspect", "--format", "{{.State.ExitCode}}", "web"]).ok(), "143");
    docker.run(&["start", "web"]).ok();
    docker.run(&["kill", "web"]).ok();
    until("it has ended", || status("exited"));
    assert_eq!(docker.run(&["inspect", "--format", "{{.State.ExitCode}}", "web"]).ok(), "137");
    docker.run(&["rm", "web"]).ok();
}

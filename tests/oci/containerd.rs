//! containerd drives this runtime by its shim: run, exec, pause, update, metrics, lack of memory, signals, removal.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use crate::bundle::{Bundle, Ran};
use crate::engines::{Daemon, runtime_in, until};

/// What is first in it ends first.
struct Containerd {
    daemon: Daemon,
    image: Bundle,
    folder: tempfile::TempDir,
    cgroup: String,
}

impl Containerd {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket")
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        runtime_in(folder.path());
        let daemon = Daemon::start(folder.path(), "/etc/containerd", &["containerd", "--config", &at("config.toml")]);
        let image = Bundle::new("true");
        let cgroup = format!("/{}-containerd", image.id);
        let mut containerd = Self { daemon, image, folder, cgroup };
        let ask = containerd.command(&["version"]);
        containerd.daemon.answers(ask);
        containerd
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.args(["--address", &self.at("socket")]).args(words);
        command
    }

    fn ctr(&self, words: &[&str]) -> Ran {
        Daemon::ran(&mut self.command(words))
    }

    /// `ctr run` with what every container here has.
    fn run(&self, options: &[&str], image: &[&str], name: &str, command: &[&str]) -> Ran {
        let (fifos, runtime, cgroup) = (self.at("fifo"), self.at("setpoint-oci"), format!("{}/{name}", self.cgroup));
        let mut words = vec!["run", "--fifo-dir", &fifos, "--runc-binary", &runtime, "--cgroup", &cgroup];
        words.extend(options);
        words.extend(image);
        words.push(name);
        words.extend(command);
        self.ctr(&words)
    }

    fn exec(&self, name: &str, id: &str, command: &[&str]) -> Ran {
        let fifos = self.at("fifo");
        let mut words = vec!["tasks", "exec", "--fifo-dir", &fifos, "--exec-id", id, name];
        words.extend(command);
        self.ctr(&words)
    }

    fn is(&self, name: &str, status: &str) -> bool {
        self.ctr(&["tasks", "ls"]).ok().lines().any(|line| line.starts_with(name) && line.ends_with(status))
    }

    fn events(&self) -> (Child, std::path::PathBuf) {
        let path = self.folder.path().join("events");
        let mut command = self.command(&["events"]);
        (command.stdin(Stdio::null()).stdout(File::create(&path).unwrap()).spawn().unwrap(), path)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for name in self.ctr(&["tasks", "ls", "--quiet"]).out.lines() {
            self.ctr(&["tasks", "rm", "--force", name]);
        }
        // The shims end with their tasks; the parent of the cgroups is nobody's.
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = table.lines().filter(|l| l.contains(" - cgroup")).filter_map(|l| l.split(' ').nth(4));
        for root in roots {
            fs::remove_dir(format!("{root}{}", self.cgroup)).ok();
        }
    }
}

#[test]
fn containerd_runs_containers_with_it() {
    let containerd = Containerd::start();
    let rootfs = containerd.image.rootfs().display().to_string();
    let folder = ["--rootfs", rootfs.as_str()];
    let ran = containerd.run(&["--rm"], &folder, "one", &["sh", "-c", "echo hello; id -u; exit 3"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, "hello\n0"), "{ran:?}\n{}", containerd.daemon.log());
    let missing = containerd.run(&["--rm"], &folder, "two", &["/nothing"]);
    missing.fails_with("executable file not found");

    let (mut events, told) = containerd.events();
    containerd.run(&["--detach", "--memory-limit", "33554432", "--read-only"], &folder, "web", &["sleep", "1000"]).ok();
    until("it runs", || containerd.is("web", "RUNNING"));
    let ran = containerd.exec("web", "e1", &["sh", "-c", "echo in; touch /x || exit 4"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, "in"), "{ran:?}");
    containerd.ctr(&["tasks", "pause", "web"]).ok();
    assert!(containerd.is("web", "PAUSED"));
    containerd.ctr(&["tasks", "resume", "web"]).ok();
    assert!(containerd.is("web", "RUNNING"));
    assert!(containerd.ctr(&["tasks", "metrics", "web"]).ok().contains("33554432"));
    assert!(containerd.ctr(&["tasks", "ps", "web"]).ok().lines().count() == 2);
    // What does not fit ends, and the engine is told why.
    assert_eq!(containerd.exec("web", "e2", &["busybox", "tail", "/dev/zero"]).code, 137);
    until("the lack of memory is told", || fs::read_to_string(&told).unwrap().contains("/tasks/oom"));
    containerd.ctr(&["tasks", "kill", "--signal", "KILL", "web"]).ok();
    until("it has ended", || containerd.is("web", "STOPPED"));
    // The engine knows that there is nothing to signal any more, and does not take it for a failure of the runtime.
    let again = containerd.ctr(&["tasks", "kill", "web"]);
    assert!(again.code == 0 || again.err.contains("not found"), "{again:?}");
    let removed = containerd.ctr(&["tasks", "rm", "web"]);
    assert!(removed.err.is_empty() || removed.err.contains("137"), "{removed:?}");
    events.kill().unwrap();
    events.wait().unwrap();
    containerd.ctr(&["containers", "rm", "web"]).ok();
}

#[test]
fn containerd_runs_images_and_users_of_their_own() {
    let containerd = Containerd::start();
    // An image that this program has made.
    let at = |name: &str| containerd.at(name);
    let setpoint = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_setpoint"));
        let ran = command.args(words).env("SETPOINT_STATE_DIR", at("sp")).env("SETPOINT_RUN_DIR", at("sp-run")).output();
        Ran::of(&ran.unwrap()).ok()
    };
    setpoint(&["import", containerd.image.rootfs().to_str().unwrap(), "registry.test/busy:1"]);
    setpoint(&["save", "--output", &at("busy.tar"), "registry.test/busy:1"]);
    let imported = containerd.ctr(&["images", "import", "--snapshotter", "native", &at("busy.tar")]).ok();
    assert!(imported.contains("registry.test/busy:1"), "{imported}");
    let image = ["registry.test/busy:1"];
    let native = ["--rm", "--snapshotter", "native"];
    assert_eq!(containerd.run(&native, &image, "three", &["sh", "-c", "echo image"]).ok(), "image");
    let mapped = ["--rm", "--snapshotter", "native", "--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536"];
    let script = "id -u; cat /proc/self/uid_map | busybox tr -s ' '";
    assert_eq!(containerd.run(&mapped, &image, "four", &["sh", "-c", script]).ok(), "0\n 0 200000 65536");
}

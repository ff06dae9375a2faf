//! Archives between setpoint, Docker and Podman: what one saves, the other loads as the same image. Both peers are Debian's,
//! with roots of their own; Docker's daemon is started by the test that needs it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Host, PATIENCE, Running, image, tool, wait_for};

/// Names that nobody completes in a way of their own.
const OURS: &str = "registry.test/ours/two-layers:1";
const PLAIN: &str = "registry.test/ours/plain:1";
const THEIRS: &str = "registry.test/theirs/more:1";

/// Another program that loads and saves images.
pub(crate) trait Peer {
    /// Its program with these arguments.
    fn command(&self, args: &[&str]) -> Command;
    /// What its daemon has said, if it has one.
    fn log(&self) -> String;
    /// Whether `save` needs to be told that there are several images.
    const SEVERAL: &'static [&'static str];

    /// Runs it to its end, which must be a success.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let ran = Running::spawn(self.command(args)).wait(PATIENCE);
        assert_eq!(ran.code, 0, "{args:?}\n--- stdout\n{}\n--- stderr\n{}\n{}", ran.stdout, ran.stderr, self.log());
        ran.stdout
    }

    /// The digest of an image's configuration, and those of its layers.
    fn identity(&self, name: &str) -> Identity {
        let inspected: Value = serde_json::from_str(&self.run(&["image", "inspect", name])).unwrap();
        identity(&inspected[0])
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    id: String,
    layers: Vec<String>,
}

fn identity(inspected: &Value) -> Identity {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{inspected}")).trim_start_matches("sha256:").to_owned();
    let layers = inspected["RootFS"]["Layers"].as_array().unwrap_or_else(|| panic!("{inspected}"));
    Identity { id: text(&inspected["Id"]), layers: layers.iter().map(text).collect() }
}

fn ours(host: &Host, name: &str) -> Identity {
    identity(&host.sp(&["image", "inspect", name]).ok().json()[0])
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's daemon, and its client. Dropping it ends the daemon.
pub(crate) struct Docker {
    pub(crate) folder: PathBuf,
    daemon: Child,
}

impl Docker {
    pub(crate) fn start(host: &Host) -> Self {
        let folder = host.dir.join("docker");
        fs::create_dir(&folder).unwrap();
        // It looks into these whatever it is told. The mounts are seen by this test alone.
        for path in ["/etc/docker", "/run"] {
            fs::create_dir_all(path).unwrap();
            tool("mount", &["-t", "tmpfs", "tmpfs", path]);
        }
        let log = File::create(folder.join("log")).unwrap();
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let daemon = Command::new("dockerd")
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("socket")), "--storage-driver", "vfs"])
            .args(["--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("dockerd: {e}; `make test` installs what the tests need"));
        let mut docker = Self { folder, daemon };
        wait_for("dockerd answers", PATIENCE, || {
            let ended = docker.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "dockerd has ended: {ended:?}\n{}", docker.log());
            let asked = docker.command(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            asked.success().then_some(())
        });
        docker
    }

    /// Ends what the daemon has started, where it could not do so itself.
    fn end_containerd(&self) {
        let pid = fs::read_to_string(self.folder.join("exec/containerd/containerd.pid")).ok();
        if let Some(pid) = pid.and_then(|text| text.trim().parse().ok()) {
            // Fails when it has ended already, which is as well.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

impl Peer for Docker {
    const SEVERAL: &'static [&'static str] = &[];

    fn command(&self, args: &[&str]) -> Command {
        // The one of the daemon's package, where there is another one too.
        let own = Path::new("/usr/bin/docker");
        let mut command = Command::new(if own.exists() { own } else { Path::new("docker") });
        let socket = format!("unix://{}", self.folder.join("socket").display());
        command.args(args).env_clear().env("PATH", PATH).env("HOME", &self.folder).env("DOCKER_HOST", socket);
        command.stdin(Stdio::null());
        command
    }

    fn log(&self) -> String {
        format!("--- dockerd said\n{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let asked = kill(Pid::from_raw(i32::try_from(self.daemon.id()).unwrap()), Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while asked.is_ok() && matches!(self.daemon.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.daemon.kill().ok();
            self.daemon.wait().ok();
        }
        self.end_containerd();
    }
}

/// Podman, which needs no daemon.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn new(host: &Host) -> Self {
        let folder = host.dir.join("podman");
        fs::create_dir(&folder).unwrap();
        // Its locks and what it knows of this boot. The mount is seen by this test alone.
        tool("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        // Whatever the machine's own configuration says.
        let at = |name: &str| folder.join(name).display().to_string();
        let roots = format!("graphroot = \"{}\"\nrunroot = \"{}\"", at("root"), at("runroot"));
        let files = [
            ("containers.conf", "[engine]\nlock_type = \"file\"\n".to_owned()),
            ("storage.conf", format!("[storage]\ndriver = \"vfs\"\n{roots}\n")),
            ("registries.conf", "unqualified-search-registries = []\n".to_owned()),
            ("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n".to_owned()),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Self { folder }
    }
}

impl Peer for Podman {
    const SEVERAL: &'static [&'static str] = &["--multi-image-archive"];

    fn command(&self, args: &[&str]) -> Command {
        let at = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let mut command = Command::new("podman");
        command
            .args(["--root", &at("root"), "--runroot", &at("runroot"), "--tmpdir", &at("tmp"), "--storage-driver", "vfs"])
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env("CONTAINERS_CONF", at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", at("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", at("registries.conf"))
            .stdin(Stdio::null());
        if args.first() == Some(&"load") {
            command.args(["--signature-policy", &at("policy.json")]);
        }
        command
    }

    fn log(&self) -> String {
        String::new()
    }
}

/// Two images here: a root file system, and another layer on it.
fn make(host: &Host) {
    host.sp(&["import", "-c", "ENV PATH=/bin", image::busybox_tar().to_str().unwrap(), PLAIN]).ok();
    let work = "echo mine > /root/mine; rm /bin/true; mkdir -p /srv/deep; chmod 1777 /srv/deep; ln -s /root/mine /srv/link";
    host.sp(&["run", "--name", "a", "--network", "none", PLAIN, "sh", "-c", work]).ok();
    let change = ["-c", "ENV COLOUR=blue", "-c", "CMD [\"cat\", \"/srv/link\"]", "-m", "more"];
    host.sp(&[&["commit"], &change[..], &["a", OURS]].concat()).ok();
    host.sp(&["rm", "a"]).ok();
}

/// Ours there, and theirs here.
fn round_trip<P: Peer>(host: &Host, peer: &P, formats: &[&str]) {
    make(host);
    for format in formats {
        // Podman takes one image of an OCI layout only.
        let together: &[&[&str]] = if *format == "oci" { &[&[OURS], &[PLAIN]] } else { &[&[OURS, PLAIN]] };
        for names in together {
            host.sp(&[&["save", "--format", format, "-o", "ours.tar"], *names].concat()).ok();
            peer.run(&["load", "-i", host.dir.join("ours.tar").to_str().unwrap()]);
        }
        for name in [OURS, PLAIN] {
            assert_eq!(peer.identity(name), ours(host, name), "{name} as {format}\n{}", peer.log());
        }
        if Some(format) != formats.last() {
            peer.run(&["rmi", OURS, PLAIN]);
        }
    }
    // An image of their own making, on ours.
    let file = host.write("theirs", "theirs\n");
    peer.run(&["create", "--name", "theirs", "--network", "none", OURS, "true"]);
    peer.run(&["cp", file.to_str().unwrap(), "theirs:/root/theirs"]);
    peer.run(&["commit", "--change", "CMD [\"cat\", \"/root/theirs\", \"/srv/link\"]", "theirs", THEIRS]);
    peer.run(&["rm", "theirs"]);
    let archive = host.dir.join("theirs.tar");
    peer.run(&[&["save"], P::SEVERAL, &["-o", archive.to_str().unwrap(), THEIRS, PLAIN]].concat());
    let other = Host::beside();
    other.sp(&["load", "-i", archive.to_str().unwrap()]).ok().says(&[THEIRS, PLAIN]);
    for name in [THEIRS, PLAIN] {
        assert_eq!(ours(&other, name), peer.identity(name), "{name}\n{}", peer.log());
        // Under their id too.
        other.sp(&["image", "inspect", &peer.identity(name).id]).ok();
    }
    assert_eq!(ours(&other, PLAIN), ours(host, PLAIN));
    assert_eq!(other.sp(&["run", "--rm", "--network", "none", THEIRS]).ok().stdout, "theirs\nmine\n");
    let look = "echo $COLOUR; test -e /bin/true || echo gone; stat -c %a /srv/deep";
    assert_eq!(other.sp(&["run", "--rm", "--network", "none", THEIRS, "sh", "-c", look]).ok().stdout, "blue\ngone\n1777\n");
    other.sp(&["check"]).ok();
    // And back again: what was theirs is still the same there.
    peer.run(&["rmi", "-f", THEIRS, OURS, PLAIN]);
    other.sp(&["save", "-o", "back.tar", THEIRS]).ok();
    peer.run(&["load", "-i", other.dir.join("back.tar").to_str().unwrap()]);
    assert_eq!(peer.identity(THEIRS), ours(&other, THEIRS), "{}", peer.log());
}

#[test]
fn archives_between_docker_and_us() {
    let host = Host::new();
    let docker = Docker::start(&host);
    // Docker 20.10 reads its own form only.
    round_trip(&host, &docker, &["docker-archive"]);
}

#[test]
fn archives_between_podman_and_us() {
    let host = Host::new();
    let podman = Podman::new(&host);
    round_trip(&host, &podman, &["docker-archive", "oci"]);
}

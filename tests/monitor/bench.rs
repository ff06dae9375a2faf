//! An instance to test with, and looks at the kernel.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oci_spec::image::ImageConfiguration;
use setpoint::engine::containers::{Containers, ExecSpec, NewContainer, Recovered, StartWith};
use setpoint::engine::monitor::logs::{LogLine, LogQuery};
use setpoint::engine::runtime::cgroups;
use setpoint::engine::state::Db;
use setpoint::model::spec::{ContainerSpec, NetworkMode};
use setpoint::model::{ContainerId, Digest, Instance, Span};
use setpoint::observed::ContainerState;
use tokio::io::AsyncWriteExt;

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance of its own in a folder of its own; all of it is gone at the end.
pub(crate) struct Bench {
    pub(crate) containers: Containers,
    pub(crate) instance: Instance,
    root: PathBuf,
    owned: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap().keep();
        for applet in [
            "sh", "sleep", "cat", "ls", "test", "touch", "yes", "head", "id", "env", "stty", "kill", "ps", "httpd", "rm", "mkdir",
        ] {
            let link = root.join("layer/bin").join(applet);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink("busybox", link).unwrap();
        }
        fs::copy("/bin/busybox", root.join("layer/bin/busybox")).unwrap();
        for folder in ["etc", "proc", "sys", "dev", "tmp", "root"] {
            fs::create_dir_all(root.join("layer").join(folder)).unwrap();
        }
        fs::write(root.join("layer/etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n").unwrap();
        let mut bench = Self::at(root);
        bench.owned = true;
        bench
    }

    /// A second view on the same instance.
    pub(crate) fn at(root: PathBuf) -> Self {
        let instance = Instance::new(root.join("s"), root.join("r"), None);
        fs::create_dir_all(instance.state_dir()).unwrap();
        let db = Arc::new(Db::open(instance.state_dir()).unwrap());
        let containers = Containers::new(instance.clone(), db).with_program(env!("CARGO_BIN_EXE_setpoint").into());
        Self { containers, instance, root, owned: false }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) async fn create(&self, name: &str, script: &str, change: impl FnOnce(&mut NewContainer)) -> ContainerId {
        let mut spec = ContainerSpec::new("busybox:1".parse().unwrap());
        spec.command = Some(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
        spec.network_mode = NetworkMode::None;
        let name = name.parse().unwrap();
        let mut new = NewContainer { name, owner: None, spec, image_digest: Digest::of(b""), auto_remove: false };
        change(&mut new);
        self.containers.create(new).await.unwrap()
    }

    /// As a process does that knows of nothing.
    pub(crate) async fn recover(&self) -> Recovered {
        self.containers.recover(&HashSet::new(), true).await.unwrap()
    }

    pub(crate) fn with(&self) -> StartWith {
        StartWith {
            lower: vec![self.root.join("layer")],
            image: ImageConfiguration::default(),
            image_healthcheck: None,
            mounts: Vec::new(),
            netns: None,
            hosts: "127.0.0.1 localhost\n".to_owned(),
            resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
            awaits_attach: false,
            further: Default::default(),
        }
    }

    pub(crate) async fn start(&self, id: &ContainerId) -> i32 {
        self.containers.start(id, self.with()).await.unwrap()
    }

    /// Creates and starts.
    pub(crate) async fn run(&self, name: &str, script: &str, change: impl FnOnce(&mut NewContainer)) -> ContainerId {
        let id = self.create(name, script, change).await;
        self.start(&id).await;
        id
    }

    pub(crate) fn pid(&self, id: &ContainerId) -> i32 {
        match self.containers.state(id).unwrap() {
            ContainerState::Running { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn lines(&self, id: &ContainerId, query: LogQuery) -> Vec<LogLine> {
        let mut reader = self.containers.logs(id, query).unwrap();
        let mut all = Vec::new();
        while let Some(lines) = reader.next_batch().await.unwrap() {
            all.extend(lines);
        }
        all
    }

    pub(crate) async fn text(&self, id: &ContainerId) -> Vec<String> {
        let lines = self.lines(id, LogQuery::default()).await;
        lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// Waits until the log is these lines.
    pub(crate) async fn until_said(&self, id: &ContainerId, lines: &[&str]) {
        let end = Instant::now() + PATIENCE;
        while self.text(id).await != lines {
            assert!(Instant::now() < end, "waited too long for {lines:?}: {:?}", self.text(id).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the log has more than so many lines.
    pub(crate) async fn until_more_than(&self, id: &ContainerId, lines: usize) {
        let end = Instant::now() + PATIENCE;
        while self.text(id).await.len() <= lines {
            assert!(Instant::now() < end, "waited too long for more than {lines} lines");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Exit code, standard output and standard error of a command in a container.
    pub(crate) async fn exec(&self, id: &ContainerId, argv: &[&str], input: &str) -> (i32, String, String) {
        self.exec_as(id, ExecSpec { argv: argv.iter().map(|a| (*a).to_owned()).collect(), ..Default::default() }, input).await
    }

    pub(crate) async fn exec_as(&self, id: &ContainerId, spec: ExecSpec, input: &str) -> (i32, String, String) {
        let mut child = self.containers.exec(id, spec).await.unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that is not there reads nothing.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        // In a thread of its own, because a test may end within an async context.
        let (containers, instance) = (self.containers.clone(), self.instance.clone());
        let clear = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for record in containers.list().unwrap() {
                    containers.stop(&record.id, Some("0".parse().unwrap())).await.unwrap();
                    containers.remove(&record.id).await.unwrap();
                }
            });
            assert_eq!(cgroups::list(&instance.cgroup_parent()).unwrap().len(), 0);
            cgroups::remove_parent(&instance.cgroup_parent()).unwrap();
        };
        let result = std::thread::spawn(clear).join();
        // Monitors that have done their work settle what their containers had, and open the instance for it.
        let end = Instant::now() + PATIENCE;
        while busy_with(&self.root) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // One that begins just now writes once more.
        let removed = loop {
            match fs::remove_dir_all(&self.root) {
                Err(e) if e.kind() == std::io::ErrorKind::DirectoryNotEmpty && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                removed => break removed,
            }
        };
        if !std::thread::panicking() {
            result.unwrap();
            removed.unwrap();
        }
    }
}

/// Whether a process of the program was started for an instance below this folder.
fn busy_with(root: &Path) -> bool {
    let root = root.to_string_lossy();
    fs::read_dir("/proc").unwrap().any(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.starts_with("setpoint") && line.contains(&*root)
    })
}

/// The process that a process was started by.
pub(crate) fn parent_of(pid: i32) -> i32 {
    field(pid, "PPid:").parse().unwrap()
}

pub(crate) fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

pub(crate) fn exists(pid: i32) -> bool {
    // A zombie is dead: nobody here is its parent.
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// All files below a folder, for a look at what is left.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            all.extend(files_below(&path));
        }
        all.push(path);
    }
    all
}

pub(crate) fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// What a container does that is to go on.
pub(crate) const FOR_EVER: &str = "while :; do sleep 0.05; done";

pub(crate) fn millis(n: u64) -> Span {
    Span(Duration::from_millis(n))
}

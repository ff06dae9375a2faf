//! Containers and their monitors on the real kernel: as root, with busybox from the host as the only layer.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bench {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use oci_spec::image::ImageConfiguration;
    use setpoint::engine::containers::{Containers, ExecSpec, NewContainer, StartWith};
    use setpoint::engine::monitor::logs::{LogLine, LogQuery};
    use setpoint::engine::runtime::cgroups;
    use setpoint::engine::state::Db;
    use setpoint::model::spec::{ContainerSpec, NetworkMode};
    use setpoint::model::{ContainerId, Digest, Instance};
    use setpoint::observed::ContainerState;
    use tokio::io::AsyncWriteExt;

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
            for applet in ["sh", "sleep", "cat", "ls", "test", "touch", "yes", "head", "id", "env", "stty", "kill", "ps"] {
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

        pub(crate) fn with(&self) -> StartWith {
            StartWith {
                lower: vec![self.root.join("layer")],
                image: ImageConfiguration::default(),
                image_healthcheck: None,
                mounts: Vec::new(),
                netns: None,
                hosts: "127.0.0.1 localhost\n".to_owned(),
                resolv_conf: "nameserver 192.0.2.1\n".to_owned(),
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
            let removed = fs::remove_dir_all(&self.root);
            if !std::thread::panicking() {
                result.unwrap();
                removed.unwrap();
            }
        }
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
        let end = Instant::now() + Duration::from_secs(20);
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
}

use std::time::{Duration, Instant};

use bench::{Bench, exists, field, files_below, kill, parent_of, until};
use rustix::process::Signal;
use setpoint::engine::containers::{ContainersError, ExecSpec};
use setpoint::engine::monitor::logs::{LogQuery, LogStream};
use setpoint::engine::runtime::cgroups;
use setpoint::model::spec::{Healthcheck, Mount, Probe};
use setpoint::model::{Owner, RestartPolicy, Span};
use setpoint::observed::{ContainerState, Health};

fn millis(n: u64) -> Span {
    Span(Duration::from_millis(n))
}

const FOR_EVER: &str = "while :; do sleep 0.05; done";

#[tokio::test]
async fn exit_code_streams_and_files() {
    let bench = Bench::new();
    let id = bench.run("a", "echo out; echo err >&2; cat /etc/hosts /etc/hostname; printf end; exit 7", |_| {}).await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 7);
    let lines = bench.lines(&id, LogQuery::default()).await;
    let of = |stream| {
        let text = lines.iter().filter(|line| line.stream == stream);
        text.map(|line| (String::from_utf8_lossy(&line.text).into_owned(), line.partial)).collect::<Vec<_>>()
    };
    let short = id.short().to_owned();
    let want = [("out", false), ("127.0.0.1 localhost", false), (&short, false), ("end", true)];
    assert_eq!(of(LogStream::Stdout), want.map(|(text, partial)| (text.to_owned(), partial)));
    assert_eq!(of(LogStream::Stderr), [("err".to_owned(), false)]);
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 7, stopped: false, error: None, .. }), "{state:?}");
    // And once more: the writable layer and the log are kept.
    bench.start(&id).await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 7);
    assert_eq!(bench.lines(&id, LogQuery::default()).await.len(), 2 * lines.len());
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let bench = Bench::new();
    let id = bench.create("a", "", |new| new.spec.command = Some(vec!["/no/such".into()])).await;
    let error = bench.containers.start(&id, bench.with()).await.unwrap_err();
    assert!(matches!(error, ContainersError::Start { code: 127, .. }), "{error}");
    assert!(error.to_string().contains("/no/such"), "{error}");
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 127, error: Some(_), .. }), "{state:?}");
    let twice = bench.run("b", FOR_EVER, |_| {}).await;
    let error = bench.containers.start(&twice, bench.with()).await.unwrap_err();
    assert!(matches!(error, ContainersError::AlreadyRunning { .. }), "{error}");
    let error = bench.containers.remove(&twice).await.unwrap_err();
    assert!(matches!(error, ContainersError::StillRunning { .. }), "{error}");
}

#[tokio::test]
async fn restarts_on_failure_are_counted() {
    let bench = Bench::new();
    let policy = RestartPolicy::OnFailure(Some(2));
    let id = bench.run("a", "echo run; exit 3", |new| new.spec.restart = policy).await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 3);
    assert_eq!(bench.text(&id).await, ["run"; 3]);
    assert_eq!(bench.containers.status(&id).unwrap().restarts, 2);
}

#[tokio::test]
async fn a_killed_process_comes_back() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.restart = RestartPolicy::Always).await;
    let first = bench.pid(&id);
    kill(first, Signal::KILL);
    until(
        "another process",
        || matches!(bench.containers.state(&id).unwrap(), ContainerState::Running { pid, .. } if pid != first),
    )
    .await;
    assert!(!exists(first));
    assert_eq!(bench.containers.status(&id).unwrap().restarts, 1);
}

#[tokio::test]
async fn a_killed_monitor_takes_its_container_along() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.restart = RestartPolicy::Always).await;
    let pid = bench.pid(&id);
    kill(parent_of(pid), Signal::KILL);
    until("the container's death", || !exists(pid)).await;
    until("the state", || bench.containers.state(&id).unwrap() == ContainerState::Lost).await;
    let error = bench.containers.wait(&id, false).await.unwrap_err();
    assert!(matches!(error, ContainersError::Lost { .. }), "{error}");
    let found = bench.containers.recover().await.unwrap();
    assert_eq!((found.lost, found.failures.len()), (vec![id.clone()], 0));
    assert_eq!(cgroups::list(&bench.instance.cgroup_parent()).unwrap().len(), 0);
    bench.start(&id).await;
    assert!(bench.containers.state(&id).unwrap().is_running());
}

/// Not a test of its own: the starter that the next test kills.
#[tokio::test]
#[ignore = "is run by a_killed_starter_disturbs_nothing"]
async fn starter() {
    let Ok(root) = std::env::var("SETPOINT_TEST_ROOT") else { return };
    let bench = Bench::at(root.into());
    bench.run("a", "while :; do echo tick; sleep 0.05; done", |_| {}).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_starter_disturbs_nothing() {
    let bench = Bench::new();
    let mut starter = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starter", "--ignored"])
        .env("SETPOINT_TEST_ROOT", bench.root())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the start", || bench.containers.find("a").is_ok_and(|id| bench.containers.state(&id).unwrap().is_running())).await;
    starter.kill().await.unwrap();
    let id = bench.containers.find("a").unwrap();
    let pid = bench.pid(&id);
    let before = bench.text(&id).await.len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.text(&id).await.len() > before);
    assert_eq!(bench.pid(&id), pid);
    // Nothing of the starter is held on to: its session, its folder, its streams.
    let monitor = parent_of(pid);
    assert_eq!(std::fs::read_link(format!("/proc/{monitor}/cwd")).unwrap(), std::path::Path::new("/"));
    for fd in [0, 1] {
        assert_eq!(std::fs::read_link(format!("/proc/{monitor}/fd/{fd}")).unwrap(), std::path::Path::new("/dev/null"));
    }
}

#[tokio::test]
async fn stop_is_patient_and_then_is_not() {
    let bench = Bench::new();
    let deaf = bench.run("deaf", &format!("trap '' TERM; {FOR_EVER}"), |new| new.spec.restart = RestartPolicy::Always).await;
    let polite = bench.run("polite", &format!("trap 'exit 3' TERM; {FOR_EVER}"), |_| {}).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    bench.containers.stop(&deaf, Some(millis(400))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400) && begun.elapsed() < Duration::from_secs(5));
    let state = bench.containers.state(&deaf).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 137, stopped: true, .. }), "{state:?}");
    bench.containers.stop(&polite, None).await.unwrap();
    let state = bench.containers.state(&polite).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 3, stopped: true, .. }), "{state:?}");
    bench.containers.stop(&polite, None).await.unwrap();
    let error = bench.containers.signal(&polite, setpoint::model::Signal::KILL).await.unwrap_err();
    assert!(matches!(error, ContainersError::NotRunning { .. }), "{error}");
}

#[tokio::test]
async fn stop_cancels_a_pending_restart() {
    let bench = Bench::new();
    let id = bench.run("a", "exit 9", |new| new.spec.restart = RestartPolicy::Always).await;
    until("a long pause", || {
        matches!(bench.containers.state(&id).unwrap(), ContainerState::Restarting { code: 9, delay, .. } if delay >= millis(400))
    })
    .await;
    let begun = Instant::now();
    bench.containers.stop(&id, None).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(300));
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 9, stopped: true, .. }), "{state:?}");
}

#[tokio::test]
async fn signals_reach_the_process() {
    let bench = Bench::new();
    let id = bench.run("a", &format!("trap 'echo usr1' USR1; trap 'exit 5' 37; {FOR_EVER}"), |_| {}).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.containers.signal(&id, "USR1".parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.text(&id).await, ["usr1"]);
    bench.containers.signal(&id, "RTMIN+3".parse().unwrap()).await.unwrap();
    let code = bench.containers.wait(&id, false).await.unwrap();
    assert_eq!(code, 5);
}

#[tokio::test]
async fn the_host_going_down_is_a_graceful_end() {
    let bench = Bench::new();
    let id = bench
        .run("a", &format!("trap 'echo bye; exit 0' TERM; {FOR_EVER}"), |new| new.spec.restart = RestartPolicy::Always)
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    kill(parent_of(bench.pid(&id)), Signal::TERM);
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 0);
    assert_eq!(bench.text(&id).await, ["bye"]);
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { stopped: false, .. }), "{state:?}");
}

fn check(test: &str, timeout: u64) -> Healthcheck {
    Healthcheck {
        test: Probe::Shell(test.to_owned()),
        interval: millis(50),
        timeout: millis(timeout),
        retries: 2,
        start_period: Span::default(),
        start_interval: millis(50),
    }
}

#[tokio::test]
async fn health_turns_with_the_check() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.healthcheck = Some(check("echo looked; test -e /tmp/ok", 5000))).await;
    let health = || match bench.containers.state(&id).unwrap() {
        ContainerState::Running { health, .. } => health,
        other => panic!("{other:?}"),
    };
    assert_eq!(health(), Health::Starting);
    until("unhealthy", || health() == Health::Unhealthy).await;
    bench.exec(&id, &["touch", "/tmp/ok"], "").await;
    until("healthy", || health() == Health::Healthy).await;
    let checks = bench.containers.status(&id).unwrap().checks;
    assert_eq!((checks.last().unwrap().code, checks.last().unwrap().output.as_str()), (Some(0), "looked\n"));
}

#[tokio::test]
async fn a_check_that_hangs_is_killed() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.healthcheck = Some(check("echo hangs; sleep 1000 | cat", 150))).await;
    let health = || match bench.containers.state(&id).unwrap() {
        ContainerState::Running { health, .. } => health,
        other => panic!("{other:?}"),
    };
    until("unhealthy", || health() == Health::Unhealthy).await;
    let last = bench.containers.status(&id).unwrap().checks.pop().unwrap();
    assert!(last.code.is_none() && last.output.contains("hangs"), "{last:?}");
    let missing = bench.run("b", FOR_EVER, |new| {
        let mut check = check("", 1000);
        check.test = Probe::Command(vec!["/no/such".into()]);
        new.spec.healthcheck = Some(check);
    });
    let missing = missing.await;
    until("a check", || !bench.containers.status(&missing).unwrap().checks.is_empty()).await;
    assert_eq!(bench.containers.status(&missing).unwrap().checks[0].code, Some(127));
}

#[tokio::test]
async fn logs_are_bounded_and_fast() {
    let bench = Bench::new();
    let line = "0123456789".repeat(8);
    let begun = Instant::now();
    let id = bench.run("a", &format!("yes {line} | head -c 99999927; echo done"), |_| {}).await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 0);
    let took = begun.elapsed();
    println!("100 MB through the log in {took:?}");
    let logs = bench.instance.container_dir(&id).join("logs");
    let sizes: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 10 << 20), "{sizes:?}");
    let last = bench.lines(&id, LogQuery { tail: Some(1), ..Default::default() }).await;
    assert_eq!(last[0].text, "done");
}

#[tokio::test]
async fn following_goes_on_over_restarts_to_the_final_exit() {
    let bench = Bench::new();
    let script = "echo begin; sleep 0.2; echo end; exit 1";
    let id = bench.run("a", script, |new| new.spec.restart = RestartPolicy::OnFailure(Some(2))).await;
    let followed = bench.lines(&id, LogQuery { follow: true, ..Default::default() }).await;
    let text: Vec<_> = followed.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect();
    assert_eq!(text, ["begin", "end", "begin", "end", "begin", "end"]);
    assert!(matches!(bench.containers.state(&id).unwrap(), ContainerState::Exited { code: 1, .. }));
}

#[tokio::test]
async fn a_follower_ends_when_the_monitor_is_killed() {
    let bench = Bench::new();
    let id = bench.run("a", &format!("echo begin; {FOR_EVER}"), |_| {}).await;
    let monitor = parent_of(bench.pid(&id));
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        kill(monitor, Signal::KILL);
    });
    let lines = bench.lines(&id, LogQuery { follow: true, ..Default::default() });
    assert_eq!(tokio::time::timeout(Duration::from_secs(1), lines).await.unwrap().len(), 1);
}

#[tokio::test]
async fn removal_leaves_nothing() {
    let bench = Bench::new();
    let id = bench.run("a", "echo x > /root/file; sleep 1000 & sleep 0.1; exit 4", |new| new.auto_remove = true).await;
    let pid = bench.pid(&id);
    assert_eq!(bench.containers.wait(&id, true).await.unwrap(), 4);
    assert!(bench.instance.container_dir(&id).join("upper/root/file").exists());
    bench.containers.remove(&id).await.unwrap();
    bench.containers.remove(&id).await.unwrap();
    assert!(!exists(pid));
    let left: Vec<_> =
        files_below(bench.root()).into_iter().filter(|p| p.to_string_lossy().contains(&id.as_str()[..24])).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
    assert_eq!(cgroups::list(&bench.instance.cgroup_parent()).unwrap().len(), 0);
    assert!(matches!(bench.containers.get(&id), Err(ContainersError::NotFound { .. })));
}

#[tokio::test]
async fn exec_is_the_command() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| drop(new.spec.environment.insert("OWN".into(), "1".into()))).await;
    assert_eq!(bench.exec(&id, &["sh", "-c", "cat; echo err >&2; exit 6"], "in").await, (6, "in".into(), "err\n".into()));
    let (code, out, err) = bench.exec(&id, &["/no/such"], "").await;
    assert!(code == 127 && out.is_empty() && err.contains("/no/such"), "{code} {err}");
    let spec = ExecSpec {
        argv: vec!["sh".into(), "-c".into(), "echo $OWN $MORE $(id -u)".into()],
        env: bench::env(&[("MORE", "2")]),
        user: Some("web".into()),
        ..Default::default()
    };
    assert_eq!(bench.exec_as(&id, spec, "").await.1, "1 2 1000\n");
    let spec = ExecSpec {
        argv: vec!["sh".into(), "-c".into(), "test -t 0 && stty size; read x; echo got $x; exit 8".into()],
        tty: true,
        window: Some((33, 101)),
        ..Default::default()
    };
    let (code, out, _) = bench.exec_as(&id, spec, "hello\n").await;
    assert!(code == 8 && out.contains("33 101") && out.contains("got hello"), "{code} {out:?}");
    let left = files_below(&bench.instance.container_run_dir(&id));
    assert!(!left.iter().any(|path| path.to_string_lossy().contains("exec-")), "{left:?}");
}

#[tokio::test]
async fn names_are_unique_and_found() {
    let bench = Bench::new();
    let owner = Owner { stack: "shop".parse().unwrap(), resource: "db".parse().unwrap() };
    let one = bench.create("shop-db", "", |new| new.owner = Some(owner.clone())).await;
    let other = bench.create("other", "", |_| {}).await;
    let find = |text: &str| bench.containers.find(text);
    for text in ["shop-db", "db", one.as_str(), one.short()] {
        assert_eq!(find(text).unwrap(), one, "{text}");
    }
    assert!(matches!(find("nobody"), Err(ContainersError::NotFound { .. })));
    assert!(matches!(find(""), Err(ContainersError::NotFound { .. })));
    let third = Owner { stack: "store".parse().unwrap(), ..owner };
    bench.create("store-db", "", |new| new.owner = Some(third)).await;
    assert!(matches!(find("db"), Err(ContainersError::Ambiguous { .. })));
    let spec = bench.containers.get(&other).unwrap();
    let again = setpoint::engine::containers::NewContainer {
        name: spec.name.clone(),
        owner: None,
        spec: spec.spec.clone(),
        image_digest: spec.image_digest,
        auto_remove: false,
    };
    let error = bench.containers.create(again).await.unwrap_err();
    assert!(matches!(&error, ContainersError::NameTaken { by, .. } if *by == other), "{error}");
    assert_eq!(bench.containers.list().unwrap().len(), 3);
    assert_eq!(files_below(&bench.instance.state_dir().join("locks")).len(), 3);
}

#[tokio::test]
async fn configs_become_files() {
    let bench = Bench::new();
    let digest = bench.containers.put_config(b"hello").unwrap();
    let script = "cat /etc/app.conf; ls -ln /etc/app.conf; echo x > /etc/app.conf || echo read-only";
    let id = bench
        .run("a", script, |new| {
            let source = "app".parse().unwrap();
            new.spec.mounts.push(Mount::Config { source, digest, target: "/etc/app.conf".into(), mode: 0o440, uid: 5, gid: 6 });
        })
        .await;
    bench.containers.wait(&id, false).await.unwrap();
    let text = bench.text(&id).await.join("\n");
    assert!(text.starts_with("hello-r--r-----") && text.contains(" 5 ") && text.contains("read-only"), "{text}");
    assert_eq!(bench.containers.collect_configs(&Default::default()).unwrap(), 0);
    bench.containers.remove(&id).await.unwrap();
    assert_eq!(bench.containers.collect_configs(&Default::default()).unwrap(), 1);
}

#[tokio::test]
async fn what_changes_while_it_runs() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.restart = RestartPolicy::Always).await;
    let limits = setpoint::model::spec::ResourceLimits { pids: Some(50), ..Default::default() };
    bench.containers.update(&id, Some(RestartPolicy::No), Some(limits)).await.unwrap();
    assert_eq!(bench.containers.get(&id).unwrap().spec.limits, limits);
    kill(bench.pid(&id), Signal::KILL);
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 137);
}

#[tokio::test]
async fn recovery_finishes_and_sweeps() {
    let bench = Bench::new();
    let kept = bench.create("kept", "", |_| {}).await;
    let half = bench.create("half", "", |_| {}).await;
    let going = bench.create("going", "", |_| {}).await;
    let busy = bench.create("busy", "", |_| {}).await;
    let running = bench.run("running", FOR_EVER, |_| {}).await;
    let exited = bench.run("exited", "exit 0", |new| new.auto_remove = true).await;
    bench.containers.wait(&exited, false).await.unwrap();
    let db = setpoint::engine::state::Db::open(bench.instance.state_dir()).unwrap();
    for (id, phase) in [(&half, "creating"), (&going, "removing"), (&busy, "creating")] {
        db.write(|t| t.execute("UPDATE containers SET phase = ?2 WHERE id = ?1", [id.as_str(), phase])).unwrap();
    }
    let held = bench.containers.hold(&busy).await.unwrap();
    let stray = "ab".repeat(32);
    let folder = bench.instance.state_dir().join("containers").join(&stray);
    std::fs::create_dir_all(folder.join("upper")).unwrap();
    let cgroup = cgroups::CgroupPath { parent: bench.instance.cgroup_parent(), name: stray.clone() };
    cgroups::Cgroup::create(&cgroup).unwrap();

    let found = bench.containers.recover().await.unwrap();
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    let mut removed = found.removed;
    removed.sort();
    let mut want = vec![half.to_string(), going.to_string(), stray.clone()];
    want.sort();
    assert_eq!(removed, want);
    assert_eq!((found.lost.len(), found.unsettled), (0, vec![exited]));
    assert!(!folder.exists() && !cgroups::list(&bench.instance.cgroup_parent()).unwrap().contains(&stray));
    assert!(bench.containers.state(&running).unwrap().is_running() && bench.containers.get(&kept).is_ok());
    assert!(bench.instance.container_dir(&busy).exists());
    drop(held);
    assert_eq!(bench.containers.recover().await.unwrap().removed, [busy.to_string()]);
}

/// Not a test of its own: the life of containers that the next test cuts short.
#[tokio::test]
#[ignore = "is run by killed_commands_leave_nothing"]
async fn lives() {
    let Ok(root) = std::env::var("SETPOINT_TEST_ROOT") else { return };
    let bench = Bench::at(root.into());
    for number in 0.. {
        let name = format!("c{}-{number}", std::process::id());
        let id = bench.run(&name, FOR_EVER, |new| new.spec.restart = RestartPolicy::Always).await;
        bench.exec(&id, &["touch", "/tmp/x"], "").await;
        bench.containers.stop(&id, Some(Span::default())).await.unwrap();
        bench.containers.remove(&id).await.unwrap();
    }
}

#[tokio::test]
async fn killed_commands_leave_nothing() {
    let bench = Bench::new();
    for round in 0..25u64 {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lives", "--ignored"])
            .env("SETPOINT_TEST_ROOT", bench.root())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Sooner or later in a life that takes some ten milliseconds, never twice at the same point.
        tokio::time::sleep(Duration::from_micros(20_000 + round * 7_919 % 60_000)).await;
        command.kill().await.unwrap();
    }
    // What a monitor was about to start, it starts.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let found = bench.containers.recover().await.unwrap();
    assert!(found.failures.is_empty() && found.lost.is_empty() && found.unsettled.is_empty(), "{found:?}");
    let mut alive = 0;
    for record in bench.containers.list().unwrap() {
        match bench.containers.state(&record.id).unwrap() {
            ContainerState::Running { pid, .. } => {
                assert!(exists(pid));
                alive += 1;
            }
            ContainerState::Created | ContainerState::Exited { stopped: true, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let cgroups = cgroups::list(&bench.instance.cgroup_parent()).unwrap().len();
    let records = bench.containers.list().unwrap().len();
    println!("{records} containers, {alive} alive, {} removed by the recovery", found.removed.len());
    assert_eq!(cgroups, alive);
    let folders = std::fs::read_dir(bench.instance.state_dir().join("containers")).unwrap().count();
    assert_eq!(folders, records);
}

#[tokio::test]
async fn want_of_memory_is_noted() {
    let bench = Bench::new();
    let id = bench
        .run("a", "head -c 200000000 /dev/zero | tail", |new| {
            new.spec.command = Some(["/bin/busybox", "sh", "-c", "x=$(yes | head -c 200000000)"].map(str::to_owned).to_vec());
            new.spec.limits.memory = Some("16m".parse().unwrap());
        })
        .await;
    let code = bench.containers.wait(&id, false).await.unwrap();
    let status = bench.containers.status(&id).unwrap();
    assert!(status.oom_killed && code != 0, "{code} {status:?}");
}

#[tokio::test]
async fn a_life_takes_milliseconds() {
    let bench = Bench::new();
    let mut times = Vec::new();
    for number in 0..20 {
        let id = bench.create(&format!("c{number}"), "exit 0", |new| new.auto_remove = true).await;
        let begun = Instant::now();
        bench.start(&id).await;
        let started = begun.elapsed();
        bench.containers.wait(&id, true).await.unwrap();
        let ended = begun.elapsed();
        bench.containers.remove(&id).await.unwrap();
        times.push((begun.elapsed(), started, ended));
    }
    times.sort();
    println!("median of start, wait and remove (all, until started, until ended): {:?}", times[10]);
    assert!(times[10].0 < Duration::from_secs(1));
}

#[tokio::test]
async fn a_monitor_is_small() {
    let bench = Bench::new();
    let id = bench.run("a", &format!("echo x; {FOR_EVER}"), |_| {}).await;
    let (monitor, _) = bench.containers.monitor_of(&id).unwrap().unwrap();
    assert_eq!(parent_of(bench.pid(&id)), monitor);
    let rollup = std::fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
    let pss: u64 = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    println!("a monitor: PSS {pss} kB, threads {}\n{rollup}", field(monitor, "Threads:"));
    assert_eq!(field(monitor, "Threads:"), "1");
}

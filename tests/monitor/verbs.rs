//! Commands in a container, names, configs, changes while it runs.

use rustix::process::Signal;
use setpoint::engine::containers::{ContainersError, ExecSpec, resize_exec};
use setpoint::model::spec::{ContainerSpec, Mount, OnChange};
use setpoint::model::{Owner, RestartPolicy};

use tokio::io::AsyncReadExt;

use crate::bench::{Bench, FOR_EVER, files_below, kill, until};

#[tokio::test]
async fn exec_is_the_command() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| drop(new.spec.environment.insert("OWN".into(), "1".into()))).await;
    assert_eq!(bench.exec(&id, &["sh", "-c", "cat; echo err >&2; exit 6"], "in").await, (6, "in".into(), "err\n".into()));
    let (code, out, err) = bench.exec(&id, &["/no/such"], "").await;
    assert!(code == 127 && out.is_empty() && err.contains("/no/such"), "{code} {err}");
    let spec = ExecSpec {
        argv: vec!["sh".into(), "-c".into(), "echo $OWN $MORE $(id -u)".into()],
        env: crate::bench::env(&[("MORE", "2")]),
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
    let owner = Owner { stack: "shop".parse().unwrap(), resource: "sql".parse().unwrap() };
    let one = bench.create("shop-sql", "", |new| new.owner = Some(owner.clone())).await;
    let other = bench.create("other", "", |_| {}).await;
    let find = |text: &str| bench.containers.find(text);
    for text in ["shop-sql", "sql", one.as_str(), one.short()] {
        assert_eq!(find(text).unwrap(), one, "{text}");
    }
    assert!(matches!(find("nobody"), Err(ContainersError::NotFound { .. })));
    assert!(matches!(find(""), Err(ContainersError::NotFound { .. })));
    let third = Owner { stack: "store".parse().unwrap(), ..owner };
    bench.create("store-sql", "", |new| new.owner = Some(third)).await;
    assert!(matches!(find("sql"), Err(ContainersError::Ambiguous { .. })));
    let spec = bench.containers.get(&other).unwrap();
    let again = setpoint::engine::containers::NewContainer {
        name: spec.name.clone(),
        owner: None,
        spec: ContainerSpec::clone(&spec.spec),
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
            new.spec.mounts.push(Mount::Config {
                source,
                digest,
                target: "/etc/app.conf".into(),
                mode: 0o440,
                uid: 5,
                gid: 6,
                secret: false,
                on_change: OnChange::default(),
            });
        })
        .await;
    bench.containers.wait(&id, false).await.unwrap();
    let text = bench.text(&id).await.join("\n");
    assert!(text.starts_with("hello-r--r-----") && text.contains(" 5 ") && text.contains("read-only"), "{text}");
    assert_eq!(bench.containers.collect_configs(|_| Ok(Default::default())).unwrap(), 0);
    bench.containers.remove(&id).await.unwrap();
    assert_eq!(bench.containers.collect_configs(|_| Ok(Default::default())).unwrap(), 1);
}

#[tokio::test]
async fn what_changes_while_it_runs() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |new| new.spec.restart = RestartPolicy::Always).await;
    let limits = setpoint::model::spec::ResourceLimits { pids: Some(50), ..Default::default() };
    bench.containers.update(&id, Some(RestartPolicy::No), Some(limits.clone())).await.unwrap();
    assert_eq!(bench.containers.get(&id).unwrap().spec.limits, limits);
    kill(bench.pid(&id), Signal::KILL);
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 137);
}

#[tokio::test]
async fn exec_passes_signals_and_sizes_on() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |_| {}).await;
    let spec = |script: &str, tty| ExecSpec {
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        tty,
        window: Some((10, 20)),
        ..Default::default()
    };
    for tty in [false, true] {
        let script = format!("trap 'exit 9' INT; echo ready; {FOR_EVER}");
        let mut child = bench.containers.exec(&id, spec(&script, tty)).await.unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_u8().await.unwrap();
        kill(child.id().unwrap().cast_signed(), Signal::INT);
        assert_eq!(child.wait().await.unwrap().code(), Some(9), "{tty}");
    }
    let script = format!("trap 'stty size; exit 0' WINCH; echo ready; {FOR_EVER}");
    let mut child = bench.containers.exec(&id, spec(&script, true)).await.unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_u8().await.unwrap();
    resize_exec(rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), 50, 132).unwrap();
    let mut text = String::new();
    out.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("50 132"), "{text:?}");
    assert!(child.wait().await.unwrap().success());
    // Who kills the one kills the other.
    let mut child = bench.containers.exec(&id, spec("echo $$; exec sleep 1234567", false)).await.unwrap();
    child.stdout.take().unwrap().read_u8().await.unwrap();
    child.kill().await.unwrap();
    until("the death of the command", || {
        std::fs::read_dir("/proc").unwrap().all(|entry| {
            let line = entry.unwrap().path().join("cmdline");
            std::fs::read(line).map_or(true, |line| line != b"sleep\x001234567\x00")
        })
    })
    .await;
}

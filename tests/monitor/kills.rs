//! Whoever is killed, whenever: what is left is whole, or is cleared up.

use std::time::Duration;

use rustix::process::Signal;
use setpoint::engine::containers::ContainersError;
use setpoint::engine::runtime::cgroups;
use setpoint::model::{RestartPolicy, Span};
use setpoint::observed::ContainerState;

use crate::bench::{Bench, FOR_EVER, exists, files_below, kill, parent_of, until};

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
    let found = bench.recover().await;
    assert_eq!((found.lost, found.failures.len()), (vec![id.clone()], 0));
    assert_eq!(cgroups::list(&bench.instance.cgroup_parent()).unwrap().len(), 0);
    bench.start(&id).await;
    assert!(bench.containers.state(&id).unwrap().is_running());
}

#[tokio::test]
async fn a_lost_container_starts_again_at_once() {
    let bench = Bench::new();
    let id = bench.run("a", &format!("{FOR_EVER} & {FOR_EVER}"), |_| {}).await;
    for _ in 0..20 {
        let pid = bench.pid(&id);
        kill(parent_of(pid), Signal::KILL);
        until("the loss", || bench.containers.state(&id).unwrap() == ContainerState::Lost).await;
        bench.start(&id).await;
        assert!(!exists(pid));
    }
    assert_eq!(cgroups::list(&bench.instance.cgroup_parent()).unwrap().len(), 1);
}

/// Not a test of its own: the starter that the next test kills.
#[tokio::test]
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
        .args(["--exact", "kills::starter"])
        .env("SETPOINT_TEST_ROOT", bench.root())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the start", || bench.containers.find("a").is_ok_and(|id| bench.containers.state(&id).unwrap().is_running())).await;
    starter.kill().await.unwrap();
    let id = bench.containers.find("a").unwrap();
    let pid = bench.pid(&id);
    let before = bench.text(&id).await.len();
    bench.until_more_than(&id, before).await;
    assert_eq!(bench.pid(&id), pid);
    // Nothing of the starter is held on to: its session, its folder, its streams.
    let monitor = parent_of(pid);
    assert_eq!(std::fs::read_link(format!("/proc/{monitor}/cwd")).unwrap(), std::path::Path::new("/"));
    for fd in [0, 1] {
        assert_eq!(std::fs::read_link(format!("/proc/{monitor}/fd/{fd}")).unwrap(), std::path::Path::new("/dev/null"));
    }
}

/// Not a test of its own: the life of containers that the next test cuts short.
#[tokio::test]
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
            .args(["--exact", "kills::lives"])
            .env("SETPOINT_TEST_ROOT", bench.root())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Sooner or later in a life that takes some ten milliseconds, never twice at the same point.
        tokio::time::sleep(Duration::from_micros(20_000 + round * 7_919 % 60_000)).await;
        command.kill().await.unwrap();
    }
    // What a monitor was about to start, it starts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = bench.recover().await;
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
async fn recovery_finishes_and_sweeps() {
    let bench = Bench::new();
    let kept = bench.create("kept", "", |_| {}).await;
    let half = bench.create("half", "", |_| {}).await;
    let going = bench.create("going", "", |_| {}).await;
    let busy = bench.create("busy", "", |_| {}).await;
    let running = bench.run("running", FOR_EVER, |_| {}).await;
    let exited = bench.create("exited", "", |new| new.auto_remove = true).await;
    let state = r#"{"state":{"phase":"exited","code":0,"at":"2026-11-23T10:00:00Z","stopped":false,"error":null}}"#;
    std::fs::write(bench.instance.container_dir(&exited).join("state.json"), state).unwrap();
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

    let found = bench.recover().await;
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
    assert_eq!(bench.recover().await.removed, [busy.to_string()]);
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
async fn a_monitor_that_does_not_answer_keeps_nobody_waiting() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |_| {}).await;
    let (monitor, _) = bench.containers.monitor_of(&id).unwrap().unwrap();
    kill(monitor, Signal::STOP);
    let (waited, signalled) =
        tokio::join!(bench.containers.wait(&id, false), bench.containers.signal(&id, "USR1".parse().unwrap()),);
    kill(monitor, Signal::CONT);
    for error in [waited.unwrap_err(), signalled.unwrap_err()] {
        let said = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(said.contains("did not answer"), "{said}");
    }
    // Nothing was harmed by that.
    bench.containers.stop(&id, Some(Span::default())).await.unwrap();
}

#[tokio::test]
async fn a_number_that_another_process_has_now_is_not_taken_for_the_container() {
    let bench = Bench::new();
    let id = bench.run("a", FOR_EVER, |_| {}).await;
    // Start times are told in hundredths of a second.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    // As it looks when the container's number was given to another process before its monitor could say that it ended.
    let path = bench.instance.container_run_dir(&id).join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["state"]["pid"] = other.id().into();
    std::fs::write(&path, state.to_string()).unwrap();
    assert_eq!(bench.pid(&id), i32::try_from(other.id()).unwrap());
    let (code, out, err) = bench.exec(&id, &["sh", "-c", "echo joined"], "").await;
    assert!(code != 0 && out.is_empty() && err.contains("not running"), "{code} {out} {err}");
    // The monitor means its own child, whatever the file says.
    bench.containers.stop(&id, Some(Span::default())).await.unwrap();
    assert!(other.try_wait().unwrap().is_none(), "the other process was hit");
    other.kill().unwrap();
    other.wait().unwrap();
}

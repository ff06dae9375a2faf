//! Starts, ends and what lies between: exit codes, restarts, signals, patience.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use setpoint::engine::containers::ContainersError;
use setpoint::engine::monitor::logs::{LogQuery, LogStream};
use setpoint::model::RestartPolicy;
use setpoint::observed::ContainerState;

use crate::bench::{Bench, FOR_EVER, exists, field, kill, millis, parent_of, until};

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
async fn stop_is_patient_and_then_is_not() {
    let bench = Bench::new();
    let deaf =
        bench.run("deaf", &format!("trap '' TERM; echo ready; {FOR_EVER}"), |new| new.spec.restart = RestartPolicy::Always).await;
    let polite = bench.run("polite", &format!("trap 'exit 3' TERM; echo ready; {FOR_EVER}"), |_| {}).await;
    bench.until_said(&deaf, &["ready"]).await;
    bench.until_said(&polite, &["ready"]).await;
    let begun = Instant::now();
    bench.containers.stop(&deaf, Some(millis(400))).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400));
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
    bench.containers.stop(&id, None).await.unwrap();
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { code: 9, stopped: true, .. }), "{state:?}");
}

#[tokio::test]
async fn signals_reach_the_process() {
    let bench = Bench::new();
    let id = bench.run("a", &format!("trap 'echo usr1' USR1; trap 'exit 5' 37; echo ready; {FOR_EVER}"), |_| {}).await;
    bench.until_said(&id, &["ready"]).await;
    bench.containers.signal(&id, "USR1".parse().unwrap()).await.unwrap();
    bench.until_said(&id, &["ready", "usr1"]).await;
    bench.containers.signal(&id, "RTMIN+3".parse().unwrap()).await.unwrap();
    let code = bench.containers.wait(&id, false).await.unwrap();
    assert_eq!(code, 5);
}

#[tokio::test]
async fn the_host_going_down_is_a_graceful_end() {
    let bench = Bench::new();
    let id = bench
        .run("a", &format!("trap 'echo bye; exit 0' TERM; echo ready; {FOR_EVER}"), |new| {
            new.spec.restart = RestartPolicy::Always
        })
        .await;
    bench.until_said(&id, &["ready"]).await;
    kill(parent_of(bench.pid(&id)), Signal::TERM);
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 0);
    assert_eq!(bench.text(&id).await, ["ready", "bye"]);
    let state = bench.containers.state(&id).unwrap();
    assert!(matches!(state, ContainerState::Exited { stopped: false, .. }), "{state:?}");
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

#[tokio::test]
async fn a_monitor_that_only_waits_gives_memory_back() {
    let bench = Bench::new();
    let id = bench.run("a", "yes 0123456789 | head -c 3000000; sleep 1000", |_| {}).await;
    let (monitor, _) = bench.containers.monitor_of(&id).unwrap().unwrap();
    let resident = || field(monitor, "VmRSS:").trim_end_matches(" kB").parse::<u64>().unwrap();
    // The program alone has many times as much of code.
    until("memory is given back", || resident() < 12_000).await;
    println!("a monitor that waits: {} kB resident", resident());
    // And it is not hurt: it answers, and sees the end.
    assert!(bench.containers.state(&id).unwrap().is_running());
    bench.containers.signal(&id, "KILL".parse().unwrap()).await.unwrap();
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 137);
}

//! What a container prints, kept and followed.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use setpoint::engine::monitor::logs::LogQuery;
use setpoint::model::RestartPolicy;
use setpoint::model::spec::{LogDriver, Logging};
use setpoint::observed::ContainerState;

use crate::bench::{Bench, FOR_EVER, kill, parent_of};

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
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), lines).await.unwrap().len(), 1);
}

#[tokio::test]
async fn bounds_are_what_the_container_says() {
    let bench = Bench::new();
    let id = bench.run("a", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done", |new| {
        new.spec.logging = Logging::new(LogDriver::File, [("max-size", "8k"), ("max-file", "2")]).unwrap();
    });
    let id = id.await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 0);
    let logs = bench.instance.container_dir(&id).join("logs");
    let sizes: Vec<_> = std::fs::read_dir(&logs).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 8 << 10), "{sizes:?}");
    assert_eq!(bench.text(&id).await.last().unwrap(), "line 2999");
}

#[tokio::test]
async fn what_is_not_recorded_is_not_there_and_that_is_said() {
    let bench = Bench::new();
    let id = bench.run("a", "echo x; exit 3", |new| new.spec.logging.driver = LogDriver::None).await;
    assert_eq!(bench.containers.wait(&id, false).await.unwrap(), 3);
    assert_eq!(std::fs::read_dir(bench.instance.container_dir(&id).join("logs")).unwrap().count(), 0);
    let error = bench.containers.logs(&id, LogQuery::default()).err().unwrap().to_string();
    assert!(error.contains("`none`"), "{error}");
}

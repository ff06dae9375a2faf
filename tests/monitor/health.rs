//! Health checks by the monitor.

use std::sync::Arc;

use setpoint::engine::containers::Beside;
use setpoint::model::ContainerId;
use setpoint::model::spec::{Healthcheck, OnUnhealthy, Probe, Startup};
use setpoint::observed::{ContainerState, Health};

use crate::bench::{Bench, FOR_EVER, millis, parent_of, until};

fn check(test: &str, timeout: u64) -> Healthcheck {
    Healthcheck {
        interval: millis(50),
        timeout: millis(timeout),
        retries: 2,
        start_interval: millis(50),
        ..Healthcheck::new(Probe::Shell(test.to_owned()))
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

/// Every probe of these goes this fast, and one failure is enough.
fn quick(test: Probe) -> Healthcheck {
    Healthcheck { interval: millis(50), start_interval: millis(50), retries: 1, ..Healthcheck::new(test) }
}

fn health(bench: &Bench, id: &ContainerId) -> Health {
    match bench.containers.state(id).unwrap() {
        ContainerState::Running { health, .. } => health,
        other => panic!("{other:?}"),
    }
}

/// A server of files within the container, and what it is asked for.
const SERVER: &str = "mkdir /tmp/www; touch /tmp/www/ok; exec httpd -f -p 127.0.0.1:8099 -h /tmp/www";

fn last_output(bench: &Bench, id: &ContainerId) -> String {
    bench.containers.status(id).unwrap().checks.last().map(|check| check.output.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_request_is_made_from_inside_the_containers_network() {
    let bench = Bench::new();
    // Its address is one that only it has: there is nobody at this port where the monitor is.
    let probe = Probe::Http("http://localhost:8099/ok".parse().unwrap());
    let id = bench.run("a", SERVER, |new| new.spec.healthcheck = Some(quick(probe))).await;
    until("healthy", || health(&bench, &id) == Health::Healthy).await;
    until("what it said", || last_output(&bench, &id).ends_with("200 OK")).await;
    bench.exec(&id, &["rm", "/tmp/www/ok"], "").await;
    until("unhealthy", || health(&bench, &id) == Health::Unhealthy).await;
    assert!(last_output(&bench, &id).contains("404"), "{}", last_output(&bench, &id));
}

#[tokio::test]
async fn nothing_else_counts_until_it_has_started() {
    let bench = Bench::new();
    let mut check = quick(Probe::Shell("test -e /tmp/well".to_owned()));
    check.startup = Some(Startup { interval: millis(20), ..Startup::new(Probe::Tcp("8099".parse().unwrap())) });
    let id = bench.run("a", FOR_EVER, |new| new.spec.healthcheck = Some(check)).await;
    until("some startup probes", || bench.containers.status(&id).unwrap().failing >= 3).await;
    // The check itself would have failed by now, and one failure is enough.
    assert_eq!(health(&bench, &id), Health::Starting);
    assert!(last_output(&bench, &id).contains("refused"), "{}", last_output(&bench, &id));
    bench.exec(&id, &["touch", "/tmp/well"], "").await;
    bench.exec(&id, &["httpd", "-p", "8099"], "").await;
    until("healthy", || health(&bench, &id) == Health::Healthy).await;
    bench.exec(&id, &["rm", "/tmp/well"], "").await;
    until("unhealthy", || health(&bench, &id) == Health::Unhealthy).await;
}

#[tokio::test]
async fn an_unhealthy_container_is_restarted_where_that_is_asked_for() {
    let bench = Bench::new();
    let mut check = quick(Probe::Shell("test -e /tmp/well".to_owned()));
    check.on_unhealthy = OnUnhealthy::Restart;
    // Deaf to its stop signal, so that it takes the kill after the grace. No restart policy: it is its health that is at stake.
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let id = bench.create("a", script, |new| {
        new.spec.healthcheck = Some(check);
        new.spec.stop_grace_period = millis(50);
    });
    let id = id.await;
    bench.start(&id).await;
    let first = bench.pid(&id);
    until("a restart", || {
        let status = bench.containers.status(&id).unwrap();
        status.restarts >= 1 && matches!(status.state, ContainerState::Running { pid, .. } if pid != first)
    })
    .await;
    // A stop is still the end of it.
    bench.containers.stop(&id, Some(millis(0))).await.unwrap();
    assert!(matches!(bench.containers.state(&id).unwrap(), ContainerState::Exited { code: 137, stopped: true, .. }));
}

#[tokio::test]
async fn checks_change_while_the_container_runs() {
    let bench = Bench::new();
    let hangs = Healthcheck { timeout: millis(60_000), ..quick(Probe::Shell("sleep 1000".to_owned())) };
    let id = bench.run("a", FOR_EVER, |new| new.spec.healthcheck = Some(hangs)).await;
    let pid = bench.pid(&id);
    // In the middle of a check that would take a quarter of an hour.
    let under_way = || std::fs::read_to_string(format!("/proc/{}/task/{0}/children", parent_of(pid))).unwrap();
    until("a check is under way", || under_way().split_whitespace().count() == 2).await;
    let set = async |check: Option<Healthcheck>| {
        let held = bench.containers.hold(&id).await.unwrap();
        let old = bench.containers.get(&id).unwrap();
        let mut new = old.clone();
        Arc::make_mut(&mut new.spec).healthcheck.clone_from(&check);
        let beside = Beside { healthcheck: check, image_signal: None };
        bench.containers.tell(&held, &old, &new, &beside).await.unwrap();
        bench.containers.set_spec(&held, &new.spec).unwrap();
    };
    set(Some(quick(Probe::Shell("echo changed".to_owned())))).await;
    until("healthy", || health(&bench, &id) == Health::Healthy).await;
    let status = bench.containers.status(&id).unwrap();
    assert!(status.checks.iter().all(|check| check.output == "changed\n"), "{status:?}");
    set(None).await;
    until("no health", || health(&bench, &id) == Health::None).await;
    set(Some(quick(Probe::Tcp("8099".parse().unwrap())))).await;
    until("unhealthy", || health(&bench, &id) == Health::Unhealthy).await;
    assert_eq!(bench.containers.get(&id).unwrap().spec.healthcheck, Some(quick(Probe::Tcp("8099".parse().unwrap()))));
    assert_eq!(bench.pid(&id), pid, "it is the same container, and has run all the time");
}

//! Health checks by the monitor.

use setpoint::model::Span;
use setpoint::model::spec::{Healthcheck, Probe};
use setpoint::observed::{ContainerState, Health};

use crate::bench::{Bench, FOR_EVER, millis, until};

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

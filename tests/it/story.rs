//! How stacks stand and what became of them, told to people and to scripts: `status`, `why`, `events`, and `wait --for`.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

const SOON: Duration = Duration::from_secs(120);

/// A job, an application that is healthy once `/ready` is there, and a container that waits for that.
fn compose(version: u32) -> String {
    format!(
        "services:
  job: {{image: \"{BUSYBOX}\", command: [\"true\"], network_mode: none}}
  app:
    image: \"{BUSYBOX}\"
    command: [sleep, inf]
    network_mode: none
    stop_grace_period: 0s
    healthcheck: {{test: [CMD, test, -e, /ready], interval: 1s, retries: 1000}}
  web:
    image: \"{BUSYBOX}\"
    command: [sleep, inf]
    network_mode: none
    stop_grace_period: 0s
    environment: {{VERSION: \"{version}\"}}
    depends_on: {{app: {{condition: service_healthy}}}}
"
    )
}

#[test]
fn what_is_waited_for_and_what_was_done_is_told() {
    let host = Host::new().with_busybox();
    host.write("s/compose.yaml", &compose(1));
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["why", "web"]).fails_with(1).says(&["no stack has a resource"]);
    let apply = host.start(&["apply", &folder]);
    let why = || host.sp(&["why", "s/container/web"]);
    wait_until("it is told what web waits for", SOON, || {
        let ran = why();
        ran.code == 0 && ran.stdout.contains("waits for container/app to be healthy: it is starting")
    });
    host.sp(&["wait", "--for=healthy", "s/app", "--timeout", "0"]).fails_with(1).says(&["timed out", "it is starting"]);
    host.sp(&["exec", "s-app", "touch", "/ready"]).ok();
    apply.wait(PATIENCE).ok();
    let patience = ["--timeout", "2m"];
    let wait = |condition: &str, names: &[&str]| host.sp(&[&["wait", "--for", condition], names, &patience].concat());
    wait("healthy", &["s/app", "s-web", "container/app"]).ok().says(&["s/app condition met", "s-web condition met"]);
    wait("completed", &["job"]).ok();
    wait("condition=Ready", &["s"]).ok();
    wait("condition=stalled=false", &["stack/s"]).ok();
    wait("synced", &["image/busybox", "web"]).fails_with(1).says(&["image/busybox"]);
    wait("synced", &["web"]).ok();
    host.sp(&["wait", "--for=removed", "web", "--timeout", "0"]).fails_with(1).says(&["timed out waiting for removed of web"]);
    host.sp(&["wait", "--for=running", "nobody"]).fails_with(1);
    assert_eq!(host.sp(&["wait", "s-job"]).ok().out(), "0", "without --for it is Docker's");

    // One that fails does not complete any more: nobody waits for nothing.
    host.sp(&["run", "-d", "--name", "bad", "--network", "none", BUSYBOX, "sh", "-c", "exit 3"]).ok();
    wait("completed", &["bad"]).fails_with(1).says(&["bad will not be completed: it is exited (3)"]);

    host.write("s/compose.yaml", &compose(2));
    host.sp(&["apply", &folder]).ok();
    why().ok().says(&["running, Synced", "recreated", "generation 2", "spec.environment.VERSION: 1 → 2", "created"]);
    let told = host.sp(&["why", "web", "--json"]).ok().json();
    assert_eq!((&told["changes"][0]["what"], &told["changes"][0]["generation"]), (&Value::from("recreated"), &Value::from(2)));
    host.sp(&["events", "s"]).ok().says(&["container/web  create", "spec.environment.VERSION: 1 → 2"]);
    let lines = host.sp(&["events", "--since", "1h", "--json"]).ok().stdout;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() > 8 && events.iter().all(|event| event["stack"] == "s" && event["error"].is_null()), "{lines}");
    assert_eq!(host.sp(&["events", "--until", "1h"]).ok().stdout, "");

    // Who watches is told when something changes, and only then.
    let watch = host.start(&["status", "--watch", "--json"]);
    wait_until("how it stands is told", SOON, || watch.stdout().contains("AllHealthy"));
    host.sp(&["rm", "-f", "s-web"]).ok();
    wait_until("that one is missing is told", SOON, || watch.stdout().contains("web is missing"));
    watch.signal(Signal::SIGTERM);
    let seen = watch.wait(PATIENCE).stdout;
    let syncs: Vec<Value> = seen.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()[0]["sync"].clone()).collect();
    assert_eq!(syncs.first(), Some(&Value::from("Synced")));
    assert_eq!(syncs.last(), Some(&Value::from("OutOfSync")));
    host.sp(&["destroy", "--stack", "s"]).ok();
    host.sp(&["why", "container/app"]).ok().says(&["not declared any more", "removed"]);
}

#[test]
fn a_stack_that_cannot_go_on_is_stalled_until_it_can() {
    let host = Host::new().with_busybox();
    let text = format!(
        "services: {{app: {{image: \"{BUSYBOX}\", command: [sleep, inf], network_mode: none, stop_grace_period: 0s, volumes: [\"data:/data\"]}}}}
volumes: {{data: {{external: true, name: theirs}}}}
"
    );
    host.write("s/compose.yaml", &text);
    let daemon = host.daemon(&host.dir.join("s"));
    let until = |condition: &str| host.sp(&["wait", "--for", condition, "s", "--timeout", "2m"]);
    until("condition=Stalled").ok();
    host.sp(&["status"]).ok().says(&["PlanFailed", "`theirs` is external"]);
    host.sp(&["volume", "create", "theirs"]).ok();
    // What its manifests say is looked at at once, however long it has failed before.
    host.write("s/compose.yaml", &text);
    until("condition=Ready").ok();
    until("condition=Stalled=false").ok();
    host.sp(&["wait", "--for=running", "s/app", "--timeout", "2m"]).ok();
    daemon.stop();
}

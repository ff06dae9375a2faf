//! How one edition of a container takes the place of another one, and what becomes of an edition that is not well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::net::http;
use crate::harness::{BUSYBOX, Host, wait_until};

const SOON: Duration = Duration::from_secs(120);

/// A server that says `text`, whose new edition is there before the old one goes, and somebody who knows it by its name.
fn server(text: &str) -> String {
    format!(
        "services:
  web:
    image: {BUSYBOX}
    command: [sh, -c, \"mkdir /s; echo {text} > /s/index.html; httpd -p 80 -h /s; touch /ready; sleep 1000\"]
    stop_grace_period: 1s
    ports: [\"8085:80\"]
    healthcheck: {{test: [CMD, test, -e, /ready], interval: 1s, start_period: 30s, start_interval: 100ms}}
    deploy: {{update_config: {{order: start-first}}}}
  client: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL}}
"
    )
}

#[test]
fn nobody_asks_in_vain_while_one_edition_takes_the_place_of_another() {
    let host = Host::new().with_busybox();
    let apply = |text: &str| {
        host.write("s/compose.yaml", &server(text));
        host.sp(&["apply", "s"])
    };
    apply("one").ok();
    wait_until("it serves", SOON, || http(8085, "/").is_ok_and(|body| body == "one\n"));
    let over = AtomicBool::new(false);
    let (answers, told) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(http(8085, "/"));
                std::thread::sleep(Duration::from_millis(2));
            }
            answers
        });
        let told = apply("two");
        over.store(true, Ordering::Relaxed);
        (client.join().unwrap(), told)
    });
    told.ok().says(&["container/web: well", "container/web: switched", "container/web: removed"]);
    let lost: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(lost.is_empty(), "{} of {}: {:?}", lost.len(), answers.len(), lost[0]);
    let all: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
    assert!(all.iter().any(|answer| answer == "one\n"), "{} answers", all.len());
    assert_eq!(http(8085, "/").unwrap(), "two\n");
    assert_eq!(host.containers(), ["s-client", "s-web"]);
    let by_name = |name: &str| {
        let asked = host.sp(&["exec", "s-client", "wget", "-qO-", &format!("http://{name}/")]);
        assert_eq!(asked.ok().stdout, "two\n", "{name}");
    };
    by_name("web");
    by_name("s-web");
    host.sp(&["plan", "s"]).ok();
    host.sp(&["why", "web"]).ok().says(&["recreated"]);

    // One that never is well changes nothing for anybody: it is left beside the other one, to be looked at.
    host.write("s/compose.yaml", &server("three").replace("touch /ready", "exit 3"));
    host.sp(&["apply", "s"]).fails_with(1).says(&["it exited with 3"]);
    assert_eq!(http(8085, "/").unwrap(), "two\n");
    by_name("web");
    host.sp(&["status"]).ok().says(&["UpdatePaused", "it exited with 3"]);
    host.sp(&["logs", "s-web.swap"]).ok();
    apply("two").ok();
    assert_eq!(host.containers(), ["s-client", "s-web"]);
    host.sp(&["status"]).ok().says(&["generation 4 is applied"]);
}

/// An application that ends with `code` after a moment, unless that is 0.
fn application(code: u8) -> String {
    format!(
        "services:
  app:
    image: {BUSYBOX}
    command: [sh, -c, \"test {code} = 0 || exit {code}; sleep 1000\"]
    network_mode: none
    stop_signal: SIGKILL
    deploy: {{update_config: {{failure_action: rollback, monitor: 1s}}}}
"
    )
}

#[test]
fn an_edition_that_is_not_well_is_taken_back_and_not_tried_again() {
    let host = Host::new().with_busybox();
    let write = |code: u8| host.write("s/compose.yaml", &application(code));
    let generations = || host.sp(&["stack", "history", "--json"]).ok().json()[0]["generations"].clone();

    // There is nothing to go back to: it is told, and left.
    write(4);
    host.sp(&["apply", "s"]).fails_with(1).says(&["it exited with 4"]);
    host.sp(&["status"]).ok().says(&["UpdatePaused", "it exited with 4"]);
    write(0);
    host.sp(&["apply", "s"]).ok();
    write(3);
    host.sp(&["apply", "s"]).fails_with(1).says(&[
        "it exited with 3",
        "generation 2 is brought back",
        "it is as generation 2 was",
    ]);
    let running = || host.running() == ["s-app"];
    assert!(running());
    let told = generations();
    let outcomes: Vec<&str> = (0..4).map(|at| told[at]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied", "quarantined", "applied", "paused"]);
    let status = host.sp(&["status"]).ok().says(&["Quarantined", "it exited with 3"]).stdout.clone();
    assert!(!status.contains("OutOfSync"), "{status}");
    host.sp(&["why", "app"]).ok().says(&["other manifests than those of generation 3"]);

    // A daemon does not try it again, and neither does the next one.
    let source = host.dir.join("s");
    for _ in 0..2 {
        let daemon = host.daemon(&source);
        let pid = host.pid("s-app");
        host.sp(&["stop", "s-app"]).ok();
        wait_until("what drifts is set right", SOON, || running() && host.pid("s-app") != pid);
        host.sp(&["wait", "--for", "condition=Stalled", "s", "--timeout", "2m"]).ok();
        assert_eq!(generations(), told);
        daemon.stop();
    }
    // It follows its source as soon as that says something else, and takes that back by itself when it is not well.
    let daemon = host.daemon(&source);
    write(5);
    wait_until("that is taken back too", SOON, || generations()[0]["brings_back"] == 4);
    host.sp(&["wait", "--for", "condition=Stalled", "s", "--timeout", "2m"]).ok();
    assert!(running());
    host.write("s/compose.yaml", &application(0).replace("sleep 1000", "sleep 1001"));
    host.sp(&["wait", "--for", "condition=Ready", "s", "--timeout", "2m"]).ok();
    host.sp(&["status"]).ok().says(&["AllHealthy", "generation 7 is applied"]);

    // A daemon that is asked to stop does not watch to the end. That is no failure, and does not count as applied: the next one goes on.
    let watched = application(0).replace("sleep 1000", "sleep 1002").replace("monitor: 1s", "monitor: 1h");
    host.write("s/compose.yaml", &watched);
    let is_new = || host.sp(&["inspect", "s-app"]).stdout.contains("sleep 1002") && running();
    wait_until("the new one runs", SOON, is_new);
    daemon.stop();
    let left = || (generations()[0]["generation"].as_u64().unwrap(), generations()[0]["outcome"].as_str().unwrap().to_owned());
    assert_eq!(left(), (8, "interrupted".to_owned()));
    host.sp(&["status"]).ok().says(&["Interrupted"]);
    let (pid, daemon) = (host.pid("s-app"), host.daemon(&source));
    wait_until("the next one goes on", SOON, || host.sp(&["why", "app"]).stdout.contains("its own watch to end"));
    assert_eq!((left(), host.pid("s-app")), ((8, "applying".to_owned()), pid));

    // Whoever says something new waits for no window, be it its source or a command: what was to be watched is broken off, and it
    // goes on from there.
    host.write("s/compose.yaml", &watched.replace("sleep 1002", "sleep 1003"));
    let is_other = || host.running_pid("s-app").is_some_and(|other| other != pid);
    wait_until("it follows its source", SOON, || left() == (9, "applying".to_owned()) && is_other());
    host.write("s/compose.yaml", &watched.replace("sleep 1002", "sleep 1004").replace("monitor: 1h", "monitor: 3s"));
    host.sp(&["apply", "s"]).ok().says(&["container/app: well"]);
    assert_eq!(left(), (10, "applied".to_owned()));
    daemon.stop();
    host.sp(&["destroy", "--stack", "s"]).ok();
}

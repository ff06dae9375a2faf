//! A run that fails at one point, in one of four ways: the next run converges, with nothing twice, half-made or left over. Points
//! that are passed many times are met at every passing (`SETPOINT_TEST_CASES=all`), or at some of them.

use std::collections::BTreeSet;

use setpoint::files::failpoint::POINTS;

use crate::harness::{BUSYBOX, Host, Ran, leftovers};

/// How a run fails, and how many passings are left out between two that are met where not all are.
const WAYS: [(&str, usize); 4] = [("kill", 7), ("error", 17), ("panic", 29), ("delay", 43)];

/// Two editions of a stack. Between them something of every kind is made, altered, made anew and taken away.
fn write(host: &Host, edition: usize) {
    let of = |texts: [&str; 2]| texts[edition].to_owned();
    let text = format!(
        "services:\n  app:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    volumes: [\"data:/data\"]\n\
         \x20   configs: [{{source: app, x-setpoint: {{on_change: nothing}}}}]\n    networks: [{}]\n    labels: {{edition: \"{edition}\"}}\n\
         \x20   ports: [\"{}:80\"]\n  anew: {{image: {BUSYBOX}, command: [sleep, \"{}\"], stop_signal: SIGKILL, depends_on: [app], deploy: {{update_config: {{order: start-first}}}}}}\n\
         \x20 again: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL, init: {}}}\n{}\
         volumes: {{data: {{}}}}\nconfigs: {{app: {{content: \"{edition}\"}}}}\nnetworks: {{{}: {{}}}}\n",
        of(["front", "default, back"]),
        of(["8090", "8091"]),
        of(["1001", "1002"]),
        of(["false", "true"]),
        of(["  gone: {image: localhost/busybox:1, command: [sleep, \"1000\"], stop_signal: SIGKILL}\n", ""]),
        of(["front", "back"]),
    );
    host.write("s/compose.yaml", &text);
}

/// Applies with a failure somewhere. Whether the point was met.
fn fail(host: &Host, point: &str, passing: usize, way: &str, verb: &[&str]) -> bool {
    let mut command = host.command(verb);
    command.env("SETPOINT_FAIL", format!("{point}:{passing}={way}"));
    let ran = crate::harness::Running::spawn(command).wait(crate::harness::PATIENCE);
    let met = ran.stderr.contains("failpoint: ");
    match way {
        "kill" if met => assert_eq!(ran.code, 137, "{point}:{passing}={way}: {ran:?}"),
        // What a recovery cannot do now it tries again the next time, and goes on.
        "error" | "panic" if met => {}
        _ => assert_eq!(ran.code, 0, "{point}:{passing}={way}: {ran:?}"),
    }
    met
}

fn converges(host: &Host, edition: usize, how: &str) {
    let again = || -> Ran { host.sp(&["apply", "s"]) };
    let ran = again();
    assert_eq!(ran.code, 0, "after {how}: {ran:?}");
    let planned = host.sp(&["plan", "s"]);
    assert_eq!(planned.code, 0, "after {how}: {planned:?}");
    let mut wanted = vec!["s-again", "s-anew", "s-app"];
    if edition == 0 {
        wanted.push("s-gone");
    }
    assert_eq!(host.running(), wanted, "after {how}");
    assert_eq!(host.containers(), wanted, "after {how}");
    let said = host.sp(&["exec", "s-app", "cat", "/app"]).ok().stdout;
    assert_eq!(said, edition.to_string(), "after {how}");
}

fn gone(host: &Host, how: &str) {
    let ran = host.sp(&["destroy", "s", "--volumes"]);
    assert_eq!(ran.code, 0, "after {how}: {ran:?}");
    assert_eq!(host.containers(), Vec::<String>::new(), "after {how}");
    let listed = host.sp(&["volume", "ls", "-q"]).ok();
    assert_eq!(listed.stdout, "", "after {how}");
    // No link, process, cgroup or rule of the stack is left; what the instance itself keeps is looked at in the end.
    let folders = std::fs::read_dir(host.instance.state_dir().join("containers")).map_or(0, Iterator::count);
    assert_eq!(folders, 0, "after {how}: {:?}", leftovers::of(&host.instance));
}

/// Tries a share of the points, so that two tests share the processors.
fn tries(points: &[&'static str]) {
    let host = Host::new().with_busybox();
    let all = std::env::var("SETPOINT_TEST_CASES").is_ok_and(|cases| cases == "all");
    let mut met = BTreeSet::new();
    for point in points {
        for (way, stride) in WAYS {
            let mut passing = 1;
            loop {
                let how = format!("{point}:{passing}={way}");
                write(&host, 0);
                let mut any = fail(&host, point, passing, way, &["apply", "s"]);
                converges(&host, 0, &how);
                write(&host, 1);
                any |= fail(&host, point, passing, way, &["apply", "s"]);
                converges(&host, 1, &how);
                any |= fail(&host, point, passing, way, &["destroy", "s"]);
                gone(&host, &how);
                if !any {
                    break;
                }
                met.insert(*point);
                passing += if all { 1 } else { stride };
            }
        }
    }
    assert_eq!(met, points.iter().copied().collect(), "a point that no run passes");
}

#[test]
fn what_fails_at_a_point_of_the_database_converges() {
    tries(&POINTS[..4]);
}

#[test]
fn what_fails_at_a_point_of_the_engine_converges() {
    tries(&POINTS[4..]);
}

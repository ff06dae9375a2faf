//! What containers print, as users and programs look for it: searched, as JSON, in the journal, and over recreations.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_until};

#[test]
fn lines_are_searched_and_analysed() {
    let host = Host::new().with_busybox();
    let script = "echo 'INFO started'; echo '{\"level\":\"error\",\"msg\":\"broken\"}' >&2; printf 'no end'; exit 3";
    let labels = ["--label", "app=shop", "--log-opt", "labels=app,none", "--log-opt", "tag={{.Name}}"];
    host.sp(&[&["run", "--name", "a"], &labels[..], &[BUSYBOX, "sh", "-c", script]].concat()).fails_with(3);
    let ran = host.sp(&["logs", "a"]).ok();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("INFO started\nno end", "{\"level\":\"error\",\"msg\":\"broken\"}\n")
    );
    assert_eq!(host.sp(&["logs", "--grep", "^INFO [a-z]+$", "a"]).ok().stdout, "INFO started\n");
    let ran = host.sp(&["logs", "--grep", "broken|end", "a"]).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("no end\n", 1));
    host.sp(&["logs", "--grep", "(", "a"]).fails_with(1).says(&["what is searched for"]);
    assert!(host.sp(&["logs", "--details", "--tail", "1", "a"]).ok().stdout.starts_with("tag=a,app=shop no end"));
    let all = host.sp(&["logs", "--json", "a"]).ok().stdout;
    let lines: Vec<serde_json::Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines.iter().map(|line| ["container", "stream", "level"].map(|key| line[key].as_str())).collect();
    assert_eq!(seen.len(), 3, "{all}");
    assert!(seen.contains(&[Some("a"), Some("stdout"), Some("info")]), "{seen:?}");
    assert!(seen.contains(&[Some("a"), Some("stderr"), Some("error")]), "{seen:?}");
    assert!(seen.contains(&[Some("a"), Some("stdout"), None]), "{seen:?}");
    let time = lines[0]["time"].as_str().unwrap();
    // The time of a line, as it is told, is a bound that takes the line in.
    assert!(host.sp(&["logs", "--since", time, "--until", time, "-t", "a"]).ok().says(&[time]).stdout.lines().count() <= 1);
    assert_eq!(host.sp(&["logs", "--until", "2000-01-01T00:00:00Z", "a"]).ok().stdout, "");
}

#[test]
fn drivers_are_honoured_or_refused() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "--log-driver", "fluentd", BUSYBOX, "true"]).fails_with(125).says(&["fluentd", "journald"]);
    host.sp(&["run", "--log-driver", "none", "--log-opt", "max-size=1m", BUSYBOX, "true"]).fails_with(125).says(&["max-size"]);
    let manifest = |logging: &str| {
        format!(
            "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: a}}\nspec:\n  image: {BUSYBOX}\n  \
             command: [sh, -c, \"echo said; sleep inf\"]\n  stop_grace_period: 0s\n  logging: {logging}\n"
        )
    };
    host.write("s/s.yaml", &manifest("{driver: syslog}"));
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["validate", &folder]).fails_with(1).says(&["syslog", "the drivers are"]);
    // What is attached to has all, whether or not anything is recorded.
    assert_eq!(host.sp(&["run", "--name", "n", "--log-driver", "none", BUSYBOX, "echo", "seen"]).ok().stdout, "seen\n");
    host.sp(&["logs", "n"]).fails_with(1).says(&["`none`", "`file`"]);
    host.sp(&["run", "--name", "j", "--log-driver", "journald", BUSYBOX, "true"]).fails_with(125).says(&["no journal"]);

    // A host of its own has its own journal.
    tool("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    fs::create_dir_all("/run/systemd/journal").unwrap();
    let journald = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
    journald.set_read_timeout(Some(PATIENCE)).unwrap();
    host.write("s/s.yaml", &manifest("{driver: journald, options: {tag: \"shop/{{.Name}}\"}}"));
    host.sp(&["apply", &folder]).ok();
    let mut entry = vec![0; 64 << 10];
    let count = journald.recv(&mut entry).unwrap();
    let entry = String::from_utf8(entry[..count].to_vec()).unwrap();
    for field in ["MESSAGE=said", "PRIORITY=6", "CONTAINER_NAME=s-a", "CONTAINER_TAG=shop/s-a", "SYSLOG_IDENTIFIER=shop/s-a"] {
        assert!(entry.lines().any(|line| line == field), "{field} is not in {entry}");
    }
    host.sp(&["logs", "s-a"]).fails_with(1).says(&["journalctl CONTAINER_NAME=s-a"]);
    host.sp(&["destroy", &folder]).ok();
}

#[test]
fn a_service_is_followed_over_its_containers() {
    let host = Host::new().with_busybox();
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    let edition = |number: u32| {
        host.write(
            "s/s.yaml",
            &format!(
                "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: a}}\nspec:\n  image: {BUSYBOX}\n  \
                 command: [sh, -c, \"echo edition {number}; exec sleep inf\"]\n  network_mode: none\n  stop_grace_period: 0s\n"
            ),
        );
        host.sp(&["apply", &folder]).ok();
    };
    edition(1);
    let service = host.start(&["logs", "-f", "s/a"]);
    let container = host.start(&["logs", "-f", "s-a"]);
    wait_until("the first", PATIENCE, || service.stdout() == "edition 1\n" && container.stdout() == "edition 1\n");
    // The same container, stopped and started again, and then two more.
    host.sp(&["restart", "-t", "0", "s-a"]).ok();
    wait_until("the same again", PATIENCE, || service.stdout() == "edition 1\nedition 1\n");
    edition(2);
    wait_until("the second", PATIENCE, || service.stdout().ends_with("edition 2\n"));
    assert_eq!(container.wait(PATIENCE).ok().stdout.lines().last().unwrap(), "edition 1", "a container ends with itself");
    edition(3);
    wait_until("the third", PATIENCE, || service.stdout() == "edition 1\nedition 1\nedition 2\nedition 3\n");
    host.sp(&["destroy", &folder]).ok();
    // Nothing is left that could print.
    service.wait(PATIENCE).ok();
    host.sp(&["logs", "s/a"]).fails_with(1).says(&["s/a"]);
}

#[test]
fn a_reader_that_has_stopped_does_not_stop_the_container() {
    let host = Host::new().with_busybox();
    // Nobody reads the pipe: it is held open, and that is all.
    let mut run = host.command(&["run", "--name", "a", BUSYBOX, "sh", "-c", "seq 1 2000000; echo finished"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the container goes on without its reader", PATIENCE, || {
        let listed = host.sp(&["ps", "-a", "--json"]).ok().json();
        listed[0]["state"]["phase"] == "exited"
    });
    assert_eq!(host.sp(&["logs", "--tail", "1", "a"]).ok().stdout, "finished\n");
    drop(child.stdout.take());
    child.kill().ok();
    child.wait().unwrap();
}

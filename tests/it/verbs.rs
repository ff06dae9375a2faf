//! The verbs that look into containers and change them, as people type them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::cli::LIMITS;
use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_for, wait_until};

#[test]
fn a_paused_container_stands_still_and_can_still_be_ended() {
    let host = Host::new().with_busybox();
    let script = "trap 'exit 3' TERM; while :; do echo x >>/count; done";
    let count = || host.sp(&["cp", "c:/count", "-"]).ok().stdout.len();
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    wait_until("it counts", PATIENCE, || host.sp(&["exec", "c", "test", "-s", "/count"]).code == 0);
    assert_eq!(host.sp(&["pause", "c"]).ok().out(), "c");
    host.sp(&["ps"]).ok().says(&["(Paused)"]);
    assert_eq!(
        host.sp(&["inspect", "-f", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}", "c"]).ok().out(),
        "paused true true"
    );
    // What stands still counts nothing, however long one waits.
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(count(), before);
    host.sp(&["pause", "c"]).fails_with(1).says(&["paused already"]);
    host.sp(&["exec", "c", "true"]).fails_with(1).says(&["is paused", "unpause"]);
    host.sp(&["attach", "c"]).fails_with(1).says(&["is paused"]);
    host.sp(&["start", "c"]).fails_with(1).says(&["is paused"]);
    host.sp(&["top", "c"]).ok().says(&["sh -c"]);
    assert_eq!(host.sp(&["container", "unpause", "c"]).ok().out(), "c");
    wait_until("it goes on", PATIENCE, || count() > before);
    host.sp(&["unpause", "c"]).fails_with(1).says(&["not paused"]);

    host.sp(&["pause", "c"]).ok();
    host.sp(&["stop", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["ExitCode"], 3, "its handler for the stop signal has run");
    host.sp(&["pause", "c"]).fails_with(1).says(&["not running"]);
    for end in [&["kill", "c"][..], &["rm", "-f", "c"]] {
        host.sp(&["start", "c"]).ok();
        host.sp(&["pause", "c"]).ok();
        host.sp(end).ok();
        wait_until("it has ended", PATIENCE, || host.running().is_empty());
    }
    // One whose monitor is killed meanwhile does not stay as it is.
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sleep", "1000"]).ok();
    let (pid, monitor) = (host.pid("c"), monitor_of(&host, "c"));
    host.sp(&["pause", "c"]).ok();
    kill(Pid::from_raw(monitor), Signal::SIGKILL).unwrap();
    wait_until("the monitor is gone", PATIENCE, || host.running().is_empty());
    host.sp(&["start", "c"]).ok();
    assert_ne!(host.pid("c"), pid);
}

/// The parent of a container's first process.
fn monitor_of(host: &Host, name: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.pid(name))).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_renamed_container_is_found_by_its_new_name() {
    let host = Host::new().with_busybox();
    host.write(
        "s/c.yaml",
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: owned}\nspec: {image: localhost/busybox:1, command: [sleep, inf]}\n",
    );
    host.sp(&["apply", host.dir.join("s").to_str().unwrap()]).ok();
    for name in ["old", "near"] {
        host.sp(&["run", "-d", "--name", name, BUSYBOX, "sleep", "1000"]).ok();
    }
    let resolves = |name: &str| host.sp(&["exec", "near", "nslookup", name]).code == 0;
    wait_until("the old name", PATIENCE, || resolves("old"));
    host.sp(&["rename", "old", "new"]).ok();
    wait_until("the new name", PATIENCE, || resolves("new") && !resolves("old"));
    host.sp(&["rename", "old", "other"]).fails_with(1).says(&["old"]);
    host.sp(&["rename", "new", "near"]).fails_with(1).says(&["taken"]);
    host.sp(&["rename", "new", "-bad"]).fails_with(1);
    host.sp(&["container", "rename", "s-owned", "mine"]).fails_with(1).says(&["stack s", "container_name"]);
    host.sp(&["stop", "-t", "0", "new"]).ok();
    host.sp(&["rename", "new", "newest"]).ok();
    host.sp(&["start", "newest"]).ok();
    wait_until("the newest name", PATIENCE, || resolves("newest") && !resolves("new"));
    assert_eq!(host.containers(), ["near", "newest", "s-owned"]);
}

#[test]
fn processes_and_what_they_use_are_shown() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "c", "-m", "64m", BUSYBOX, "sh", "-c", "sleep 777 & exec sleep 888"]).ok();
    let rows = || -> Vec<String> { host.sp(&["top", "c"]).ok().stdout.lines().map(str::to_owned).collect() };
    let rows = wait_for("both processes", PATIENCE, || Some(rows()).filter(|rows| rows.iter().any(|r| r.contains("sleep 777"))));
    assert!(rows[0].starts_with("UID") && rows[0].ends_with("CMD") && rows.len() == 3, "{rows:?}");
    let first = rows.iter().find(|row| row.contains("sleep 888")).unwrap();
    assert_eq!(first.split_whitespace().nth(1).unwrap(), host.pid("c").to_string());
    let chosen = host.sp(&["container", "top", "c", "-o", "pid,comm"]).ok();
    assert_eq!(chosen.stdout.lines().count(), 3, "{chosen:?}");
    assert_eq!(chosen.stdout.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
    host.sp(&["top", "c", "-o", "comm"]).fails_with(1).says(&["PID"]);
    host.sp(&["top", "c", "--no-such-thing"]).fails_with(1).says(&["ps:"]);

    host.sp(&["create", "--name", "still", BUSYBOX, "true"]).ok();
    let stats = host.sp(&["stats", "--no-stream", "--format", "json"]).ok();
    let seen: serde_json::Value = serde_json::from_str(stats.out()).unwrap();
    assert_eq!((seen["Name"].as_str(), seen["PIDs"].as_str()), (Some("c"), Some("2")), "{seen}");
    assert!(
        seen["MemUsage"].as_str().unwrap().ends_with("/ 64MiB") && seen["CPUPerc"].as_str().unwrap().ends_with('%'),
        "{seen}"
    );
    let table = host.sp(&["stats", "--no-stream", "-a", "--no-trunc"]).ok();
    assert_eq!(table.stdout.lines().count(), 3, "{table:?}");
    assert!(table.stdout.contains("CONTAINER ID") && table.stdout.contains("MEM USAGE / LIMIT"));
    host.sp(&["stats", "--no-stream", "nobody"]).fails_with(1).says(&["nobody"]);
    let live = host.start(&["stats", "c"]);
    wait_until("it goes on", PATIENCE, || live.stdout().matches("CPU %").count() >= 2);
    host.sp(&["top", "still"]).fails_with(1).says(&["not running"]);
}

#[test]
fn limits_and_policies_change_while_it_runs() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "c", "-m", "64m", "--cpus", "0.5", BUSYBOX, "sleep", "inf"]).ok();
    let limits = || tool("sh", &["-c", LIMITS, "sh", &host.pid("c").to_string()]).trim().to_owned();
    assert_eq!(limits(), "memory 67108864 cpu 50%");
    assert_eq!(host.sp(&["update", "-m", "128m", "c"]).ok().out(), "c");
    assert_eq!(limits(), "memory 134217728 cpu 50%", "what is not named stays");
    host.sp(&["container", "update", "-m", "32m", "--cpus", "0.25", "--pids-limit", "5", "--restart", "always", "c"]).ok();
    assert_eq!(limits(), "memory 33554432 cpu 25%");
    let forks = "i=0; while [ $i -lt 20 ]; do sleep 5 & i=$((i+1)); done";
    let ran = host.sp(&["exec", "c", "sh", "-c", forks]);
    assert!(ran.stderr.contains("can't fork") || ran.code != 0, "a limit of 5 processes stops 20: {ran:?}");
    let shown = host.sp(&[
        "inspect",
        "-f",
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}",
        "c",
    ]);
    assert_eq!(shown.ok().out(), "33554432 250000000 5 always");
    let first = host.pid("c");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_until("it starts again", PATIENCE, || host.running_pid("c").is_some_and(|pid| pid != first));
    assert_eq!(limits(), "memory 33554432 cpu 25%", "limits hold for later runs");
    host.sp(&["update", "--cpus", "0", "--pids-limit", "-1", "--restart", "no", "c"]).ok();
    assert_eq!(host.inspect("c")["HostConfig"]["PidsLimit"], serde_json::Value::Null);
    // Those beside the usual ones, on the running container and in its record.
    let further = ["--memory-reservation", "16m", "--memory-swap", "-1", "-c", "512", "--cpuset-cpus", "0"];
    host.sp(&[&["update"], &further[..], &["c"]].concat()).ok();
    let (cpus, shares) = (
        "grep Cpus_allowed_list /proc/1/status",
        "cat /sys/fs/cgroup/cpu.weight 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.shares",
    );
    assert_eq!(host.sp(&["exec", "c", "sh", "-c", cpus]).ok().out(), "Cpus_allowed_list:\t0");
    let found = host.sp(&["exec", "c", "sh", "-c", shares]).ok();
    assert!(["512", "20"].contains(&found.out()), "{}", found.stdout);
    let shown =
        host.sp(&["inspect", "-f", "{{.HostConfig.CpuShares}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpusetCpus}}", "c"]);
    assert_eq!(shown.ok().out(), "512 -1 0");
    let recorded = host.inspect("c")["spec"]["limits"].clone();
    assert_eq!(
        (&recorded["memory_reservation"], &recorded["memory_swap"], &recorded["cpu_shares"]),
        (&json!("16m"), &json!("-1"), &json!(512))
    );
    host.sp(&["update", "--cpu-shares", "0", "--memory-reservation", "0", "--cpu-quota", "50000", "c"]).ok();
    assert_eq!(limits(), "memory 33554432 cpu 50%");
    assert_eq!(host.inspect("c")["spec"]["limits"]["cpu_shares"], serde_json::Value::Null);
    host.sp(&["update", "--cpus", "1", "c"]).fails_with(1).says(&["cpu_quota"]);
    host.sp(&["update", "--memory-reservation", "64m", "c"]).fails_with(1).says(&["above the limit"]);
    host.sp(&["update", "--cpu-rt-period", "1", "c"]).fails_with(1).says(&["--cpu-rt-period", "rtprio"]);
    host.sp(&["update", "c"]).fails_with(1).says(&["required"]);
    host.sp(&["update", "--pids-limit", "-7", "c"]).fails_with(1).says(&["-7"]);
    host.sp(&["run", "-d", "--rm", "--name", "gone", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["update", "--restart", "always", "gone"]).fails_with(1).says(&["removed when it exits"]);
}

#[test]
fn differences_are_those_that_the_container_made() {
    let host = Host::new().with_busybox();
    let script = "mkdir -p /new/deep; echo x >/new/deep/file; echo x >>/etc/passwd; rm /etc/group; rm -r /var; mkdir /var; \
                  echo x >/tmp/t; echo ready; sleep 1000";
    host.sp(&["run", "-d", "--name", "c", "-v", "data:/data", BUSYBOX, "sh", "-c", script]).ok();
    wait_until("it is ready", PATIENCE, || host.sp(&["logs", "c"]).stdout == "ready\n");
    let check = |of: &str| {
        let diff = host.sp(&["diff", of]).ok();
        let lines: Vec<&str> = diff.stdout.lines().collect();
        for line in ["A /new", "A /new/deep", "A /new/deep/file", "C /etc", "C /etc/passwd", "D /etc/group", "C /tmp", "A /tmp/t"]
        {
            assert!(lines.contains(&line), "{line}: {lines:?}");
        }
        for path in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/data", "/dev", "/proc"] {
            assert!(!lines.iter().any(|line| line.ends_with(path)), "{path}: {lines:?}");
        }
    };
    check("c");
    host.sp(&["stop", "-t", "0", "c"]).ok();
    check("c");
    host.sp(&["create", "--name", "fresh", BUSYBOX, "true"]).ok();
    assert_eq!(host.sp(&["container", "diff", "fresh"]).ok().stdout, "");
    host.sp(&["diff", "nobody"]).fails_with(1);
}

#[test]
fn stops_restarts_and_kills_by_any_signal() {
    let host = Host::new().with_busybox();
    let script = "trap 'exit 5' USR1; trap 'exit 6' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.05; done";
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    let ready = |times: usize| {
        wait_until("it is ready", PATIENCE, || host.sp(&["logs", "c"]).stdout.matches("ready").count() == times);
    };
    ready(1);
    host.sp(&["kill", "-s", "HUP", "c"]).ok();
    wait_until("it has heard", PATIENCE, || host.sp(&["logs", "c"]).stdout.contains("hup"));
    assert_eq!(host.sp(&["restart", "-s", "SIGUSR1", "-t", "60", "c"]).ok().out(), "c");
    ready(2);
    host.sp(&["stop", "-s", "usr1", "--timeout", "60", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["ExitCode"], 5);
    host.sp(&["start", "c"]).ok();
    ready(3);
    host.sp(&["stop", "--time", "-1", "c"]).ok();
    assert_eq!(host.inspect("c")["State"]["ExitCode"], 6);
    host.sp(&["stop", "-s", "NOSUCH", "c"]).fails_with(1).says(&["NOSUCH"]);
    host.sp(&["rm", "-l", "c"]).fails_with(1).says(&["links"]);
    assert_eq!(host.sp(&["container", "rm", "c"]).ok().out(), "c");
    host.sp(&["wait", "nobody"]).fails_with(1).says(&["nobody"]);
}

#[test]
fn published_ports_are_shown() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "c", "-p", "127.0.0.1:18080:80", "-p", "18053:53/udp", BUSYBOX, "sleep", "1000"]).ok();
    assert_eq!(host.sp(&["port", "c"]).ok().out(), "53/udp -> 0.0.0.0:18053\n80/tcp -> 127.0.0.1:18080");
    assert_eq!(host.sp(&["container", "port", "c", "80"]).ok().out(), "127.0.0.1:18080");
    assert_eq!(host.sp(&["port", "c", "53/udp"]).ok().out(), "0.0.0.0:18053");
    host.sp(&["port", "c", "81"]).fails_with(1).says(&["81/tcp", "not published"]);
    host.sp(&["port", "c", "80/sctp"]).fails_with(1).says(&["not a port"]);
}

#[test]
fn prunes_take_what_does_not_run_and_belongs_to_nobody() {
    let host = Host::new().with_busybox();
    host.write(
        "s/c.yaml",
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: job}\nspec: {image: localhost/busybox:1, command: [\"true\"]}\n",
    );
    host.sp(&["apply", host.dir.join("s").to_str().unwrap()]).ok();
    host.sp(&["run", "-d", "--name", "runs", BUSYBOX, "sleep", "1000"]).ok();
    for (name, label) in [("one", "keep=yes"), ("two", "keep=no"), ("three", "other")] {
        host.sp(&["create", "--name", name, "-l", label, BUSYBOX, "true"]).ok();
    }
    wait_until("the job has ended", PATIENCE, || host.running() == ["runs"]);
    host.feed(&["container", "prune"], b"n\n").wait(PATIENCE).ok();
    assert_eq!(host.containers().len(), 5);
    host.sp(&["container", "prune", "-f", "--filter", "until=1h"]).ok().says(&["Total reclaimed space: 0B"]);
    let id = host.inspect("two")["Id"].as_str().unwrap().to_owned();
    host.sp(&["container", "prune", "-f", "--filter", "label=keep", "--filter", "label!=keep=yes"]).ok().says(&[&id]);
    assert_eq!(host.containers(), ["one", "runs", "s-job", "three"]);
    host.sp(&["container", "prune", "--filter", "name=x"]).fails_with(1).says(&["the filters are label, until"]);
    host.feed(&["container", "prune"], b"y\n").wait(PATIENCE).ok().says(&["Deleted Containers:"]);
    assert_eq!(host.containers(), ["runs", "s-job"]);
}

/// What a container that goes at its end has written need not be on the disk, so that its end does not wait for that.
#[test]
fn what_goes_at_the_end_is_not_written_out() {
    let host = Host::new().with_busybox();
    let is_volatile = |name: &str| {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", host.pid(name))).unwrap();
        let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap().to_owned();
        root.contains("volatile")
    };
    host.sp(&["run", "-d", "--rm", "--name", "goes", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["run", "-d", "--name", "stays", BUSYBOX, "sleep", "1000"]).ok();
    assert!(is_volatile("goes") && !is_volatile("stays"));
    host.sp(&["exec", "goes", "sh", "-c", "echo x >/written && sync"]).ok();
    // The kernel refuses a second mount unless told that all is well.
    host.sp(&["restart", "-t", "0", "goes"]).ok();
    assert!(is_volatile("goes"));
    assert_eq!(host.sp(&["exec", "goes", "cat", "/written"]).ok().out(), "x");
}

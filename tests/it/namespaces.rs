//! What containers share with the host and with each other, and that they share nothing else.

use std::fs;

use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, wait_until};

fn namespace(pid: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

/// The namespace that a container with these arguments has.
fn of_run(host: &Host, args: &[&str], kind: &str) -> String {
    let link = format!("/proc/self/ns/{kind}");
    host.sp(&[&["run", "--rm"], args, &[BUSYBOX, "readlink", &link]].concat()).ok().out().to_owned()
}

fn fails(ran: &Ran, what: &str) {
    assert!(ran.code != 0 && ran.stderr.contains(what), "exit {}: {}", ran.code, ran.stderr);
}

#[test]
fn of_the_host() {
    let host = Host::new().with_busybox();
    for (flag, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")] {
        let own = namespace("self", kind);
        assert_eq!(of_run(&host, &[flag, "host"], kind), own, "{flag} host");
        assert_ne!(of_run(&host, &[], kind), own, "without {flag}");
        // Everything else stays apart.
        let other = if kind == "ipc" { "uts" } else { "ipc" };
        assert_ne!(of_run(&host, &[flag, "host"], other), namespace("self", other), "{flag} host shares {other}");
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let ran = host.sp(&["run", "--rm", "--uts", "host", BUSYBOX, "sh", "-c", "hostname; cat /etc/hostname"]).ok();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), [name.trim(), name.trim()]);
    let ran = host.sp(&["run", "--rm", "--pid", "host", BUSYBOX, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"]).ok();
    let first = fs::read_to_string("/proc/1/cmdline").unwrap().replace('\0', " ");
    assert_eq!(ran.out(), first.trim());
}

#[test]
fn processes_of_another_container() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sleep", "1000"]).ok();
    let ran = host.sp(&["run", "--rm", "--pid", "container:a", BUSYBOX, "sh", "-c", "ps; readlink /proc/self/ns/pid"]).ok();
    assert!(ran.stdout.contains("sleep 1000"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&namespace(&host.pid("a").to_string(), "pid")), "{}", ran.stdout);
    // One that shares them is ended with all that it has started, and the other stays.
    let script = "sleep 500 & sleep 600";
    host.sp(&["run", "-d", "--name", "b", "--pid", "container:a", BUSYBOX, "sh", "-c", script]).ok();
    let seen = |what: &str| host.sp(&["exec", "a", "ps"]).ok().stdout.contains(what);
    wait_until("both of b's are seen in a", PATIENCE, || seen("sleep 500") && seen("sleep 600"));
    host.sp(&["kill", "b"]).ok();
    wait_until("b's processes are gone", PATIENCE, || !seen("sleep 500") && !seen("sleep 600"));
    assert_eq!(host.running(), ["a"]);
    // What another is to share must run, whoever starts it again.
    host.sp(&["stop", "-t", "0", "a"]).ok();
    fails(&host.sp(&["start", "b"]), "not running");
    fails(&host.sp(&["run", "--rm", "--pid", "container:nobody", BUSYBOX, "true"]), "nobody");
    host.sp(&["start", "a"]).ok();
    host.sp(&["start", "b"]).ok();
    assert_eq!(namespace(&host.pid("a").to_string(), "pid"), namespace(&host.pid("b").to_string(), "pid"));
}

#[test]
fn shared_memory() {
    let host = Host::new().with_busybox();
    let keep = "echo hello >/dev/shm/greeting; sleep 1000";
    host.sp(&["run", "-d", "--name", "open", "--ipc", "shareable", "--shm-size", "1m", BUSYBOX, "sh", "-c", keep]).ok();
    host.sp(&["run", "-d", "--name", "closed", BUSYBOX, "sh", "-c", keep]).ok();
    wait_until("the greeting is there", PATIENCE, || host.sp(&["exec", "open", "cat", "/dev/shm/greeting"]).code == 0);
    let script = "cat /dev/shm/greeting; echo bye >/dev/shm/answer; readlink /proc/self/ns/ipc; df -k /dev/shm | tail -1";
    let ran = host.sp(&["run", "--rm", "--ipc", "container:open", BUSYBOX, "sh", "-c", script]).ok();
    assert!(ran.stdout.starts_with("hello\n"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains(&namespace(&host.pid("open").to_string(), "ipc")) && ran.stdout.contains("1024"),
        "{}",
        ran.stdout
    );
    assert_eq!(host.sp(&["exec", "open", "cat", "/dev/shm/answer"]).ok().out(), "bye");
    fails(&host.sp(&["run", "--rm", "--ipc", "container:closed", BUSYBOX, "true"]), "does not share");
    // Without any, and with more than usual.
    let mounted = "grep -c ' /dev/shm ' /proc/mounts";
    assert_eq!(host.sp(&["run", "--rm", "--ipc", "none", BUSYBOX, "sh", "-c", mounted]).stdout.trim(), "0");
    let sized = ["run", "--rm", "--shm-size", "100m", BUSYBOX, "df", "-k", "/dev/shm"];
    assert!(host.sp(&sized).ok().stdout.contains("102400"));
}

#[test]
fn the_network_of_another_container() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", "--hostname", "box", "--add-host", "db:10.1.2.3", BUSYBOX, "sleep", "1000"]).ok();
    let script = "readlink /proc/self/ns/net; hostname; cat /etc/hosts; cat /etc/resolv.conf";
    let with = host.sp(&["run", "--rm", "--network", "container:a", BUSYBOX, "sh", "-c", script]).ok();
    let own = host.sp(&["exec", "a", "sh", "-c", script]).ok();
    assert_eq!(with.stdout, own.stdout);
    assert!(with.stdout.contains("10.1.2.3") && with.stdout.contains("box"), "{}", with.stdout);
    for refused in [["-p", "80:80"], ["--hostname", "x"], ["--dns", "10.0.0.1"], ["--add-host", "x:10.0.0.1"]] {
        let args = [&["run", "--rm", "--network", "container:a"], &refused[..], &[BUSYBOX, "true"]].concat();
        assert_ne!(host.sp(&args).code, 0, "{refused:?}");
    }
    fails(&host.sp(&["run", "--rm", "--network", "container:gone", BUSYBOX, "true"]), "gone");
}

#[test]
fn in_a_stack_who_shares_starts_after_and_again() {
    let host = Host::new().with_busybox();
    let stack = |command: &str| {
        format!(
            "services:\n  side:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    network_mode: service:web\n    \
             pid: service:web\n    ipc: service:web\n  web:\n    image: {BUSYBOX}\n    command: [sleep, \"{command}\"]\n    stop_signal: SIGKILL\n    \
             ipc: shareable\n"
        )
    };
    host.write("stack/compose.yaml", &stack("1000"));
    host.sp(&["apply", "stack"]).ok();
    let together = || {
        let (web, side) = (host.pid("stack-web").to_string(), host.pid("stack-side").to_string());
        ["net", "pid", "ipc"].into_iter().all(|kind| namespace(&web, kind) == namespace(&side, kind))
    };
    assert!(together());
    host.sp(&["plan", "stack"]).fails_with(0);
    // What it shares is made anew, and it starts again for that.
    host.write("stack/compose.yaml", &stack("2000"));
    host.sp(&["plan", "stack"]).fails_with(2).says(&["side", "shares"]);
    host.sp(&["apply", "stack"]).ok();
    assert!(together());
    host.sp(&["plan", "stack"]).fails_with(0);
    host.sp(&["destroy", "stack", "--yes"]);
}

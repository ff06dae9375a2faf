//! `--init`: a process 1 that takes the ends of orphans, passes signals on, and is nothing that a container could use.

use std::fs;

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

/// Whether any process in the container is dead and not taken.
fn has_zombies(host: &Host, name: &str) -> bool {
    let script = "for s in /proc/[0-9]*/status; do grep -q '^State:.Z' $s 2>/dev/null && echo zombie; done; true";
    host.sp(&["exec", name, "sh", "-c", script]).ok().stdout.contains("zombie")
}

#[test]
fn orphans_are_taken_and_signals_arrive() {
    let host = Host::new().with_busybox();
    let script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    host.sp(&["run", "-d", "--init", "--name", "with", BUSYBOX, "sh", "-c", script]).ok();
    host.sp(&["run", "-d", "--name", "without", BUSYBOX, "sleep", "1000"]).ok();
    for name in ["with", "without"] {
        host.sp(&["exec", name, "sh", "-c", "sh -c 'exit 0' & exec sh -c '(sleep 0.2 &)'"]).ok();
    }
    wait_until("the orphan of a container without init is left", PATIENCE, || has_zombies(&host, "without"));
    wait_until("the orphan of a container with init is taken", PATIENCE, || !has_zombies(&host, "with"));
    let first = host.sp(&["exec", "with", "cat", "/proc/1/cmdline"]).ok();
    assert!(first.stdout.contains("@init"), "{}", first.stdout);
    wait_until("the command is ready", PATIENCE, || host.sp(&["logs", "with"]).ok().stdout.contains("ready"));
    host.sp(&["stop", "-t", "60", "with"]).ok();
    assert!(host.sp(&["logs", "with"]).ok().stdout.contains("got it"));
    assert_eq!(host.inspect("with")["state"]["code"], 7);
}

#[test]
fn it_ends_as_the_command_does() {
    let host = Host::new().with_busybox();
    let run = |args: &[&str]| host.sp(&[&["run", "--rm", "--init"], args].concat());
    run(&[BUSYBOX, "sh", "-c", "exit 5"]).fails_with(5);
    run(&[BUSYBOX, "sh", "-c", "kill -9 $$"]).fails_with(137);
    run(&[BUSYBOX, "/no/such/program"]).fails_with(127);
    let ran = run(&["--user", "1000:1000", BUSYBOX, "sh", "-c", "echo $$ $(id -u) $(grep ^Uid: /proc/1/status)"]).ok();
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert_eq!(words[1..], ["1000", "Uid:", "1000", "1000", "1000", "1000"], "{}", ran.stdout);
    assert_ne!(words[0], "1", "the command is not process 1");
    // The processes of somebody else's namespace are not its own to take, but those of its command are.
    run(&["--pid", "host", BUSYBOX, "sh", "-c", "(sleep 0.1 &); exit 3"]).fails_with(3);
}

#[test]
fn the_programs_file_cannot_be_written_from_inside() {
    let host = Host::new().with_busybox();
    let program = env!("CARGO_BIN_EXE_setpoint");
    let before = fs::read(program).unwrap();
    host.sp(&["run", "-d", "--init", "--privileged", "--name", "a", BUSYBOX, "sleep", "1000"]).ok();
    for attack in [
        "echo overwritten > /proc/1/exe",
        "exec 5</proc/1/exe; echo overwritten > /proc/self/fd/5",
        "mount -o remount,rw /proc/1/exe; echo overwritten > /proc/1/exe",
        "mount --bind /proc/1/exe /bin/cat && mount -o remount,rw,bind /bin/cat && echo overwritten > /bin/cat",
    ] {
        let ran = host.sp(&["exec", "a", "sh", "-c", attack]);
        assert_ne!(ran.code, 0, "{attack}: {}", ran.stdout);
    }
    assert!(fs::read(program).unwrap() == before, "the program was overwritten");
    // It is still the container's own, and does what it is for.
    host.sp(&["exec", "a", "true"]).ok();
}

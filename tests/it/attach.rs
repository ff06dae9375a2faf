//! A container's standard streams in the hands of whoever starts it or comes later: input, terminals, the keys by which one
//! leaves, signals, and readers that are too slow.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use nix::sys::signal::Signal;

use crate::harness::{BUSYBOX, Host, PATIENCE, Running, Typist, wait_until};

#[test]
fn input_reaches_a_container_and_ends() {
    let host = Host::new().with_busybox();
    let much: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let ran = host.feed(&["run", "-i", "--rm", BUSYBOX, "sh", "-c", "cat; exit 3"], &much).wait(PATIENCE).fails_with(3);
    assert!(ran.stdout.as_bytes() == much, "{} of {} bytes came back", ran.stdout.len(), much.len());
    // One that reads nothing does not hold its end up, and without -i there is nothing to read.
    host.feed(&["run", "-i", "--rm", BUSYBOX, "sh", "-c", "exit 4"], &much).wait(PATIENCE).fails_with(4);
    let ran = host.feed(&["run", "--rm", BUSYBOX, "wc", "-c"], b"x").wait(PATIENCE).ok();
    assert_eq!(ran.out(), "0");
    // Only the streams that are asked for.
    let ran = host.sp(&["run", "--rm", "-a", "stderr", BUSYBOX, "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "err\n"));
    let ran = host.feed(&["run", "-i", "--rm", "-a", "STDIN", BUSYBOX, "sh", "-c", "read x; exit $x"], b"5\n").wait(PATIENCE);
    ran.fails_with(5);
    assert!(host.containers().is_empty());
}

#[test]
fn a_container_has_a_terminal_of_its_own() {
    let host = Host::new().with_busybox();
    let script = "stty size; test -t 0 && test -t 1 && test -t 2 && echo $TERM; read x; stty size; echo \"got $x\"; exit 7";
    let mut person = Typist::start(&host, &["run", "-it", "--rm", "--name", "t", BUSYBOX, "sh", "-c", script]);
    person.sees("xterm\r\n");
    person.resizes(33, 101);
    // The size goes its own way, so the answer is only asked for when it has arrived.
    wait_until("the container sees the size", PATIENCE, || {
        host.sp(&["exec", "t", "stty", "-F", "/dev/console", "size"]).stdout.trim() == "33 101"
    });
    person.types(b"words\r");
    person.sees("33 101\r\n");
    person.sees("got words\r\n");
    assert_eq!(person.ends(), 7);
    host.feed(&["run", "-it", BUSYBOX, "true"], b"").wait(PATIENCE).fails_with(125).says(&["not a terminal"]);
    // A terminal needs nobody at it.
    host.sp(&["run", "-dt", "--name", "alone", BUSYBOX, "sh", "-c", "test -t 1 && echo yes; sleep 1000"]).ok();
    wait_until("it is recorded", PATIENCE, || host.sp(&["logs", "alone"]).stdout.contains("yes"));
    assert!(host.containers() == ["alone"]);
}

#[test]
fn a_terminal_is_left_by_its_keys_and_joined_again() {
    let host = Host::new().with_busybox();
    let mut person = Typist::start(&host, &["run", "-it", "--name", "t", BUSYBOX, "sh"]);
    person.sees("# ");
    person.types(b"kept=was; echo $kept-$((40+2))\r");
    person.sees("was-42");
    person.types(b"\x10\x11");
    person.sees("read escape sequence");
    assert_eq!(person.ends(), 0);
    assert_eq!(host.running(), ["t"]);

    let mut person = Typist::start(&host, &["attach", "--detach-keys", "ctrl-a,x", "t"]);
    person.types(b"echo $kept-$((50+2))\r");
    person.sees("was-52");
    person.types(b"\x01x");
    person.sees("read escape sequence");
    assert_eq!(person.ends(), 0);

    let mut person = Typist::start(&host, &["container", "attach", "t"]);
    person.types(b"echo $((60+2)); exit 3\r");
    person.sees("62");
    assert_eq!(person.ends(), 3);
    host.sp(&["attach", "t"]).fails_with(1).says(&["not running"]);
    host.sp(&["attach", "--detach-keys", "ctrl-A", "t"]).fails_with(1).says(&["sequence of keys"]);

    // The same from a start, and from a command in a container.
    let mut person = Typist::start(&host, &["start", "-ai", "t"]);
    person.sees("# ");
    person.types(b"\x10\x11");
    assert_eq!(person.ends(), 0);
    let mut person = Typist::start(&host, &["exec", "-it", "t", "sh", "-c", "echo ready; read x; echo $x > /said"]);
    person.sees("ready");
    person.types(b"\x10\x11");
    person.sees("read escape sequence");
    assert_eq!(person.ends(), 0);
    assert_eq!(host.running(), ["t"]);
}

#[test]
fn signals_are_passed_on_unless_they_are_not_to_be() {
    let host = Host::new().with_busybox();
    let script = "trap 'exit 9' TERM; while :; do echo tick; sleep 0.05; done";
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    let deaf = host.start(&["attach", "--sig-proxy=false", "c"]);
    wait_until("it is attached", PATIENCE, || deaf.stdout().contains("tick"));
    deaf.signal(Signal::SIGTERM);
    deaf.wait(PATIENCE).fails_with(143);
    assert_eq!(host.running(), ["c"]);
    let attached = host.start(&["attach", "--no-stdin", "c"]);
    wait_until("it is attached", PATIENCE, || attached.stdout().contains("tick"));
    attached.signal(Signal::SIGTERM);
    attached.wait(PATIENCE).fails_with(9);
    assert_eq!(host.inspect("c")["State"]["ExitCode"], 9);
}

#[test]
fn an_input_stays_open_for_whoever_comes() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-di", "--name", "c", BUSYBOX, "cat"]).ok();
    let first = host.feed(&["attach", "c"], b"one\n");
    wait_until("it comes back", PATIENCE, || first.stdout() == "one\n");
    drop(first);
    let second = host.feed(&["attach", "c"], b"two\n");
    wait_until("it comes back", PATIENCE, || second.stdout().ends_with("two\n"));
    assert_eq!(host.running(), ["c"]);
    host.sp(&["kill", "c"]).ok();
    second.wait(PATIENCE).fails_with(137);
    assert_eq!(host.sp(&["logs", "c"]).ok().stdout, "one\ntwo\n");

    // Whose input was given when it was made ends with that input, even when whoever gave it is killed.
    host.sp(&["create", "-i", "--name", "once", BUSYBOX, "sh", "-c", "cat; exit 6"]).ok();
    let ran = host.feed(&["start", "-a", "-i", "once"], b"three\n").wait(PATIENCE).fails_with(6);
    assert_eq!(ran.stdout, "three\n");
    let mut command = host.command(&["start", "-i", "once"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("it runs", PATIENCE, || host.running() == ["once"]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it has ended", PATIENCE, || host.inspect("once")["State"]["ExitCode"] == 6);
}

#[test]
fn started_containers_are_attached_to_one_at_a_time() {
    let host = Host::new().with_busybox();
    for name in ["a", "b"] {
        host.sp(&["create", "--name", name, BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 4"]).ok();
    }
    host.sp(&["start", "-a", "a", "b"]).fails_with(1).says(&["one container at a time"]);
    let ran = host.sp(&["start", "-a", "a"]).fails_with(4);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(host.sp(&["start", "a", "b"]).ok().out(), "a\nb");
    assert_eq!(host.sp(&["wait", "a", "b"]).ok().out(), "4\n4");
}

#[test]
fn who_attaches_and_does_not_read_holds_nobody_up() {
    let host = Host::new().with_busybox();
    let script = "while [ ! -e /go ]; do echo tick; sleep 0.05; done; seq 1 2000000; touch /done; sleep 1000";
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    // Of this pipe nobody reads more than the first byte.
    let mut command = host.command(&["attach", "c"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    host.sp(&["exec", "c", "touch", "/go"]).ok();
    wait_until("all is printed", PATIENCE, || host.sp(&["exec", "c", "test", "-e", "/done"]).code == 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(host.sp(&["logs", "-n", "1", "c"]).ok().out(), "2000000");
}

#[test]
fn a_container_leaves_its_id_in_a_file() {
    let host = Host::new().with_busybox();
    let file = host.dir.join("cid");
    let path = file.to_str().unwrap();
    let ran = host.sp(&["run", "-d", "--cidfile", path, "--name", "c", BUSYBOX, "sleep", "1000"]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), ran.out());
    host.sp(&["create", "--cidfile", path, BUSYBOX]).fails_with(1).says(&["cidfile"]);
    fs::remove_file(&file).unwrap();
    host.sp(&["create", "--cidfile", path, "--name", "c", BUSYBOX]).fails_with(1).says(&["taken"]);
    assert!(!file.exists(), "there is no container that it could be about");
}

#[test]
fn commands_are_executed_with_all_that_is_asked() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sleep", "1000"]).ok();
    host.write("vars", "# a comment\nA=from file\nB=2\n");
    let script = "echo $A $B >/tmp/said; echo lost; touch /tmp/done; sleep 1000";
    let ran = host.sp(&["exec", "-d", "--env-file", "vars", "-e", "B=3", "c", "sh", "-c", script]).ok();
    assert_eq!(ran.stdout, "", "it is not waited for");
    wait_until("it has run", PATIENCE, || host.sp(&["exec", "c", "test", "-e", "/tmp/done"]).code == 0);
    assert_eq!(host.sp(&["exec", "c", "cat", "/tmp/said"]).ok().out(), "from file 3");
    host.sp(&["exec", "-d", "c", "/nowhere"]).fails_with(127).says(&["/nowhere"]);
    host.sp(&["exec", "-d", "c", "/etc/passwd"]).fails_with(126);
    let effective = |args: &[&str]| {
        let words = [&["exec"][..], args, &["c", "sh", "-c", "grep CapEff /proc/self/status"]].concat();
        u64::from_str_radix(host.sp(&words).ok().out().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    let (plain, privileged) = (effective(&[]), effective(&["--privileged"]));
    assert!(privileged & plain == plain && privileged.count_ones() > plain.count_ones(), "{plain:x} {privileged:x}");
    let ran: Running = host.feed(&["exec", "-i", "c", "cat"], b"through");
    assert_eq!(ran.wait(PATIENCE).ok().stdout, "through");
    // A command on a terminal that nobody waits for has one all the same.
    host.sp(&["exec", "-dt", "c", "sh", "-c", "test -t 1 && touch /tmp/tty"]).ok();
    wait_until("it has run", PATIENCE, || host.sp(&["exec", "c", "test", "-e", "/tmp/tty"]).code == 0);
}

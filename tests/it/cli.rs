//! The command line as people type it, without a daemon: manifests and Docker's verbs, their output and exit codes.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::net::{http, http_at, on_another_host};
use crate::harness::{BUSYBOX, Host, PATIENCE, image, leftovers, tool, wait_for, wait_until};

const SERVER: &str = "apiVersion: setpoint/v1
kind: Network
metadata: {name: front}
spec: {}
---
apiVersion: setpoint/v1
kind: Volume
metadata: {name: pages}
spec: {}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: web, labels: {tier: front}}
spec:
  image: localhost/busybox:1
  command: [httpd, -f, -p, \"80\", -h, /pages]
  volumes: [\"pages:/pages\"]
  networks: [front]
  ports: [\"8080:80\"]
  restart: always
  stop_signal: SIGKILL
";

#[test]
fn the_program_is_one_static_file() {
    let headers = tool("readelf", &["--program-headers", env!("CARGO_BIN_EXE_setpoint")]);
    assert!(!headers.contains("INTERP"), "it needs a dynamic loader:\n{headers}");
    assert!(headers.contains("EXEC (Executable file)"), "it has relocations to do at every start:\n{headers}");
    let host = Host::new();
    host.sp(&["--version"]).ok().says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn all_errors_of_a_folder_are_said_at_once_with_their_places() {
    let host = Host::new();
    host.write("stack/web.yaml", &SERVER.replace("  ports:", "  portz:").replace("networks: [front]", "networks: [frond]"));
    host.write(
        "stack/other.yaml",
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec:\n  image: x\n  image: y\n",
    );
    let folder = host.dir.join("stack");
    for verb in ["validate", "plan", "apply"] {
        let ran = host.sp(&[verb, folder.to_str().unwrap()]).fails_with(1);
        let ran = ran.says(&["web.yaml:19:3", "portz", "did you mean `ports`", "other.yaml:6:3", "image"]);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
    assert!(host.containers().is_empty());
    host.write("stack/web.yaml", &SERVER.replace("networks: [front]", "networks: [frond]"));
    host.sp(&["validate", folder.to_str().unwrap()]).fails_with(1).says(&["web.yaml:", "frond", "front"]);
}

#[test]
fn a_stack_is_planned_applied_looked_at_and_destroyed() {
    let host = Host::new().with_busybox();
    let file = host.write("stack/web.yaml", SERVER);
    let folder = host.dir.join("stack").to_str().unwrap().to_owned();
    host.sp(&["validate", &folder]).ok();
    host.sp(&["plan", &folder]).fails_with(2).says(&["web", "front", "pages"]);
    assert!(host.containers().is_empty(), "a plan changes nothing");
    host.sp(&["apply", &folder]).ok();
    host.sp(&["plan", &folder]).ok();

    // Applied twice: nothing the second time, and the container goes on.
    let pid = host.pid("stack-web");
    host.sp(&["apply", &folder]).ok();
    let plan = host.sp(&["plan", &folder, "--json"]).ok().json();
    assert_eq!(plan["steps"], serde_json::json!([]), "{plan}");
    assert_eq!(host.pid("stack-web"), pid);

    host.sp(&["exec", "stack-web", "sh", "-c", "echo kept > /pages/index.html"]).ok();
    assert_eq!(http(8080, "/").unwrap(), "kept\n");
    let status = host.sp(&["status", "--json"]).ok().json();
    assert_eq!(status[0]["stack"], "stack", "{status}");
    assert!(status.to_string().contains("\"type\":\"Ready\""), "{status}");
    host.sp(&["status"]).ok().says(&["stack", "web"]);

    // One field changes: the plan names it with both values, and apply does that and nothing else.
    fs::write(&file, SERVER.replace("8080:80", "8081:80")).unwrap();
    host.sp(&["plan", &folder]).fails_with(2).says(&["ports", "8080", "8081"]);
    host.sp(&["apply", &folder]).ok();
    assert_eq!(http(8081, "/").unwrap(), "kept\n", "the volume has its data");
    assert!(http(8080, "/").is_err(), "the old port is closed");

    host.sp(&["destroy", &folder]).ok();
    assert!(host.containers().is_empty());
    assert!(http(8081, "/").is_err());
    assert!(leftovers::links(&host.instance).is_empty(), "the network's links are gone");
    host.sp(&["apply", &folder]).ok();
    wait_until("the volume outlived the stack", PATIENCE, || http(8081, "/").is_ok_and(|body| body == "kept\n"));
}

#[test]
fn a_saved_plan_is_carried_out_or_refused() {
    let host = Host::new().with_busybox();
    let file = host.write("stack/web.yaml", SERVER);
    let folder = host.dir.join("stack").to_str().unwrap().to_owned();
    let saved = host.dir.join("saved.plan").to_str().unwrap().to_owned();
    host.sp(&["plan", &folder, "--out", &saved]).fails_with(2);
    host.sp(&["apply", &saved]).ok();
    assert_eq!(host.running(), ["stack-web"]);
    host.sp(&["plan", &folder]).ok();

    fs::write(&file, SERVER.replace("8080:80", "8081:80")).unwrap();
    host.sp(&["plan", &folder, "--out", &saved]).fails_with(2);
    host.sp(&["rm", "-f", "stack-web"]).ok();
    host.sp(&["apply", &saved]).fails_with(1).says(&["container stack-web is gone"]);
    assert!(host.containers().is_empty(), "what was planned no longer fits, so nothing is done");
}

#[test]
fn one_failing_step_stops_only_what_depends_on_it() {
    let host = Host::new().with_busybox();
    let container = |name: &str, image: &str, more: &str| {
        format!(
            "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: {name}}}\nspec:\n  image: {image}\n  command: [sleep, inf]\n  stop_signal: SIGKILL\n{more}"
        )
    };
    host.write("s/good.yaml", &container("good", BUSYBOX, ""));
    // Nothing listens there: the pull fails at once.
    host.write("s/bad.yaml", &container("bad", "127.0.0.1:9/none:1", ""));
    host.write("s/after.yaml", &container("after", BUSYBOX, "  depends_on: [bad]\n"));
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["apply", &folder]).fails_with(1).says(&["127.0.0.1:9"]);
    assert_eq!(host.running(), ["s-good"]);
    host.write("s/bad.yaml", &container("bad", BUSYBOX, ""));
    host.sp(&["apply", &folder]).ok();
    assert_eq!(host.running(), ["s-after", "s-bad", "s-good"]);
}

#[test]
fn run_passes_on_streams_and_exit_codes() {
    let host = Host::new().with_busybox();
    let ran = host.sp(&["run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 7"]).fails_with(7);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    host.sp(&["run", "--rm", BUSYBOX, "true"]).ok();
    let killed = host.start(&["run", "--rm", "--name", "killed", BUSYBOX, "sleep", "inf"]);
    kill(Pid::from_raw(wait_for("it runs", PATIENCE, || host.running_pid("killed"))), Signal::SIGKILL).unwrap();
    killed.wait(PATIENCE).fails_with(137);
    host.sp(&["run", "--rm", BUSYBOX, "/nowhere"]).fails_with(127).says(&["/nowhere"]);
    host.sp(&["run", "--rm", BUSYBOX, "/etc/passwd"]).fails_with(126).says(&["/etc/passwd"]);
    host.sp(&["run", "--rm", "127.0.0.1:9/none:1"]).fails_with(125).says(&["127.0.0.1:9"]);
    host.sp(&["run", "--no-such-flag", BUSYBOX]).fails_with(125);
    assert!(host.containers().is_empty(), "--rm removes, whatever the end: {:?}", host.containers());

    let many = host.sp(&["run", "--rm", BUSYBOX, "sh", "-c", "yes 0123456789abcdef | head -n 200000"]).ok();
    assert_eq!(many.stdout.len(), 200_000 * 17, "no byte of much output is lost");
}

#[test]
fn run_sets_what_its_options_say() {
    let host = Host::new().with_busybox();
    let file = host.write("from-host", "host file\n");
    let bind = format!("{}:/given:ro", file.display());
    let open = host.dir.join("open");
    fs::create_dir(&open).unwrap();
    tool("chmod", &["777", open.to_str().unwrap()]);
    let data = format!("{}:/data", open.display());
    let script =
        "echo $COLOUR; pwd; id -u; id -g; hostname; cat /given; touch /given 2>&1; touch /data/new; cat /proc/1/comm; true";
    #[rustfmt::skip]
    let ran = host.sp(&[
        "run", "--rm", "--name", "given", "-e", "COLOUR=green", "-w", "/var", "-u", "65534:65534", "--network", "none",
        "-v", &bind, "-v", &data, "--entrypoint", "sh", BUSYBOX, "-c", script,
    ]).ok();
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[..4], ["green", "/var", "65534", "65534"], "{lines:?}");
    assert_eq!(lines[5], "host file");
    assert!(lines[6].contains("Read-only file system"), "{lines:?}");
    assert_eq!(lines[7], "sh", "the entrypoint is process 1: {lines:?}");
    assert!(open.join("new").exists());

    // `none` has loopback only; the default network has a way to other containers by name.
    let links = host.sp(&["run", "--rm", "--network", "none", BUSYBOX, "ls", "/sys/class/net"]).ok();
    assert_eq!(links.out(), "lo");
    let id = host.sp(&["run", "-d", "--name", "server", BUSYBOX, "nc", "-ll", "-p", "7", "-e", "hostname"]).ok();
    assert!(id.out().len() == 64 && id.out().bytes().all(|b| b.is_ascii_hexdigit()), "{id:?}");
    assert_eq!(host.sp(&["ps", "-q"]).ok().out(), &id.out()[..12]);

    // A name is given once.
    host.sp(&["run", "-d", "--name", "server", BUSYBOX, "true"]).fails_with(125).says(&["server"]);
    host.sp(&["rm", "server"]).fails_with(1).says(&["server"]);
    host.sp(&["rm", "-f", "server"]).ok();
    assert!(host.containers().is_empty());
}

#[test]
fn limits_reach_the_kernel() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "limited", "-m", "64m", "--cpus", "0.5", BUSYBOX, "sleep", "inf"]).ok();
    let limits = tool("sh", &["-c", LIMITS, "sh", &host.pid("limited").to_string()]);
    assert_eq!(limits.trim(), "memory 67108864 cpu 50%");
    let greedy = ["run", "--rm", "-m", "16m", BUSYBOX, "sh", "-c", "head -c 100000000 /dev/zero | tail -n 1 | wc -c; exit 9"];
    let ran = host.sp(&greedy);
    assert!(!ran.stdout.contains("100000000"), "16 MB hold no 100 MB: {ran:?}");
    let pids = ["run", "--rm", "--network", "none", "--pids-limit", "10", BUSYBOX, "sh", "-c", FORKS];
    let ran = host.sp(&pids);
    assert!(ran.stderr.contains("can't fork") || ran.code != 0, "a limit of 10 processes stops 50: {ran:?}");
}

const FORKS: &str = "i=0; while [ $i -lt 50 ]; do sleep 5 & i=$((i+1)); done";

/// Prints the limits of the process `$1` on cgroup v1 and v2 hosts alike.
pub(crate) const LIMITS: &str = r#"
memory=$(sed -n 's/^[0-9]*:memory://p' /proc/$1/cgroup); cpu=$(sed -n 's/^[0-9]*:\(cpu\|cpu,cpuacct\)://p' /proc/$1/cgroup)
unified=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$1/cgroup)
if [ -n "$memory" ]; then printf 'memory %s ' "$(cat /sys/fs/cgroup/memory$memory/memory.limit_in_bytes)"
else printf 'memory %s ' "$(cat $unified/memory.max)"; fi
if [ -n "$cpu" ]; then quota=$(cat /sys/fs/cgroup/cpu$cpu/cpu.cfs_quota_us) period=$(cat /sys/fs/cgroup/cpu$cpu/cpu.cfs_period_us)
else read quota period <$unified/cpu.max; fi
echo "cpu $((100 * quota / period))%"
"#;

#[test]
fn containers_are_stopped_started_executed_in_and_removed() {
    let host = Host::new().with_busybox();
    let script = "trap 'echo asked; exit 3' TERM; echo started; while :; do sleep 0.1; done";
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    let first = host.pid("c");
    let ran = host.sp(&["exec", "c", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; echo err >&2; exit 5"]).fails_with(5);
    assert!(ran.stdout.contains("trap") && ran.stderr.contains("err"), "{ran:?}");
    host.sp(&["exec", "c", "/nowhere"]).fails_with(127);
    host.sp(&["exec", "c", "/etc/passwd"]).fails_with(126);
    host.sp(&["exec", "-e", "A=b", "-w", "/tmp", "-u", "65534", "c", "sh", "-c", "echo $A $PWD $(id -u)"])
        .ok()
        .says(&["b /tmp 65534"]);
    host.sp(&["exec", "nobody", "true"]).fails_with(1).says(&["nobody"]);

    host.sp(&["stop", "c"]).ok();
    assert_eq!(host.running_pid("c"), None);
    let state = host.inspect("c")["state"].clone();
    assert_eq!(state["code"], 3, "its handler for SIGTERM ran: {state}");
    host.sp(&["exec", "c", "true"]).fails_with(1);
    host.sp(&["start", "c"]).ok();
    assert_ne!(host.pid("c"), first);
    let logs = host.sp(&["logs", "c"]).ok();
    assert_eq!(logs.stdout, "started\nasked\nstarted\n");
    host.sp(&["stop", "c"]).ok();
    host.sp(&["rm", "c"]).ok();
    // An image's digest may begin with its name.
    host.sp(&["inspect", "--type", "container", "c"]).fails_with(1).says(&["c"]);

    // One that ignores the stop signal is killed when its grace is over.
    host.sp(&["run", "-d", "--name", "deaf", BUSYBOX, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]).ok();
    wait_until("deaf is ready", PATIENCE, || host.sp(&["logs", "deaf"]).stdout == "ready\n");
    host.sp(&["stop", "-t", "1", "deaf"]).ok();
    assert_eq!(host.inspect("deaf")["state"]["code"], 137);
}

#[test]
fn logs_are_kept_followed_and_cut() {
    let host = Host::new().with_busybox();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; while [ ! -e /go ]; do sleep 0.05; done; echo last; echo end >&2";
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script]).ok();
    wait_until("five lines", PATIENCE, || host.sp(&["logs", "c"]).stdout.lines().count() == 5);
    assert_eq!(host.sp(&["logs", "--tail", "2", "c"]).ok().stdout, "line 4\nline 5\n");
    assert_eq!(host.sp(&["logs", "--since", "1h", "c"]).ok().stdout.lines().count(), 5);
    assert_eq!(host.sp(&["logs", "--since", "2099-01-01T00:00:00Z", "c"]).ok().stdout, "");
    let mut follower = host.start(&["logs", "-f", "--tail", "1", "c"]);
    wait_until("the follower begins", PATIENCE, || follower.stdout() == "line 5\n");
    assert!(!follower.has_ended());
    host.sp(&["exec", "c", "touch", "/go"]).ok();
    let followed = follower.wait(PATIENCE).ok();
    assert_eq!((followed.stdout.as_str(), followed.stderr.as_str()), ("line 5\nlast\n", "end\n"));
    host.sp(&["logs", "nobody"]).fails_with(1).says(&["nobody"]);
}

#[test]
fn restart_policies_need_no_daemon() {
    let host = Host::new().with_busybox();
    host.write(
        "s/c.yaml",
        "apiVersion: setpoint/v1
kind: Container
metadata: {name: always}
spec: {image: localhost/busybox:1, command: [sleep, inf], restart: always}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: never}
spec: {image: localhost/busybox:1, command: [sleep, inf], restart: \"no\"}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: twice}
spec: {image: localhost/busybox:1, command: [sh, -c, \"echo run; exit 1\"], restart: \"on-failure:2\"}
",
    );
    host.sp(&["apply", host.dir.join("s").to_str().unwrap()]).ok();
    let (always, never) = (host.pid("s-always"), host.pid("s-never"));
    for pid in [always, never] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    wait_until("`always` starts again", PATIENCE, || host.running_pid("s-always").is_some_and(|pid| pid != always));
    wait_until("`no` ends", PATIENCE, || host.inspect("s-never")["state"]["code"] == 137);
    wait_until("`on-failure:2` gives up", PATIENCE, || host.inspect("s-twice")["state"]["phase"] == "exited");
    assert_eq!(host.sp(&["logs", "s-twice"]).ok().stdout, "run\nrun\nrun\n");
    // What a user stopped stays stopped.
    host.sp(&["stop", "-t", "0", "s-always"]).ok();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(host.running_pid("s-always"), None);
}

#[test]
fn published_ports_answer_here_and_elsewhere() {
    let host = Host::new().with_busybox();
    let serve = |name: &str, port: &str| {
        host.sp(&[
            "run",
            "-d",
            "--name",
            name,
            "-p",
            port,
            BUSYBOX,
            "sh",
            "-c",
            "echo hi > /www/index.html; exec httpd -f -p 80 -h /www",
        ])
        .ok();
    };
    serve("everywhere", "8080:80");
    serve("loopback", "127.0.0.1:8081:80");
    for port in [8080, 8081] {
        wait_until("the port answers on loopback", PATIENCE, || http(port, "/").is_ok_and(|body| body == "hi\n"));
    }
    on_another_host(|| {
        assert_eq!(http_at(([192, 0, 2, 1], 8080).into(), "/").unwrap(), "hi\n");
        assert!(http_at(([192, 0, 2, 1], 8081).into(), "/").is_err(), "a loopback port is for this host only");
    });
    let taken = host.sp(&["run", "-d", "--name", "second", "-p", "8080:80", BUSYBOX, "sleep", "inf"]).fails_with(125);
    taken.says(&["8080"]);
    host.sp(&["rm", "-f", "everywhere"]).ok();
    assert!(http(8080, "/").is_err());
}

#[test]
fn names_resolve_between_containers_of_a_network() {
    let host = Host::new().with_busybox();
    host.write(
        "s/net.yaml",
        "apiVersion: setpoint/v1
kind: Network
metadata: {name: one}
spec: {}
---
apiVersion: setpoint/v1
kind: Network
metadata: {name: two}
spec: {}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: server}
spec:
  image: localhost/busybox:1
  command: [nc, -ll, -p, \"7\", -e, echo, hello]
  networks: {one: {aliases: [greeter]}}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: near}
spec: {image: localhost/busybox:1, command: [sleep, inf], networks: [one]}
---
apiVersion: setpoint/v1
kind: Container
metadata: {name: far}
spec: {image: localhost/busybox:1, command: [sleep, inf], networks: [two]}
",
    );
    host.sp(&["apply", host.dir.join("s").to_str().unwrap()]).ok();
    for name in ["server", "greeter", "s-server"] {
        let script = format!("nc -w 5 {name} 7 </dev/null");
        wait_until(&format!("{name} answers"), PATIENCE, || {
            host.sp(&["exec", "s-near", "sh", "-c", &script]).stdout == "hello\n"
        });
    }
    host.sp(&["exec", "s-far", "nslookup", "server"]).fails_with(1);
    let address = host.inspect("s-server")["networks"]["s-one"]["address"].as_str().unwrap().to_owned();
    let ran = host.sp(&["exec", "s-far", "nc", "-w", "1", &address, "7"]);
    assert_ne!(ran.code, 0, "networks are apart: {ran:?}");
}

#[test]
fn images_are_imported_listed_and_removed() {
    let host = Host::new();
    let import =
        host.command(&["import", "-", "localhost/piped:1"]).stdin(fs::File::open(image::busybox_tar()).unwrap()).output();
    let import = import.unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    host.sp(&["import", image::busybox_tar().to_str().unwrap(), "localhost/file:1"]).ok();
    host.sp(&["images"]).ok().says(&["localhost/piped", "localhost/file"]);
    host.sp(&["run", "-d", "--name", "user", "localhost/file:1", "sleep", "inf"]).ok();
    host.sp(&["rmi", "localhost/piped:1"]).ok();
    host.sp(&["rmi", "localhost/file:1"]).fails_with(1).says(&["user"]);
    host.sp(&["rm", "-f", "user"]).ok();
    host.sp(&["rmi", "localhost/file:1"]).ok();
    host.sp(&["rmi", "localhost/file:1"]).fails_with(1);
    let layers = fs::read_dir(host.instance.state_dir().join("images/layers")).unwrap().count();
    assert_eq!(layers, 0, "nothing names the layer any more");
    let no_tar = host.write("no.tar", "this is no tar");
    host.sp(&["import", no_tar.to_str().unwrap(), "localhost/bad:1"]).fails_with(1).says(&["archive"]);
}

#[test]
fn instances_live_side_by_side() {
    let one = Host::new().with_busybox();
    let two = Host::beside().with_busybox();
    for host in [&one, &two] {
        host.sp(&["run", "-d", "--name", "same", "-m", "32m", BUSYBOX, "sleep", "inf"]).ok();
    }
    assert_ne!(one.inspect("same")["networks"], two.inspect("same")["networks"], "their subnets do not meet");
    one.sp(&["system", "reset", "--force"]).ok();
    assert!(one.containers().is_empty());
    assert_eq!(two.running(), ["same"]);
    two.sp(&["exec", "same", "true"]).ok();
}

#[test]
fn many_commands_at_once_do_not_meet() {
    let host = Host::new().with_busybox();
    let running: Vec<_> = (0..8)
        .map(|i| host.start(&["run", "--rm", "--name", &format!("c{i}"), BUSYBOX, "sh", "-c", &format!("echo {i}")]))
        .collect();
    for (i, run) in running.into_iter().enumerate() {
        assert_eq!(run.wait(PATIENCE).ok().stdout, format!("{i}\n"));
    }
    assert!(host.containers().is_empty());
}

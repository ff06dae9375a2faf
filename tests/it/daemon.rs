//! The daemon keeps a folder true: what changes in it and what drifts on the host is set right, and what a daemon's end
//! or a broken manifest must not touch goes on.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::net::http;
use crate::harness::{BUSYBOX, Host, PATIENCE, leftovers, tool, wait_until};

/// Repairs are promised within a second; a busy machine gets more before a test fails.
const SOON: Duration = Duration::from_secs(60);
/// Half the time between two full looks.
const HALF: Duration = Duration::from_secs(30);

const SHARED: &str = "apiVersion: setpoint/v1
kind: Network
metadata: {name: net}
spec: {}
---
apiVersion: setpoint/v1
kind: Volume
metadata: {name: data}
spec: {}
";

fn server(name: &str, port: u16, text: &str) -> String {
    format!(
        "apiVersion: setpoint/v1
kind: Container
metadata: {{name: {name}}}
spec:
  image: {BUSYBOX}
  command: [sh, -c, \"echo {text} > /data/{name}; exec httpd -f -p 80 -h /data\"]
  volumes: [\"data:/data\"]
  networks: [net]
  ports: [\"{port}:80\"]
  restart: always
  stop_signal: SIGKILL
"
    )
}

/// A host whose folder `s` declares two servers, `a` on port 8001 and `b` on 8002.
fn host() -> (Host, PathBuf) {
    let host = Host::new().with_busybox();
    host.write("s/shared.yaml", SHARED);
    host.write("s/a.yaml", &server("a", 8001, "from-a"));
    host.write("s/b.yaml", &server("b", 8002, "from-b"));
    let source = host.dir.join("s");
    (host, source)
}

#[track_caller]
fn both_serve() {
    for (port, name) in [(8001, "a"), (8002, "b")] {
        wait_until(&format!("{name} serves"), SOON, || {
            http(port, &format!("/{name}")).is_ok_and(|body| body == format!("from-{name}\n"))
        });
    }
}

#[test]
fn the_folder_is_followed() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    both_serve();

    // A changed manifest changes its container and no other.
    let (a, b) = (host.pid("s-a"), host.pid("s-b"));
    host.write("s/a.yaml", &server("a", 8001, "changed"));
    wait_until("the change is live", SOON, || http(8001, "/a").is_ok_and(|body| body == "changed\n"));
    assert_ne!(host.pid("s-a"), a);
    assert_eq!(host.pid("s-b"), b);

    // A new one is created, a removed one removed; the volume stays with its data.
    host.write("s/c.yaml", &server("c", 8003, "from-c"));
    wait_until("c serves", SOON, || http(8003, "/c").is_ok_and(|body| body == "from-c\n"));
    fs::remove_file(source.join("c.yaml")).unwrap();
    wait_until("c is removed", SOON, || host.containers() == ["s-a", "s-b"]);
    assert!(http(8003, "/c").is_err());
    assert_eq!(http(8002, "/c").unwrap(), "from-c\n");
    host.write("s/shared.yaml", "apiVersion: setpoint/v1\nkind: Network\nmetadata: {name: other}\nspec: {}\n");
    for file in ["a.yaml", "b.yaml"] {
        fs::remove_file(source.join(file)).unwrap();
    }
    wait_until("all containers are removed", SOON, || host.containers().is_empty());
    wait_until("its network is removed", SOON, || !host.sp(&["network", "ls"]).ok().stdout.contains("s-net"));
    host.write("s/shared.yaml", SHARED);
    host.write("s/b.yaml", &server("b", 8002, "from-b"));
    wait_until("the volume was kept", SOON, || http(8002, "/c").is_ok_and(|body| body == "from-c\n"));
    daemon.stop();
    assert_eq!(host.running(), ["s-b"], "a stopped daemon stops nothing");
}

#[test]
fn what_drifts_is_set_right() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    both_serve();

    // Of what no process ends by, the kernel tells too: long before the next full look.
    let (id, pid) = (host.inspect("s-a")["id"].as_str().unwrap().to_owned(), host.pid("s-a").to_string());
    let limit = tool("find", &["/sys/fs/cgroup", "-path", &format!("*/{id}/pids.max")]).trim().to_owned();
    let before = std::fs::read_to_string(&limit).unwrap();
    std::fs::write(&limit, "7").unwrap();
    wait_until("a limit is set again", HALF, || std::fs::read_to_string(&limit).unwrap() == before);
    let within = |words: &[&str]| tool("nsenter", &[&["-n", "-t", &pid], words].concat());
    within(&["ip", "route", "del", "default"]);
    wait_until("the default route is back", HALF, || within(&["ip", "route"]).contains("default"));
    assert_eq!(host.pid("s-a").to_string(), pid, "neither restarts anything");

    let killed = host.pid("s-a");
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    wait_until("a killed container comes back", SOON, || host.running_pid("s-a").is_some_and(|pid| pid != killed));
    both_serve();

    let removed = host.inspect("s-a")["id"].clone();
    host.sp(&["rm", "-f", "s-a"]).ok();
    wait_until("a removed container is made again", SOON, || host.running_pid("s-a").is_some());
    assert_ne!(host.inspect("s-a")["id"], removed);
    both_serve();

    let bridges = || leftovers::links(&host.instance).into_iter().filter(|name| name.starts_with("sp")).collect::<Vec<_>>();
    let pid = host.pid("s-b");
    let [bridge] = <[_; 1]>::try_from(bridges()).unwrap();
    tool("ip", &["link", "del", &bridge]);
    wait_until("a deleted bridge is made again", SOON, || bridges() == [bridge.clone()]);
    both_serve();
    assert_eq!(host.pid("s-b"), pid, "the repair restarts nothing");

    tool("nft", &["flush", "ruleset"]);
    wait_until("a flushed packet filter is filled again", SOON, || !leftovers::tables().is_empty());
    both_serve();
    assert_eq!(host.pid("s-b"), pid);

    // A killed monitor takes its container along, and the daemon brings both back.
    let monitor = tool("sh", &["-c", &format!("sed -n 's/^PPid:\\t//p' /proc/{pid}/status")]);
    kill(Pid::from_raw(monitor.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    wait_until("a container comes back without its monitor", SOON, || host.running_pid("s-b").is_some_and(|now| now != pid));
    both_serve();
    assert_eq!(host.containers(), ["s-a", "s-b"]);
    daemon.stop();
}

#[test]
fn a_broken_manifest_disturbs_nothing_and_is_said() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    both_serve();
    let pids = ["s-a", "s-b"].map(|name| host.pid(name));
    host.write("s/a.yaml", &server("a", 8001, "changed").replace("  image:", "  imagine:"));
    let status = || host.sp(&["status"]);
    wait_until("status names the error", SOON, || {
        let said = status().stdout;
        said.contains("a.yaml:5:3") && said.contains("imagine")
    });
    let ready = || {
        let status = host.sp(&["status", "--json"]).ok().json();
        let conditions = status[0]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|c| c["type"] == "Ready").unwrap()["status"].clone()
    };
    assert_eq!(ready(), false);
    assert_eq!(["s-a", "s-b"].map(|name| host.pid(name)), pids, "the last good state runs on");

    // Drift is still set right by what was applied last.
    host.sp(&["rm", "-f", "s-b"]).ok();
    wait_until("the last good state is kept", SOON, || host.running_pid("s-b").is_some());
    both_serve();

    host.write("s/a.yaml", &server("a", 8001, "mended"));
    wait_until("the mended manifest is applied", SOON, || http(8001, "/a").is_ok_and(|body| body == "mended\n"));
    wait_until("status is well again", SOON, || ready() == true);
    daemon.stop();
}

#[test]
fn a_daemons_end_and_start_disturb_nothing() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    both_serve();
    let names = ["s-a", "s-b"];
    let pids = names.map(|name| host.pid(name));
    daemon.kill();
    both_serve();
    assert_eq!(names.map(|name| host.pid(name)), pids);

    // Without a daemon, policies, logs and names go on.
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    wait_until("the policy needs no daemon", SOON, || host.running_pid("s-a").is_some_and(|pid| pid != pids[0]));
    host.sp(&["exec", "s-b", "sh", "-c", "echo spoken > /proc/1/fd/1"]).ok();
    assert!(host.sp(&["logs", "s-b"]).ok().stdout.ends_with("spoken\n"));
    host.sp(&["exec", "s-b", "nslookup", "a"]).ok();

    let pids = names.map(|name| host.pid(name));
    let daemon = host.daemon(&source);
    wait_until("the daemon finds all well", PATIENCE, || host.sp(&["plan", source.to_str().unwrap()]).code == 0);
    // Long enough for a look at all that it watches.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(names.map(|name| host.pid(name)), pids);

    // What changed while no daemon ran is found at the start.
    daemon.stop();
    fs::remove_file(source.join("b.yaml")).unwrap();
    let daemon = host.daemon(&source);
    wait_until("b is removed", SOON, || host.containers() == ["s-a"]);
    assert_eq!(host.pid("s-a"), pids[0]);
    daemon.stop();
}

#[test]
fn a_second_daemon_names_the_first() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    let second = host.sp(&["daemon", "--source", source.to_str().unwrap()]).fails_with(1);
    second.says(&[&daemon.pid().to_string()]);
    both_serve();
    daemon.stop();
}

#[test]
fn commands_work_the_same_through_the_daemon() {
    let (host, source) = host();
    let daemon = host.daemon(&source);
    both_serve();
    let ran = host.sp(&["run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 7"]).fails_with(7);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    host.sp(&["exec", "s-a", "sh", "-c", "exit 5"]).fails_with(5);
    host.sp(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "inf"]).ok();
    assert_eq!(host.running(), ["own", "s-a", "s-b"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(host.running(), ["own", "s-a", "s-b"], "the daemon leaves alone what no stack owns");
    // A stack that the daemon does not watch can be applied through it.
    host.write(
        "t/a.yaml",
        &server("a", 8009, "other")
            .replace("data:/data", &format!("{}:/data", host.dir.display()))
            .replace("  networks: [net]\n", ""),
    );
    host.sp(&["apply", host.dir.join("t").to_str().unwrap()]).ok();
    assert_eq!(host.running(), ["own", "s-a", "s-b", "t-a"]);
    host.sp(&["rm", "-f", "own"]).ok();
    host.sp(&["destroy", host.dir.join("t").to_str().unwrap()]).ok();
    assert_eq!(host.running(), ["s-a", "s-b"]);
    daemon.stop();
}

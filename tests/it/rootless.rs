//! What an ordinary user has of all this. The user is one of the test's own making; the host has no cgroups for it, as is the
//! case wherever there is no service manager for users. What cgroups add is tried in a virtual machine (`tests/vm`).

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::user::SUBORDINATE;
use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, tool, wait_for, wait_until};

fn fails(ran: &Ran, what: &str) {
    assert!(ran.code != 0 && ran.stderr.contains(what), "exit {}: {}", ran.code, ran.stderr);
}

/// What the kernel says of a process, on the host.
fn field(pid: i32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().to_owned()
}

/// The process that keeps the user's namespaces.
fn keeper(host: &Host) -> i32 {
    let record = fs::read(host.instance.run_dir().join("rootless/keeper.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    i32::try_from(record["keeper"]["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn a_container() {
    let host = Host::of_user().with_busybox();
    let ran = host
        .sp(&[
            "run",
            "--rm",
            BUSYBOX,
            "sh",
            "-c",
            "id -u; cat /proc/self/uid_map; echo x >/dev/null; cat /sys/kernel/osrelease 2>/dev/null; ls /dev",
        ])
        .ok();
    let lines: Vec<&str> = ran.stdout.lines().map(str::trim).collect();
    let user = host.user.as_ref().unwrap().id;
    assert_eq!(lines[0], "0", "{}", ran.stdout);
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", &user.to_string(), "1"], "{}", ran.stdout);
    for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "shm"] {
        assert!(lines.contains(&name), "/dev has no {name}: {}", ran.stdout);
    }
    host.sp(&["run", "--rm", BUSYBOX, "sh", "-c", "exit 7"]).fails_with(7);
    // On the host, root is the user and all others are subordinate ids.
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sh", "-c", "echo one; echo two >&2; sleep 1000"]).ok();
    host.sp(&["run", "-d", "--name", "b", "-u", "1000", BUSYBOX, "sleep", "1000"]).ok();
    assert_eq!(field(host.pid("a"), "Uid"), user.to_string());
    assert_eq!(field(host.pid("b"), "Uid"), (SUBORDINATE + 999).to_string());
    assert_eq!(host.running(), ["a", "b"]);
    assert_eq!(host.sp(&["exec", "a", "sh", "-c", "echo $((6*7)); id -u"]).ok().out(), "42\n0");
    host.sp(&["exec", "a", "sh", "-c", "exit 3"]).fails_with(3);
    assert_eq!(host.sp(&["exec", "b", "id", "-u"]).ok().out(), "1000");
    wait_until("both lines are recorded", PATIENCE, || {
        let logs = host.sp(&["logs", "a"]).ok();
        (logs.stdout.as_str(), logs.stderr.as_str()) == ("one\n", "two\n")
    });
    host.sp(&["top", "a"]).ok().says(&["sleep 1000"]);
    let usage = host.sp(&["stats", "--no-stream", "a"]).ok();
    assert!(usage.stdout.contains("iB / "), "{}", usage.stdout);
    host.sp(&["pause", "a"]).ok();
    assert_eq!(field(host.pid("a"), "State"), "T");
    host.sp(&["unpause", "a"]).ok();
    wait_until("it goes on", PATIENCE, || field(host.pid("a"), "State") == "S");
    host.sp(&["stop", "-t", "0", "a"]).ok();
    host.sp(&["start", "a"]).ok();
    host.sp(&["kill", "a"]).ok();
    host.sp(&["rm", "a"]).ok();
    host.sp(&["rm", "-f", "b"]).ok();
    assert!(host.containers().is_empty());
}

#[test]
fn images_and_volumes() {
    let host = Host::of_user().with_busybox();
    // A folder that is replaced, and files of users: all of it survives the way into an image and out again.
    let script = "rm -r /etc; mkdir /etc; echo new >/etc/only; echo u >/home-of; chown 12:34 /home-of; rm /bin/ash; ln /bin/busybox /bin/again";
    host.sp(&["run", "--name", "made", BUSYBOX, "sh", "-c", script]).ok();
    host.sp(&["diff", "made"]).ok().says(&["C /etc", "A /etc/only", "A /home-of", "D /bin/ash"]);
    host.sp(&["commit", "made", "localhost/made:1"]).ok();
    let look = "ls -n /home-of; ls /etc; ls /bin/ash; ls -l /bin/again";
    let ran = host.sp(&["run", "--rm", "localhost/made:1", "sh", "-c", look]);
    assert!(ran.stdout.contains("12       34") || ran.stdout.contains("12 34"), "{}", ran.stdout);
    assert!(ran.stdout.contains("only") && ran.stderr.contains("/bin/ash"), "{} {}", ran.stdout, ran.stderr);
    let archive = host.dir.join("made.tar");
    host.sp(&["save", "-o", archive.to_str().unwrap(), "localhost/made:1"]).ok();
    host.sp(&["rm", "made"]).ok();
    host.sp(&["rmi", "localhost/made:1"]).ok();
    host.sp(&["load", "-i", archive.to_str().unwrap()]).ok();
    host.sp(&["check"]).ok();
    host.sp(&["run", "--rm", "localhost/made:1", "cat", "/etc/only"]).ok().says(&["new"]);
    // Folders of the user's own, and volumes.
    host.write("shared/file", "of the host");
    chown_all(&host);
    let bind = format!("{}:/shared", host.dir.join("shared").display());
    let script = "cat /shared/file; echo c >/shared/made; id -u >/data/who; chown 5 /data/who";
    host.sp(&["run", "--rm", "-v", &bind, "-v", "data:/data", BUSYBOX, "sh", "-c", script]).ok().says(&["of the host"]);
    assert_eq!(fs::metadata(host.dir.join("shared/made")).unwrap().uid(), host.user.as_ref().unwrap().id);
    assert_eq!(host.sp(&["run", "--rm", "-v", "data:/data", BUSYBOX, "stat", "-c", "%u", "/data/who"]).ok().out(), "5");
    // An image whose file belongs to nobody that this user has.
    let tar = host.dir.join("far.tar");
    tool("tar", &["-C", "/etc", "--owner=70000", "--group=0", "-cf", tar.to_str().unwrap(), "hostname"]);
    fails(&host.sp(&["import", tar.to_str().unwrap(), "localhost/far:1"]), "/etc/subuid");
}

/// The test writes as root.
fn chown_all(host: &Host) {
    let owner = host.user.as_ref().unwrap().id.to_string();
    tool("chown", &["-R", &format!("{owner}:{owner}"), host.dir.to_str().unwrap()]);
}

fn page(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said).filter(|said| said.contains("200 OK"))
}

const SERVE: &str = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www";

#[test]
fn builds() {
    let host = Host::of_user().with_busybox();
    let text = format!(
        "FROM {BUSYBOX} AS a\nRUN echo built > /made && chown 7:8 /made && rm -r /var && ip route | grep -q default\nFROM {BUSYBOX}\n\
         COPY --from=a /made /made\nCOPY --chown=5:6 file /file\nWORKDIR /w\nRUN --network=none rm /bin/vi; test ! -e /bin/vi\n"
    );
    host.write("c/Dockerfile", &text);
    host.write("c/file", "of the context");
    chown_all(&host);
    host.sp(&["build", "-t", "built:1", "c"]).ok();
    let seen = host.sp(&["run", "--rm", "built:1", "sh", "-c", "cat /made /file; stat -c %u:%g /made /file; pwd; ls /bin/vi"]);
    assert_eq!(seen.stdout, "built\nof the context7:8\n5:6\n/w\n", "{}", seen.stderr);
    host.sp(&["build", "--progress", "plain", "-t", "built:1", "c"]).ok().says(&["#7 CACHED"]);
    host.sp(&["check"]).ok();
}

#[test]
fn networks_and_ports() {
    let host = Host::of_user().with_busybox();
    // An address of the host beside the loopback, as hosts have.
    tool("ip", &["link", "add", "out0", "type", "veth", "peer", "name", "out1"]);
    tool("ip", &["address", "add", "192.0.2.1/24", "dev", "out0"]);
    tool("ip", &["link", "set", "out0", "up"]);
    tool("ip", &["link", "set", "out1", "up"]);
    let (inner, outer) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("192.0.2.1:0").unwrap());
    host.sp(&["run", "-d", "--name", "web", "-p", "127.0.0.1:18080:80", "-p", "18081:80", BUSYBOX, "sh", "-c", SERVE]).ok();
    host.sp(&["port", "web"]).ok().says(&["127.0.0.1:18080", "0.0.0.0:18081"]);
    let answered = |address: &str| wait_for(address, PATIENCE, || page(address));
    assert!(answered("127.0.0.1:18080").contains("200 OK"));
    assert!(answered("192.0.2.1:18081").contains("200 OK"));
    assert!(page("192.0.2.1:18080").is_none(), "a port of the loopback is the loopback's");
    // By name, from another container of the network; and out of it.
    host.sp(&["run", "--rm", BUSYBOX, "wget", "-qO-", "http://web/"]).ok();
    let to = |listener: &TcpListener| listener.local_addr().unwrap();
    let reach = |what: std::net::SocketAddr| {
        host.sp(&["run", "--rm", BUSYBOX, "nc", "-w", "5", &what.ip().to_string(), &what.port().to_string()])
    };
    let greeting = std::thread::spawn({
        let outer = outer.try_clone().unwrap();
        move || outer.accept().unwrap().0.write_all(b"hello from outside\n").unwrap()
    });
    reach(to(&outer)).ok().says(&["hello from outside"]);
    greeting.join().unwrap();
    // What only the host's loopback has is the host's.
    assert_ne!(reach(to(&inner)).code, 0);
    let guest = "http://10.0.2.100:18080/";
    assert_ne!(host.sp(&["run", "--rm", BUSYBOX, "wget", "-T", "3", "-qO-", guest]).code, 0, "past the loopback");
    // Ports that are taken, or not for everybody.
    fails(&host.sp(&["run", "--rm", "-p", "18081:80", BUSYBOX, "true"]), "already published by");
    let taken = to(&inner).port();
    fails(&host.sp(&["run", "--rm", "-p", &format!("{taken}:80"), BUSYBOX, "true"]), "in use on the host");
    fails(&host.sp(&["run", "--rm", "-p", "80:80", BUSYBOX, "true"]), "ip_unprivileged_port_start");
    // A port is free again, and had again, when its container stops and starts.
    host.sp(&["restart", "-t", "0", "web"]).ok();
    answered("127.0.0.1:18080");
    host.sp(&["stop", "-t", "0", "web"]).ok();
    wait_until("the port is free", PATIENCE, || TcpListener::bind("127.0.0.1:18080").is_ok());
    host.sp(&["run", "-d", "--name", "echo", "-p", "18053:53/udp", BUSYBOX, "sleep", "1000"]).ok();
    // Busybox has no server of datagrams; the test is one, from inside the container's network.
    let inside = fs::File::open(format!("/proc/{}/ns/net", host.pid("echo"))).unwrap();
    std::thread::spawn(move || {
        setns(inside, CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
        let mut said = [0; 16];
        while let Ok((length, from)) = socket.recv_from(&mut said) {
            socket.send_to(&said[..length], from).unwrap();
            if &said[..length] == b"end" {
                return;
            }
        }
    });
    // Answers to the loopback would have to reach what only the host has.
    let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    wait_until("a datagram comes back", PATIENCE, || {
        socket.send_to(b"ping", "192.0.2.1:18053").unwrap();
        socket.recv_from(&mut [0; 16]).is_ok_and(|(length, _)| length == 4)
    });
    socket.send_to(b"end", "192.0.2.1:18053").unwrap();
    // The program that connects the network is killed: it comes again with all that it passed on.
    host.sp(&["start", "web"]).ok();
    answered("127.0.0.1:18080");
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper(&host))).unwrap();
    let slirp = children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap());
    let slirp = slirp.into_iter().find(|pid| field(*pid, "Name") == "slirp4netns").unwrap();
    kill(Pid::from_raw(slirp), Signal::SIGKILL).unwrap();
    answered("127.0.0.1:18080");
    // The host's own network is the user's.
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let shared = host.sp(&["run", "--rm", "--network", "host", BUSYBOX, "readlink", "/proc/self/ns/net"]).ok();
    assert_eq!(shared.out(), own.to_str().unwrap());
    host.sp(&["run", "-d", "--name", "hosted", "--network", "host", BUSYBOX, "sleep", "1000"]).ok();
    assert_eq!(host.sp(&["exec", "hosted", "readlink", "/proc/self/ns/net"]).ok().out(), own.to_str().unwrap());
    assert_eq!(
        host.sp(&["run", "--rm", "--network", "container:hosted", BUSYBOX, "readlink", "/proc/self/ns/net"]).ok().out(),
        own.to_str().unwrap()
    );
    // Names of the host are shared too, and entered again.
    host.sp(&["run", "-d", "--name", "named", "--uts", "host", "--ipc", "host", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["exec", "named", "true"]).ok();
}

#[test]
fn stacks_and_the_daemon() {
    let host = Host::of_user().with_busybox();
    let stack = "services:\n  web:\n    image: localhost/busybox:1\n    command: [sh, -c, \"mkdir /www; echo page >/www/index.html; exec httpd -f -p 80 -h /www\"]\n    ports: [\"18090:80\"]\n    stop_signal: SIGKILL\n    volumes: [data:/data]\n    healthcheck: {test: [CMD, wget, -qO-, \"http://127.0.0.1/\"], interval: 1s, start_period: 60s}\n  client:\n    image: localhost/busybox:1\n    command: [sh, -c, \"wget -qO- http://web/; exec sleep 1000\"]\n    depends_on: {web: {condition: service_healthy}}\n    restart: always\n    stop_signal: SIGKILL\nvolumes: {data: {}}\nnetworks: {default: {enable_ipv6: true}}\n";
    let file = host.write("stack/compose.yaml", stack);
    chown_all(&host);
    let file = file.to_str().unwrap();
    host.sp(&["plan", file]).fails_with(2);
    host.sp(&["apply", file]).ok();
    host.sp(&["plan", file]).ok();
    wait_for("the port answers", PATIENCE, || page("127.0.0.1:18090"));
    host.sp(&["logs", "stack-client"]).ok().says(&["page"]);
    host.sp(&["exec", "stack-client", "nslookup", "web"]).ok().says(&[": fd"]);
    let before = host.pid("stack-web");
    // A daemon takes over, puts right what goes wrong, and may come and go.
    let mut daemon = host.daemon(host.dir.join("stack").as_path());
    host.sp(&["version"]).ok().says(&["daemon"]);
    let client = host.pid("stack-client");
    kill(Pid::from_raw(client), Signal::SIGKILL).unwrap();
    wait_until("it is started again", PATIENCE, || host.running_pid("stack-client").is_some_and(|pid| pid != client));
    kill(Pid::from_raw(daemon.pid().cast_signed()), Signal::SIGKILL).unwrap();
    drop(daemon);
    assert_eq!(host.pid("stack-web"), before);
    daemon = host.daemon(host.dir.join("stack").as_path());
    assert_eq!(host.sp(&["exec", "stack-web", "cat", "/www/index.html"]).ok().out(), "page");
    assert_eq!(host.pid("stack-web"), before);
    daemon.stop();
    host.sp(&["destroy", "--volumes", file]).ok();
    assert!(host.containers().is_empty());
}

#[test]
fn what_outlives_the_keeper() {
    let host = Host::of_user().with_busybox();
    host.sp(&["run", "-d", "--name", "web", "-p", "18070:80", BUSYBOX, "sh", "-c", SERVE]).ok();
    wait_for("the port answers", PATIENCE, || page("127.0.0.1:18070"));
    let (before, first) = (host.pid("web"), keeper(&host));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_until("it is gone", PATIENCE, || !fs::exists(format!("/proc/{first}")).unwrap());
    assert_eq!(host.sp(&["exec", "web", "echo", "again"]).ok().out(), "again");
    assert_ne!(keeper(&host), first);
    assert_eq!(host.pid("web"), before);
    wait_for("the port answers again", PATIENCE, || page("127.0.0.1:18070"));
    host.sp(&["run", "--rm", BUSYBOX, "wget", "-qO-", "http://web/"]).ok();
}

#[test]
fn what_is_refused() {
    let host = Host::of_user().with_busybox();
    for limit in [["-m", "64m"], ["--cpus", "1"], ["--pids-limit", "10"]] {
        fails(&host.sp(&["run", "--rm", limit[0], limit[1], BUSYBOX, "true"]), "cgroups that are this user's own");
    }
    fails(&host.sp(&["run", "--rm", "--pid", "host", BUSYBOX, "true"]), "cgroups that are this user's own");
    fails(&host.sp(&["run", "--rm", "--userns", "auto", BUSYBOX, "true"]), "ids of their own already");
    // Devices are the host's own, with their rights.
    host.sp(&["run", "--rm", "--device", "/dev/full:/dev/filled", BUSYBOX, "sh", "-c", "! echo x >/dev/filled"]).ok();
    host.sp(&["run", "--rm", "--cap-add", "MKNOD", BUSYBOX, "sh", "-c", "! mknod /x c 1 3"]).ok();
    host.sp(&["run", "--rm", "--privileged", BUSYBOX, "sh", "-c", "mkdir /x && mount -t tmpfs none /x && ! cat /dev/kmsg"]).ok();
    // It is the user's; root on the host has another one.
    let root = std::process::Command::new(env!("CARGO_BIN_EXE_setpoint"))
        .arg("ps")
        .env("SETPOINT_RUN_DIR", host.dir.join("r"))
        .env("SETPOINT_STATE_DIR", host.dir.join("s"))
        .output()
        .unwrap();
    assert!(root.status.success());
    host.sp(&["system", "reset", "--force"]).ok();
    assert!(!host.instance.run_dir().join("rootless/keeper.json").exists());
    host.user.as_ref().unwrap().lose_ids();
    fails(&host.sp(&["ps"]), "usermod --add-subuids");
    // Manifests can be read by anybody.
    let file = host.write("compose.yaml", "services: {a: {image: x}}\n");
    host.sp(&["validate", file.to_str().unwrap()]).ok();
    // For the way out.
    let range = format!("{}:{SUBORDINATE}:65536\n", host.user.as_ref().unwrap().id);
    fs::write("/etc/subuid", range).unwrap();
}

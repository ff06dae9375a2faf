//! `--userns auto`: root in the container is nobody special on the host, and files keep their owners all the same.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_until};

/// Gives setpoint these ids on this test's host. Each test has others: what a process of this kernel has is nobody else's.
pub(crate) fn give(host: &Host, line: &str) {
    for name in ["subuid", "subgid"] {
        let (path, place) = (host.dir.join(name), format!("/etc/{name}"));
        let is_mounted = path.exists();
        // In its place: what is mounted already is this very file.
        fs::write(&path, format!("{line}\n")).unwrap();
        if !is_mounted {
            tool("mount", &["--bind", path.to_str().unwrap(), &place]);
        }
    }
}

/// A host on which setpoint has ids from this one on.
fn host(first: u32) -> Host {
    let host = Host::new().with_busybox();
    give(&host, &format!("setpoint:{first}:655360"));
    host
}

/// First and count of the ids that a process has on the host, users and groups.
fn range(pid: i32) -> [(u32, u32); 2] {
    ["uid_map", "gid_map"].map(|name| {
        let text = fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
        let numbers: Vec<u32> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        assert_eq!((numbers.len(), numbers[0]), (3, 0), "{text}");
        (numbers[1], numbers[2])
    })
}

/// Whose a process is on the host: users and groups.
fn owner(pid: i32) -> [u32; 2] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["Uid:", "Gid:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    })
}

#[test]
fn root_is_somebody_else_outside() {
    let host = host(1_000_000_000);
    host.sp(&["run", "-d", "--name", "a", "--userns", "auto", BUSYBOX, "sleep", "1000"]).ok();
    let pid = host.pid("a");
    let [(uid, count), (gid, _)] = range(pid);
    assert!((1_000_000_000..1_000_655_360).contains(&uid) && count == 65_536, "{uid} {count}");
    assert_eq!(owner(pid), [uid, gid]);
    assert_eq!(host.inspect("a")["HostConfig"]["UsernsMode"], "auto");
    // A command is one of its users too, whoever it is.
    let id = "id -u; id -g; cat /proc/self/uid_map; readlink /proc/self/ns/user; readlink /proc/1/ns/user";
    let ran = host.sp(&["exec", "a", "sh", "-c", id]).ok();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "0"], "{}", ran.stdout);
    assert!(lines[2].contains(&uid.to_string()) && lines[3] == lines[4], "{}", ran.stdout);
    host.sp(&["exec", "-d", "-u", "7:8", "a", "sleep", "777"]).ok();
    let sleeper = || {
        let listed = host.sp(&["top", "a"]).ok().stdout;
        let line = listed.lines().find(|line| line.contains("777")).map(str::to_owned)?;
        line.split_whitespace().find_map(|word| {
            word.parse::<i32>().ok().filter(|pid| *pid > 1 && Path::new(&format!("/proc/{pid}")).exists() && owner(*pid)[0] != 0)
        })
    };
    wait_until("the command is seen", PATIENCE, || sleeper().is_some());
    assert_eq!(owner(sleeper().unwrap()), [uid + 7, gid + 8]);
    // Nobody but these users is there.
    host.sp(&["exec", "-u", "65536", "a", "true"]).fails_with(125).says(&["65536", "not among"]);
    host.sp(&["run", "--rm", "--userns", "auto:size=100", "-u", "5:200", BUSYBOX, "true"]).fails_with(125).says(&["group 200"]);
    // The same again after a stop.
    host.sp(&["restart", "-t", "0", "a"]).ok();
    assert_eq!(range(host.pid("a"))[0], (uid, count));
    let on_terminal = ["run", "--rm", "-t", "--init", "--userns", "auto", "-u", "1000", BUSYBOX, "sh", "-c"];
    let ran = host.sp(&[&on_terminal[..], &["id -u; tty; echo >/dev/stdout; cat /proc/1/cmdline"]].concat()).ok();
    assert!(ran.stdout.contains("1000") && ran.stdout.contains("/dev/") && ran.stdout.contains("init"), "{}", ran.stdout);
}

#[test]
fn files_keep_their_owners() {
    let host = host(1_010_000_000);
    let folder = host.dir.join("data");
    fs::create_dir(&folder).unwrap();
    for (name, id) in [("root", 0), ("user", 1000)] {
        fs::write(folder.join(name), name).unwrap();
        chown(folder.join(name), Some(id), Some(id)).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let bind = format!("{}:/data", folder.display());
    let script = "stat -c '%u:%g' /data/root /data/user /bin/busybox /etc/hosts /run/x /dev /proc/1; cat /data/root
        touch /data/new; echo y >/data/theirs; chown 1000:1001 /data/theirs; touch /made /run/x/y; chown 5:6 /run/x/y
        stat -c '%u:%g' /made /run/x/y; touch /dev/y && echo y >>/etc/hosts && echo wrote";
    let run = ["run", "--rm", "--userns", "auto", "-v", &bind, "--tmpfs", "/run/x", BUSYBOX, "sh", "-c", script];
    let ran = host.sp(&run).ok();
    let expected = "0:0\n1000:1000\n0:0\n0:0\n0:0\n0:0\n0:0\nroot0:0\n5:6\nwrote";
    assert_eq!(ran.out(), expected, "{}", ran.stderr);
    let of = |name: &str| {
        let meta = fs::metadata(folder.join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!((of("root"), of("user"), of("new"), of("theirs")), ((0, 0), (1000, 1000), (0, 0), (1000, 1001)));
    // A volume's files are the same users' with and without.
    host.sp(&["run", "--rm", "-v", "v:/v", BUSYBOX, "sh", "-c", "touch /v/a; chown 5:6 /v/a"]).ok();
    let script = "stat -c '%u:%g' /v/a; touch /v/b; chown 7:8 /v/b";
    let ran = host.sp(&["run", "--rm", "--userns", "auto", "-v", "v:/v", BUSYBOX, "sh", "-c", script]).ok();
    assert_eq!(ran.out(), "5:6");
    let ran = host.sp(&["run", "--rm", "-v", "v:/v", BUSYBOX, "stat", "-c", "%u:%g", "/v/a", "/v/b"]).ok();
    assert_eq!(ran.out(), "5:6\n7:8");
}

#[test]
fn what_is_made_of_it_knows_nothing_of_it() {
    let host = host(1_020_000_000);
    let script = "chown 5:6 /etc/passwd; mkdir -p /own/sub; echo x >/own/file; chown 1000:1000 /own/file; rm -r /root; mkdir /root; sleep 1000";
    host.sp(&["run", "-d", "--name", "a", "--userns", "auto", BUSYBOX, "sh", "-c", script]).ok();
    wait_until("all is done", PATIENCE, || host.sp(&["exec", "a", "test", "-d", "/root"]).code == 0);
    wait_until("it sleeps", PATIENCE, || host.sp(&["top", "a"]).stdout.contains("sleep 1000"));
    host.sp(&["diff", "a"]).ok().says(&["A /own", "A /own/file", "C /etc/passwd"]);
    host.sp(&["commit", "a", "localhost/committed:1"]).ok();
    let listed = ["stat", "-c", "%n %u:%g", "/etc/passwd", "/own/file", "/own/sub", "/bin/busybox"];
    let ran = host.sp(&[&["run", "--rm", "localhost/committed:1"][..], &listed].concat()).ok();
    assert_eq!(ran.out(), "/etc/passwd 5:6\n/own/file 1000:1000\n/own/sub 0:0\n/bin/busybox 0:0");
    // Copies, while it runs and when it does not.
    fs::write(host.dir.join("in"), "in").unwrap();
    chown(host.dir.join("in"), Some(33), Some(44)).unwrap();
    for (name, state) in [("live", "running"), ("still", "stopped")] {
        host.sp(&["cp", "in", &format!("a:/own/{name}")]).ok();
        host.sp(&["cp", "-a", "in", &format!("a:/own/{name}-a")]).ok();
        host.sp(&["cp", "-a", "a:/own", &format!("out-{name}")]).ok();
        let of = |file: &str| {
            let meta = fs::metadata(host.dir.join(format!("out-{name}")).join(file)).unwrap();
            (meta.uid(), meta.gid())
        };
        let owners = (of("file"), of("sub"), of(name), of(&format!("{name}-a")));
        assert_eq!(owners, ((1000, 1000), (0, 0), (0, 0), (33, 44)), "{state}");
        if state == "running" {
            let ran = host.sp(&["exec", "a", "stat", "-c", "%u:%g", "/own/live", "/own/live-a"]).ok();
            assert_eq!(ran.out(), "0:0\n33:44");
            host.sp(&["stop", "-t", "0", "a"]).ok();
        }
    }
    host.sp(&["export", "-o", "a.tar", "a"]).ok();
    let listed = tool("tar", &["--numeric-owner", "-tvf", host.dir.join("a.tar").to_str().unwrap()]);
    let line = listed.lines().find(|line| line.ends_with("own/file")).unwrap();
    assert!(line.contains("1000/1000"), "{line}");
}

#[test]
fn no_two_have_the_same() {
    let host = Host::new().with_busybox();
    give(&host, "somebody:100000:65536");
    host.sp(&["run", "--rm", "--userns", "auto", BUSYBOX, "true"]).fails_with(125).says(&["/etc/subuid", "setpoint:"]);
    give(&host, "containers:1100000000:2500");
    let run = |name: &str| host.sp(&["run", "-d", "--name", name, "--userns", "auto:size=1000", BUSYBOX, "sleep", "1000"]);
    run("a").ok();
    run("b").ok();
    let (a, b) = (range(host.pid("a")), range(host.pid("b")));
    for (one, other) in a.into_iter().zip(b) {
        assert!(one.0.abs_diff(other.0) >= 1000 && one.1 == 1000, "{one:?} {other:?}");
    }
    run("c").fails_with(125).says(&["1000 ids", "size="]);
    host.sp(&["rm", "-f", "c"]).ok();
    // Those of one that does not run are for whoever needs them.
    host.sp(&["stop", "-t", "0", "a"]).ok();
    run("c").ok();
    assert_eq!(range(host.pid("c")), a);
    host.sp(&["start", "a"]).fails_with(1).says(&["1000 ids"]);
    host.sp(&["rm", "-f", "b"]).ok();
    host.sp(&["start", "a"]).ok();
    assert_eq!(range(host.pid("a")), b);
}

#[test]
fn what_is_the_hosts_roots_alone_is_refused() {
    let host = host(1_030_000_000);
    for refused in [["--privileged", "--init"], ["--pid", "host"], ["--network", "host"], ["--ipc", "host"]] {
        let args = [&["create", "--userns", "auto"], &refused[..], &[BUSYBOX, "true"]].concat();
        host.sp(&args).fails_with(1).says(&["users of its own", refused[0].trim_start_matches('-')]);
    }
    // What the kernel makes up has owners that cannot be others.
    let bound = ["run", "--rm", "--userns", "auto", "-v", "/proc/sys:/mnt", BUSYBOX, "true"];
    host.sp(&bound).fails_with(125).says(&["/mnt", "cannot be the container's own"]);
    let owned = ["run", "--rm", "--userns", "auto", "--tmpfs", "/t:uid=70000", BUSYBOX, "true"];
    host.sp(&owned).fails_with(125).says(&["/t", "not among the container's own"]);
    for mode in ["keep-id", "container:a", "nomap", "auto:uidmapping=0:1:1"] {
        assert_ne!(host.sp(&["create", "--userns", mode, BUSYBOX, "true"]).code, 0, "{mode}");
    }
    // Its own root may do more than others, but only to what is its own.
    let script = "mount -t tmpfs x /tmp && echo mounted; umount /proc/kcore || echo kept; mount -o remount,rw /sys || echo sealed
        echo 1 >/proc/sys/kernel/panic || echo sealed";
    let ran = host.sp(&["run", "--rm", "--userns", "auto", "--cap-add", "SYS_ADMIN", BUSYBOX, "sh", "-c", script]).ok();
    assert_eq!(ran.out(), "mounted\nkept\nsealed\nsealed", "{}", ran.stderr);
}

#[test]
fn in_a_stack() {
    let host = host(1_040_000_000);
    let stack = |mode: &str| {
        format!(
            "services:\n  web:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    userns_mode: {mode}\n    ports: [\"127.0.0.1:18081:80\"]\n    \
             configs: [{{source: c, target: /c, mode: 0400}}]\nconfigs:\n  c: {{content: secret}}\n"
        )
    };
    host.write("stack/compose.yaml", &stack("auto"));
    host.sp(&["apply", "stack"]).ok();
    host.sp(&["plan", "stack"]).fails_with(0);
    assert_ne!(owner(host.pid("stack-web"))[0], 0);
    assert_eq!(host.sp(&["exec", "stack-web", "cat", "/c"]).ok().out(), "secret");
    // Ports below 1024 are its own.
    let script = "(echo hello | nc -l -p 80 >/tmp/got) & until nc 127.0.0.1 80 </dev/null; do sleep 0.1; done";
    host.sp(&["exec", "stack-web", "sh", "-c", script]).ok().says(&["hello"]);
    host.write("stack/compose.yaml", &stack("host"));
    host.sp(&["plan", "stack"]).fails_with(2).says(&["userns"]);
    host.sp(&["apply", "stack"]).ok();
    assert_eq!(owner(host.pid("stack-web"))[0], 0);
    host.sp(&["destroy", "stack"]).ok();
}

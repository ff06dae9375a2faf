//! Flags of `run` that are of no other file's subject: each does what it says.

use std::fs;

use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, tool, wait_until};

fn run(host: &Host, flags: &[&str], script: &str) -> Ran {
    host.sp(&[&["run", "--rm"], flags, &[BUSYBOX, "sh", "-c", script]].concat())
}

fn volumes(host: &Host) -> usize {
    host.sp(&["volume", "ls", "-q"]).ok().stdout.lines().count()
}

#[test]
fn volumes_of_other_containers_and_of_nobody() {
    let host = Host::new().with_busybox();
    host.sp(&["create", "--name", "seed", BUSYBOX, "true"]).ok();
    host.sp(&["commit", "-c", "VOLUME /of-image", "seed", "localhost/volumes:1"]).ok();
    host.sp(&["rm", "seed"]).ok();
    fs::create_dir(host.dir.join("folder")).unwrap();
    let bind = format!("{}:/folder", host.dir.join("folder").display());
    let write = "for d in own of-image named folder; do echo $d >/$d/f; done; sleep 1000";
    let a =
        ["run", "-d", "--name", "a", "-v", "/own", "-v", "data:/named", "-v", &bind, "localhost/volumes:1", "sh", "-c", write];
    host.sp(&a).ok();
    assert_eq!(volumes(&host), 3);
    let read = "cat /own/f /of-image/f /named/f /folder/f";
    wait_until("a has written", PATIENCE, || host.sp(&["exec", "a", "sh", "-c", read]).code == 0);
    assert_eq!(run(&host, &["--volumes-from", "a"], read).ok().stdout, "own\nof-image\nnamed\nfolder\n");
    for place in ["own", "of-image", "named", "folder"] {
        let denied = run(&host, &["--volumes-from", "a:ro"], &format!("echo x >/{place}/g"));
        assert!(denied.code != 0 && denied.stderr.contains("Read-only"), "{place}: {}", denied.stderr);
    }
    // Its own mounts win over those of others.
    assert_ne!(run(&host, &["--volumes-from", "a", "--tmpfs", "/own"], "cat /own/f").code, 0);
    // They keep what is in them over a restart, and as long as somebody mounts them.
    host.sp(&["restart", "-t", "0", "a"]).ok();
    host.sp(&["exec", "a", "cat", "/own/f"]).ok();
    host.sp(&["create", "--name", "b", "--volumes-from", "a", BUSYBOX, "cat", "/own/f"]).ok();
    host.sp(&["rm", "-f", "-v", "a"]).ok();
    assert_eq!(volumes(&host), 3, "b mounts them");
    host.sp(&["start", "b"]).ok();
    wait_until("b has read", PATIENCE, || host.sp(&["logs", "b"]).ok().stdout == "own\n");
    // Who removes itself takes along what only it had, and nothing that has a name.
    run(&host, &["-v", "/scratch", "-v", "data:/named"], "echo x >/scratch/f; cat /named/f").ok();
    assert_eq!(volumes(&host), 3);
    host.sp(&["run", "--name", "c", "-v", "/scratch", BUSYBOX, "true"]).ok();
    host.sp(&["rm", "c"]).ok();
    assert_eq!(volumes(&host), 4, "without -v they stay");
    host.sp(&["run", "--name", "d", "-v", "/scratch", BUSYBOX, "true"]).ok();
    host.sp(&["rm", "-v", "d"]).ok();
    assert_eq!(volumes(&host), 4);
}

#[test]
fn volumes_without_a_name_outlive_a_change_of_their_stack() {
    let host = Host::new().with_busybox();
    let stack = |label: &str| {
        format!(
            "services:\n  a:\n    image: {BUSYBOX}\n    command: [sh, -c, \"test -e /own/f || echo {label} >/own/f; sleep 1000\"]\n    stop_signal: SIGKILL\n    \
             volumes: [/own]\n  b:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    volumes_from: [\"a:ro\"]\n"
        )
    };
    host.write("stack/compose.yaml", &stack("first"));
    host.sp(&["apply", "stack"]).ok();
    let read = |name: &str| host.sp(&["exec", name, "cat", "/own/f"]).stdout;
    wait_until("it is written", PATIENCE, || read("stack-b") == "first\n");
    host.write("stack/compose.yaml", &stack("second"));
    host.sp(&["apply", "stack"]).ok();
    assert_eq!((read("stack-a"), read("stack-b")), ("first\n".to_owned(), "first\n".to_owned()));
    host.sp(&["plan", "stack"]).fails_with(0);
}

#[test]
fn confinement() {
    let host = Host::new().with_busybox();
    let status = "grep -e ^Seccomp: -e ^NoNewPrivs /proc/self/status | tr -d '\\t\\n'";
    assert_eq!(run(&host, &[], status).ok().out(), "NoNewPrivs:1Seccomp:2");
    assert_eq!(run(&host, &["--security-opt", "no-new-privileges:false"], status).ok().out(), "NoNewPrivs:0Seccomp:2");
    assert_eq!(run(&host, &["--security-opt", "seccomp=unconfined"], status).ok().out(), "NoNewPrivs:1Seccomp:0");
    host.write(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": [], "excludes": {"caps": ["CAP_SYS_TIME"]}}]}"#,
    );
    let profile = ["--security-opt", "seccomp=profile.json"];
    let denied = run(&host, &profile, "mkdir /x");
    assert!(denied.code != 0 && denied.stderr.contains("not supported"), "{}", denied.stderr);
    run(&host, &[&profile[..], &["--init"]].concat(), "touch /x").ok();
    // Of the same profile, another capability makes another filter.
    if std::fs::read_to_string("/proc/self/status").unwrap().contains("CapBnd:\t000001ff") {
        run(&host, &[&profile[..], &["--cap-add", "SYS_TIME"]].concat(), "mkdir /x").ok();
    }
    let covered = "grep -c ' /proc/' /proc/mounts";
    assert_ne!(run(&host, &[], covered).ok().out(), "0");
    assert_eq!(run(&host, &["--security-opt", "systempaths=unconfined"], covered).stdout.trim(), "0");
    run(&host, &["--security-opt", "label=disable", "--security-opt", "apparmor=unconfined"], "true").ok();
    assert_ne!(run(&host, &["--security-opt", "label=type:container_t"], "true").code, 0);
    assert_ne!(run(&host, &["--security-opt", "seccomp=gone.json"], "true").code, 0);
    if !std::path::Path::new("/sys/kernel/security/apparmor").exists() {
        assert_ne!(run(&host, &["--security-opt", "apparmor=docker-default"], "true").code, 0);
    }
    let groups = run(&host, &["--user", "1000", "--group-add", "4711", "--group-add", "0"], "id -G").ok();
    assert!(groups.stdout.split_whitespace().any(|g| g == "4711"), "{}", groups.stdout);
    assert_ne!(run(&host, &["--group-add", "no-such-group"], "true").code, 0);
    assert_eq!(run(&host, &["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj").ok().out(), "500");
    assert_eq!(run(&host, &["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn").ok().stdout, "100\n200\n");
    assert_eq!(run(&host, &["--sysctl", "net.core.somaxconn=77"], "cat /proc/sys/net/core/somaxconn").ok().out(), "77");
    assert_ne!(run(&host, &["--ipc", "host", "--sysctl", "kernel.shmmax=1"], "true").code, 0);
}

#[test]
fn names_and_addresses() {
    let host = Host::new().with_busybox();
    let flags = [
        "--hostname",
        "box",
        "--domainname",
        "example.org",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.example",
        "--dns-search",
        "b.example",
        "--dns-option",
        "ndots:2",
        "--add-host",
        "up:host-gateway",
        "--mac-address",
        "02:42:ac:11:22:33",
    ];
    let script = "cat /etc/resolv.conf; cat /etc/hosts; cat /proc/sys/kernel/domainname; cat /sys/class/net/eth0/address; \
                  ip route | grep default";
    let ran = run(&host, &flags, script).ok();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[..3], ["nameserver 192.0.2.53", "search a.example b.example", "options ndots:2"], "{}", ran.stdout);
    let gateway = lines.last().unwrap().split_whitespace().nth(2).unwrap();
    for expected in [&format!("{gateway}\tup"), "example.org", "02:42:ac:11:22:33"] {
        assert!(lines.contains(&expected), "{expected} is missing in\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("\tbox.example.org box\n"), "{}", ran.stdout);
    assert_ne!(run(&host, &["--network", "none", "--add-host", "up:host-gateway"], "true").code, 0);
    // All ports at free ones of the host.
    host.sp(&["create", "--name", "seed", BUSYBOX, "true"]).ok();
    host.sp(&["commit", "-c", "EXPOSE 80 53/udp", "seed", "localhost/exposing:1"]).ok();
    let args = ["run", "-d", "--name", "p", "-P", "--expose", "90", "-p", "18080:80", "localhost/exposing:1", "sleep", "1000"];
    host.sp(&args).ok();
    let ports = host.inspect("p")["ports"].to_string();
    for expected in ["\"container_port\":53", "\"container_port\":90", "\"host_port\":18080"] {
        assert!(ports.contains(expected), "{expected} is missing in {ports}");
    }
    assert!(!ports.contains("\"host_port\":null"), "{ports}");
    host.write("labels", "# a note\nfrom.file=1\nboth=file\n");
    host.sp(&["create", "--name", "l", "--label-file", "labels", "--label", "both=flag", BUSYBOX, "true"]).ok();
    let labels = &host.inspect("l")["spec"]["labels"];
    assert_eq!((labels["from.file"].as_str(), labels["both"].as_str()), (Some("1"), Some("flag")));
}

#[test]
fn mounts_and_their_options() {
    let host = Host::new().with_busybox();
    let options = |place: &str| format!("grep ' {place} ' /proc/mounts | tail -1 | cut -d' ' -f4");
    let ran = run(&host, &["--tmpfs", "/t:size=1m,mode=700,uid=5,exec"], &format!("{}; stat -c %u:%a /t", options("/t"))).ok();
    assert!(
        !ran.stdout.contains("noexec") && ran.stdout.contains("nosuid") && ran.stdout.contains("size=1024k"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("5:700\n"), "{}", ran.stdout);
    let folder = host.dir.join("shared");
    fs::create_dir_all(folder.join("below")).unwrap();
    let path = folder.to_str().unwrap();
    tool("mount", &["-t", "tmpfs", "none", path]);
    tool("mount", &["--make-shared", path]);
    fs::create_dir(folder.join("below")).unwrap();
    fs::create_dir(folder.join("later")).unwrap();
    tool("mount", &["-t", "tmpfs", "none", folder.join("below").to_str().unwrap()]);
    fs::write(folder.join("below/f"), "x").unwrap();
    let bind = |options: &str| format!("{path}:/m{options}");
    run(&host, &["-v", &bind(":ro,noexec")], "test -e /m/below/f && ! touch /m/g && ! touch /m/below/g").ok();
    let long = format!("type=bind,source={path},target=/m,bind-nonrecursive");
    run(&host, &["--mount", &long], "test -d /m/below && ! test -e /m/below/f").ok();
    // What the host mounts later arrives where it is to, and nowhere else.
    for (name, options) in [("follows", ":rslave"), ("apart", "")] {
        host.sp(&["run", "-d", "--name", name, "-v", &bind(options), BUSYBOX, "sleep", "1000"]).ok();
    }
    tool("mount", &["-t", "tmpfs", "none", folder.join("later").to_str().unwrap()]);
    fs::write(folder.join("later/f"), "x").unwrap();
    host.sp(&["exec", "follows", "test", "-e", "/m/later/f"]).ok();
    assert_ne!(host.sp(&["exec", "apart", "test", "-e", "/m/later/f"]).code, 0);
    let refused = run(&host, &["-v", &bind(":rshared")], "true");
    assert!(refused.code != 0 && refused.stderr.contains("rslave"), "{}", refused.stderr);
    // The image's content does not go into a volume that is to stay empty.
    run(&host, &["-v", "empty:/bin/x", "--mount", "source=plain,target=/etc,volume-nocopy"], "! test -e /etc/passwd").ok();
    // A folder of a volume, to which no link leads that the volume does not have itself.
    let part = |inside: &str| format!("source=plain,target=/p,volume-subpath={inside}");
    run(&host, &["-v", "plain:/v"], "mkdir -p /v/a/b; echo x > /v/a/b/f; ln -s a /v/near; ln -s /proc /v/out").ok();
    run(&host, &["--mount", &part("near/b")], "test -e /p/f && ! test -e /p/a && echo y > /p/g").ok();
    run(&host, &["-v", "plain:/v"], "test -e /v/a/b/g").ok();
    for gone in ["a/none", "out"] {
        run(&host, &["--mount", &part(gone)], "true").fails_with(125).says(&["volume plain", gone, "make it first"]);
    }
    host.sp(&["rm", "-f", "follows", "apart"]).ok();
    for place in ["later", "below", ""] {
        tool("umount", &[folder.join(place).to_str().unwrap()]);
    }
}

#[test]
fn limits_beside_the_usual_ones() {
    let host = Host::new().with_busybox();
    assert_eq!(run(&host, &["--cpuset-cpus", "0"], "grep Cpus_allowed_list /proc/self/status | cut -f2").ok().out(), "0");
    assert_ne!(run(&host, &["--cpuset-cpus", "9999"], "true").code, 0);
    let cgroup = |v1: &str, v2: &str| format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
    let shares = run(&host, &["--cpu-shares", "512"], &cgroup("cpu/cpu.shares", "cpu.weight")).ok();
    assert!(["512", "20"].contains(&shares.out()), "{}", shares.stdout);
    let quota = run(&host, &["--cpu-quota", "50000", "--cpu-period", "200000"], &cgroup("cpu/cpu.cfs_quota_us", "cpu.max")).ok();
    assert!(["50000", "50000 200000"].contains(&quota.out()), "{}", quota.stdout);
    let soft =
        run(&host, &["-m", "64m", "--memory-reservation", "32m"], &cgroup("memory/memory.soft_limit_in_bytes", "memory.low"));
    assert_eq!(soft.ok().out(), (32 << 20).to_string());
    if fs::metadata("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").is_ok() {
        let swap = "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes";
        assert_eq!(run(&host, &["-m", "64m", "--memory-swap", "64m"], swap).ok().out(), (64 << 20).to_string());
        assert_eq!(run(&host, &["-m", "64m"], swap).ok().out(), (128 << 20).to_string());
    }
    if fs::metadata("/sys/fs/cgroup/memory/memory.oom_control").is_ok() {
        let control = "grep oom_kill_disable /sys/fs/cgroup/memory/memory.oom_control";
        assert_eq!(run(&host, &["-m", "64m", "--oom-kill-disable"], control).ok().out(), "oom_kill_disable 1");
    }
    let refused = run(&host, &["--device-read-bps", "/dev/null:1m"], "true");
    assert!(refused.code != 0 && refused.stderr.contains("no disk"), "{}", refused.stderr);
    // Live, and lifted again.
    let stack = |limits: &str| {
        host.write(
            "stack/compose.yaml",
            &format!("services:\n  a:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n{limits}"),
        );
        host.sp(&["apply", "stack"]).ok()
    };
    stack("");
    let pid = host.pid("stack-a");
    let allowed = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
    };
    let before = allowed();
    stack("    cpuset: \"0\"\n    cpu_shares: 512\n");
    assert_eq!((allowed(), host.pid("stack-a")), ("0".to_owned(), pid), "changed while it runs");
    stack("");
    assert_eq!((allowed(), host.pid("stack-a")), (before, pid));
}

#[test]
fn an_image_for_another_platform_is_not_taken_for_it() {
    let host = Host::new().with_busybox();
    let own = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => panic!("a platform for {other}"),
    };
    host.sp(&["run", "--rm", "--pull", "never", "--platform", own, BUSYBOX, "true"]).ok();
    let other = host.sp(&["run", "--rm", "--pull", "never", "--platform", "linux/s390x", BUSYBOX, "true"]);
    assert!(other.code != 0 && other.stderr.contains("linux/s390x"), "{}", other.stderr);
    let refused = host.sp(&["run", "--rm", "--gpus", "all", BUSYBOX, "true"]);
    assert!(refused.code != 0 && refused.stderr.contains("--gpus") && refused.stderr.contains("--device"), "{}", refused.stderr);
}

/// The folders of a cgroup in all hierarchies of this host.
fn cgroups(path: &str) -> Vec<std::path::PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots = table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    roots.map(|root| std::path::Path::new(root).join(path)).filter(|folder| folder.exists()).collect()
}

#[test]
fn control_groups_below_a_parent_of_ones_own() {
    let host = Host::new().with_busybox();
    let outer = format!("sptest-{}", host.instance.tag());
    let parent = format!("{outer}/inner");
    let flag = format!("/{parent}");
    let flags = ["--cgroup-parent", &flag, "--cgroupns", "host", "-m", "64m", "--cpuset-cpus", "0"];
    let said = run(&host, &flags, "cat /proc/self/cgroup").ok().stdout;
    assert!(said.contains(&format!(":{flag}/")), "{said}");
    let start = [&["run", "-d", "--name", "a", "--restart", "always"], &flags[..], &[BUSYBOX, "sleep", "1000"]].concat();
    let id = host.sp(&start).ok().out().to_owned();
    let below = || cgroups(&format!("{parent}/{id}"));
    assert!(!below().is_empty() && cgroups(&format!("{}/{id}", host.instance.cgroup_parent())).is_empty());
    // Whatever asks for it finds it there.
    assert!(host.sp(&["top", "a"]).ok().stdout.contains("sleep 1000"));
    host.sp(&["pause", "a"]).ok();
    host.sp(&["unpause", "a"]).ok();
    host.sp(&["update", "-m", "32m", "a"]).ok();
    let limits = ["memory.max", "memory.limit_in_bytes"];
    let found = below().iter().flat_map(|folder| limits.map(|file| fs::read_to_string(folder.join(file)))).find_map(Result::ok);
    assert_eq!(found.unwrap().trim(), (32 << 20).to_string());
    host.sp(&["restart", "-t", "0", "a"]).ok();
    assert!(!below().is_empty());
    host.sp(&["rm", "-f", "a"]).ok();
    assert!(below().is_empty(), "{:?}", below());
    for folder in [cgroups(&parent), cgroups(&outer)].concat() {
        fs::remove_dir(folder).unwrap();
    }

    assert_ne!(run(&host, &["--cgroup-parent", "../up"], "true").code, 0);
    if !std::path::Path::new("/run/systemd/system").exists() {
        let refused = run(&host, &["--cgroup-parent", "sptest.slice"], "true");
        assert!(refused.code == 125 && refused.stderr.contains("systemd does not run this host"), "{}", refused.stderr);
    }
}

#[test]
fn what_docker_takes_is_taken_or_refused_with_advice() {
    let host = Host::new().with_busybox();
    let ran = host.sp(&["run", "--rm", "-q", "-h", "box", BUSYBOX, "hostname"]).ok();
    assert_eq!((ran.out(), ran.stderr.as_str()), ("box", ""));
    for verb in ["run", "create"] {
        let help = host.sp(&[verb, "--help"]).ok();
        assert!(help.stdout.contains("--hostname") && help.stdout.contains("--quiet"), "{}", help.stdout);
    }
    // `-i` attaches the input whatever else is named, and `start -a -i` has all of it.
    assert_eq!(host.feed(&["run", "--rm", "-i", "-a", "stdout", BUSYBOX, "cat"], b"typed").wait(PATIENCE).ok().stdout, "typed");
    host.sp(&["create", "--name", "c", "-i", "-a", "STDOUT", "-a", "stderr", BUSYBOX, "sh", "-c", "cat; echo err >&2"]).ok();
    let ran = host.feed(&["start", "-a", "-i", "c"], b"typed").wait(PATIENCE).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("typed", "err\n"));
    host.sp(&["create", "-a", "all", BUSYBOX, "true"]).fails_with(1);
    for (flags, advice) in [
        (&["run", "--cpu-count", "1"][..], "--cpus"),
        (&["create", "--io-maxiops", "1"], "--device-read-iops"),
        (&["run", "--disable-content-trust"], "registries.yaml"),
        (&["create", "--disable-content-trust=false"], "registries.yaml"),
    ] {
        let ran = host.sp(&[flags, &[BUSYBOX, "true"]].concat());
        assert!(ran.code != 0 && ran.stderr.contains(advice), "{flags:?}: {}", ran.stderr);
    }
    host.sp(&["start", "--checkpoint", "x", "c"]).fails_with(1).says(&["--checkpoint", "leave it out"]);
    host.sp(&["rm", "--link", "c"]).fails_with(1).says(&["links", "network"]);
}

//! What the program gets: user, capabilities, limits, filter, scheduling, descriptors, terminal; and what joins it.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Ran};

#[test]
fn a_user_with_exactly_its_rights() {
    let script = "id; pwd; grep -E 'Cap|NoNew|Groups' /proc/self/status; touch /data/x; stat -c %a /data/x";
    let bundle = Bundle::new(script).with(|c| {
        c["process"]["user"] = json!({"uid": 33, "gid": 44, "umask": 0o077, "additionalGids": [55]});
        c["process"]["cwd"] = json!("/data/made/here");
        let one = json!(["CAP_NET_BIND_SERVICE"]);
        c["process"]["capabilities"] =
            json!({"bounding": one, "permitted": one, "effective": one, "inheritable": one, "ambient": one});
    });
    std::os::unix::fs::chown(bundle.rootfs().join("data"), Some(33), None).unwrap();
    let out = bundle.run().ok();
    assert!(out.starts_with("uid=33(web) gid=44 groups=55\n/data/made/here\n"), "{out}");
    for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
        assert!(out.contains(&format!("Cap{set}:\t0000000000000400")), "{out}");
    }
    assert!(out.contains("NoNewPrivs:\t1") && out.ends_with("600"), "{out}");
    let none = Bundle::new("grep Cap /proc/self/status").with(|c| {
        c["process"].as_object_mut().unwrap().remove("capabilities");
    });
    assert_eq!(none.run().ok().matches("0000000000000000").count(), 5);
}

#[test]
fn limits_scores_and_scheduling() {
    let script = "grep -E 'open files|core file' /proc/self/limits; cat /proc/self/oom_score_adj; cat /proc/self/personality; grep -E 'policy' /proc/self/sched";
    let bundle = Bundle::new(script).with(|c| {
        c["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        c["process"]["oomScoreAdj"] = json!(321);
        c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
        c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        c["linux"]["personality"] = json!({"domain": "LINUX32"});
        c["linux"]["maskedPaths"] = json!([]);
    });
    let out = bundle.run().ok();
    let words: Vec<&str> = out.split_ascii_whitespace().collect();
    assert!(out.contains("321\n00000008"), "{out}");
    assert!(words.windows(2).any(|w| w == ["64", "128"]), "{out}");
    assert!(out.lines().any(|l| l.starts_with("policy") && l.ends_with('3')), "{out}");
    Bundle::new("true")
        .with(|c| {
            c["process"]["rlimits"] =
                json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}])
        })
        .run()
        .fails_with("twice");
}

/// A 32-bit program without a C library that makes a folder and ends with the error number of that.
#[cfg(target_arch = "x86_64")]
fn narrow(program: &std::path::Path) {
    let text = r#"
        static long call(long number, long a, long b) {
            long result;
            __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b) : "memory");
            return result;
        }
        void _start(void) { call(252, -call(39, (long)"/data/made", 0700), 0); }"#;
    let source = program.with_extension("c");
    fs::write(&source, text).unwrap();
    let made = Command::new("cc")
        .args(["-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector", "-o"])
        .args([program, &source])
        .status()
        .unwrap();
    assert!(made.success());
}

#[test]
fn the_filter_holds() {
    let filter = |action: &str| {
        let mut rule = json!({"names": ["mkdir", "mkdirat"], "action": action});
        if action == "SCMP_ACT_ERRNO" {
            rule["errnoRet"] = json!(38);
        }
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
    };
    let bundle =
        Bundle::new("mkdir /data/x; grep Seccomp: /proc/self/status").with(|c| c["linux"]["seccomp"] = filter("SCMP_ACT_ERRNO"));
    let ran = bundle.run();
    assert!(ran.err.contains("not implemented") && ran.out.contains("Seccomp:\t2"), "{ran:?}");
    // Without the renunciation the filter is loaded earlier, by who still has the right to.
    let bundle = Bundle::new("mkdir /data/x || echo no").with(|c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["linux"]["seccomp"] = filter("SCMP_ACT_ERRNO");
    });
    assert_eq!(bundle.run().ok(), "no");
    // So it is for another user too, who has lost the use of the right by then.
    let bundle = Bundle::new("mkdir /tmp/x || echo no").with(|c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["process"]["user"] = json!({"uid": 33, "gid": 33});
        c["linux"]["seccomp"] = filter("SCMP_ACT_ERRNO");
    });
    assert_eq!(bundle.run().ok(), "no");
    // Programs of another architecture end at their first call, unless the filter says that it is about them too.
    #[cfg(target_arch = "x86_64")]
    for (architectures, code) in [(json!([]), 159), (json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]), 38)] {
        let bundle = Bundle::new("/data/narrow").with(|c| {
            c["linux"]["seccomp"] = filter("SCMP_ACT_ERRNO");
            c["linux"]["seccomp"]["architectures"] = architectures.clone();
        });
        narrow(&bundle.rootfs().join("data/narrow"));
        assert_eq!(bundle.run().code, code, "{architectures}");
    }
    let killed = Bundle::new("(mkdir /data/x); echo $?").with(|c| c["linux"]["seccomp"] = filter("SCMP_ACT_KILL_PROCESS"));
    assert!(killed.run().ok().contains("159"));
    let nobody = Bundle::new("true").with(|c| c["linux"]["seccomp"] = filter("SCMP_ACT_NOTIFY"));
    nobody.run().fails_with("listenerPath");
}

#[test]
fn calls_are_asked_about_where_the_bundle_says() {
    let bundle = Bundle::new("sleep 1000");
    let path = bundle.folder.path().join("agent.sock");
    let agent = UnixListener::bind(&path).unwrap();
    let bundle = bundle.with(|c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "data",
            "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
    });
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = agent.accept().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut connection, &mut text).unwrap();
        text
    });
    bundle.create();
    let told: serde_json::Value = serde_json::from_str(&serving.join().unwrap()).unwrap();
    assert_eq!(told["fds"], json!(["seccompFd"]));
    assert_eq!(told["metadata"], "data");
    assert_eq!(told["state"]["id"], bundle.id);
    assert_eq!(told["pid"], bundle.state()["pid"]);
}

#[test]
fn only_descriptors_that_are_to_be_passed_are() {
    let bundle = Bundle::new("ls /proc/self/fd | wc -l; cat <&3");
    bundle.write();
    let file = bundle.folder.path().join("passed");
    fs::write(&file, "passed\n").unwrap();
    let typed = |preserve: &str| {
        let line = format!(
            "exec 3<{0} 4<{0}; exec {1} oci --root {2} run --preserve-fds {preserve} --bundle {3} {4}",
            file.display(),
            env!("CARGO_BIN_EXE_setpoint"),
            bundle.state_root().display(),
            bundle.path(),
            bundle.id
        );
        Ran::of(&Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap())
    };
    // The three streams, what `ls` opens, and as many as are passed.
    assert_eq!(typed("1").ok(), "5\npassed");
    let none = typed("0");
    assert!(none.code != 0 && none.out.starts_with('4'), "{none:?}");
}

#[test]
fn exec_is_as_it_was_asked_for() {
    let bundle = Bundle::new("sleep 1000").with(|c| c["process"]["env"] = json!(["PATH=/bin", "A=1"]));
    bundle.create();
    bundle.start();
    let exec = |words: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(words);
        bundle.oci(&all)
    };
    assert_eq!(
        exec(&[
            "-e",
            "B=2",
            "-e",
            "A=3",
            "--cwd",
            "/tmp",
            "--user",
            "33:44",
            "-g",
            "7",
            &bundle.id,
            "sh",
            "-c",
            "echo $A$B; pwd; id"
        ])
        .ok(),
        "32\n/tmp\nuid=33(web) gid=44 groups=7"
    );
    assert_eq!(exec(&[&bundle.id, "sh", "-c", "exit 9"]).code, 9);
    let missing = exec(&[&bundle.id, "nothing"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    let document = bundle.folder.path().join("process.json");
    fs::write(
        &document,
        r#"{"args": ["sh", "-c", "echo document; id -u"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 5, "gid": 5}}"#,
    )
    .unwrap();
    assert_eq!(exec(&["--process", document.to_str().unwrap(), &bundle.id]).ok(), "document\n5");
    let pid_file = bundle.folder.path().join("pid");
    exec(&["--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id, "sleep", "900"]).ok();
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert!(bundle.oci(&["ps", "--format", "json", &bundle.id]).ok().contains(&pid));
    assert!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("900"));
    exec(&[&bundle.id]).fails_with("give a command");
}

#[test]
fn exec_goes_into_a_cgroup_below() {
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    bundle.start();
    let pids = bundle.cgroups().into_iter().find(|folder| folder.join("pids.max").exists()).unwrap();
    fs::create_dir(pids.join("below")).unwrap();
    let exec = |cgroup: &str| bundle.oci(&["exec", "--cgroup", cgroup, &bundle.id, "cat", "/proc/self/cgroup"]);
    let of_v1 = !pids.join("cgroup.controllers").exists();
    let own = exec(if of_v1 { "pids:/below" } else { "/below" }).ok();
    assert_eq!(own.lines().filter(|line| line.ends_with(":/below")).count(), 1, "{own}");
    assert!(exec("/").ok().lines().all(|line| line.ends_with(":/")));
    exec("..").fails_with("it must be below the container's cgroup");
    exec("nothing").fails_with("No such file");
    exec("waaaaat:/").fails_with("no such controller");
}

#[test]
fn a_terminal_goes_to_who_serves_it() {
    let bundle = Bundle::new("tty; tty < /dev/console; stat -c %F /dev/console; [ -t 0 ] && echo in; exit 5").with(|c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 11, "width": 22});
    });
    bundle.write();
    bundle.oci(&["create", "--bundle", bundle.path(), &bundle.id]).fails_with("--console-socket");
    let path = bundle.folder.path().join("console.sock");
    let console = UnixListener::bind(&path).unwrap();
    let serving = std::thread::spawn(move || {
        let (connection, _) = console.accept().unwrap();
        setpoint::engine::runtime::oci::receive_descriptor(&connection).unwrap()
    });
    bundle.oci(&["create", "--bundle", bundle.path(), "--console-socket", path.to_str().unwrap(), &bundle.id]).ok();
    let controller = serving.join().unwrap();
    let size = rustix::termios::tcgetwinsize(&controller).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (11, 22), "descriptor {}", controller.as_raw_fd());
    bundle.start();
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    // The end of a terminal is an error.
    while let Ok(length) = rustix::io::read(&controller, &mut buffer) {
        if length == 0 {
            break;
        }
        text.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8(text).unwrap().replace('\r', "");
    assert!(text.starts_with("/dev/pts/0\n") && text.contains("character special file\nin"), "{text}");
    let plain = Bundle::new("true");
    plain.write();
    plain
        .oci(&["create", "--bundle", plain.path(), "--console-socket", path.to_str().unwrap(), &plain.id])
        .fails_with("process.terminal is not set");
}

#[test]
fn the_own_program_is_out_of_reach() {
    let script = "cat /proc/1/cmdline > /dev/null; (echo x >> /proc/self/exe) 2>&1; exit 0";
    let bundle = Bundle::new(script);
    bundle.run().ok();
    // An image whose command leads to the runtime's own file.
    let bundle = Bundle::new("").with(|c| c["process"]["args"] = json!(["/bin/loop"]));
    std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("bin/loop")).unwrap();
    bundle.run().fails_with("/bin/loop");
    // While it waits to be started it is this program still, on a mount that nobody can write to.
    let waiting = Bundle::new("true");
    waiting.create();
    let exe = format!("/proc/{}/exe", waiting.state()["pid"]);
    let refused = fs::OpenOptions::new().write(true).open(exe).unwrap_err();
    assert!(matches!(refused.raw_os_error(), Some(libc::EROFS | libc::ETXTBSY)), "{refused}");
}

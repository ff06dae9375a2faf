//! What the process is: its user, its environment, its rights, its end.

use super::*;
use crate::model::spec::Ulimit;

#[test]
fn exit_codes_and_signals() {
    with_bench(|bench| {
        assert_eq!(bench.run(&["true"]).unwrap().code, 0);
        assert_eq!(bench.run(&["sh", "-c", "exit 42"]).unwrap().code, 42);
        assert_eq!(bench.run(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).unwrap().code, 137);
        let outcome = bench.run(&["sh", "-c", "echo out; echo err >&2"]).unwrap();
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
    });
}

#[test]
fn a_command_that_cannot_be() {
    with_bench(|bench| {
        fs::write(bench.path("base/bin/plain"), "not executable").unwrap();
        fs::write(bench.path("base/bin/garbage"), "\x7fELF").unwrap();
        for (argv, code) in [("nope", 127), ("/bin/nope", 127), ("/bin/sh/x", 127), ("plain", 126), ("/etc", 126)] {
            let error = bench.start(&[argv]).unwrap_err();
            assert_eq!(error.exit_code(), code, "{argv}: {error}");
            assert!(error.to_string().contains(argv), "{error}");
            assert!(super::super::cgroups::Cgroup::open(&bench.cgroup).is_err(), "nothing is left");
        }
        bench.spec.working_dir = Some("/etc/passwd".into());
        let error = bench.start(&["true"]).unwrap_err();
        assert_eq!(error.exit_code(), 125, "{error}");
    });
}

#[test]
fn users_by_name_and_number() {
    with_bench(|bench| {
        for (user, expected, home) in [
            (Some("root"), "uid=0(root) gid=0(root) groups=0(root)", "/root"),
            (Some("web"), "uid=1234(web) gid=55(web) groups=55(web),77(extra)", "/srv"),
            (Some("web:extra"), "uid=1234(web) gid=77(extra) groups=77(extra)", "/srv"),
            (Some("4711"), "uid=4711 gid=0(root) groups=0(root)", "/"),
        ] {
            bench.user = user.map(str::to_owned);
            let text = bench.shell("id; echo $HOME; echo again > /dev/stdout; umask");
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[0], expected);
            assert_eq!(lines[1..], [home, "again", "0022"]);
        }
        bench.user = Some("nobody-here".into());
        let error = bench.start(&["true"]).unwrap_err();
        assert!(error.to_string().contains("nobody-here"), "{error}");
    });
}

#[test]
fn environment_and_working_folder() {
    with_bench(|bench| {
        bench.spec.environment.insert("A".into(), "b c".into());
        bench.spec.working_dir = Some("/new/folder".into());
        let text = bench.shell("echo $A; pwd; echo $HOSTNAME $PATH; ls -l /proc/self/fd | wc -l");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["b c", "/new/folder"]);
        assert_eq!(lines[2], "the-box /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        assert!(bench.path("upper/new/folder").is_dir());
    });
}

#[test]
fn no_descriptor_of_the_host_is_inherited() {
    with_bench(|bench| {
        let leak = fs::File::open("/").unwrap();
        rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
        let text = bench.shell("ls /proc/self/fd");
        // The listing's own descriptor is the only one beyond the standard three.
        assert_eq!(words(&text), ["0", "1", "2", "3"]);
        for number in 3..30 {
            bench.spec.working_dir = Some(format!("/proc/self/fd/{number}"));
            assert!(bench.start(&["true"]).is_err());
        }
    });
}

#[test]
fn rights_are_the_default_ones() {
    with_bench(|bench| {
        let status = bench.run(&["cat", "/proc/self/status"]).unwrap().stdout;
        let field = |name: &str| words(status.lines().find(|l| l.starts_with(name)).unwrap())[1].to_owned();
        assert_eq!(field("CapEff:"), "00000000800405fb");
        assert_eq!(field("CapBnd:"), "00000000800405fb");
        assert_eq!(field("CapInh:"), "0000000000000000");
        assert_eq!(field("CapAmb:"), "0000000000000000");
        assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2".into(), "1".into()));
        assert_eq!((field("SigIgn:"), field("SigBlk:")), ("0000000000000000".into(), "0000000000000000".into()));

        bench.spec.cap_drop.insert("ALL".into());
        bench.spec.cap_add.insert("NET_ADMIN".into());
        let status = bench.run(&["cat", "/proc/self/status"]).unwrap().stdout;
        assert!(status.contains("CapEff:\t0000000000001000"), "{status}");

        bench.user = Some("web".into());
        let status = bench.run(&["cat", "/proc/self/status"]).unwrap().stdout;
        assert!(status.contains("CapEff:\t0000000000000000") && status.contains("CapPrm:\t0000000000000000"), "{status}");

        bench.user = None;
        bench.spec.cap_drop.clear();
        bench.spec.cap_add = ["ALL".to_owned()].into();
        assert_eq!(bench.run(&["true"]).unwrap().code, 0);
    });
}

#[test]
fn system_calls_are_filtered() {
    with_bench(|bench| {
        // Refused by the filter: the capability alone would allow it.
        bench.spec.cap_add.insert("SYS_ADMIN".into());
        assert_eq!(bench.run(&["busybox", "unshare", "-u", "true"]).unwrap().code, 0);
        bench.spec.cap_add.clear();
        let outcome = bench.run(&["busybox", "unshare", "-u", "true"]).unwrap();
        assert!(outcome.code != 0 && outcome.stderr.contains("not permitted"), "{outcome:?}");
        assert!(bench.run(&["mount", "-t", "tmpfs", "x", "/tmp"]).unwrap().code != 0);
        assert!(bench.run(&["busybox", "hostname", "other"]).unwrap().code != 0);
    });
}

#[test]
fn the_runtimes_own_program_is_out_of_reach() {
    with_bench(|bench| {
        symlink("/proc/self/exe", bench.path("base/bin/steal")).unwrap();
        for command in ["steal", "/bin/steal", "/proc/self/exe", "/proc/1/exe"] {
            let error = bench.start(&[command]).unwrap_err();
            assert_eq!(error.exit_code(), 126, "{error}");
        }
    });
}

#[test]
fn what_is_not_supported_is_refused() {
    with_bench(|bench| {
        let null = || crate::sys::pty::null().unwrap();
        let refused = |launch: &Launch| {
            let error = start(launch, Stdio { stdin: null(), stdout: null(), stderr: null() }, None).unwrap_err();
            assert!(matches!(error, RuntimeError::Unsupported { .. }), "{error}");
        };
        let mut launch = bench.launch(&["true"]);
        launch.spec.set_hooks(Some(Default::default()));
        refused(&launch);
        let mut launch = bench.launch(&["true"]);
        launch.network = Network::Host;
        refused(&launch);
        let mut launch = bench.launch(&["true"]);
        launch.spec.set_linux(None);
        refused(&launch);
    });
}

#[test]
fn ulimits() {
    with_bench(|bench| {
        bench.spec.ulimits.insert("nofile".into(), Ulimit { soft: 100, hard: 200 });
        bench.spec.ulimits.insert("core".into(), Ulimit { soft: 0, hard: 0 });
        assert_eq!(words(&bench.shell("ulimit -n; ulimit -Hn; ulimit -c")), ["100", "200", "0"]);
    });
}

#[test]
fn an_early_end_is_never_missed() {
    with_bench(|bench| {
        for round in 0..200 {
            let outcome = bench.run(&["sh", "-c", "exit 7"]).unwrap();
            assert_eq!(outcome.code, 7, "round {round}");
        }
    });
}

#[test]
fn the_starters_death_is_the_containers() {
    with_bench(|bench| {
        let (read, write) = pipe();
        let cgroup = bench.cgroup.clone();
        let bench = &*bench;
        in_own_process(move || {
            let (process, ..) = bench.start(&["sleep", "1000"]).unwrap();
            rustix::io::write(&write, &process.pid.to_le_bytes()).unwrap();
        });
        let mut pid = [0; 4];
        rustix::io::read(&read, &mut pid).unwrap();
        let cgroup = super::super::cgroups::Cgroup::open(&cgroup).unwrap();
        let begun = std::time::Instant::now();
        while cgroup.is_populated().unwrap() {
            assert!(begun.elapsed().as_secs() < 60, "still there: {}", i32::from_le_bytes(pid));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        cgroup.remove().unwrap();
    });
}

#[test]
fn a_terminal_is_the_controlling_one() {
    with_bench(|bench| {
        bench.terminal = true;
        let pty = crate::sys::pty::open().unwrap();
        let stdio = Stdio {
            stdin: crate::sys::pty::duplicate(&pty.terminal).unwrap(),
            stdout: crate::sys::pty::duplicate(&pty.terminal).unwrap(),
            stderr: pty.terminal,
        };
        let launch = bench.launch(&["sh", "-c", "test -t 0 && test -c /dev/console && echo yes > /dev/tty; echo $TERM"]);
        let process = start(&launch, stdio, None).unwrap();
        assert_eq!(wait(&process), 0);
        let mut buffer = [0; 100];
        let length = rustix::io::read(&pty.controller, &mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..length]), "yes\r\nxterm\r\n");
        bench.cgroup().remove().unwrap();
    });
}

/// Prints how long a start and its end take: a figure to look at, not a promise.
#[test]
fn time_of_a_start() {
    with_bench(|bench| {
        for round in 0..2 {
            let mut times: Vec<u128> = Vec::new();
            for _ in 0..50 {
                let launch = bench.launch(&["/bin/true"]);
                let null = || crate::sys::pty::null().unwrap();
                let stdio = Stdio { stdin: null(), stdout: null(), stderr: null() };
                let begun = std::time::Instant::now();
                let process = start(&launch, stdio, None).unwrap();
                let started = begun.elapsed().as_micros();
                wait(&process);
                let ended = begun.elapsed().as_micros();
                drop(process);
                bench.cgroup().remove().unwrap();
                if round == 1 && times.len() < 5 {
                    eprintln!("start {started} us, end {ended} us, removed {} us", begun.elapsed().as_micros());
                }
                times.push(ended);
            }
            times.sort_unstable();
            eprintln!("start to end of true: median {} us, least {} us, most {} us", times[25], times[0], times[49]);
        }
    });
}

//! Further processes in a running container.

use super::*;

fn request(bench: &Bench, launch: &Launch, first: &Process, argv: &[&str]) -> ExecRequest {
    ExecRequest {
        pid: first.pid,
        started_ticks: first.started_ticks,
        spec: launch.spec.clone(),
        filter: launch.filter.clone(),
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: vec!["PATH=/bin".into(), "X=y".into()],
        user: None,
        groups: Vec::new(),
        cwd: "/etc".into(),
        cgroup: bench.cgroup.clone(),
        tty: false,
    }
}

fn run(request: &ExecRequest) -> Result<(i32, String), RuntimeError> {
    let (read, write) = pipe();
    let stderr = crate::sys::pty::duplicate(&write).unwrap();
    let process = exec(request, Stdio { stdin: crate::sys::pty::null().unwrap(), stdout: write, stderr })?;
    let mut text = String::new();
    fs::File::from(read).read_to_string(&mut text).unwrap();
    Ok((wait(&process), text))
}

#[test]
fn joins_all_that_the_first_process_has() {
    with_bench(|bench| {
        let launch = bench.launch(&["sleep", "1000"]);
        let null = || crate::sys::pty::null().unwrap();
        let first = start(&launch, Stdio { stdin: null(), stdout: null(), stderr: null() }, None).unwrap();

        let (code, text) = run(&request(
            bench,
            &launch,
            &first,
            &["sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; echo; pwd; echo $X $HOME; cat /proc/sys/kernel/hostname; exit 3"],
        ))
        .unwrap();
        assert_eq!((code, text.as_str()), (3, "sleep 1000 \n/etc\ny /root\nthe-box\n"));

        for name in ["mnt", "pid", "uts", "ipc", "net", "cgroup"] {
            let (_, text) =
                run(&request(bench, &launch, &first, &["busybox", "readlink", &format!("/proc/self/ns/{name}")])).unwrap();
            let expected = fs::read_link(format!("/proc/{}/ns/{name}", first.pid)).unwrap();
            assert_eq!(Path::new(text.trim()), expected, "{name}");
        }
        let (_, status) = run(&request(bench, &launch, &first, &["cat", "/proc/self/status"])).unwrap();
        for line in ["CapEff:\t00000000800405fb", "CapBnd:\t00000000800405fb", "Seccomp:\t2", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{status}");
        }
        let own = fs::read_to_string(format!("/proc/{}/cgroup", first.pid)).unwrap();
        let (process, outside) = {
            let process = exec(
                &request(bench, &launch, &first, &["sleep", "1000"]),
                Stdio { stdin: null(), stdout: null(), stderr: null() },
            )
            .unwrap();
            let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap();
            (process, cgroup)
        };
        assert_eq!(own, outside);
        assert!(own.contains(&bench.cgroup.parent));
        // The caller's own children are where they always were.
        assert_eq!(fs::read_link("/proc/self/ns/pid_for_children").unwrap(), fs::read_link("/proc/self/ns/pid").unwrap());

        let mut as_web = request(bench, &launch, &first, &["id"]);
        as_web.user = Some("web".into());
        assert!(run(&as_web).unwrap().1.starts_with("uid=1234(web) gid=55(web)"));

        let error = run(&request(bench, &launch, &first, &["nope"])).unwrap_err();
        assert_eq!(error.exit_code(), 127);
        let mut elsewhere = request(bench, &launch, &first, &["true"]);
        elsewhere.cwd = "/none".into();
        assert_eq!(run(&elsewhere).unwrap_err().exit_code(), 125);
        let mut reused = request(bench, &launch, &first, &["true"]);
        reused.started_ticks += 1;
        assert!(matches!(run(&reused), Err(RuntimeError::NotRunning { .. })));

        bench.cgroup().kill_all().unwrap();
        // In this order: see the assumption of `exec`.
        assert_eq!((wait(&process), wait(&first)), (137, 137));
        assert!(matches!(run(&request(bench, &launch, &first, &["true"])), Err(RuntimeError::NotRunning { .. })));
        bench.cgroup().remove().unwrap();
    });
}

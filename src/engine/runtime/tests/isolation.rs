//! What the process sees, and what it must not.

use super::*;

#[test]
fn namespaces_are_its_own() {
    with_bench(|bench| {
        assert_eq!(bench.shell("echo $$; cat /proc/sys/kernel/hostname").trim(), "1\nthe-box");
        let names = ["mnt", "pid", "uts", "ipc", "net", "cgroup"];
        let inside = bench.shell("for n in mnt pid uts ipc net cgroup; do busybox readlink /proc/self/ns/$n; done");
        for (name, inside) in names.iter().zip(inside.lines()) {
            let outside = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert!(inside.starts_with(name) && Path::new(inside) != outside, "{name}: {inside}");
        }
        assert_eq!(bench.shell("echo /proc/[0-9]*").trim(), "/proc/1");
        assert!(bench.shell("busybox ip -o link | head -1").contains("lo: <LOOPBACK,UP"));
        assert!(bench.shell("cat /proc/self/cgroup").lines().all(|l| !l.contains("sptest")));
    });
}

#[test]
fn the_host_is_not_in_sight() {
    with_bench(|bench| {
        let mounts = bench.shell("cat /proc/self/mountinfo");
        assert!(!mounts.contains(&bench.folder.path().display().to_string()), "{mounts}");
        let points: Vec<&str> = mounts.lines().map(|l| words(l)[4]).collect();
        assert_eq!(points[0], "/");
        assert!(points.iter().all(|p| *p == "/" || ["/proc", "/dev", "/sys"].iter().any(|k| p.starts_with(k))), "{points:?}");
        assert_eq!(bench.shell("ls /"), "bin\ndev\netc\nproc\nsys\n");
        // And the host sees nothing of the container.
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&bench.folder.path().display().to_string()));
    });
}

#[test]
fn kernel_interfaces_are_masked_and_protected() {
    with_bench(|bench| {
        assert_eq!(bench.shell("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | busybox wc -c").trim(), "0");
        assert_eq!(bench.shell("ls /sys/firmware /proc/acpi 2>/dev/null | busybox grep -v :$ | busybox wc -w").trim(), "0");
        for file in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sysrq-trigger",
            "/sys/kernel/uevent_helper",
            "/proc/irq/default_smp_affinity",
        ] {
            let outcome = bench.run(&["sh", "-c", &format!("echo x > {file}")]).unwrap();
            assert!(outcome.code != 0, "{file}");
        }
        let outcome = bench.run(&["sh", "-c", "echo x > /proc/sys/kernel/core_pattern"]).unwrap();
        assert!(outcome.stderr.contains("Read-only"), "{outcome:?}");
        assert!(
            bench.run(&["sh", "-c", "busybox mkdir /sys/fs/cgroup/x || busybox mkdir /sys/fs/cgroup/memory/x"]).unwrap().code
                != 0
        );
        let cgroups = bench.shell("ls /sys/fs/cgroup");
        assert!(!cgroups.is_empty());
    });
}

#[test]
fn devices_are_the_harmless_ones() {
    with_bench(|bench| {
        let listed = bench.shell("ls /dev");
        assert_eq!(
            words(&listed),
            [
                "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
                "urandom", "zero"
            ]
        );
        assert_eq!(
            bench.shell("head -c 3 /dev/zero | busybox wc -c; echo x > /dev/null; head -c1 /dev/urandom | busybox wc -c").trim(),
            "3\n1"
        );
        assert!(bench.run(&["mknod", "/nothing", "c", "1", "3"]).unwrap().code != 0);
        // With the capability nodes can be made, as archives contain them; but the host's disk cannot be read through one.
        bench.spec.cap_add.insert("MKNOD".into());
        bench.shell("mknod /disk b 254 0 && mknod /mem c 1 1 && mknod /nothing c 1 3 && echo x > /nothing");
        for node in ["/disk", "/mem"] {
            let outcome = bench.run(&["head", "-c", "1", node]).unwrap();
            assert!(outcome.code != 0 && outcome.stderr.contains("not permitted"), "{outcome:?}");
        }
    });
}

#[test]
fn mounts_of_the_host() {
    with_bench(|bench| {
        let data = bench.path("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("file"), "content").unwrap();
        bench.mounts = vec![
            HostMount::Bind { source: data.clone(), target: "/deep/new/data".into(), read_only: false },
            HostMount::Bind { source: data.clone(), target: "/ro".into(), read_only: true },
            HostMount::Bind { source: data.join("file"), target: "/etc/one/file".into(), read_only: true },
            HostMount::Tmpfs { target: "/scratch".into(), size: Some(65536), mode: Some(0o700) },
        ];
        bench.spec.read_only = true;
        assert_eq!(
            bench.shell("cat /deep/new/data/file /etc/one/file; echo new > /deep/new/data/made; busybox stat -c %a /scratch"),
            "contentcontent700\n"
        );
        assert_eq!(fs::read_to_string(data.join("made")).unwrap(), "new\n");
        bench.shell("echo x > /scratch/x");
        assert!(bench.run(&["dd", "if=/dev/zero", "of=/scratch/big", "bs=1024", "count=100"]).unwrap().code != 0);
        for line in ["echo x > /ro/x", "echo x > /etc/one/file", "echo x > /x", "echo x > /etc/passwd"] {
            let outcome = bench.run(&["sh", "-c", line]).unwrap();
            assert!(outcome.code != 0 && outcome.stderr.contains("Read-only"), "{line}: {outcome:?}");
        }
        bench.mounts = vec![HostMount::Bind { source: "/no/such/source".into(), target: "/x".into(), read_only: false }];
        let error = bench.start(&["true"]).unwrap_err();
        assert!(error.to_string().contains("/no/such/source"), "{error}");
    });
}

#[test]
fn no_link_of_an_image_leads_out() {
    with_bench(|bench| {
        let victim = bench.path("victim");
        let data = bench.path("data");
        fs::create_dir(&victim).unwrap();
        fs::create_dir(&data).unwrap();
        symlink(&victim, bench.path("base/absolute")).unwrap();
        symlink("../../../../../../../..", bench.path("base/up")).unwrap();
        let up = format!("/up{}/other", victim.display());
        bench.mounts = vec![
            HostMount::Bind { source: data.clone(), target: "/absolute/sub".into(), read_only: false },
            HostMount::Bind { source: data.clone(), target: up.clone(), read_only: false },
        ];
        bench.spec.working_dir = Some("/absolute/work".into());
        bench.shell(&format!("echo x > /absolute/sub/through && echo y > {up}/up"));
        assert!(exists(data.join("through")) && exists(data.join("up")));
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "nothing was made outside");

        // The kernel's file systems go to plain folders only.
        bench.mounts.clear();
        bench.spec.working_dir = None;
        fs::remove_dir(bench.path("upper/proc")).unwrap();
        symlink("/etc", bench.path("top/proc")).unwrap();
        let error = bench.start(&["true"]).unwrap_err();
        assert!(error.to_string().contains("/proc"), "{error}");
    });
}

#[test]
fn what_is_written_is_in_the_upper_layer() {
    with_bench(|bench| {
        bench.shell("echo new > /etc/new; busybox rm /etc/group; busybox mkdir /d; busybox mv /d /e");
        assert_eq!(fs::read_to_string(bench.path("upper/etc/new")).unwrap(), "new\n");
        assert!(exists(bench.path("base/etc/group")));
        assert_eq!(bench.shell("cat /etc/new; ls /etc"), "new\nnew\npasswd\n");
    });
}

#[test]
fn many_layers_with_awkward_names() {
    with_bench(|bench| {
        let mut lower = Vec::new();
        for number in 0..127 {
            let name = format!("a:b,c\\d {}{number:03}", "long".repeat(30));
            let layer = bench.path(&name);
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join(format!("f{number}")), "x").unwrap();
            fs::write(layer.join("who"), number.to_string()).unwrap();
            lower.push(layer);
        }
        lower.push(bench.path("base"));
        let mut launch = bench.launch(&["sh", "-c", "ls / | busybox grep -c ^f; cat /who"]);
        launch.root = RootFs::Overlay { lower, upper: bench.path("upper"), work: bench.path("work"), volatile: false };
        let (read, write) = pipe();
        let null = || crate::sys::pty::null().unwrap();
        let process = start(&launch, Stdio { stdin: null(), stdout: write, stderr: null() }, None).unwrap();
        let mut text = String::new();
        fs::File::from(read).read_to_string(&mut text).unwrap();
        assert_eq!((wait(&process), text.as_str()), (0, "127\n0"));
        bench.cgroup().remove().unwrap();
    });
}

#[test]
fn a_folder_is_a_root_too() {
    with_bench(|bench| {
        let mut launch = bench.launch(&["sh", "-c", "echo x > /made"]);
        launch.root = RootFs::Folder(bench.path("base"));
        let null = || crate::sys::pty::null().unwrap();
        let process = start(&launch, Stdio { stdin: null(), stdout: null(), stderr: null() }, None).unwrap();
        assert_eq!(wait(&process), 0);
        assert!(exists(bench.path("base/made")));
        bench.cgroup().remove().unwrap();
    });
}

#[test]
fn networks_given_and_of_the_host() {
    with_bench(|bench| {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let cgroup = bench.cgroup.clone();
        let readlink = ["busybox", "readlink", "/proc/self/ns/net"];
        let run = |launch: &Launch, netns: Option<std::os::fd::BorrowedFd<'_>>| {
            let (read, write) = pipe();
            let null = || crate::sys::pty::null().unwrap();
            let process = start(launch, Stdio { stdin: null(), stdout: write, stderr: null() }, netns)?;
            let mut text = String::new();
            fs::File::from(read).read_to_string(&mut text).unwrap();
            assert_eq!(wait(&process), 0);
            super::super::cgroups::Cgroup::open(&cgroup).unwrap().remove().unwrap();
            Ok::<_, RuntimeError>(PathBuf::from(text.trim()))
        };
        let mut launch = bench.launch(&readlink);
        launch.network = Network::Given;
        assert!(matches!(run(&launch, None), Err(RuntimeError::NoNetworkGiven)));
        let (read, write) = pipe();
        let (hold_read, hold_write) = pipe();
        // Another process makes the namespace and then lets go of it: the descriptor alone keeps it.
        let maker = crate::sys::clone::clone_process(nix::sched::CloneFlags::CLONE_NEWNET, None).unwrap();
        let crate::sys::clone::Cloned::Parent { pid, pidfd } = maker else {
            rustix::io::write(&write, b"x").unwrap();
            rustix::io::read(&hold_read, &mut [0]).unwrap();
            crate::sys::clone::exit_now(0);
        };
        rustix::io::read(&read, &mut [0]).unwrap();
        let given = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        let name = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        rustix::io::write(&hold_write, b"x").unwrap();
        assert_eq!(wait_for(&pidfd), 0);
        use std::os::fd::AsFd;
        for _ in 0..2 {
            assert_eq!(run(&launch, Some(given.as_fd())).unwrap(), name);
        }
        bench.spec.network_mode = NetworkMode::Host;
        let mut launch = bench.launch(&readlink);
        launch.network = Network::Host;
        assert_eq!(run(&launch, None).unwrap(), own);
    });
}

#[test]
fn sysctls_of_the_container() {
    with_bench(|bench| {
        bench.spec.sysctls.insert("net.core.somaxconn".into(), "77".into());
        bench.spec.sysctls.insert("kernel.msgmax".into(), "9999".into());
        assert_eq!(
            words(
                &bench.shell(
                    "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start"
                )
            ),
            ["77", "9999", "0"]
        );
        assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap().trim(), "9999");
    });
}

//! Limits, and what becomes of a cgroup.

use super::super::cgroups::{Cgroup, Layout, list, remove_parent};
use super::*;
use crate::model::spec::ResourceLimits;

fn limits(memory: Option<&str>, cpus: Option<&str>, pids: Option<u32>) -> ResourceLimits {
    ResourceLimits {
        memory: memory.map(|m| m.parse().unwrap()),
        cpus: cpus.map(|c| c.parse().unwrap()),
        pids,
        ..Default::default()
    }
}

/// A limit's file, whatever the version.
fn limit_file(bench: &Bench, v2: &str, controller: &str, v1: &str) -> String {
    let CgroupPath { parent, name } = &bench.cgroup;
    let file = match Layout::of_host() {
        Layout::Unified { root } => root.join(parent).join(name).join(v2),
        Layout::Absent => panic!("the tests run as root of the host"),
        Layout::Hybrid { controllers, .. } => {
            let hierarchy = controllers.iter().find(|h| h.controllers.iter().any(|c| c == controller)).unwrap();
            hierarchy.root.join(parent).join(name).join(v1)
        }
    };
    fs::read_to_string(file).unwrap().trim().to_owned()
}

#[test]
fn limits_are_written_and_can_change() {
    with_bench(|bench| {
        bench.spec.limits = limits(Some("64m"), Some("0.25"), Some(20));
        let (process, ..) = bench.start(&["sleep", "100"]).unwrap();
        let v2 = matches!(Layout::of_host(), Layout::Unified { .. });
        let memory = |bench: &Bench| limit_file(bench, "memory.max", "memory", "memory.limit_in_bytes");
        let cpu = |bench: &Bench| limit_file(bench, "cpu.max", "cpu", "cpu.cfs_quota_us");
        let pids = |bench: &Bench| limit_file(bench, "pids.max", "pids", "pids.max");
        assert_eq!(memory(bench), (64 << 20).to_string());
        assert_eq!(cpu(bench), if v2 { "25000 100000" } else { "25000" });
        assert_eq!(pids(bench), "20");
        let cgroup = bench.cgroup();
        let stats = cgroup.stats().unwrap();
        assert_eq!((stats.pids, stats.memory_limit), (1, Some(64 << 20)));
        assert!(stats.memory > 0 && stats.cpu_usec > 0, "{stats:?}");
        for size in ["128m", "32m", "1g"] {
            cgroup.apply(&limits(Some(size), None, None)).unwrap();
            assert_eq!(memory(bench), size.parse::<crate::model::ByteSize>().unwrap().0.to_string());
        }
        cgroup.apply(&limits(None, None, None)).unwrap();
        assert_eq!(cgroup.stats().unwrap().memory_limit, None);
        assert_eq!(cpu(bench), if v2 { "max 100000" } else { "-1" });
        assert_eq!(pids(bench), "max");
        cgroup.kill_all().unwrap();
        assert_eq!(wait(&process), 137);
        cgroup.remove().unwrap();
    });
}

#[test]
fn processes_are_limited_unless_told_otherwise() {
    with_bench(|bench| {
        Cgroup::create(&bench.cgroup).unwrap();
        let cgroup = bench.cgroup();
        for (asked, expected) in [(None, "2048"), (Some(7), "7"), (Some(ResourceLimits::ANY_PIDS), "max")] {
            cgroup.apply(&cgroup.with_defaults(limits(None, None, asked)).unwrap()).unwrap();
            assert_eq!(limit_file(bench, "pids.max", "pids", "pids.max"), expected);
        }
        cgroup.remove().unwrap();
    });
}

#[test]
fn memory_beyond_the_limit_kills() {
    with_bench(|bench| {
        bench.spec.limits = limits(Some("16m"), None, None);
        let (process, ..) =
            bench.start(&["sh", "-c", "head -c 100000000 /dev/zero | busybox tail -c 90000000 >/dev/null; exit 5"]).unwrap();
        wait(&process);
        assert!(bench.cgroup().oom_kills().unwrap() >= 1);
        bench.cgroup().remove().unwrap();
    });
}

#[test]
fn processes_beyond_the_limit_are_refused() {
    with_bench(|bench| {
        bench.spec.limits = limits(None, None, Some(5));
        let outcome = bench.run(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait"]).unwrap();
        assert!(outcome.stderr.contains("fork"), "{outcome:?}");
    });
}

#[test]
fn all_are_killed_and_nothing_is_left() {
    with_bench(|bench| {
        let (process, ..) = bench
            .start(&["sh", "-c", "sleep 1000 & sleep 1000 & (while true; do sleep 1000 & sleep 0.01; done) & wait"])
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let cgroup = Cgroup::create(&bench.cgroup).unwrap();
        assert!(cgroup.is_populated().unwrap());
        assert_eq!(list(&bench.cgroup.parent).unwrap().into_iter().collect::<Vec<_>>(), ["box"]);
        cgroup.kill_all().unwrap();
        assert_eq!(wait(&process), 137);
        cgroup.remove().unwrap();
        cgroup.remove().unwrap();
        cgroup.kill_all().unwrap();
        assert!(!cgroup.is_populated().unwrap());
        assert_eq!(cgroup.oom_kills().unwrap(), 0);
        assert!(list(&bench.cgroup.parent).unwrap().is_empty());
        remove_parent(&bench.cgroup.parent).unwrap();
        assert!(list(&bench.cgroup.parent).unwrap().is_empty());
        assert!(Cgroup::open(&bench.cgroup).is_err());
    });
}

/// On a hybrid host the program of the v2 hierarchy is not what restricts containers, but there is a v2 hierarchy to try it in.
#[test]
fn the_device_program_restricts() {
    use std::os::fd::AsFd;
    with_bench(|bench| {
        let cgroup = Cgroup::create(&bench.cgroup).unwrap();
        let Some(folder) = cgroup.birthplace().unwrap() else { return };
        for _ in 0..100 {
            crate::sys::devices::restrict(folder.as_fd(), &super::super::cgroups::DEVICES).unwrap();
        }
        let child = crate::sys::clone::clone_process(nix::sched::CloneFlags::empty(), Some(folder.as_fd())).unwrap();
        let crate::sys::clone::Cloned::Parent { pidfd, .. } = child else {
            let allowed = fs::read("/dev/null").is_ok() && fs::File::open("/dev/urandom").is_ok();
            let refused = fs::File::open("/dev/kmsg").is_err_and(|e| e.raw_os_error() == Some(libc::EPERM));
            crate::sys::clone::exit_now(i32::from(!allowed) + 2 * i32::from(!refused));
        };
        assert_eq!(wait_for(&pidfd), 0);
        cgroup.remove().unwrap();
    });
}

/// How a host without any v2 hierarchy kills.
#[test]
fn frozen_and_killed() {
    with_bench(|bench| {
        let Layout::Hybrid { controllers, .. } = Layout::of_host() else { return };
        let freezer = controllers.iter().find(|h| h.controllers.iter().any(|c| c == "freezer")).unwrap();
        let folder = freezer.root.join(&bench.cgroup.parent).join(&bench.cgroup.name);
        let (process, ..) = bench.start(&["sh", "-c", "(while true; do sleep 1000 & sleep 0.01; done) & wait"]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        super::super::cgroups::kill_frozen(&folder).unwrap();
        assert_eq!(wait(&process), 137);
        bench.cgroup().remove().unwrap();
    });
}

#[test]
fn names_are_names() {
    for bad in ["", "..", "/a", "a//b", "a/../b", ".x", "a b"] {
        assert!(list(bad).is_err());
        assert!(Cgroup::create(&CgroupPath { parent: bad.into(), name: "n".into() }).is_err());
        assert!(Cgroup::create(&CgroupPath { parent: "p".into(), name: bad.into() }).is_err());
    }
    assert!(Cgroup::create(&CgroupPath { parent: "p".into(), name: "a/b".into() }).is_err());
}

#[test]
fn a_parent_may_be_below_another() {
    with_bench(|bench| {
        let outer = bench.cgroup.parent.clone();
        bench.cgroup.parent = format!("{outer}/inner");
        bench.spec.limits =
            ResourceLimits { cpuset_cpus: Some("0".parse().unwrap()), ..limits(Some("64m"), Some("0.25"), Some(20)) };
        let (process, ..) = bench.start(&["sleep", "100"]).unwrap();
        let file = if matches!(Layout::of_host(), Layout::Unified { .. }) { "memory.max" } else { "memory.limit_in_bytes" };
        assert_eq!(limit_file(bench, file, "memory", file), (64 << 20).to_string());
        assert_eq!(list(&bench.cgroup.parent).unwrap().into_iter().collect::<Vec<_>>(), ["box"]);
        bench.cgroup().kill_all().unwrap();
        assert_eq!(wait(&process), 137);
        bench.cgroup().remove().unwrap();
        remove_parent(&bench.cgroup.parent).unwrap();
        bench.cgroup.parent = outer;
    });
}

#[test]
fn scopes_are_told_from_paths() {
    let scope = |parent: &str| CgroupPath { parent: parent.into(), name: "n".into() };
    assert_eq!(scope("a.slice/a-b.slice/x.scope").scope(), Some(("a-b.slice", "x.scope")));
    for plain in ["a", "a/b", "a.slice", "a.slice/b", "a/b.scope", "b.scope"] {
        assert_eq!(scope(plain).scope(), None, "{plain}");
    }
}

//! A fork bomb: it takes the container's processes, and leaves the host's to the host.

use super::run;
use crate::harness::{BUSYBOX, Host};

#[test]
fn processes_are_limited_by_default() {
    let host = Host::new().with_busybox();
    // One of the two is there, by the version of cgroups.
    let print = ["sh", "-c", "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; :"];
    for (options, expected) in
        [(&[][..], "2048"), (&["--pids-limit", "-1"], "max"), (&["--pids-limit", "0"], "max"), (&["--pids-limit", "77"], "77")]
    {
        assert_eq!(run(&host, options, BUSYBOX, &print).ok().out(), expected, "{options:?}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let host = Host::new().with_busybox();
    let bomb = "b() { b | b & }; b 2>/dev/null; sleep 1000";
    host.sp(&["run", "-d", "--name", "a", "--network", "none", "--pids-limit", "40", BUSYBOX, "sh", "-c", bomb]).ok();
    // It goes on for ever and is always there; what counts is that everything else goes on too.
    for _ in 0..5 {
        assert_eq!(run(&host, &[], BUSYBOX, &["echo", "fine"]).ok().out(), "fine");
        let group = std::fs::read_to_string(format!("/proc/{}/cgroup", host.pid("a"))).unwrap();
        let procs = crate::harness::leftovers::cgroups(&host.instance);
        let most =
            procs.iter().map(|folder| std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines().count());
        assert!(most.max().unwrap() <= 40, "{group}");
    }
    host.sp(&["rm", "-f", "a"]).ok();
}

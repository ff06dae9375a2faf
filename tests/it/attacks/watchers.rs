//! CVE-2016-9962: a process of the container watches for those that `exec` brings in, to look into them, or take them over,
//! while they still have something of the host's. It may trace others here, so nothing but their own poverty protects them.

use super::{Canary, probe_image};
use crate::harness::{Host, PATIENCE, wait_until};

#[test]
fn whoever_comes_in_has_nothing_of_the_host() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = probe_image(&host);
    let secret = canary.secret.to_str().unwrap();
    let options = ["run", "-d", "--name", "a", "--network", "none", "--cap-add", "SYS_PTRACE", &image];
    host.sp(&[&options[..], &["/probe", "watch", secret]].concat()).ok();
    wait_until("it watches", PATIENCE, || host.sp(&["logs", "a"]).stdout.contains("watching"));
    for round in 0..40 {
        // What the watcher does to a command may well spoil it; that is its own affair.
        host.sp(&["exec", "-u", if round % 2 == 0 { "0" } else { "1000" }, "a", "busybox", "true"]);
    }
    host.sp(&["exec", "a", "busybox", "touch", "/stop"]).ok();
    assert_eq!(host.sp(&["wait", "a"]).ok().out(), "0");
    let said = host.sp(&["logs", "a"]).ok().stdout;
    let number = |name: &str, radix| {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).expect(name);
        u64::from_str_radix(value, radix).unwrap()
    };
    assert!(number("seen", 10) > 0, "it has seen nobody: {said}");
    // The eleven and SYS_PTRACE.
    assert_eq!(number("caps", 16) & !0x800c_05fb, 0, "somebody had more: {said}");
    assert!(!said.contains("canary") && !said.contains("fd: "), "{said}");
    // 30: a read-only file system.
    assert!(said.lines().filter(|line| line.starts_with("exe")).all(|line| line.ends_with(" 30")), "{said}");
    canary.is_alive();
}
